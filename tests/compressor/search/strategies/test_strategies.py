"""Strategies against objectives whose optimum is known, without any model; and strategies that are replayed."""

import json
from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compressor.search.strategies import DEFAULT, STRATEGIES
from compressor.search.strategies.auto import MOST
from compressor.search.strategies.reference_strategies import RandomOrder
from compressor.search.strategies.strategy import Result, SearchSpace, Strategy, Trial, WithFinalScores

ALL = 2000  # held-out samples
NAMES = sorted(STRATEGIES)


def space(candidates, *sizes, seed=0, influence=None):
    values = influence or [1.0] * candidates
    return SearchSpace(candidates, sizes, seed, lambda: values, steps=30, warm_up=5, every=3)


def additive(seed, candidates):
    """A loss of each layer, no two the same, whatever else goes."""
    costs = np.random.default_rng(seed).permutation(candidates) / candidates**2
    return lambda subset: float(sum(costs[i] for i in subset))


def interacting(seed):
    """Every subset's loss is drawn by itself: what one layer costs says nothing about two."""
    return lambda subset: float(np.random.default_rng((seed, *subset)).random())


def results(trial, loss):
    samples = trial.samples or ALL
    return [Result(subset, loss(subset), loss(subset), 1 - loss(subset), samples) for subset in trial.subsets]


def follow(strategy, loss):
    """Drive a strategy to its end; returns all trials on the way."""
    trials = []
    while (trial := strategy.ask()) is not None:
        trials.append(trial)
        strategy.tell(results(trial, loss))
    return trials


def chosen(name, searched, loss):
    strategy = STRATEGIES[name](searched)
    follow(strategy, loss)
    return strategy.choice()


def optimum(candidates, size, loss):
    return min(combinations(range(candidates), size), key=loss)


def test_the_default_is_one_of_them():
    assert next(iter(STRATEGIES)) == DEFAULT == "auto"


@pytest.mark.parametrize("name", ["exhaustive", "greedy", "auto"])
@given(st.integers(1, 12), st.integers(0, 1000), st.data())
@settings(max_examples=25, deadline=None)
def test_where_every_layer_costs_its_own_the_optimum_is_found(name, candidates, seed, data):
    size, loss = data.draw(st.integers(1, candidates)), additive(seed, candidates)
    assert chosen(name, space(candidates, size), loss)[size] == optimum(candidates, size, loss)


@pytest.mark.parametrize("name", ["exhaustive", "auto"])
@given(st.integers(1, 12), st.integers(0, 1000), st.data())
@settings(max_examples=15, deadline=None)
@example(12, 0, None)
def test_interacting_layers_do_not_mislead_what_tries_every_subset(name, candidates, seed, data):
    size, loss = data.draw(st.integers(1, candidates)) if data else 6, interacting(seed)
    assert chosen(name, space(candidates, size), loss)[size] == optimum(candidates, size, loss)


def test_greedy_misses_two_layers_that_may_only_go_together():
    def loss(subset):
        return 0.0 if subset == (0, 1) else 0.1 * len(subset) + 0.2 * (0 in subset) + 0.2 * (1 in subset)

    searched = space(6, 2)
    assert loss(chosen("greedy", searched, loss)[2]) == pytest.approx(0.2)
    assert chosen("auto", searched, loss)[2] == chosen("exhaustive", searched, loss)[2] == (0, 1)


def test_greedy_takes_the_better_of_both_ways():
    def loss(subset):  # forward begins with layer 2; backward comes to the pair
        return 0.3 * len(set(subset) - {0, 1}) + 0.5 * (len({0, 1} & set(subset)) == 1)

    assert chosen("greedy", space(5, 2), loss)[2] == (0, 1)


@given(st.integers(0, 100))
@settings(max_examples=5, deadline=None)
def test_a_pool_too_large_for_every_subset_is_grown(seed):
    loss = additive(seed, 20)
    strategy = STRATEGIES["auto"](space(20, 8))
    trials = follow(strategy, loss)
    assert strategy.choice()[8] == optimum_of_additive(20, 8, loss)
    assert all(len(trial.subsets) <= MOST for trial in trials)
    grown = [trial for trial in trials if {len(subset) for subset in trial.subsets} != {8}]
    assert all(trial.samples for trial in grown)  # none of them on everything


