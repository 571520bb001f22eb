"""Several runs side by side, as tables and sentences of plain text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from compressor.costs.model_costs import Pair
from compressor.models.plan import summarise
from profiles.comparison.run_vs_run import RunsReport, RunSummary, RuntimeSummary, SpeedDifference
from profiles.formatting import PREFIXES, Table, format_bullets, format_markdown_table

AT_ONCE = 5  # runs in one table
BEST, NONE, NOT_YET = "*", "-", "not yet"
STATUS = {"passed": "passed", "failed": "failed", "not verified": "not run"}


@dataclass(frozen=True)
class _Line:
    """One row of a table.

    Attributes:
        name: of the row.
        value: of a run; None where there is none.
        show: a value as text.
        full: of the full model, as text.
        best: picks the value that is marked; None marks nothing.
        missing: stands where there is no value.
        beaten: names of runs that are worse beyond chance, where values have intervals; None takes values as they are.
    """

    name: str
    value: Callable[[RunSummary], Any]
    show: Callable[[Any], str] = str
    full: str = ""
    best: Callable[[Iterable[Any]], Any] | None = None
    missing: str = NONE
    beaten: Collection[str] | None = None

    def cells(self, runs: Sequence[RunSummary], marked: bool) -> list[str]:
        """Return the row's text for each run; the best of several is marked."""
        values = {run.name: self.value(run) for run in runs}
        known = {name: value for name, value in values.items() if value is not None}
        best: set[str] = set()
        if self.best and marked:
            top = self.best(known.values()) if known else None
            best = {name for name, x in known.items() if (x == top if self.beaten is None else name not in self.beaten)}
        marks = best if best != known.keys() else set()
        return [
            self.missing if value is None else self.show(value) + BEST * (name in marks)
            for name, value in values.items()
        ]


def tabulate_runs(report: RunsReport) -> tuple[Table, ...]:
    """Return answers, costs, latency in each runtime and exports; a column for each run, at most five in one table.

    The first column is the full model, where all runs have the same.
    """
    runs, metric = report.runs, report.runs[0].slim.metric
    runtimes = dict.fromkeys(name for run in runs for name in run.runtimes)
    batch = next((run.batch for run in runs if run.batch), 1)
    sections = [
        (metric if report.one_full else "Score", _answer_lines(runs), report.one_full),
        ("What it costs (1 MAC = 2 FLOPs)", _cost_lines(runs), report.one_full),
        *(
            (f"Latency in {name}, batch {batch}", _time_lines(report, name), report.one_full and report.one_machine)
            for name in runtimes
        ),
        ("Exports", _export_lines(runs), False),
    ]
    return tuple(
        table for title, lines, marked in sections for table in _tables(title, lines, marked, report) if table.rows
    )


