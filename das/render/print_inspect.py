"""Inspections and health checks in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import rich.box
from rich.table import Table as RichTable
from rich.text import Text

from das.doctor.health import Health, Needs
from das.render.rich_tables import draw
from das.terminal import console
from profiles.analysis.inspection import Inspection
from profiles.formatting import Table, format_bytes, format_count


def print_inspection(inspection: Inspection) -> None:
    """Draw a checkpoint's heads, sizes and layers."""
    heads = ", ".join(head.task if head.compressible else f"{head.task} (not for das yet)" for head in inspection.heads)
    console.print(
        f"{inspection.checkpoint}: {inspection.family} ({inspection.format}), heads: {heads or 'none'}", style="bold"
    )
    head_note = "" if inspection.counted_head else ", no head counted"
    console.print(
        f"{format_count(inspection.parameters)} parameters, {format_count(inspection.macs)} MACs (1 MAC = 2 FLOPs)"
        f"{head_note}"
    )
    console.print(", ".join(f"{name} {value}" for name, value in _flat(inspection.dims)), style="dim")
    rows = tuple((e.name, e.pool, format_count(e.parameters), format_count(e.macs)) for e in inspection.layers)
    console.print(draw(Table("Layers that can be skipped", ("layer", "pool", "parameters", "MACs"), rows)))
    for scope, layers in inspection.scopes.items():
        console.print(f"--scope {scope}: {layers}")
    for reason, keys in inspection.leftovers.items():
        console.print(f"left over, {reason}: {', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''}", style="dim")
    for note in inspection.notes:
        console.print(f"note: {note}", style="yellow")


def _flat(dims: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield sizes by name; one of several configurations stands before its own: ``vision_config.hidden_size``."""
    for name, value in dims.items():
        if isinstance(value, Mapping):
            before = f"{name}." if name.endswith("_config") else ""
            yield from ((before + inner, size) for inner, size in _flat(value))
        elif value is not None:
            yield name, value


def print_health(health: Health) -> None:
    """Draw the checked items with their fixes, and the estimates for a model."""
    table = RichTable(box=rich.box.SIMPLE_HEAD)
    for header in ("", "", "found", "fix"):
        table.add_column(header, overflow="fold")
    for item in health.items:
        row = ("ok" if item.ok else "--", item.name, item.found, item.fix or "")
        table.add_row(*(Text(cell) for cell in row), style="" if item.ok else "yellow")
    console.print(table)
    if health.needs:
        _print_needs(health.needs)


def _print_needs(needs: Needs) -> None:
    weights = f"{format_count(needs.parameters)} parameters, {format_bytes(needs.weights)} of weights"
    console.print(f"{needs.subject}: {needs.family}, {needs.task}, {weights}", style="bold")
    table = RichTable(title="Estimates, not measured", title_justify="left", box=rich.box.SIMPLE_HEAD)
    for header in ("", "of", "needs", "free", ""):
        table.add_column(header, justify="right" if header in ("needs", "free") else "left", overflow="fold")
    for need in needs.stages:
        row = (
            need.stage,
            need.resource,
            format_bytes(need.total),
            format_bytes(need.free),
            "enough" if need.enough else "NOT ENOUGH",
        )
        table.add_row(*row, style="" if need.enough else "yellow")
        for part, amount in need.parts.items():
            table.add_row(f"  {part}", "", format_bytes(amount), "", "", style="dim")
    console.print(table)
    for need in (need for need in needs.stages if need.fix):
        console.print(f"{need.stage}, {need.resource}: {need.fix}", style="yellow")
