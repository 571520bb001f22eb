"""Scores of a whole split, which are no mean over samples: rank correlations, F1 of all labels, recall in an index."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from compressor.evaluation.significance import margin_of

GROUPS = 200


@dataclass(frozen=True)
class Measured:
    """A score of a whole split.

    Attributes:
        value: at most 1, larger is better.
        each: what the units of the split contribute, (units,); their mean is the value. Units are what would be drawn
            again in another sample of the same kind: queries, texts, or the groups of :func:`resample`. Two models
            measured on one split have the same units in the same order, and are compared unit by unit.
        samples: how many samples, or queries, the value is of.
        parts: further metrics by name, at most 1 each.
        metric: name of the value, where it depends on the data; else the task's.
        unit: what ``samples`` counts, where that is not the task's samples.
    """

    value: float
    each: np.ndarray
    samples: int
    parts: Mapping[str, float] = field(default_factory=dict)
    metric: str = ""
    unit: str = ""

    @property
    def margin(self) -> float:
        """Half width of the 95 % interval of the value (normal approximation); 0 of one unit."""
        return margin_of(self.each)


def resample(statistic: Callable[[np.ndarray], float], samples: int) -> tuple[float, np.ndarray]:
    """Return a statistic of a split, and its jackknife pseudo-values, (groups,), whose mean it is.

    The samples are dealt at random, always alike, to at most 200 groups, and each group is left out once (Tukey, 1958;
    Miller, 1974). The standard error of the mean of the pseudo-values is that of the statistic; where two models are
    measured on the same samples, that of their differences is that of the difference.

    Args:
        statistic: numbers of samples, (n,), ascending, to a figure.
        samples: how many there are.
    """
    everything = np.arange(samples)
    value, groups = statistic(everything), min(samples, GROUPS)
    if groups < 2:
        return value, np.full(groups, value)
    group_of = np.random.default_rng(0).permutation(samples) % groups
    without = np.array([statistic(everything[group_of != group]) for group in range(groups)])
    return value, value + (groups - 1) * (without.mean() - without)
