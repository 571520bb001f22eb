"""Tables and sentences of a reproduction; terminal, Markdown and HTML only draw them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from compressor.models.plan import summarise
from profiles.comparison.seeds import Difference, Spread
from profiles.formatting import PREFIXES, Row, Table, format_count, format_number
from profiles.paper.printed import PrintedRow
from profiles.paper.reproduction import ReproducedRow, Reproduction
from profiles.paper.table_rows import FULL_MODEL, LEFT_OUT
from profiles.reports.sentences import describe_splits

NONE, DOUBTED = "-", "*"
SAME = (
    "Sizes of model and data are the paper's. Whether its weights and samples are, das cannot tell, and the recipes "
    "differ (docs/reproduce.md)."
)
WORDS = ("layers", "less", "which is")
"""Headers of columns that are text."""


def format_title(report: Reproduction) -> str:
    """Return the first line of the report."""
    return f"{name_table(report.table)} on {report.checkpoint}, {report.task}"


def name_table(table: str) -> str:
    """Return a table as the paper calls it: ``table-a`` is Table A."""
    word, letter = table.split("-")
    return f"{word.capitalize()} {letter.upper()}"


def tabulate_reproduction(report: Reproduction) -> tuple[Table, ...]:
    """Return scores and costs beside the paper's, differences of scores, and single runs."""
    return _scores(report), _costs(report), _differences(report), _runs(report)


def describe_reproduction(report: Reproduction) -> tuple[str, ...]:
    """Return what the rows are, what may be compared, what differs from what, and what is not there."""
    return (
        *_setting(report),
        *(report.differs or (SAME,)),
        *(_doubt(row, printed) for row in report.rows if row.runs for printed in row.printed if printed.doubt),
        *_not_there(report),
        *_measured(report),
    )


def _scores(report: Reproduction) -> Table:
    score, plain = report.score, report.plain
    rows: list[Row] = []
    if plain and plain.score:
        rows.append((FULL_MODEL, _percent(plain.score.value), NONE, NONE, NONE))
    rows += [
        (row.title, _mean(row.score), _interval(row.score), str(len(row.runs)), _printed_scores(row.printed))
        for row in report.rows
        if row.score
    ]
    header = ("", "mean ± sd", "95 % of the mean", "runs", f"paper, {report.dataset}")
    return Table(f"{score.metric if score else 'score'}, %", header, tuple(rows))


def _costs(report: Reproduction) -> Table:
    there = [row for row in report.rows if row.runs]
    largest = max((abs(run.additional_macs) for row in there for run in row.runs), default=0)
    plain = report.plain
    rows: list[Row] = [("plain model", "", "", "", "", "", _ms(plain.latency.p50_ms))] if plain else []
    for row in there:
        first, printed = row.runs[0], row.printed[0] if row.printed else None
        updated = NONE if printed is None or printed.updated is None else f"{printed.updated:.2f} M"
        doubted = DOUBTED * any(entry.doubt for entry in row.printed)
        gmacs = NONE if printed is None else f"{printed.gmacs:+.2f} G{doubted}" if printed.gmacs else "0"
        macs = format_signed(round(fmean(run.additional_macs for run in row.runs)), largest)
        time = _ms(row.latency.p50_ms) if row.latency else ""
        rows.append((row.title, format_count(first.as_counted), updated, macs, gmacs, f"{row.seconds:,.0f}", time))
    header = ("", "updated", "paper", "MACs", "paper's MACs", "training, s", "ms")
    return Table("What it costs (1 MAC = 2 FLOPs)", header, tuple(rows))


def _differences(report: Reproduction) -> Table:
    rows = tuple(
        (row.title, entry.other, *_points(entry.difference), entry.verdict)
        for row in report.rows
        for entry in row.compared
    )
    return Table("Differences of means", ("", "less", "points", "95 %", "which is"), rows)


def _runs(report: Reproduction) -> Table:
    rows = tuple(
        (
            row.title,
            str(run.seed),
            f"{_percent(run.score.value)} ± {_percent(run.score.margin)}",
            summarise(run.layers) if run.layers else NONE,
        )
        for row in report.rows
        for run in row.runs
    )
    return Table("Every run", ("", "seed", "score ± 95 % of the samples", "layers"), rows)


