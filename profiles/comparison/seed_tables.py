"""Results of several seeds as tables and sentences of plain text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path

from compressor.files import write_json, write_text
from compressor.models.plan import summarise
from profiles.comparison.seed_runs import SEEDS, SeedsComparison, SeedsDifference, SeedsReport, collect_seeds
from profiles.comparison.seeds import Spread
from profiles.formatting import Row, Table, format_bullets, format_markdown_table

MARKDOWN = "seeds.md"
LAYERS = "layers"  # header of columns of names
NO_LAYERS = "(none)"


def tabulate_seeds(report: SeedsReport) -> tuple[Table, ...]:
    """Return the scores of each seed with their mean and spread, further scores, and how often layers are chosen."""
    runs = [
        (
            str(run.seed),
            _percent(run.full.value) if run.full else "",
            _percent(run.slim.value),
            _points(run.slim.value - run.full.value) if run.full else "",
            _share(run.macs.slim / run.macs.full),
            summarise(run.skipped) or NO_LAYERS,
        )
        for run in report.runs
    ]
    missing = [(str(entry.seed), "", "missing", "", "", "") for entry in report.missing]
    rows = [*sorted([*runs, *missing], key=lambda row: int(row[0])), _statistic("mean", report, "mean", _points)]
    if len(report.runs) > 1:
        rows += [
            _statistic("± sd", report, "deviation", _percent),
            _statistic("95 % from", report, "low", _points),
            _statistic("to", report, "high", _points),
        ]
    score = report.runs[0].slim
    title = f"{score.metric}, %, on {score.samples:,} samples"
    tables = [Table(title, ("seed", "full", "slim", "change", "MACs, %", LAYERS), tuple(rows))]
    further = {**report.parts, **report.apart}
    if further:
        cells = tuple((name, *_spread(spread)) for name, spread in further.items())
        tables.append(Table("Further scores, %", ("", "mean", "± sd", "95 % from", "to"), cells))
    if report.chosen:
        counts = groupby(report.chosen, key=lambda layer: report.chosen[layer])
        often = tuple((f"{count} of {len(report.runs)}", summarise(list(layers))) for count, layers in counts)
        tables.append(Table("Layers skipped", ("seeds", LAYERS), often))
    return tuple(tables)


def _statistic(name: str, report: SeedsReport, which: str, change: Callable[[float], str]) -> Row:
    """Return a statistic of slim and its change in a row; the full model and costs have a mean alone."""

    def cell(spread: Spread | None, show: Callable[[float], str] = _percent) -> str:
        value = getattr(spread, which) if spread else None
        return "" if value is None else show(value)

    full, macs = (cell(report.full), _share(report.macs.mean)) if which == "mean" else ("", "")
    return name, full, cell(report.slim), cell(report.change, change), macs, ""


def _spread(spread: Spread) -> Row:
    values = (spread.mean, spread.deviation, spread.low, spread.high)
    return tuple("" if value is None else _percent(value) for value in values)


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _points(value: float) -> str:
    return f"{100 * value:+.2f}"


def _share(value: float) -> str:
    """Format MACs as their difference from the full model's."""
    return f"{100 * value - 100:+.1f}"


def describe_seeds(report: SeedsReport) -> tuple[str, ...]:
    """Return what the tables leave open: what the intervals mean, and why seeds are missing."""
    slim, score = report.slim, report.runs[0].slim
    sentences = []
    if slim.deviation is None:
        sentences.append("One seed has no spread: give two or more.")
    elif max(slim.values) == min(slim.values):
        sentences.append("The score is the same with every seed (docs/seeds.md: what a seed draws).")
    else:
        sentences.append(
            "The interval is that of the mean over seeds, by Student's t, on these samples; other samples would move "
            f"each score by {_percent(score.margin)} (95 %)."
        )
    return (*sentences, *(f"seed {entry.seed} is missing: {entry.why}" for entry in report.missing))


def render_seeds(report: SeedsReport) -> str:
    """Return tables and sentences as a Markdown section."""
    return _render(title_of(report), (), tabulate_seeds(report), describe_seeds(report))


def title_of(report: SeedsReport) -> str:
    """Return how many seeds of what."""
    count = len(report.runs)
    recipe = f"{report.strategy}, recover {report.recover}"
    return f"{report.checkpoint}, {report.task}: {count} seed{'s' * (count != 1)} ({recipe})"


