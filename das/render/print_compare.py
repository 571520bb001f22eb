"""Several runs side by side in the terminal, within 80 columns."""

from __future__ import annotations

from rich.text import Text

from das.render.rich_tables import draw
from das.terminal import console
from profiles.comparison.run_vs_run import RunsReport
from profiles.comparison.run_vs_run_tables import compare_tables, footnotes, legend


def print_compare(report: RunsReport) -> None:
    """Draw every table, what the runs are, and what to bear in mind."""
    for line in legend(report):
        console.print(Text(line))
    for table in compare_tables(report):
        rich_table = draw(table)
        rich_table.padding = (0, 0)  # seven columns have to fit
        console.print(rich_table)
    for line in report.warnings:
        console.print(Text(line, style="bold"))
    for line in footnotes(report)[len(report.warnings) :]:
        console.print(Text(line, style="dim"))
