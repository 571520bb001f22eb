"""How many times faster one model is than another, and what of that another profile would find again."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import computed_field

from compressor.values import Value
from profiles.student import margin_of_mean
from profiles.timing.latency import Latency

EQUAL = 0.01
SEED = 0
BOOTSTRAP_DRAWS = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure above 0 and its 95 % interval."""

    value: float
    low: float
    high: float


class Speedup(Value):
    """Time of the full model over time of the slim one, with a 95 % interval, and what to make of it.

    It is significant when the whole interval is more than 1 % away from 1: smaller differences are treated as equal.

    Attributes:
        ratio: the geometric mean of the ratios of all pairs of processes.
        low: end of the interval.
        high: end of the interval.
        pairs: pairs of fresh processes that were measured; the interval of one covers only this measurement.
        within: standard error of the ratio of one pair, as a share of it, from its turns.
        between: standard deviation of the ratios of the pairs beyond that, as a share; None of one pair.
    """

    ratio: float
    low: float
    high: float
    pairs: int = 1
    within: float | None = None
    between: float | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def significant(self) -> bool:
        """Return whether one of the two is faster by more than chance and by more than 1 %."""
        return self.low > 1 + EQUAL or self.high < 1 - EQUAL

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> str:
        """Return the ratio and its interval in words."""
        of = f"over {self.pairs} process pairs" if self.pairs > 1 else "within one measurement"
        interval = f"(95 % interval {self.low:.2f} to {self.high:.2f} {of})"
        if not self.significant:
            return f"no significant speed-up: {self.ratio:.2f}x {interval}"
        return (
            f"{self.ratio:.2f}x faster {interval}" if self.ratio > 1 else f"slower: only {self.ratio:.2f}x {interval}"
        )

    @property
    def width(self) -> float:
        """Return the interval's width as a share of the ratio."""
        return (self.high - self.low) / self.ratio


def estimate_speedup(full: Latency, slim: Latency) -> Speedup:
    """Return the speed-up of ``slim`` over ``full``, both from the same turns of the same pairs of processes.

    Of each turn the median counts. Two turns, A B and B A, make a pair of ratios whose geometric mean knows neither a
    steady drift nor which of the two came first; the ratio of two processes is the mean of the middle half of these,
    so that a turn in which the machine was busy with something else does not move it.

    Every process finds its memory and its threads placed otherwise, so the ratios of two pairs of processes differ by
    more than their turns tell. The interval is Student's t over the pairs, on logarithms, and never narrower than a
    percentile bootstrap over the turns of each. Of one pair it is the bootstrap alone.
    """
    both = zip(_by_process(full), _by_process(slim), strict=True)
    turns = [_logs_of_two(np.log(a) - np.log(b)) for a, b in both]
    logs = np.array([_middle_mean(values) for values in turns])
    rng = np.random.default_rng(SEED)
    draws = np.array([_middle_mean(rng.choice(values, size=(BOOTSTRAP_DRAWS, len(values)))) for values in turns])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws.mean(axis=0), (tail, 1 - tail)).tolist()
    within, center, between = float(np.sqrt(draws.var(axis=1).mean())), float(logs.mean()), None
    if len(logs) > 1:
        margin = margin_of_mean(logs)
        low, high = min(low, center - margin), max(high, center + margin)
        between = math.sqrt(max(0.0, float(logs.var(ddof=1)) - within**2))
    return Speedup(
        ratio=math.exp(center),
        low=math.exp(low),
        high=math.exp(high),
        pairs=len(logs),
        within=within,
        between=between,
    )


def estimate_median(times: Latency) -> Estimate:
    """Return the median of a call in ms, with Student's interval over processes; of one, a bootstrap over its turns."""
    processes = _by_process(times)
    if len(processes) > 1:
        return _student(np.log([np.median(medians) for medians in processes]))
    medians, tail = processes[0], (1 - CONFIDENCE) / 2
    draws = np.random.default_rng(SEED).choice(medians, size=(BOOTSTRAP_DRAWS, len(medians)))
    low, high = np.quantile(np.median(draws, axis=1), (tail, 1 - tail)).tolist()
    return Estimate(float(np.median(medians)), low, high)


def estimate_quantile(times: Latency, percent: float, over: Latency | None = None) -> Estimate | None:
    """Return a quantile of all calls in ms, or its share of that of ``over``, with Student's interval over processes.

    ``over`` was timed in turns with ``times``, so process by process is compared. None where there is one process.
    """
    if len(times.processes) < 2:
        return None
    logs = np.log([np.percentile(samples, percent) for samples in _samples_of(times)])
    if over:
        logs -= np.log([np.percentile(samples, percent) for samples in _samples_of(over)])
    return _student(logs)


def divide(now: Estimate, before: Estimate) -> Estimate:
    """Return ``now`` over ``before``, two independent figures, with the interval of that.

    On logarithms the distances to the near ends add as independent errors do (Zou and Donner 2008, MOVER).
    """
    ratio = math.log(now.value / before.value)
    below = math.hypot(math.log(now.value / now.low), math.log(before.high / before.value))
    above = math.hypot(math.log(now.high / now.value), math.log(before.value / before.low))
    return Estimate(math.exp(ratio), math.exp(ratio - below), math.exp(ratio + above))


def _by_process(times: Latency) -> list[np.ndarray]:
    """Return the medians of the turns of each process."""
    return np.split(times.medians_ms(), np.cumsum(times.processes)[:-1])


def _samples_of(times: Latency) -> list[np.ndarray]:
    """Return the milliseconds of all calls of each process."""
    ends = np.cumsum(times.turns or np.ones(times.n, int))[np.cumsum(times.processes)[:-1] - 1]
    return np.split(np.asarray(times.samples_ms), ends)


def _logs_of_two(logs: np.ndarray) -> np.ndarray:
    """Return the means of the first two, the next two, and so on; the last may be alone."""
    return np.array([logs[at : at + 2].mean() for at in range(0, len(logs), 2)])


def _student(logs: np.ndarray) -> Estimate:
    """Return the geometric mean of independent values, given as logarithms, and its 95 % interval."""
    center, margin = float(logs.mean()), margin_of_mean(logs)
    return Estimate(math.exp(center), math.exp(center - margin), math.exp(center + margin))


def _middle_mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of the middle half along the last axis."""
    ordered, cut = np.sort(values, axis=-1), values.shape[-1] // 4
    return ordered[..., cut : values.shape[-1] - cut].mean(-1)
