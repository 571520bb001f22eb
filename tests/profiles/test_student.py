"""Student's t, and the interval of a mean."""

import math

import numpy as np
import pytest

from profiles.student import BEYOND, STUDENT, margin_of_mean, student_quantile


@pytest.mark.parametrize("freedom", [*range(1, 31, 3), 30])
def test_quantiles_of_students_distribution(freedom):
    t = np.linspace(0, STUDENT[freedom - 1], 200_001)
    density = (1 + t**2 / freedom) ** (-(freedom + 1) / 2)
    total = math.sqrt(freedom * math.pi) * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2))
    assert np.trapezoid(density, t) / total == pytest.approx(0.475, abs=3e-5)


def test_part_of_a_degree_of_freedom_does_not_count():
    assert [student_quantile(freedom) for freedom in (1, 1.99, 2, 30.9, 31)] == [12.706, 12.706, 4.303, 2.042, BEYOND]


def test_the_margin_of_a_mean_has_one_degree_of_freedom_less_than_values():
    assert margin_of_mean([1.0, 2.0, 3.0, 4.0]) == pytest.approx(3.182 * np.std([1, 2, 3, 4], ddof=1) / 2)
