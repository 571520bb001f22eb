"""One figure of several seeds: its mean, how far it spreads, and what of a difference may be chance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from pydantic import computed_field

from compressor.values import Value
from profiles.student import margin_of_mean, student_quantile


class Spread(Value):
    """A figure of several seeds.

    Attributes:
        mean: of the values.
        deviation: sample standard deviation; None of one value.
        low, high: ends of the 95 % interval of the mean, by Student's t; None of one value.
        values: in the order of the seeds.
    """

    mean: float
    deviation: float | None
    low: float | None
    high: float | None
    values: tuple[float, ...]


class Difference(Value):
    """Mean of one figure less that of another, and its 95 % interval; None where either has a single value."""

    value: float
    low: float | None
    high: float | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def inside_noise(self) -> bool | None:
        """Return whether other seeds might turn it round; None without an interval."""
        return None if self.low is None or self.high is None else self.low <= 0 <= self.high


def spread_of(values: Sequence[float]) -> Spread:
    """Return mean, deviation and interval of the values of one or more seeds."""
    mean = statistics.mean(values)  # exact: that of equal values is their value, however many
    if len(values) == 1:
        return Spread(mean=mean, deviation=None, low=None, high=None, values=tuple(values))
    margin = margin_of_mean(values)
    return Spread(
        mean=mean, deviation=statistics.stdev(values), low=mean - margin, high=mean + margin, values=tuple(values)
    )


def subtract(first: Spread, second: Spread) -> Difference:
    """Return ``first`` less ``second``.

    The interval is Welch's (1947): the runs are independent, may be of different number, and spread differently. The
    degrees of freedom are rounded down.
    """
    value = first.mean - second.mean
    if first.deviation is None or second.deviation is None:
        return Difference(value=value, low=None, high=None)
    counts = [len(first.values), len(second.values)]
    errors = [first.deviation**2 / counts[0], second.deviation**2 / counts[1]]  # variances of the two means
    total, margin = sum(errors), 0.0
    if total:
        shares = [error / total for error in errors]
        freedom = 1 / sum(share**2 / (count - 1) for share, count in zip(shares, counts, strict=True))
        margin = student_quantile(freedom) * math.sqrt(total)
    return Difference(value=value, low=value - margin, high=value + margin)


def format_spread(spread: Spread, scale: float = 100, places: int = 2) -> str:
    """Format mean, deviation and number of values, as in ``82.57 ± 0.46, n 3``; shares in per cent."""
    deviation = "" if spread.deviation is None else f" ± {scale * spread.deviation:.{places}f}"
    return f"{scale * spread.mean:.{places}f}{deviation}, n {len(spread.values)}"