def optimum_of_additive(candidates, size, loss):
    return tuple(sorted(sorted(range(candidates), key=lambda i: loss((i,)))[:size]))


def test_every_survivor_of_a_sieve_is_better_than_what_it_drops():
    trials = follow(STRATEGIES["auto"](space(10, 5)), interacting(1))
    scored = [trial for trial in trials if {len(subset) for subset in trial.subsets} == {5}]
    for before, after in pairwise(scored):
        dropped = set(before.subsets) - set(after.subsets)
        assert set(after.subsets) < set(before.subsets)
        assert max(map(interacting(1), after.subsets)) < min(map(interacting(1), dropped))
        assert after.samples is None or before.samples < after.samples
    assert scored[-1].samples is None


def test_the_score_decides_among_what_diverges_least():
    """Half of the subsets go by their divergence; of the others, the one that diverges most answers best."""
    subsets = list(combinations(range(8), 3))
    rank = {subset: number for number, subset in enumerate(subsets)}
    best = subsets[27]  # the last of the better half of 56
    strategy = STRATEGIES["auto"](space(8, 3))
    while (trial := strategy.ask()) is not None:
        samples = trial.samples or ALL
        strategy.tell([Result(s, rank.get(s, 0) / 100, 0.0, rank.get(s, 0) / 100, samples) for s in trial.subsets])
    assert strategy.choice()[3] == best


def test_what_is_readable_decides_where_the_choice_will_be_trained():
    """The score says one thing and the probe another; small pools reach the probe whole."""
    read = {subset: number / 100 for number, subset in enumerate(combinations(range(6), 2))}
    for probed, best in ((True, max(read, key=read.get)), (False, min(read, key=read.get))):
        strategy = STRATEGIES["auto"](replace(space(6, 2), probed=probed))
        while (trial := strategy.ask()) is not None:
            assert not trial.probe or probed
            samples, told = trial.samples or ALL, [read.get(s, 0) if trial.probe else None for s in trial.subsets]
            outcomes = zip(trial.subsets, told, strict=True)
            strategy.tell([Result(s, 0.0, 0.0, 1 - read.get(s, 0), samples, share) for s, share in outcomes])
        assert strategy.choice()[2] == best


def test_random_is_seeded_and_even():
    drawn = [chosen("random", space(6, 3, seed=seed), interacting(0)) for seed in range(400)]
    assert drawn[:5] == [chosen("random", space(6, 3, seed=seed), interacting(0)) for seed in range(5)]
    counts = Counter(choice[3] for choice in drawn)
    assert len(counts) == 20
    statistic = sum((counts[subset] - 20) ** 2 / 20 for subset in combinations(range(6), 3))
    assert statistic < 43.8  # chi-square of 19 degrees of freedom, p = 0.001


@given(st.lists(st.integers(1, 5), min_size=2, max_size=3), st.integers(0, 1000))
def test_a_balanced_lot_takes_as_many_of_each_pool(counts, seed):
    numbers = iter(range(sum(counts)))
    pools = tuple(tuple(next(numbers) for _ in range(count)) for count in counts)
    lot = RandomOrder(SearchSpace(sum(counts), (1,), seed, list, pools=pools)).choice()
    assert sorted(lot) == list(range(1, sum(counts) + 1)) and all(len(set(lot[size])) == size for size in lot)
    for each in range(1, min(counts) + 1):
        assert [len({*pool} & {*lot[each * len(pools)]}) for pool in pools] == [each] * len(pools)


def test_a_balanced_lot_is_even():
    spaces = (SearchSpace(6, (2,), seed, list, pools=((0, 1, 2), (3, 4, 5))) for seed in range(360))
    counts = Counter(RandomOrder(each).choice()[2] for each in spaces)
    statistic = sum((counts[first, second] - 40) ** 2 / 40 for first in range(3) for second in range(3, 6))
    assert statistic < 26.1  # chi-square of 8 degrees of freedom, p = 0.001


