"""Every budget of a search: a table and a plot in the terminal, a figure as SVG."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from compressor.models.plan import summarise
from compressor.search.budgets import KINDS, MACS
from das.render.rich_tables import draw
from das.terminal import console
from profiles.analysis.pareto import ParetoReport
from profiles.formatting import Table

MOST_WIDTH, HEIGHT = 70, 15  # of the terminal's plot
LABELS = 9  # columns beside it


def print_pareto(report: ParetoReport, folder: Path) -> None:
    """Draw the points of the run in ``folder`` within 80 columns, and the command that takes one of them."""
    rows = tuple(
        (
            str(point.skip),
            f"{100 * point.value:.2f}",
            f"{0.0 - 100 * point.drop:+.2f}" if point.layers else "",
            f"{point.share - 1:+.1%}" if point.share != 1 else "",
            "yes" if point.front else "",
            "yes" if point.asked else "",
            summarise(point.layers) if point.layers else "(full model)",
        )
        for point in report.rows
    )
    header = ("skip", report.metric, "change", report.by_layers, "front", "asked", "layers")
    table = Table(f"Every budget from one search ({report.strategy})", header, rows)
    console.print(draw(table, words=("layers",)))
    for line in _plot(report):
        console.print(line)
    for sentence in _sentences(report):
        console.print(Text(sentence, style="dim"))
    others = [point for point in report.rows if point.chosen and set(point.layers) != set(report.own.layers)]
    if others:
        taken = report.own.skip  # one more layer, else one less, is the next question
        near = min(others, key=lambda point: (abs(point.skip - taken), -point.skip))
        console.print(f"\ndas compress --from {folder} --skip {near.skip}", soft_wrap=True)


def _plot(report: ParetoReport) -> list[str]:
    """Plot score over cost in plain characters; points of the table are marked with their number of layers."""
    shares, values = [point.share for point in report.points], [point.value for point in report.points]
    left, right, bottom, top = min(shares), max(shares), min(values), max(values)
    width = min(MOST_WIDTH, console.width - LABELS)
    grid = [[" "] * width for _ in range(HEIGHT)]
    for point in (*report.points, *report.rows):
        mark = str(point.skip) if point in report.rows else "·"
        column = round((point.share - left) / ((right - left) or 1) * (width - len(mark)))
        row = round((top - point.value) / ((top - bottom) or 1) * (HEIGHT - 1))
        grid[row][column : column + len(mark)] = mark
    labels = {0: f"{100 * top:.1f}", HEIGHT - 1: f"{100 * bottom:.1f}"}
    lines = [f"{labels.get(number, ''):>6} │{''.join(row)}".rstrip() for number, row in enumerate(grid)]
    ends = f"{left:.1%}", f"{right:.1%}"
    middle = f"{report.by_layers}, share of full".center(width - len(ends[0]) - len(ends[1]))
    return [f"{report.metric}, %", *lines, " " * 7 + "└" + "─" * width, " " * 8 + ends[0] + middle + ends[1]]


def _sentences(report: ParetoReport) -> list[str]:
    """Describe how the scores were measured, and the run's own result."""
    own = report.own
    before = f", the full model {100 * own.full.value:.2f}" if own.full else ""
    return [
        "Numbers in the plot are numbers of skipped layers, 0 is the full model; a dot is another scored subset.",
        f"{report.metric} in %, the mean over {report.samples:,} held-out samples, with the adapters of the search and "
        f"before any recovery; {report.by_layers} are the full model's less what each skipped layer saves, its adapter "
        "counted in; exact trims come on top.",
        "front: nothing that costs as little scores better. asked: this number of layers was asked for and searched "
        "with full care; the others come along with it.",
        f"The run itself, {own.skip} layers, --recover {own.recover}, on the {own.slim.samples:,} samples of "
        f"the evaluation split: {own.slim.metric} {100 * own.slim.value:.2f}{before}; {_cost(report)}.",
    ]


def _cost(report: ParetoReport) -> str:
    own = report.own
    return f"MACs {own.macs}" if report.cost == KINDS[MACS].noun else f"{report.cost} {100 * own.share:.1f} % of full"


def save_pareto_svg(report: ParetoReport, path: Path) -> None:
    """Write the points, the front, the full model and the run's own result as a figure; the same bytes every time.

    Raises:
        EnvironmentProblem: the file cannot be written.
    """
    from profiles.reports.plots import draw_pareto, save_svg

    title = f"{report.run}: every budget from one search ({report.strategy}); numbers: skipped layers"
    save_svg(draw_pareto(report, title), path)
