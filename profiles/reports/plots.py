"""Plots of reports as SVG: the same bytes every time, as a file of its own or inside a page, in that page's colours."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from html import escape
from io import StringIO
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from compressor.files import cannot_write
from compressor.settings import Choice
from profiles.analysis.effects import Alternatives
from profiles.analysis.pareto import ParetoReport
from profiles.comparison.full_vs_slim import RuntimeProfile
from profiles.comparison.seed_runs import SeedsComparison
from profiles.comparison.seeds import spread_of

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "card": "#f6f8fa",
    "ink": "#1f2328",
    "muted": "#59636e",
    "line": "#d1d9e0",
    "full": "#98a2ad",
    "slim": "#0969da",
    "cut": "#bc4c00",
    "lost": "#cf222e",
    "gained": "#1a7f37",
}
"""Colours by what they stand for; figures are drawn in these, and inside a page take its own of the same name."""

DARK: Mapping[str, str] = {
    "paper": "#0d1117",
    "card": "#151b23",
    "ink": "#e6edf3",
    "muted": "#9198a1",
    "line": "#3d444d",
    "full": "#6e7781",
    "slim": "#4493f8",
    "cut": "#f0883e",
    "lost": "#f85149",
    "gained": "#3fb950",
}
"""The same on a dark page."""

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "das",
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of runs may have dollar signs
    "font.size": 9,
    "axes.titlesize": 9,
    "text.color": LIGHT["ink"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.edgecolor": LIGHT["line"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.6,
    "xtick.color": LIGHT["line"],
    "ytick.color": LIGHT["line"],
    "xtick.labelcolor": LIGHT["muted"],
    "ytick.labelcolor": LIGHT["muted"],
    "legend.frameon": False,
    "legend.handletextpad": 0.3,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.0,
    "lines.linewidth": 1.6,
}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_PAGE_WIDE = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>|\s*xmlns(:xlink)?=\"[^\"]*\"", re.DOTALL)
_QUANTILES = 201  # points of a distribution, whatever the number of calls


@rc_context(_STYLE)
def draw_pareto(report: ParetoReport, title: str = "", inches: tuple[float, float] = (6.4, 4.2)) -> Figure:
    """Plot the points of a search, score over cost: the front, the full model and the run's own result."""
    height = inches[1]
    figure, axes = _axes(*inches, top=0.75 if title else 0.5)
    figure.suptitle(title, x=0.02, y=0.98, ha="left", va="top", fontsize=9)
    own = report.own
    (full,) = [point for point in report.points if not point.layers]
    scored = [point for point in report.points if point.layers]
    front = [point for point in report.points if point.front]
    groups = (
        ("scored subset", ".", "", LIGHT["full"], [(point.share, point.value) for point in scored]),
        ("front", "o", "-", LIGHT["slim"], [(point.share, point.value) for point in front]),
        ("full model", "s", "", LIGHT["ink"], [(full.share, full.value)]),
        (
            f"this run, --recover {own.recover}, on the evaluation split",
            "D",
            "",
            LIGHT["cut"],
            [(own.share_by_layers, own.slim.value)],
        ),
    )
    for label, marker, line, colour, places in groups:
        x, y = ([100 * place[axis] for place in places] for axis in (0, 1))
        axes.plot(x, y, label=label, marker=marker, linestyle=line, color=colour, markersize=4.5)
    for point in report.rows:
        if point.layers:
            place = 100 * point.share, 100 * point.value
            axes.annotate(str(point.skip), place, xytext=(4, -10), textcoords="offset points")
    axes.set(
        xlabel=f"{report.by_layers}, % of the full model",
        ylabel=f"{report.metric}, %, {report.samples:,} held-out samples",
    )
    figure.legend(loc="upper left", bbox_to_anchor=(0, 1 - (0.25 if title else 0) / height), ncols=2, borderaxespad=0)
    return figure


