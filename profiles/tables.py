"""What the reports say, as tables and sentences of plain text; the terminal and Markdown only draw them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from profiles.comparison import Pair, ProfileReport
from profiles.family import FlopsReport
from profiles.flops import HEADER
from profiles.latency import Latency

Row = tuple[str, ...]
PREFIXES = ((10**9, "G"), (10**6, "M"), (10**3, "k"))


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first column names, the others hold figures."""

    title: str
    header: Row
    rows: tuple[Row, ...]


def flops_table(report: FlopsReport) -> Table:
    """What ``das flops`` counted: the total, its parts, and the difference to the plain full model."""
    show, settings = partial(quantity, like=report.macs), report.settings
    parts = [(f"  {part}", show(macs), f"{macs / report.macs:.1%}") for part, macs in report.by_pool.items() if macs]
    sign = "+" if report.additional_macs > 0 else ""
    difference = ("additional to the plain full model", sign + show(report.additional_macs), "")
    image = f"{settings.image_size} px, " if settings.image_size else ""
    title = f"{report.family}, {image}{settings.text_length} tokens"
    return Table(title, ("", HEADER, "share"), (("one forward pass", show(report.macs), ""), *parts, difference))


def cost_table(report: ProfileReport) -> Table:
    """MACs, parameters, file sizes and memory of full and slim."""
    parts = {part: pair for part, pair in report.macs_by_pool.items() if pair.full or pair.slim}
    rows = [_row(HEADER, report.macs), *(_row(f"  {part}", pair, report.macs.full) for part, pair in parts.items())]
    rows.append(_row("parameters", report.parameters))
    for runtime in report.runtimes:
        rows.append(_row(f"file, {runtime.name}", runtime.file_bytes, unit="B"))
        rows += [_row(f"peak memory, {runtime.name}", runtime.memory.peak, unit="B")] if runtime.memory else []
    return Table("What it costs", ("", "full", "slim", "saved", ""), tuple(rows))


def latency_table(report: ProfileReport) -> Table:
    """Quantiles and throughput of full and slim in every runtime."""
    rows = [
        (f"{runtime.name}, {which}", *_times(latency))
        for runtime in report.runtimes
        for which, latency in (("full", runtime.full), ("slim", runtime.slim))
    ]
    threads = report.environment.threads
    settings = f"batch {report.batch}, {report.environment.device}, {threads} CPU thread{'s' * (threads > 1)}"
    return Table(f"Latency in ms ({settings})", ("", "p50", "p90", "p99", "spread", "n", "samples/s"), tuple(rows))


def verdicts(report: ProfileReport) -> tuple[str, ...]:
    """One sentence for each runtime."""
    return tuple(f"{runtime.name}: {runtime.speedup.verdict}" for runtime in report.runtimes)


def not_measured(report: ProfileReport) -> tuple[str, ...]:
    """What is missing from the report, each with its reason."""
    return tuple(f"{entry.what}: {entry.why}" for entry in report.not_measured)


def uncounted(operators: Iterable[str]) -> str:
    """The operators no MACs were counted for, in one sentence."""
    return f"Not counted: {', '.join(sorted(operators))}."


def _row(name: str, pair: Pair, like: int | None = None, unit: str = "") -> Row:
    full, slim, saved = (quantity(value, unit, like or pair.full) for value in (pair.full, pair.slim, -pair.difference))
    share = f"{-pair.difference / pair.full:.1%}" if pair.full else ""
    return (name, full, slim, saved, share) if pair.difference else (name, full, slim, "", "")


def _times(latency: Latency) -> Row:
    times = (latency.p50_ms, latency.p90_ms, latency.p99_ms)
    return *map(_figure, times), f"{latency.spread:.1%}", str(latency.n), _figure(latency.throughput)


def _figure(value: float) -> str:
    """Three or more digits that mean something: 1402, 31.4, 4.21."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def quantity(value: int, unit: str = "", like: int | None = None) -> str:
    """A count with a decimal prefix (93.23 G), the one that suits ``like`` where figures stand in one column."""
    one, prefix = next((entry for entry in PREFIXES if abs(value if like is None else like) >= entry[0]), (1, ""))
    return f"{value / one:.{2 if prefix else 0}f} {prefix}{unit}".rstrip()


def size(value: int) -> str:
    """Bytes with a decimal prefix: 1.30 GB."""
    return quantity(value, "B")
