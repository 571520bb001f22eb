"""Profiles and MAC counts on the terminal, within 80 columns."""

from __future__ import annotations

import rich.box
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from das.terminal import console
from profiles.comparison import ProfileReport
from profiles.family import FlopsReport
from profiles.tables import Table, cost_table, flops_table, latency_tables, not_measured, uncounted, verdicts


def print_flops(report: FlopsReport) -> None:
    """MACs by part, the total, the difference, and what was not counted."""
    console.print(draw(flops_table(report)))
    console.print(Text(uncounted(entry.operator for entry in report.uncounted), style="dim"))


def print_profile(report: ProfileReport) -> None:
    """What it costs, how fast it is, what to make of it, and what the report does not say."""
    console.print(Text(f"{report.run}: {report.family}, {report.task}, without {', '.join(report.skipped)}"))
    console.print(draw(cost_table(report)))
    console.print(Text(uncounted(report.uncounted), style="dim"))
    for latency in latency_tables(report):
        console.print(draw(latency))
    for verdict in verdicts(report):
        console.print(Text(verdict, style="bold"))
    console.print(Text("Not measured", style="dim"))
    for sentence in not_measured(report):
        console.print(Padding(Text(sentence, style="dim"), (0, 0, 0, 2)))


def draw(table: Table) -> RichTable:
    """A table as rich draws it: names to the left, figures to the right, indented rows and units quiet."""
    drawn = RichTable(title=table.title, title_justify="left", title_style="bold", box=rich.box.SIMPLE_HEAD)
    for place, header in enumerate(table.header):
        drawn.add_column(header, justify="right" if place else "left", no_wrap=True)
    for row in table.rows:
        drawn.add_row(*row, style="dim" if row[0].startswith(" ") else "")
    return drawn
