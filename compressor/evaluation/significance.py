"""Whether a difference may be chance: exact tests of counts, the interval of a mean."""

from __future__ import annotations

from math import exp, lgamma, log, sqrt

import numpy as np


def mcnemar(lost: int, gained: int) -> float:
    """Return the two-sided exact p-value of the split of samples that only one of two models has right.

    The binomial test with an even chance (McNemar, 1947), in whole numbers.
    """
    both, term, tail = lost + gained, 1, 0
    for number in range(min(lost, gained) + 1):
        tail += term
        term = term * (both - number) // (number + 1)
    return min(1.0, 2 * tail / 2**both)


def at_most(hits: int, samples: int, rate: float) -> float:
    """Return the probability of ``hits`` or fewer among ``samples``, each a hit with probability ``rate``."""
    if not 0 < rate < 1:
        return float(hits >= samples * rate)
    log_hit, log_miss = log(rate), log(1 - rate)
    terms = (
        lgamma(samples + 1) - lgamma(k + 1) - lgamma(samples - k + 1) + k * log_hit + (samples - k) * log_miss
        for k in range(hits + 1)
    )
    return min(1.0, sum(map(exp, terms)))


def margin_of(each: np.ndarray) -> float:
    """Return half the width of the 95 % interval of the mean of ``each``, (n,), by normal approximation."""
    return 1.96 * float(each.std(ddof=1)) / sqrt(len(each)) if len(each) > 1 else 0.0