def test_influence_takes_the_smallest():
    searched = space(5, 2, influence=[0.5, 0.1, 0.9, 0.05, 0.3])
    found = chosen("influence", searched, interacting(0))
    assert (found[1], found[2], found[3]) == ((3,), (1, 3), (1, 3, 4))


@pytest.mark.parametrize("name", NAMES)
@given(st.integers(1, 9), st.integers(0, 100), st.data())
@settings(max_examples=20, deadline=None)
def test_every_size_gets_an_answer(name, candidates, seed, data):
    kind = STRATEGIES[name]
    most = candidates if kind.any_size else 1
    sizes = sorted(data.draw(st.sets(st.integers(1, candidates), min_size=1, max_size=most)))
    strategy = WithFinalScores(kind(space(candidates, *sizes, seed=seed)))
    trials = follow(strategy, interacting(seed))
    answered = sizes if name == "exhaustive" else range(1, candidates + 1)
    assert sorted(strategy.choice()) == list(answered)
    asked_for = [subset for trial in trials for subset in (*trial.subsets, *trial.training)]
    for subset in (*strategy.choice().values(), *asked_for):
        assert list(subset) == sorted(set(subset))
        assert set(subset) <= set(range(candidates))
    assert all(len(subset) == size for size, subset in strategy.choice().items())
    scored = {subset for trial in trials if trial.samples is None for subset in trial.subsets}
    assert set(strategy.choice().values()) <= scored
    assert strategy.trained == (30 if kind.trains else 0)


@pytest.mark.parametrize("name", NAMES)
@given(st.integers(2, 8), st.integers(0, 100), st.data())
@settings(max_examples=20, deadline=None)
def test_a_strategy_replayed_at_any_point_goes_the_same_way(name, candidates, seed, data):
    loss = interacting(seed)
    searched = space(candidates, data.draw(st.integers(1, candidates)), seed=seed)
    whole, first, second = (WithFinalScores(STRATEGIES[name](searched)) for _ in range(3))
    trials = follow(whole, loss)
    point = data.draw(st.integers(0, len(trials)))
    for trial in trials[:point]:
        first.tell(results(trial, loss))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert (second.ask(), second.trained, second.history) == (first.ask(), first.trained, first.history)
    for trial in trials[point:]:
        assert second.ask() == second.ask() == trial
        second.tell(results(trial, loss))
    assert (second.ask(), second.choice(), second.history) == (None, whole.choice(), whole.history)


class TwoTrials(Strategy):
    """Scores two subsets on everything and two on some samples."""

    TRIALS = (Trial(((0,), (1,))), Trial(((2,), (0, 1)), samples=32))

    def choice(self):
        return {1: (1,), 2: (0, 1), 3: (0, 1, 2)}

    def _propose(self):
        return self.TRIALS[len(self.history)] if len(self.history) < 2 else None


def test_what_is_missing_is_scored_in_the_end_and_nothing_else():
    trials = follow(WithFinalScores(TwoTrials(space(3, 1))), interacting(0))
    assert [(trial.subsets, trial.samples) for trial in trials[2:]] == [(((0, 1), (0, 1, 2)), None)]


def test_nothing_is_asked_where_nothing_is_missing():
    assert len(follow(WithFinalScores(STRATEGIES["exhaustive"](space(4, 2))), interacting(0))) == 1


def test_a_finished_strategy_takes_no_results():
    strategy = STRATEGIES["exhaustive"](space(4, 2))
    follow(strategy, interacting(0))
    with pytest.raises(ValueError, match="over"):
        strategy.tell([])


def test_the_bandit_trains_as_long_as_it_is_asked_to():
    for steps in range(8, 25):
        trials = follow(STRATEGIES["das"](replace(space(5, 2), steps=steps)), additive(0, 5))
        assert sum(len(trial.training) for trial in trials) == steps
        assert [trial.rotation for trial in trials if trial.subsets] == list(range((steps - 6) // 3 + 1))
        assert len(trials[0].training) == 6  # the first update comes after the warm-up of 5
