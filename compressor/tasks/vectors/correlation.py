"""How well cosines of vectors rank pairs of texts as people do: Spearman's correlation (STS)."""

from __future__ import annotations

import numpy as np


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value, from 1, equal values sharing the mean of their ranks; (n,) float64."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Return Spearman's rank correlation of two rows of numbers, (n,) each; 0 where one of them is constant."""
    return pearson(average_ranks(one), average_ranks(other))


def pearson(one: np.ndarray, other: np.ndarray) -> float:
    """Return Pearson's correlation of two rows of numbers, (n,) each; 0 where one of them is constant."""
    a, b = one - one.mean(), other - other.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread > 0 else 0.0