def _setting(report: Reproduction) -> Iterator[str]:
    """Say what rows begin with."""
    finished, seeds = sum(len(row.runs) for row in report.rows), len(report.seeds)
    yield f"{finished} run{'s' * (finished != 1)}, {seeds} seed{'s' * (seeds > 1)} a row."
    if any(row.start for row in report.rows):
        yield "Every row is trained from the checkpoint as it is, but for those that say what they begin with."
    elif report.fine_tuned:
        yield (
            f"The checkpoint has a head for {report.task}, so every row compresses it and recovers its answers; the "
            "paper adapts a pre-trained one (--adapt)."
        )
    else:
        yield f"The checkpoint has no head for {report.task}, so every row adapts it (--adapt), as the paper does."
    if score := report.score:
        yield (
            f"One score has a sampling margin of ± {_percent(score.margin)} points (95 %, {score.samples:,} samples of "
            f"{report.evaluation_split}, the same for all rows); the interval of a mean is that of seeds (Student's "
            "t), and that of a difference Welch's."
        )


def _not_there(report: Reproduction) -> Iterator[str]:
    """Name the rows that were not run, and the runs that failed."""
    if left_out := [row.name for row in report.rows if row.missing == LEFT_OUT]:
        yield f"Left out by --rows: {', '.join(left_out)}."
    for row in report.rows:
        if row.missing and row.missing != LEFT_OUT:
            yield f"Not run: {row.title}: {row.missing}."
        for failure in row.failures:
            yield f"FAILED: {row.title}, seed {failure.seed}: {failure.found} (fix: {failure.fix})."


def _measured(report: Reproduction) -> Iterator[str]:
    """Say what the columns of costs are."""
    place, plain = report.environment, report.plain
    if plain:
        yield (
            f"The plain model, of which nothing is skipped and to which nothing is added, has "
            f"{format_count(plain.parameters)} parameters and {format_count(plain.macs)} MACs."
        )
    yield (
        "updated: parameters trained, as papers count them: no poolers and head, of DAS's adapters no LayerNorms; of "
        "full tuning all but the last projection, to the classes. "
        "MACs: of one sample of full length, more (+) or fewer (-) than the plain model's; neither they nor ms have "
        "exact trims, which das profile adds."
    )
    yield (
        f"ms: median of a call of one sample in PyTorch, float32, {place.device}, {place.threads} thread"
        f"{'s' * (place.threads > 1)}: the models of the first run of each row in turns in one process, load "
        f"{place.load:.2f} on {place.cores} cores before it. To claim a speed-up: das profile RUN."
    )


def _doubt(row: ReproducedRow, printed: PrintedRow) -> str:
    return f"{DOUBTED} The paper's row for {row.title} contradicts itself: {printed.doubt} it has the printed MACs."


def _printed_scores(rows: Sequence[PrintedRow]) -> str:
    """Return a printed score as it is printed, or of several rows their mean and ends."""
    if not rows:
        return NONE
    if len(rows) == 1:
        return "/".join(f"{score:.2f}" for score in rows[0].scores)
    scores = [row.score for row in rows]
    return f"{fmean(scores):.2f} ({min(scores):.2f} to {max(scores):.2f})"


def _mean(score: Spread | None) -> str:
    assert score
    deviation = "" if score.deviation is None else f" ± {_percent(score.deviation)}"
    return f"{_percent(score.mean)}{deviation}"


def _interval(score: Spread | None) -> str:
    if score is None or score.low is None or score.high is None:
        return NONE
    return f"{_percent(score.low)} to {_percent(score.high)}"


def _points(difference: Difference) -> tuple[str, str]:
    """Return a difference in points and its interval."""
    value = f"{100 * difference.value:+.2f}"
    if difference.low is None or difference.high is None:
        return value, NONE
    return value, f"{100 * difference.low:+.2f} to {100 * difference.high:+.2f}"


def list_facts(report: Reproduction) -> dict[str, tuple[str, ...]]:
    """Return where the figures come from: command, model, data, options, machine and versions."""
    place = report.environment
    return {
        "command": (report.command or "Python API",),
        "model": (f"{report.checkpoint} ({report.family}, {report.task})",),
        "data": describe_splits(report.data, report.task),
        "options": (_list(report.settings) or "none",),
        "machine": (
            f"{place.machine} ({place.processor}, {place.cores} cores, load {place.load:.2f}), {place.device}",
        ),
        "versions": (_list(place.versions),),
    }


def _list(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def format_signed(value: int, like: int) -> str:
    """Format a difference of counts with its sign, and with the prefix of ``like``."""
    one, prefix = next((entry for entry in PREFIXES if like >= entry[0]), (1, ""))
    return f"{value / one:+.2f} {prefix}".rstrip() if value else "0"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _ms(value: float) -> str:
    return format_number(value)
