"""Several runs side by side in the terminal, within 80 columns."""

from __future__ import annotations

from rich.text import Text

from das.render.rich_tables import draw
from das.terminal import console
from profiles.comparison.run_vs_run import RunsReport
from profiles.comparison.run_vs_run_tables import tabulate_runs, write_footnotes, write_legend


def print_compare(report: RunsReport) -> None:
    """Draw every table, what the runs are, and what to bear in mind."""
    for line in write_legend(report):
        console.print(Text(line))
    for table in tabulate_runs(report):
        console.print(draw(table))
    for line in report.warnings:
        console.print(Text(line, style="bold"))
    for line in write_footnotes(report)[len(report.warnings) :]:
        console.print(Text(line, style="dim"))
