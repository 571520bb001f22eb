"""Inspections and health checks in the terminal."""

from __future__ import annotations

import rich.box
from rich.table import Table as RichTable

from das.render_profile import draw
from das.terminal import console
from exporters.health import Health
from profiles.inspection import Inspection
from profiles.tables import Table, quantity


def print_inspection(found: Inspection) -> None:
    """Draw what a checkpoint is."""
    console.print(f"[bold]{found.checkpoint}[/]: {found.family}, heads: {', '.join(found.tasks) or 'none'}")
    console.print(f"{quantity(found.parameters)} parameters, {quantity(found.macs)} MACs (1 MAC = 2 FLOPs)")
    console.print("[dim]" + ", ".join(f"{name} {value}" for name, value in found.dims.items()) + "[/]")
    rows = tuple((e.name, e.pool, quantity(e.parameters), quantity(e.macs)) for e in found.layers)
    console.print(draw(Table("Layers that can be skipped", ("layer", "pool", "parameters", "MACs"), rows)))
    for scope, layers in found.scopes.items():
        console.print(f"--scope {scope}: {layers}")
    for reason, keys in found.leftovers.items():
        console.print(f"[dim]left over, {reason}: {', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''}[/]")
    for note in found.notes:
        console.print(f"[yellow]note[/] {note}")


def print_health(found: Health) -> None:
    """Draw what is there and what is missing."""
    table = RichTable(box=rich.box.SIMPLE_HEAD)
    for header in ("", "", "found", "fix"):
        table.add_column(header, overflow="fold")
    for item in found.items:
        table.add_row("[green]ok[/]" if item.ok else "[yellow]--[/]", item.name, item.found, item.fix or "")
    console.print(table)
