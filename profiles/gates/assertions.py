"""Claims about a profile that a script can insist on: ``speedup>=1.3,p99_ms<=40,drop<=1,parity=pass``.

``speedup`` is how many times faster slim is than full; its whole 95 % interval must be beyond the bound, so that a
repetition does not decide otherwise. ``macs``, ``parameters``, ``file`` and ``memory`` are slim over
full, so 0.8 is four fifths. ``p50_ms``, ``p90_ms``, ``p99_ms`` and ``throughput`` (samples per second) are slim's own.
``drop`` is what slim loses of the task's score on the evaluation split, in points, below 0 where it gains;
``agreement`` is how many answers there are the same, in percent; ``index`` is the share of the full model's recall that
slim queries keep on the full model's index. What is measured in runtimes must hold in each of them
(``speedup``), or in one (``speedup:onnxruntime``).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from compressor.costs.model_costs import Pair
from compressor.errors import Problem, UsageError
from compressor.evaluation.score import IndexRecall
from compressor.saved_run.manifest import Manifest, Results
from compressor.search.budgets import describe_drop
from profiles.comparison.full_vs_slim import ProfileReport, RuntimeProfile

STATIC, SCORES, PARITY = ("macs", "parameters"), ("drop", "agreement", "index"), "parity"
TIMES = ("p50_ms", "p90_ms", "p99_ms", "throughput")  # fields of a Latency
BY_RUNTIME = ("speedup", *TIMES, "file", "memory")
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
PASSED = "passed"


@dataclass(frozen=True)
class Claim:
    """``name`` stands in ``comparison`` to ``bound``; ``text`` is how the user put it."""

    name: str
    comparison: str
    bound: float
    text: str


@dataclass(frozen=True)
class Measured:
    """A value that can be claimed, None when there is none, a clause about it, and its interval where it has one."""

    name: str
    value: float | None
    words: str
    interval: tuple[float, float] | None = None

    def holds(self, claim: Claim) -> bool:
        """Return whether the value, or all of its interval, is as claimed."""
        compare = COMPARISONS[claim.comparison]
        return self.value is not None and all(compare(end, claim.bound) for end in self.interval or (self.value,))


def parse_claims(text: str, runtimes: Sequence[str]) -> tuple[Claim, ...]:
    """Read comma-separated claims; ``runtimes`` are those that a claim may name.

    Raises:
        UsageError: naming every claim that cannot be read.
    """
    by_runtime = [f"{name}:{runtime}" for name in BY_RUNTIME for runtime in runtimes]
    names = [*STATIC, *SCORES, *BY_RUNTIME, *by_runtime]
    pattern = re.compile(rf"({'|'.join(names)})\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)")
    claims, problems = [], []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if re.fullmatch(r"parity\s*=\s*pass", part):
            claims.append(Claim(PARITY, ">=", 1, part))
        elif match := pattern.fullmatch(part):
            claims.append(Claim(match[1], match[2], float(match[3]), part))
        else:
            expected = f"parity=pass, or NAME>=NUMBER (also <=, >, <) with a NAME of: {', '.join(names)}"
            problems.append(
                Problem("wrong-claim", f"the claim {part!r}", expected, '--assert "speedup>=1.3,parity=pass"')
            )
    if problems:
        raise UsageError(*problems)
    return tuple(claims)


def collect_measurements(report: ProfileReport, parity: Mapping[str, str]) -> tuple[Measured, ...]:
    """Return the values for claims about costs and exports; one for each runtime that measured it.

    Args:
        report: the profile.
        parity: status of each export's parity record, by file name.
    """
    values = [_share("macs", report.macs), _share("parameters", report.parameters), _parity(parity)]
    return (*values, *(entry for runtime in report.runtimes for entry in _in_runtime(runtime)))


def collect_scores(run: Manifest) -> tuple[Measured, ...]:
    """Return the values for claims about the slim model's answers, as the compression measured them."""
    return _measure_drop(run), _measure_agreement(run.results), _measure_index(run.results.index)


def _measure_agreement(results: Results) -> Measured:
    same = results.answer_agreement
    if same is not None:
        return Measured("agreement", 100 * same, f"{same:.2%} of the answers on the evaluation split are the same")
    why = "the full model had no trained head" if results.full is None else "the models' outputs are no answers"
    return Measured("agreement", None, f"not measured: {why}")


def _measure_index(index: IndexRecall | None) -> Measured:
    if index is None or not index.full_on_full:
        return Measured("index", None, f"not measured: {'nothing is found' if index else 'the task has no index'}")
    found = f"{100 * index.slim_on_full:.2f} of {100 * index.full_on_full:.2f} %"
    words = f"recall@{index.at} of {index.sought} by slim queries on the full model's index, {found}"
    return Measured("index", index.slim_on_full / index.full_on_full, words)


def _measure_drop(run: Manifest) -> Measured:
    results = run.results
    if not run.labelled:
        return Measured("drop", None, "not measured: the run was calibrated on inputs without answers")
    if results.full is None:
        return Measured("drop", None, "not measured: the full model had no trained head")
    drop = 100 * (results.full.value - results.slim.value)
    words = (
        f"{results.slim.metric} {100 * results.full.value:.2f} of full, {100 * results.slim.value:.2f} of slim, "
        f"{describe_drop(drop)} on {results.slim.samples} samples (margin of slim ± {100 * results.slim.margin:.2f})"
    )
    return Measured("drop", drop, words)


def find_failures(claims: Iterable[Claim], values: Sequence[Measured]) -> tuple[Problem, ...]:
    """Compare every claim with the values of its name; return those that do not hold or were not measured."""
    return tuple(
        Problem(
            "claim-failed",
            f"{entry.name}: {entry.words}",
            claim.text,
            "see the report; skip other layers, claim less, or measure longer where the interval is wide (--seconds)",
        )
        for claim in claims
        for entry in values
        if claim.name in (entry.name, entry.name.partition(":")[0]) and not entry.holds(claim)
    )


def _in_runtime(runtime: RuntimeProfile) -> tuple[Measured, ...]:
    slim, speedup = runtime.slim, runtime.speedup
    words = f"p50 {slim.p50_ms:.2f}, p90 {slim.p90_ms:.2f}, p99 {slim.p99_ms:.2f} ms of slim in {slim.n} calls"
    words += f", {slim.throughput:.2f} samples/s"
    return (
        Measured(f"speedup:{runtime.name}", speedup.ratio, speedup.verdict, (speedup.low, speedup.high)),
        *(Measured(f"{name}:{runtime.name}", getattr(slim, name), words) for name in TIMES),
        _share(f"file:{runtime.name}", runtime.file_bytes),
        _share(f"memory:{runtime.name}", runtime.memory.peak if runtime.memory else None),
    )


def _share(name: str, pair: Pair | None) -> Measured:
    if pair is None:
        return Measured(name, None, "not measured")
    return Measured(name, pair.slim / pair.full, f"slim over full is {pair.slim / pair.full:.3f}")


def _parity(records: Mapping[str, str]) -> Measured:
    if not records:
        return Measured(PARITY, None, "nothing was exported and compared yet (das export --onnx)")
    words = ", ".join(f"{name} {status}" for name, status in records.items() if status != PASSED)
    return Measured(PARITY, float(not words), words or "every export passed")
