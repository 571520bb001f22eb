"""Rank correlations with bootstrap intervals, and how high noise lets them be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RESAMPLES, LEVEL = 2000, 95


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval: percentiles over resampled subjects."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return them as tables print them; nothing where all subjects are alike."""
        return "" if np.isnan(self.value) else f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


Statistic = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""Of x, y and the group of each subject: only subjects of one group are compared."""


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value from 1, (n,); equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def spearman(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> float:
    """Return the correlation of the ranks within groups; a group counts by its subjects. NaN where one is constant."""
    a, b = np.empty(len(x)), np.empty(len(x))
    for group in np.unique(groups):
        here = groups == group
        for values, out in ((x, a), (y, b)):
            out[here] = (ranks(values[here]) - (here.sum() + 1) / 2) / here.sum()
    return _cosine(a, b)


def kendall(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> float:
    """Return Kendall's tau-b over all pairs of one group. NaN where one of both is constant."""
    pairs = np.triu(groups[:, None] == groups, 1)
    a, b = (np.sign(values[:, None] - values)[pairs] for values in (x, y))
    return _cosine(a, b)


def estimate(statistic: Statistic, x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> Estimate:
    """Return a statistic with its interval; subjects are drawn again within their groups, x and y (n, ...)."""
    rng, values = np.random.default_rng(0), []
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    for _ in range(RESAMPLES):
        drawn = np.concatenate([rng.choice(group, len(group)) for group in members])
        values.append(statistic(x[drawn], y[drawn], groups[drawn]))
    known = [value for value in values if not np.isnan(value)] or [np.nan]  # NaN: all that were drawn are alike
    low, high = np.percentile(known, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return Estimate(statistic(x, y, groups), float(low), float(high))


def ceiling(first: np.ndarray, second: np.ndarray, groups: np.ndarray) -> float:
    """Return how high noise lets a correlation with a score be: the square root of the score's reliability.

    The reliability is the share of the score's variance within groups that comes back with another seed and other
    samples (Spearman, American Journal of Psychology 1904). 0 where nothing does, at most 1.

    Args:
        first: mean score of each subject on two disjoint halves of the samples, with one seed, (n, 2).
        second: the same with another seed.
        groups: of each subject, (n,).
    """
    first, second = first.astype(float), second.astype(float)
    for group in np.unique(groups):
        here = groups == group
        first[here] -= first[here].mean(0)
        second[here] -= second[here].mean(0)
    common = ((first[:, 0] * second[:, 1]).mean() + (first[:, 1] * second[:, 0]).mean()) / 2
    whole = np.sqrt((first.mean(1) ** 2).mean() * (second.mean(1) ** 2).mean())
    return float(np.sqrt(np.clip(common / whole, 0, 1))) if whole else float("nan")


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm else float("nan")