def _tables(title: str, lines: Sequence[_Line], marked: bool, report: RunsReport) -> Iterable[Table]:
    runs = report.runs
    nonempty_lines = [line for line in lines if any(line.value(run) is not None for run in runs)]
    cells = [line.cells(runs, marked) for line in nonempty_lines]
    for start in range(0, len(runs), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        header = ("", *(("full",) if report.one_full else ()), *(run.name for run in runs[part]))
        rows = (
            (line.name, *((line.full,) if report.one_full else ()), *row[part])
            for line, row in zip(nonempty_lines, cells, strict=True)
        )
        yield Table(title, header, tuple(rows))


def _answer_lines(runs: Sequence[RunSummary]) -> list[_Line]:
    """Return scores in per cent; the full model's are those of any run that has them."""

    def percent(value: float) -> str:
        return f"{100 * value:.2f}"

    def points(value: float) -> str:
        return f"{100 * value:+.2f}"

    score = next((run.full for run in runs if run.full), None)
    full = (percent(score.value), percent(score.margin)) if score else ("", "")
    index = next((run.index for run in runs if run.index), None)
    own = percent(index.full_on_full) if index else ""
    found = f"recall@{index.at}" if index else ""
    return [
        _Line("layers skipped", lambda run: len(run.skipped), full="0"),
        _Line("score, %", lambda run: run.slim.value, percent, full[0]),
        _Line("  ± 95 %", lambda run: run.slim.margin, percent, full[1]),
        _Line("change, points", lambda run: run.change and run.change.value, points),
        _Line("  ± 95 %, paired", lambda run: run.change and run.change.margin, percent),
        _Line(f"{found} on full's index, %", lambda run: run.index and run.index.slim_on_full, percent, own),
        _Line(f"{found} on its own index, %", lambda run: run.index and run.index.slim_on_slim, percent, own),
        _Line("same answers, %", lambda run: run.answer_agreement, percent),
        _Line("answers lost", lambda run: run.changed and run.changed.lost, "{:,}".format),
        _Line("answers gained", lambda run: run.changed and run.changed.gained, "{:,}".format),
    ]


def _cost_lines(runs: Sequence[RunSummary]) -> list[_Line]:
    def lines(noun: str, unit: str, pair: Callable[[RunSummary], Pair | None], best: Any) -> list[_Line]:
        pairs = [costs for run in runs if (costs := pair(run))]
        largest = max((costs.full for costs in pairs), default=0)
        one, prefix = next((entry for entry in PREFIXES if largest >= entry[0]), (1, ""))

        def show(value: int) -> str:
            return f"{value / one:.2f}"

        def share(run: RunSummary) -> float | None:
            costs = pair(run)
            return costs.slim / costs.full if costs else None

        full = show(pairs[0].full) if pairs else ""
        title = f"{noun}, {prefix}{unit}" if prefix or unit else noun
        slim = _Line(title, lambda run: getattr(pair(run), "slim", None), show, full, best, NOT_YET)
        return [slim, _Line("  of full, %", share, lambda value: f"{100 * value:.1f}", missing=NOT_YET)]

    def saved(share: float) -> str:
        return f"{0.0 - 100 * share:+.1f}"

    merging = any(run.share.merging for run in runs)
    return [
        *lines("MACs", "", lambda run: run.macs, min),
        _Line("  by layers, %", lambda run: run.share.layers, saved),
        *([_Line("  by merged tokens, %", lambda run: run.share.merging, saved)] if merging else []),
        _Line("  by exact trims, %", lambda run: run.share.trims, saved),
        *lines("parameters", "", lambda run: run.parameters, None),
        *lines("weights", "B", lambda run: run.weight_bytes, None),
    ]


def _time_lines(report: RunsReport, runtime: str) -> list[_Line]:
    """Return medians; full was timed in turns with each slim model, so its column is a range."""
    runs = report.runs
    beaten = {found.slower for found in report.speeds if found.runtime == runtime and found.different}

    def of(run: RunSummary) -> RuntimeSummary | None:
        return run.runtimes.get(runtime)

    def speedup(run: RunSummary, bound: str) -> float | None:
        summary = of(run)
        return getattr(summary.speedup, bound) if summary else None

    def memory(run: RunSummary) -> int | None:
        summary = of(run)
        return summary.memory.slim if summary and summary.memory else None

    summaries = [summary for run in runs if (summary := of(run))]
    peaks = [summary.memory.full for summary in summaries if summary.memory]
    return [
        _Line(
            "median, ms",
            lambda run: getattr(of(run), "slim_ms", None),
            _figure,
            _range([summary.full_ms for summary in summaries], _figure),
            missing=NOT_YET,
        ),
        _Line("speed-up", partial(speedup, bound="ratio"), "{:.2f}x".format, best=max, missing=NOT_YET, beaten=beaten),
        _Line("  95 % from", partial(speedup, bound="low"), "{:.2f}x".format, missing=NOT_YET),
        _Line("  to", partial(speedup, bound="high"), "{:.2f}x".format, missing=NOT_YET),
        _Line("peak memory, MB", memory, _megabytes, _range(peaks, _megabytes), min, NOT_YET),
    ]


def _range(values: Sequence[float], show: Callable[[Any], str]) -> str:
    ends = dict.fromkeys(show(value) for value in (min(values), max(values))) if values else {}
    return "-".join(ends)


def _figure(value: float) -> str:
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.0f}"


def _export_lines(runs: Sequence[RunSummary]) -> list[_Line]:
    files = dict.fromkeys(file for run in runs for file in run.exports)

    def status(run: RunSummary, file: str) -> str | None:
        return STATUS.get(run.exports.get(file, ""))

    return [_Line(file.removeprefix("model."), partial(status, file=file)) for file in files]


def write_legend(report: RunsReport) -> tuple[str, ...]:
    """Describe each run in a line: its folder, its skipped layers, strategy and recovery."""
    return tuple(
        f"{run.name}: {run.folder}, without {summarise(run.skipped) or 'skipping'} "
        f"({run.strategy}, recover {run.recover})"
        for run in report.runs
    )


def write_footnotes(report: RunsReport) -> tuple[str, ...]:
    """Return warnings, the meaning of marks, and missing quantities with their reasons."""
    marks = any(cell.endswith(BEST) for table in tabulate_runs(report) for row in table.rows for cell in row[1:])
    return (
        *report.warnings,
        *map(_describe_speed, report.speeds),
        *((f"{BEST} best of its row, or not told apart from it",) if marks else ()),
        *(f"{NOT_YET}: {entry.what}: {entry.why}" for entry in report.not_measured),
    )


def _describe_speed(found: SpeedDifference) -> str:
    interval = f"{found.ratio:.2f}x, 95 % interval {found.low:.2f} to {found.high:.2f}"
    if found.different:
        return f"{found.runtime}: {found.faster} is faster than {found.slower} ({interval})"
    return f"{found.runtime}: {found.faster} and {found.slower} differ by no more than a repetition gives ({interval})"


def render_comparison(report: RunsReport) -> str:
    """Return legend, tables and footnotes as a Markdown section."""
    parts = [f"## {len(report.runs)} runs side by side", format_bullets(write_legend(report))]
    for table in tabulate_runs(report):
        parts += [f"### {table.title}", format_markdown_table(table.header, table.rows)]
    return "\n\n".join((*parts, format_bullets(write_footnotes(report)))).rstrip() + "\n"
