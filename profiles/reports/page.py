"""The contents of a run's page as values: :mod:`profiles.reports.html` puts them into its template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from compressor.families import FAMILIES
from compressor.models.plan import summarise
from compressor.search.result import LogEntry
from compressor.settings import Choice
from exporters.runtimes import RUNTIMES
from profiles.analysis.answer_flips import FlipCount, Flips
from profiles.analysis.pareto import ParetoReport
from profiles.comparison.full_vs_slim import ProfileReport
from profiles.formatting import HEADER, Table, format_count, format_number
from profiles.reports.compression_report import CompressionReport
from profiles.reports.compression_tables import tabulate_gates, tabulate_scores
from profiles.reports.plots import draw_gates, draw_latency, draw_pareto, draw_scores, inline_svg
from profiles.reports.sentences import describe_splits
from profiles.reports.summary import SummaryRow, summarise_report
from profiles.timing.layer_times import LayerTimes

BOTH = ("full", "slim")
STATES = {"kept": "kept", "cut": "skipped, an adapter in its place", "fixed": "kept, outside the search"}
"""States of the picture's boxes, in words."""


@dataclass(frozen=True)
class Headline:
    """A quantity of full and slim; the lengths of both bars in percent, None where full is unknown."""

    row: SummaryRow
    full: float | None
    slim: float | None


@dataclass(frozen=True)
class Box:
    """A layer of the picture; ``state`` is a key of :data:`STATES`."""

    name: str
    state: str


@dataclass(frozen=True)
class CostBar:
    """The cost of a part in full and slim, in words and as percent of the most expensive; None for no bar."""

    name: str
    cut: bool
    full: str
    slim: str
    full_share: float | None
    slim_share: float | None


@dataclass(frozen=True)
class CostChart:
    """The costs of all parts of a model, under the name of the quantity."""

    title: str
    total: str
    rows: tuple[CostBar, ...]


@dataclass(frozen=True)
class FlipBar:
    """The changed answers to samples of one type, and their ``share`` of the samples in percent."""

    name: str
    count: FlipCount
    share: float
    lost: float
    gained: float
    other: float


@dataclass(frozen=True)
class Plot:
    """A figure, an element of SVG, and what stands below it."""

    svg: str
    caption: str


def format_heading(report: CompressionReport) -> str:
    """Return the page's first line."""
    count = len(report.skipped)
    return f"{report.checkpoint}: {count} layer{'s' * (count != 1)} skipped"


def list_headlines(report: CompressionReport) -> tuple[Headline, ...]:
    """Return the rows of the summary, each with its bars."""

    def headline(row: SummaryRow) -> Headline:
        if row.share is None:
            return Headline(row, None, None)
        longest = max(1.0, row.share)
        return Headline(row, 100 / longest, 100 * row.share / longest)

    return tuple(map(headline, summarise_report(report)))


def list_pools(report: CompressionReport) -> dict[str, tuple[Box, ...]]:
    """Return the layers of the full model by the name of their pool, in the order they run."""
    candidates = {entry.name for entry in report.candidates}
    outside_search = "kept" if report.strategy in (Choice.NAMED, Choice.NOTHING) else "fixed"
    names = {pool.prefix: pool.name for pool in FAMILIES[report.family].pools}
    boxes_by_pool = {}
    for line in report.picture:
        prefix, *marks = line.split()
        layers = [f"{prefix}{number}" for number in range(len(marks))]
        boxes_by_pool[names[prefix]] = tuple(
            Box(layer, "cut" if layer in report.skipped else "kept" if layer in candidates else outside_search)
            for layer in layers
        )
    return {name: boxes for name, boxes in boxes_by_pool.items() if boxes}


def chart_flips(flips: Flips) -> dict[str, tuple[FlipBar, ...]]:
    """Return the changes by type of answer and by type of question."""
    kinds = {"type of answer": flips.by_answer_type, "type of question": flips.by_question_type}
    return {
        kind: tuple(_changes(name, count) for name, count in counts.items()) for kind, counts in kinds.items() if counts
    }


def plot_latencies(profile: ProfileReport) -> tuple[Plot, ...]:
    """Plot the times of all calls, a figure for each runtime."""
    return tuple(
        Plot(
            inline_svg(
                draw_latency(runtime),
                f"latency-{number}",
                f"Times of calls in {runtime.name}: half of the full model's took at most "
                f"{format_number(runtime.full.p50_ms)} ms, half of the slim one's "
                f"{format_number(runtime.slim.p50_ms)} ms",
            ),
            f"{runtime.name}: cumulative share of calls by latency; full and slim in turns, "
            f"n = {runtime.full.n:,} and {runtime.slim.n:,}. The slowest 1 % may be beyond the right edge.",
        )
        for number, runtime in enumerate(profile.runtimes)
    )


def chart_layer_costs(report: CompressionReport) -> tuple[CostChart, ...]:
    """Return MACs by layer, and milliseconds in every runtime whose layers were timed."""
    times_by_runtime: dict[str, dict[str, LayerTimes]] = {}
    for times in report.profile.layers if report.profile else ():
        times_by_runtime.setdefault(times.runtime, {})[times.which] = times
    charts = [_macs(report, next(iter(times_by_runtime.values()), {}))]
    for runtime, times_by_model in times_by_runtime.items():
        full, slim = ({entry.name: entry.ms for entry in times_by_model[which].layers} for which in BOTH)
        total = "a whole call: " + " -> ".join(f"{format_number(times_by_model[which].whole_ms)} ms" for which in BOTH)
        charts.append(_costs(report, f"ms in {runtime}", total, full, slim, format_number))
    return tuple(charts)