@rc_context(_STYLE)
def draw_latency(runtime: RuntimeProfile) -> Figure:
    """Plot the cumulative distribution of times of full and slim; the slowest 1 % may be beyond the right edge."""
    figure, axes = _axes(4.4, 2.4)
    shares = np.linspace(0, 1, _QUANTILES)
    both = {"full": runtime.full, "slim": runtime.slim}
    for which, latency in both.items():
        axes.plot(np.quantile(latency.samples_ms, shares), 100 * shares, color=LIGHT[which], label=which)
        axes.plot(latency.p50_ms, 50, marker="o", markersize=4, color=LIGHT[which])
    left = min(latency.min_ms for latency in both.values())
    right = max(latency.p99_ms for latency in both.values())
    width = right - left or right
    edges = max(0, left - 0.05 * width), right + 0.2 * width  # the legend stands on the right
    axes.set(xlabel="ms", ylabel="% of calls", xlim=edges, ylim=(0, 101))
    axes.legend(loc="lower right")
    return figure


@rc_context(_STYLE)
def draw_gates(history: Sequence[Mapping[str, float]], cut: Collection[str]) -> Figure:
    """Plot the gate of each layer after every update; the ``cut`` ones in colour.

    Args:
        history: gates by layer name, an entry for each update; at least one.
        cut: layers that were skipped.
    """
    names = sorted(history[-1], key=lambda name: history[-1][name])
    figure, axes = _axes(4.4, max(2.6, 0.6 + 0.17 * len(names)), right=0.5)
    updates = np.arange(len(history) + 1)
    for name in names:
        colour = LIGHT["cut" if name in cut else "full"]
        axes.plot(updates, [0.0, *(gates[name] for gates in history)], color=colour, linewidth=1.3)
    low, high = axes.get_ylim()
    heights = spread([history[-1][name] for name in names], (high - low) / (len(names) + 1))
    for name, height in zip(names, heights, strict=True):
        colour = LIGHT["cut" if name in cut else "muted"]
        place = (updates[-1], height)
        axes.annotate(
            name, place, xytext=(5, 0), textcoords="offset points", va="center", color=colour, annotation_clip=False
        )
    axes.set(xlabel="update", ylabel="gate", xlim=(0, updates[-1]))
    return figure


@rc_context(_STYLE)
def draw_scores(scores: Mapping[str, Alternatives], cut: Collection[str], metric: str) -> Figure:
    """Plot the score of the best subset that skips a layer, and of the best that keeps it, least harmful first.

    Args:
        scores: by layer name, in [0, 1]; at least one.
        cut: layers that were skipped.
        metric: its name.
    """
    names = sorted(scores, key=lambda name: scores[name].skipped - scores[name].kept)
    figure, axes = _axes(4.4, 0.8 + 0.2 * len(names), top=0.3, left=0.5)
    places = range(len(names))
    kept, skipped = ([100 * getattr(scores[name], side) for name in names] for side in ("kept", "skipped"))
    axes.hlines(places, kept, skipped, color=LIGHT["line"], linewidth=2)
    axes.plot(kept, places, marker="o", linestyle="", markersize=4.5, color=LIGHT["full"], label="that keeps it")
    axes.plot(skipped, places, marker="o", linestyle="", markersize=4.5, color=LIGHT["cut"], label="that skips it")
    axes.set_yticks(places, names)
    for name, label in zip(names, axes.get_yticklabels(), strict=True):
        label.set_color(LIGHT["cut" if name in cut else "muted"])
    axes.grid(visible=False, axis="y")
    axes.set(xlabel=f"{metric}, %, of the best subset")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
    return figure


