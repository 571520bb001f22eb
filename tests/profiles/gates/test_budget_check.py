"""A budget against what was measured."""

import numpy as np
import pytest

from compressor.costs.model_costs import Pair
from compressor.evaluation.score import Score
from compressor.search.budgets import Amount, BudgetResult, Prices, parse_budget
from profiles.gates.budget_check import budget_sentence, with_measured
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


def timed_again(limit, slim=((40.0, 41.0), (42.0, 43.0), (44.0, 45.0)), at="p50"):
    """A budget whose slim model took so long in each of three processes, and full 100 ms."""
    result = BudgetResult(
        budget=parse_budget("latency", limit, at, "torch"),
        prices=Prices(full=100, saved={}),
        predicted=Amount(full=100, slim=40),
    )
    calls = [ms for process in slim for ms in process]
    report = profile_of(torch=([100.0] * len(calls), calls))
    (runtime,) = report.runtimes
    processes = {"processes": tuple(map(len, slim))}
    pair = {which: getattr(runtime, which).model_copy(update=processes) for which in ("full", "slim")}
    report = report.model_copy(update={"runtimes": (runtime.model_copy(update=pair),)})
    return with_measured(result, Pair(full=1000, slim=700), Pair(full=100, slim=80), report)


@pytest.mark.parametrize(
    ("limit", "broken", "undecided"),
    [
        ("0.5x", False, False),
        ("0.44x", False, True),
        ("0.415x", True, True),
        ("0.3x", True, False),
        ("50ms", False, False),
        ("43ms", False, True),
        ("30ms", True, False),
    ],
)
def test_a_latency_budget_says_where_a_repetition_may_decide_otherwise(limit, broken, undecided):
    found = timed_again(limit)
    logs = np.log([40.5, 42.5, 44.5])
    ends = np.exp(logs.mean() + np.array([-1, 1]) * 4.303 * logs.std(ddof=1) / np.sqrt(3))
    assert found.interval == pytest.approx(tuple(ends / 100 if "x" in limit else ends))
    assert (found.broken, found.undecided) == (broken, undecided)
    score = Score(metric="accuracy", value=0.5, margin=0.1, samples=3, loss=1.0)
    assert ("a repetition may decide otherwise" in budget_sentence(found, None, score)) == undecided


def test_a_quantile_is_compared_process_by_process():
    assert timed_again("0.5x", at="p90").interval[0] > timed_again("0.5x").interval[0]
    assert timed_again("0.5x", slim=((40.0, 41.0) * 3,)).interval is None
