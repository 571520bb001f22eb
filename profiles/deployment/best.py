"""The best of a run's exports on this machine: what was tried, what of it was kept, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from compressor.errors import usage_error
from compressor.values import Value
from exporters.checks.records import MetricChange
from exporters.graph.precision import PRECISIONS
from exporters.runtimes import RUNTIMES
from profiles.comparison.full_vs_slim import NotMeasured
from profiles.deployment.ways import split_names
from profiles.formatting import Table, format_bytes, format_number
from profiles.machine.environment import Environment
from profiles.timing.speedups import Speedup

BEST = "best.json"  # a Best in a run's folder of exports
BEST_TARGET = "best"  # in place of the name of a runtime


class Tried(Value):
    """A runtime and a precision that slim was exported for.

    Attributes:
        runtime, precision, file: that it is; all files but the kept one's are gone.
        bytes: of its files.
        p50_ms: of a call; in turns with others where there is a ``slower``, and of the kept one, else of a few calls.
        slower: how many times faster the kept one is, in turns; None of itself, and of one left behind at once.
        change: of the score against slim in PyTorch; None where it was not certified, or samples have no score.
        agreement: share of answers equal to those; None where it was not certified.
        outcome: "kept", or why it was not.
    """

    runtime: str
    precision: str
    file: str
    bytes: int
    p50_ms: float
    slower: Speedup | None = None
    change: MetricChange | None = None
    agreement: float | None = None
    outcome: str


class Best(Value):
    """The export that was kept: the first of ``tried``, which are in the order of their times otherwise.

    Calls are on ``batch`` samples with texts of ``text_length`` tokens. ``left_out`` was not tried.
    """

    schema_version: int = 1
    tried: tuple[Tried, ...]
    batch: int
    text_length: int | None
    left_out: tuple[NotMeasured, ...]
    environment: Environment

    @property
    def kept(self) -> Tried:
        """Return the one that is in the folder."""
        return self.tried[0]


def check_best(formats: Sequence[str], options: Sequence[str]) -> None:
    """Hold that the best export is asked for alone, of ``formats`` and with none of ``options``.

    Raises:
        UsageError: beside runtimes, or with an option that it chooses itself.
    """
    beside = [name for name in split_names(formats) if name != BEST_TARGET]
    if beside or options:
        found = f"--to {BEST_TARGET} with {', '.join((*beside, *options))}"
        expected = "alone, or with --data and one number for --batch: it chooses the rest"
        raise usage_error("best-not-alone", found, expected, f"--to {BEST_TARGET}, or the name of a runtime")


def read_best(exports: Path) -> Best | None:
    """Return the best export that a folder of exports names; None where it names none that das knows."""
    try:
        best = Best.model_validate_json((exports / BEST).read_bytes())
    except (OSError, ValidationError):
        return None
    runtimes = {runtime.name for runtime in RUNTIMES if runtime.suffix}
    known = best.tried and best.kept.runtime in runtimes and best.kept.precision in PRECISIONS
    return best if known else None


def tabulate_best(best: Best) -> Table:
    """Return what was tried, with size, time and cost of each."""
    place = best.environment
    texts = f", {best.text_length} tokens" if best.text_length else ""
    title = f"Tried here: batch {best.batch}{texts}, {place.device}, {place.cpu_threads}"
    header = ("", "size", "p50 ms", "kept is faster", "score", "agreement")
    return Table(title, header, tuple(_row(entry) for entry in best.tried))


def describe_best(best: Best) -> str:
    """Return what was kept and why, as one sentence."""
    kept = best.kept
    rivals = [entry for entry in best.tried[1:] if entry.slower and entry.agreement is None]  # others are refused
    found = [
        f"against {entry.runtime} in {entry.precision}, {entry.slower.verdict}" for entry in rivals if entry.slower
    ]
    why = found[0] if found else "nothing else that keeps the answers came close"
    return f"Recommended on this machine: {kept.runtime} in {kept.precision}, {kept.file}: {why}."


def list_reasons(best: Best) -> tuple[str, ...]:
    """Return why each other file is gone, and what was not tried."""
    gone = tuple(f"{entry.file}: {entry.outcome}" for entry in best.tried[1:])
    return (*gone, *(f"not tried, {entry.what}: {entry.why}" for entry in best.left_out))


def _row(entry: Tried) -> tuple[str, ...]:
    slower = f"{entry.slower.ratio:.2f}x ({entry.slower.low:.2f}-{entry.slower.high:.2f})" if entry.slower else ""
    return (
        f"{entry.runtime}, {entry.precision}",
        format_bytes(entry.bytes),
        format_number(entry.p50_ms),
        slower,
        f"{100 * entry.change.change:+.2f}" if entry.change else "",
        f"{entry.agreement:.1%}" if entry.agreement is not None else "",
    )
