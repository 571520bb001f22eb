"""Scores of a whole split: their margins are those that a mean's would be."""

import numpy as np
import pytest

from compressor.evaluation.significance import margin_of
from compressor.tasks.measured import GROUPS, Measured, resample


@pytest.mark.parametrize("samples", [1, 2, 60, GROUPS, 1000])
def test_a_mean_that_is_resampled_has_its_own_value_and_margin(samples):
    x = np.random.default_rng(1).normal(size=samples)
    value, each = resample(lambda numbers: float(x[numbers].mean()), samples)
    assert value == pytest.approx(x.mean()) and each.mean() == pytest.approx(value)
    assert len(each) == min(samples, GROUPS)
    measured = Measured(value, each, samples)
    assert measured.margin == pytest.approx(margin_of(x), rel=1e-6 if samples <= GROUPS else 0.1)


def test_a_correlation_has_the_margin_of_the_textbook():
    x = np.random.default_rng(0).normal(size=(2, 2000))
    both = np.stack([x[0], 0.8 * x[0] + 0.6 * x[1]])  # correlation 0.8
    value, each = resample(lambda numbers: float(np.corrcoef(both[:, numbers])[0, 1]), 2000)
    assert value == pytest.approx(0.8, abs=0.03)
    assert margin_of(each) == pytest.approx(1.96 * (1 - value**2) / 2000**0.5, rel=0.2)
