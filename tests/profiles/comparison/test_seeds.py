"""Mean, deviation and interval of several seeds, and of the difference of two such figures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from profiles.comparison.seeds import Spread, format_spread, spread_of, subtract

SCORES = st.lists(st.floats(0, 1), min_size=2, max_size=6)


def test_a_spread_of_three_seeds():
    found = spread_of([0.82, 0.83, 0.825])
    assert (found.mean, found.deviation) == pytest.approx((0.825, 0.005))
    assert (found.low, found.high) == pytest.approx((0.825 - 4.303 * 0.005 / 3**0.5, 0.825 + 4.303 * 0.005 / 3**0.5))
    assert found.values == (0.82, 0.83, 0.825)
    assert format_spread(found) == "82.50 ± 0.50, n 3"
    assert format_spread(found, scale=1, places=3) == "0.825 ± 0.005, n 3"


def test_one_value_has_no_spread():
    found = spread_of([0.8257])
    assert (found.mean, found.deviation, found.low, found.high) == (0.8257, None, None, None)
    assert format_spread(found) == "82.57, n 1"
    assert subtract(found, spread_of([0.5, 0.6])).inside_noise is None


def test_a_spread_is_frozen_and_goes_through_json():
    found = spread_of([0.1, 0.2])
    assert Spread.model_validate_json(found.model_dump_json()) == found
    with pytest.raises(ValidationError):
        found.mean = 1.0


def test_a_difference_of_two_equally_spread_figures_has_all_degrees_of_freedom():
    found = subtract(spread_of([0.1, 0.2, 0.3]), spread_of([0.4, 0.5, 0.6]))
    assert found.high - found.value == pytest.approx(2.776 * 0.1 * (2 / 3) ** 0.5)  # 4 degrees
    assert found.value == pytest.approx(-0.3)


def test_the_interval_of_a_difference_is_welchs():
    """These have 6.83 degrees of freedom, of which 6 count."""
    first, second = [0.30, 0.34, 0.29, 0.35, 0.32], [0.20, 0.28, 0.25, 0.23, 0.18]
    found = subtract(spread_of(first), spread_of(second))
    errors = np.var(first, ddof=1) / 5, np.var(second, ddof=1) / 5
    margin = 2.447 * np.sqrt(sum(errors))
    assert (found.value, found.low, found.high) == pytest.approx((0.092, 0.092 - margin, 0.092 + margin))
    assert not found.inside_noise


@given(SCORES, SCORES)
def test_a_difference_is_the_other_ones_turned_round(first, second):
    one, other = subtract(spread_of(first), spread_of(second)), subtract(spread_of(second), spread_of(first))
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low), abs=1e-12)
    assert one.inside_noise == other.inside_noise


def test_seeds_that_never_differ_leave_no_noise():
    assert subtract(spread_of([0.5, 0.5]), spread_of([0.5, 0.5])).inside_noise
    assert subtract(spread_of([12 / 223] * 3), spread_of([12 / 223] * 2)).inside_noise  # no last bit between them
    assert not subtract(spread_of([0.6, 0.6]), spread_of([0.5, 0.5])).inside_noise
