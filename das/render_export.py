"""Exports in the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from das.render_profile import draw
from das.terminal import console, shown
from exporters.export import ExportReport
from profiles.tables import Table, size


def print_export(report: ExportReport) -> None:
    """A line for each export: what it is, and how far it is from PyTorch."""
    rows = []
    for entry in report.exports:
        error = entry.parity.max_abs_error
        rows.append(
            (
                entry.files[0],
                size(entry.bytes),
                str(entry.opset),
                f"{entry.seconds:.0f}",
                "" if error is None else f"{error:.1e}",
                entry.parity.status,
            )
        )
    console.print(draw(Table("Exported", ("file", "size", "opset", "seconds", "max error", "parity"), tuple(rows))))
    for entry in report.exports:
        reason = (f"{entry.parity.status}: {entry.parity.reason}",) if entry.parity.reason else ()
        for note in (*reason, *entry.notes):
            console.print(Text(f"{entry.files[0]}: {note}"))
    console.print(f"in {shown(Path(report.folder))}", soft_wrap=True)