@rc_context(_STYLE)
def draw_strategies(comparison: SeedsComparison, inches: tuple[float, float] = (5.4, 3.6)) -> Figure:
    """Plot scores over the number of skipped layers: a dot for each random run, of other strategies means and spread.

    A bar is one standard deviation of the runs above and below their mean; a single run has none. A dashed line is the
    full model, or the reference that stands for it, where all have the same.
    """
    figure, axes = _axes(*inches, top=0.75)
    several = len({entry.recover for entry in comparison.sets}) > 1
    scores: dict[str, dict[int, list[float]]] = {}
    for entry in comparison.sets:
        strategy = "nothing skipped" if entry.strategy == Choice.NOTHING else entry.strategy
        name = strategy + f", recover {entry.recover}" * several
        for run in entry.runs:
            scores.setdefault(name, {}).setdefault(len(run.skipped), []).append(100 * run.slim.value)
    full = {score.value for entry in comparison.sets for run in entry.runs if (score := run.full)}
    if len(full) == 1:
        label = "reference" if any(entry.reference for entry in comparison.sets) else "full model"
        axes.axhline(100 * full.pop(), color=LIGHT["ink"], linewidth=1, linestyle="--", label=label)
    colours = cycle(LIGHT[role] for role in ("slim", "cut", "gained", "lost"))
    for name, by_size in sorted(scores.items()):
        if name.startswith(Choice.LOT):
            dots = [(size, value) for size, values in by_size.items() for value in values]
            axes.plot(*zip(*dots, strict=True), "o", color=LIGHT["full"], markersize=4.5, label=name)
            continue
        sizes = sorted(by_size)
        means, deviations = zip(*(_mean_and_deviation(by_size[size]) for size in sizes), strict=True)
        label = f"{name}, mean{' ± sd' * any(deviations)}"
        axes.errorbar(sizes, means, deviations, color=next(colours), marker="D", markersize=4.5, capsize=3, label=label)
    first = comparison.sets[0].runs[0].slim
    numbers = [len(run.skipped) for entry in comparison.sets for run in entry.runs]
    axes.set(xlabel="skipped layers", ylabel=f"{first.metric}, %, {first.samples:,} samples")
    axes.set_xlim(min(numbers) - 0.5, max(numbers) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="upper left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
    return figure


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    found = spread_of(values)
    return found.mean, found.deviation or 0.0


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move ascending ``heights`` apart until neighbours are ``gap`` away from each other, about the same middle."""
    lifted: list[float] = []
    for height in heights:
        lifted.append(max(height, lifted[-1] + gap) if lifted else height)
    sunk: list[float] = []
    for height in reversed(heights):
        sunk.append(min(height, sunk[-1] - gap) if sunk else height)
    return [(up + down) / 2 for up, down in zip(lifted, reversed(sunk), strict=True)]


@rc_context(_STYLE)
def save_svg(figure: Figure, path: Path) -> None:
    """Write a figure as a file of its own, on white.

    Raises:
        EnvironmentProblem: the file cannot be written.
    """
    try:
        figure.savefig(path, format="svg", metadata=_NO_METADATA, facecolor=LIGHT["paper"])
    except OSError as error:
        raise cannot_write(path, error, "another file with --svg") from None


@rc_context(_STYLE)
def inline_svg(figure: Figure, name: str, says: str) -> str:
    """Return a figure as an SVG element, in the page's colours, which have the names of :data:`LIGHT`.

    Args:
        figure: to draw, without a background.
        name: of the figure on its page: identifiers begin with it, so that no two figures share one.
        says: the same in words, for those who cannot see it.
    """
    buffer = StringIO()
    figure.savefig(buffer, format="svg", metadata=_NO_METADATA, facecolor="none")
    text = buffer.getvalue()
    text = _PAGE_WIDE.sub("", text[text.index("<svg") :]).replace("xlink:href", "href")
    text = re.sub(r'(\bid="|url\(#|\bhref="#)', rf"\g<1>{name}-", text)
    roles = {colour: role for role, colour in LIGHT.items()}
    text = re.sub(
        r"\b(fill|stroke): (#[0-9a-f]{6})\b",
        lambda match: f"{match[1]}: var(--{roles[match[2]]})" if match[2] in roles else match[0],
        text,
    )
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(says)}"', 1)


def _axes(width: float, height: float, top: float = 0.1, right: float = 0.1, left: float = 0.62) -> tuple[Figure, Axes]:
    """Return a figure of this size in inches with fixed margins: fitting them to the labels takes another drawing."""
    figure, bottom = Figure(figsize=(width, height)), 0.46
    inside = width - left - right, height - bottom - top
    return figure, figure.add_axes((left / width, bottom / height, inside[0] / width, inside[1] / height))
