"""Several runs side by side in the terminal, and several seeds, within 80 columns."""

from __future__ import annotations

from rich.text import Text

from das.render.rich_tables import draw
from das.terminal import console
from profiles.comparison.run_vs_run import RunsReport
from profiles.comparison.run_vs_run_tables import tabulate_runs, write_footnotes, write_legend
from profiles.comparison.seed_runs import SeedsComparison, SeedsReport
from profiles.comparison.seed_tables import (
    LAYERS,
    describe_differences,
    describe_seeds,
    tabulate_seeds,
    tabulate_seeds_comparison,
    title_of,
    write_seeds_legend,
)


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


def print_seeds(report: SeedsReport) -> None:
    """Draw the results of each seed, their spread, and where they are."""
    console.print(Text(title_of(report), style="bold"))
    for table in tabulate_seeds(report):
        console.print(draw(table, words=(LAYERS,)))
    for line in describe_seeds(report):
        console.print(Text(line, style="dim"))
    console.print(f"\nfolder: {report.folder} (a run for each seed, seeds.md, seeds.json)", soft_wrap=True)


def print_seeds_comparison(comparison: SeedsComparison) -> None:
    """Draw the mean and the spread of each compression, and whether differences may be chance; of one, each seed."""
    if len(comparison.sets) == 1:
        print_seeds(comparison.sets[0])
        return
    for line in write_seeds_legend(comparison):
        console.print(Text(line))
    console.print(draw(tabulate_seeds_comparison(comparison)))
    for line in describe_differences(comparison):
        console.print(Text(line))
