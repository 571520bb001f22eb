"""The 95 % interval of the mean of a few independent values, by Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# Quantiles of Student's t at 97.5 %, of 1 to 30 degrees of freedom; beyond them the normal distribution's with 2 %.
STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
BEYOND = 2.0
ROUNDING = 1e-9  # of a whole number that was computed


def student_quantile(freedom: float) -> float:
    """Return Student's t at 97.5 %; part of a degree of ``freedom``, which is at least 1, does not count."""
    whole = math.floor(freedom + ROUNDING)
    return STUDENT[whole - 1] if whole <= len(STUDENT) else BEYOND


def margin_of_mean(values: Sequence[float] | np.ndarray) -> float:
    """Return half the 95 % interval of the mean of two or more independent values."""
    count = len(values)
    freedom = count - 1
    return student_quantile(freedom) * float(np.std(values, ddof=1)) / math.sqrt(count)