def plot_choice(report: CompressionReport, log: Sequence[LogEntry]) -> Plot | None:
    """Plot the gates after every update, else the scores with and without each layer; None without either."""
    gates = [after for after, _ in groupby(entry.gates for entry in log if entry.gates)]
    if gates:
        description = (
            f"Gates of {len(gates[-1])} layers over {len(gates):,} updates; their final values are in the table"
        )
        caption = f"Gates over {len(gates):,} updates of the search. The highest are skipped, in colour."
        return Plot(inline_svg(draw_gates(gates, report.skipped), "gates", description), caption)
    scores = {entry.name: entry.best for entry in report.candidates if entry.best}
    if not scores:
        return None
    description = "Scores of the best subsets that skip each layer and that keep it; the values are in the table"
    caption = "Scores in the search, before any recovery; one of the two is the choice. Skipped layers are in colour."
    figure = draw_scores(scores, report.skipped, report.slim.metric)
    return Plot(inline_svg(figure, "scores", description), caption)


def tabulate_choice(report: CompressionReport) -> Table | None:
    """Return the figures beside :func:`plot_choice`."""
    if any(entry.gate is not None for entry in report.candidates):
        return tabulate_gates(report)
    return tabulate_scores(report) if any(entry.best for entry in report.candidates) else None


def plot_front(front: ParetoReport) -> Plot:
    """Plot score over cost of every subset that the search scored."""
    description = (
        f"Score over {front.by_layers} of {len(front.points):,} subsets; those that nothing beats are in the table"
    )
    caption = (
        "Numbers are numbers of skipped layers. Points are scored with the search's adapters, before any recovery; "
        "the run itself after its recovery and on other samples, so it is not comparable with them. Costs are those by "
        "layers alone; exact trims come on top."
    )
    return Plot(inline_svg(draw_pareto(front, inches=(4.4, 3.4)), "front", description), caption)


def tabulate_front(front: ParetoReport) -> Table:
    """Return the best subset for every number of layers, and the rest of the front."""
    rows = tuple(
        (
            str(point.skip),
            f"{100 * point.value:.2f}",
            f"{0.0 - 100 * point.drop:+.2f}" if point.layers else "",
            f"{point.share - 1:+.1%}" if point.share != 1 else "",
            "yes" if point.front else "",
            summarise(point.layers) if point.layers else "(full model)",
        )
        for point in front.rows
    )
    header = ("skipped", front.metric, "change", front.by_layers, "front", "layers")
    return Table(f"Every budget from one search ({front.strategy})", header, rows)


def list_facts(report: CompressionReport) -> dict[str, tuple[str, ...]]:
    """Return the run's provenance: command, data, versions, and the machine of the profile."""
    lines_by_name = {
        "command": (report.command or "Python API",),
        "run": (report.run,),
        "model": (f"{report.checkpoint} ({report.family}, {report.task})",),
        "strategy": (report.strategy,),
        "seed": (str(report.settings.seed),),
        "data": describe_splits(report.data, report.task),
        "versions": (_list(report.versions),),
        "seconds": (_list({stage: f"{duration:,.1f}" for stage, duration in report.seconds.items()}),),
    }
    if report.profile:
        place = report.profile.environment
        lines_by_name["measured with"] = (report.profile.command,)
        lines_by_name["measured on"] = (
            report.profile.date,
            f"{place.machine} ({place.processor}, {place.cores} cores, load {place.load:.2f}), {place.device}, "
            f"{place.cpu_threads}",
            _list(place.versions),
        )
    return {name: tuple(filter(None, lines)) for name, lines in lines_by_name.items() if any(lines)}


def tabulate_settings(report: CompressionReport) -> Table:
    """Return the run's settings, with steps and rates of the recipe."""
    values = report.settings.model_dump(mode="json", exclude_none=True)
    return Table("Settings", ("setting", "value"), tuple((name, str(value)) for name, value in values.items()))


def _macs(report: CompressionReport, times_by_model: Mapping[str, LayerTimes]) -> CostChart:
    """Return the MACs of each layer as they were counted for its timing, else for the report."""
    costs = report.costs
    full, slim = (
        {entry.name: entry.macs for entry in times_by_model[which].layers}
        if times_by_model
        else {name: getattr(pair, which) for name, pair in costs.macs_by_layer.items()}
        for which in BOTH
    )
    dearest, whole = max([*full.values(), *slim.values()]), costs.macs
    total = f"the whole model: {format_count(whole.full)} -> {format_count(whole.slim, like=whole.full)}"
    return _costs(report, HEADER, total, full, slim, lambda value: format_count(round(value), like=dearest))


def _costs(
    report: CompressionReport,
    title: str,
    total: str,
    full: Mapping[str, float],
    slim: Mapping[str, float],
    shown: Callable[[float], str],
) -> CostChart:
    overhead = {
        runtime.between for runtime in RUNTIMES
    }  # no part of the model: on a small one it would dwarf all parts
    dearest = max(amount for amounts in (full, slim) for name, amount in amounts.items() if name not in overhead)
    rows = []
    for name in dict.fromkeys((*full, *slim)):
        amounts = full.get(name, 0), slim.get(name, 0)
        before, after = (shown(amount) if amount else "" for amount in amounts)
        bars = (None if name in overhead else _percent(amount, dearest) for amount in amounts)
        if any(amounts):
            rows.append(CostBar(name, name in report.skipped, before, after, *bars))
    return CostChart(title, total, tuple(rows))


def _changes(name: str, count: FlipCount) -> FlipBar:
    parts = count.changed, count.lost, count.gained, count.changed - count.lost - count.gained
    return FlipBar(name, count, *(_percent(part, count.samples) for part in parts))


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0


def _list(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
