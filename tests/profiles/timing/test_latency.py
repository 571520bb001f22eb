"""Latency: calls in turns, and statistics on made-up times."""

import itertools
from collections import Counter

import numpy as np
import pytest

from compressor.progress import Progress
from profiles.timing import latency


class Clockwork:
    """Stands for the clock: every call of a name takes the next of its made-up times."""

    def __init__(self, **times):
        self.order, self.times = [], {name: itertools.cycle(values) for name, values in times.items()}

    def calls(self):
        return {name: lambda name=name: name for name in self.times}

    def __call__(self, call):
        self.order.append(call())
        return next(self.times[call()]), None


def test_calls_take_turns_and_none_of_the_warm_up_counts():
    clock = Clockwork(full=[2.0, 4.0], slim=[1.0])
    found = latency.measure(clock.calls(), seconds=0, clock=clock, least_turns=4, batch=8)
    assert clock.order == ["full", "slim", "slim", "full"] * 2
    assert found["full"].samples_ms == (2.0, 4.0, 2.0, 4.0)
    assert found["full"].n == found["slim"].n == 4
    assert found["slim"].throughput == pytest.approx(8 / 1e-3)


def test_no_call_is_early_or_follows_another_more_often_than_the_others_do():
    clock = Clockwork(a=[1.0], b=[1.0], c=[1.0])
    latency.measure(clock.calls(), seconds=0, clock=clock, least_turns=6)
    assert clock.order == list("abcbcacab") * 2
    places = {name: [at for at, made in enumerate(clock.order) if made == name] for name in "abc"}
    assert {name: sum(found) for name, found in places.items()} == dict.fromkeys("abc", 51)
    followed = Counter(itertools.pairwise(clock.order))
    assert not any((name, name) in followed for name in "abc")


def test_quantiles_and_spread():
    found = latency.summarise_times(range(101))
    assert (found.p50_ms, found.p90_ms, found.p99_ms) == (50, 90, 99)
    assert (found.min_ms, found.max_ms, found.mean_ms, found.n) == (0, 100, 50, 101)
    assert found.spread == pytest.approx(np.std(range(101)) / 50)
    assert latency.summarise_times([3.0]).p99_ms == 3.0


def test_of_a_turn_with_several_calls_the_median_counts():
    found = latency.summarise_times([1, 2, 9, 5, 4], turns=[3, 2])
    assert found.medians_ms().tolist() == [2, 4.5]
    assert latency.Latency.model_validate_json(found.model_dump_json()) == found
    assert latency.summarise_times([1, 2], turns=[1, 1]).turns == ()


@pytest.mark.parametrize(
    ("times", "counted", "calls"),
    [([5.0], (5.0,) * 4, 5), ([40.0, 30.0], (30.0,), 2), ([250.0], (250.0,), 1)],
    ids=["short", "usual", "long"],
)
def test_the_first_call_of_a_turn_counts_only_where_it_is_long(monkeypatch, times, counted, calls):
    monkeypatch.setattr(latency, "BLOCK_MS", 20.0)
    clock = Clockwork(model=times)
    assert latency.time_burst(clock.calls()["model"], clock) == tuple((ms, None) for ms in counted)
    assert len(clock.order) == calls


def test_progress_counts_seconds():
    seen = []

    class Counting(Progress):
        def track(self, items, label, total=None):
            items = list(items)
            seen.append((len(items), total))
            yield from items

    clock = Clockwork(full=[1.0], slim=[1.0])
    found = latency.measure(clock.calls(), seconds=1.2, clock=clock, least_turns=3, progress=Counting())
    assert seen == [(2, 2)]
    assert found["full"].n == found["slim"].n >= 3
