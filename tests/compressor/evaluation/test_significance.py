"""Exact tests, against their definitions."""

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.evaluation.significance import at_most, mcnemar


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (5, 5), (12, 3), (3, 12), (40, 21)])
def test_mcnemar_is_the_binomial_test(lost, gained):
    both = lost + gained
    tail = sum(comb(both, i) for i in range(min(lost, gained) + 1)) / 2**both
    assert mcnemar(lost, gained) == pytest.approx(min(1, 2 * tail))


def test_mcnemar_takes_large_numbers():
    assert 0 < mcnemar(10_400, 10_000) < 0.01
    assert mcnemar(5_000, 5_000) == 1


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0, 1))
def test_so_few_hits_are_as_likely_as_the_binomial_distribution_says(counts, rate):
    hits, samples = counts
    exact = sum(comb(samples, k) * rate**k * (1 - rate) ** (samples - k) for k in range(hits + 1))
    assert at_most(hits, samples, rate) == pytest.approx(exact, rel=1e-6, abs=1e-9)


def test_many_samples_do_not_overflow():
    assert at_most(107_000, 214_000, 0.5) == pytest.approx(0.5, abs=0.01)
    assert at_most(90_000, 214_000, 0.5) < 1e-9
