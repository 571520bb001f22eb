"""A budget against what was measured."""

import pytest

from compressor.costs.model_costs import Pair
from compressor.search.budgets import Amount, BudgetResult, Prices, parse_budget
from profiles.gates.budget_check import with_measured
from tests.support.reports import profile_of


def measured(kind, limit, at=None, runtime=None):
    result = BudgetResult(
        budget=parse_budget(kind, limit, at, runtime),
        prices=Prices(full=10, saved={}),
        predicted=Amount(full=10, slim=6.9),
    )
    report = profile_of(torch=([50.0] * 9, [40.0] * 9), onnxruntime=(range(1, 102), range(101, 202)))
    return with_measured(result, Pair(full=1000, slim=700), Pair(full=100, slim=80), report).measured


def test_costs_are_those_that_were_counted():
    assert measured("macs", "0.8x") == Amount(full=1000, slim=700)
    assert measured("params", "0.8x") == Amount(full=100, slim=80)


@pytest.mark.parametrize(("at", "full"), [("p50", 51), ("p90", 91), ("p99", 100)])
def test_a_latency_is_judged_in_its_runtime_at_its_quantile(at, full):
    assert measured("latency", "0.7x", at, "onnxruntime") == Amount(full=full, slim=full + 100)
    assert measured("latency", "0.7x", at, "torch") == Amount(full=50, slim=40)