def tabulate_seeds_comparison(comparison: SeedsComparison) -> Table:
    """Return a row for each compression: the mean of its scores, their spread, layers and MACs."""
    metrics = dict.fromkeys(entry.runs[0].slim.metric for entry in comparison.sets)
    rows = tuple(
        (entry.name, str(len(entry.runs)), _sizes(entry), *_spread(entry.slim), _share(entry.macs.mean))
        for entry in comparison.sets
    )
    header = ("", "seeds", "skip", "mean", "± sd", "95 % from", "to", "MACs, %")
    return Table(f"{' or '.join(metrics)}, %, over seeds", header, rows)


def _sizes(report: SeedsReport) -> str:
    """Return how many layers its runs skip."""
    sizes = sorted({len(run.skipped) for run in report.runs})
    return "-".join(dict.fromkeys(str(size) for size in (sizes[0], sizes[-1])))


def write_seeds_legend(comparison: SeedsComparison) -> tuple[str, ...]:
    """Describe each compression in a line: its folder, its seeds, strategy and recovery, and the layers chosen."""
    return tuple(_legend(entry) for entry in comparison.sets)


def _legend(report: SeedsReport) -> str:
    seeds = ", ".join(str(run.seed) for run in report.runs)
    count = len(report.runs)
    chosen = groupby(report.chosen, key=lambda layer: report.chosen[layer])
    often = "; ".join(f"by {times} of {count}: {summarise(list(layers))}" for times, layers in chosen)
    missing = f"; missing: {', '.join(str(entry.seed) for entry in report.missing)}" if report.missing else ""
    return (
        f"{report.name}: {report.folder}, seed{'s' * (count != 1)} {seeds}{missing} ({report.strategy}, recover "
        f"{report.recover}); skipped {often or NO_LAYERS}"
    )


def describe_differences(comparison: SeedsComparison) -> tuple[str, ...]:
    """Say of each difference whether it is more than other seeds might give."""
    return (*comparison.warnings, *map(_describe, comparison.differences))


def _describe(found: SeedsDifference) -> str:
    difference = found.difference
    points = f"{found.name} less {found.base}: {_points(difference.value)} points"
    if difference.low is None or difference.high is None:
        return f"{points}, no interval: it takes two seeds or more of each"
    interval = f"95 % interval {_points(difference.low)} to {_points(difference.high)} (Welch)"
    return f"{points}, {interval}: {_judge(found)}"


def _judge(found: SeedsDifference) -> str:
    margin = found.samples_margin
    if found.difference.inside_noise:
        return "inside the noise of the seeds"
    if margin is None:
        return "more than the noise of the seeds"
    if abs(found.difference.value) <= margin:
        return f"more than the noise of the seeds, but inside that of the samples (± {_percent(margin)})"
    return f"more than the noise of the seeds and of the samples (± {_percent(margin)})"


def render_seeds_comparison(comparison: SeedsComparison) -> str:
    """Return legend, table and differences as a Markdown section; of one compression its results."""
    if len(comparison.sets) == 1:
        return render_seeds(comparison.sets[0])
    tables = (tabulate_seeds_comparison(comparison),)
    title = f"{len(comparison.sets)} compressions over seeds"
    return _render(title, write_seeds_legend(comparison), tables, describe_differences(comparison))


def _render(title: str, legend: tuple[str, ...], tables: tuple[Table, ...], sentences: tuple[str, ...]) -> str:
    parts = [f"## {title}", *([format_bullets(legend)] if legend else [])]
    for table in tables:
        parts += [f"### {table.title}", format_markdown_table(table.header, table.rows)]
    return "\n\n".join((*parts, format_bullets(sentences))).rstrip() + "\n"


def save_seeds(folder: Path, missing: Mapping[int, str]) -> None:
    """Write the results of the finished runs in a folder beside them: seeds.json and seeds.md.

    Args:
        folder: of the runs; one is finished.
        missing: why seeds have no run.

    Raises:
        InputError: as :func:`collect_seeds`.
        EnvironmentProblem: the folder cannot be written.
    """
    report = collect_seeds(folder, missing)
    write_json(folder / SEEDS, report.model_dump(mode="json"))
    write_text(folder / MARKDOWN, render_seeds(report))
