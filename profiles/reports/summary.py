"""Summary rows of a run (score, MACs, latency, memory) with the lengths of bars."""

from __future__ import annotations

from collections.abc import Iterator

from compressor.costs.model_costs import Pair
from compressor.values import Value
from profiles.formatting import format_count
from profiles.reports.compression_report import CompressionReport
from profiles.timing.latency import Latency
from profiles.timing.speedups import Speedup

MACS = "MACs"


class SummaryRow(Value):
    """One quantity of full and slim in text; ``share`` is slim over full, for a bar, None where full is unknown."""

    name: str
    full: str
    slim: str
    change: str
    share: float | None


def summarise_report(report: CompressionReport, times: bool = True) -> tuple[SummaryRow, ...]:
    """Return score, MACs, parameters, weights, and of each profiled runtime latency and memory without libraries.

    Without ``times`` latencies are left out, for a table that has them.
    """
    return tuple(_rows(report, times))


def _rows(report: CompressionReport, times: bool) -> Iterator[SummaryRow]:
    full, slim, costs = report.full, report.slim, report.costs
    yield SummaryRow(
        name=f"{slim.metric}, %",
        full=f"{100 * full.value:.2f}" if full else "",
        slim=f"{100 * slim.value:.2f}",
        change=f"{100 * (slim.value - full.value):+.2f}" if full else "",
        share=slim.value / full.value if full and full.value else None,
    )
    yield _amount(MACS, costs.macs)
    yield _amount("parameters", costs.parameters)
    yield _amount("weights, float32", costs.weight_bytes, "B")
    for runtime in report.profile.runtimes if report.profile else ():
        if times:
            yield _times(f"ms, {runtime.name}", runtime.full, runtime.slim, runtime.speedup)
        if runtime.memory:
            yield _amount(f"memory, {runtime.name}", runtime.memory.own, "B")
        if runtime.energy:
            energy = runtime.energy
            yield SummaryRow(
                name=f"joules, {runtime.name}",
                full=f"{energy.full:.2f}",
                slim=f"{energy.slim:.2f}",
                change=_percent(energy.slim / energy.full),
                share=energy.slim / energy.full,
            )


def _amount(name: str, pair: Pair, unit: str = "") -> SummaryRow:
    share = pair.slim / pair.full
    full, slim = (format_count(value, unit, pair.full) for value in (pair.full, pair.slim))
    return SummaryRow(name=name, full=full, slim=slim, change=_percent(share), share=share)


def _times(name: str, full: Latency, slim: Latency, ratio: Speedup) -> SummaryRow:
    digits = 0 if full.p50_ms >= 100 else 1 if full.p50_ms >= 10 else 2
    return SummaryRow(
        name=name,
        full=f"{full.p50_ms:.{digits}f}",
        slim=f"{slim.p50_ms:.{digits}f}",
        change=f"{ratio.ratio:.2f}x" if ratio.significant else "none",
        share=1 / ratio.ratio,
    )


def _percent(share: float) -> str:
    return f"{100 * (share - 1):+.1f} %"
