"""The search of parts of layers, without any model."""

import numpy as np
import pytest

from compressor.search.result import SLACK
from compressor.search.strategies import make_strategy
from compressor.search.strategies.auto_parts import BEAM, TRIED, AutoParts
from compressor.search.strategies.strategy import Result, SearchSpace, WithFinalScores


def space(worth, *sizes, probed=False):
    return SearchSpace(len(worth), sizes, 0, list, probed=probed, worth=tuple(worth))


def follow(strategy, loss, read=None):
    """Drive a strategy to its end; returns all trials on the way."""
    trials = []
    while (trial := strategy.ask()) is not None:
        trials.append(trial)
        strategy.tell(
            [
                Result(subset, loss(subset), 0.0, 1 - loss(subset), 1000, read(subset) if read else None)
                for subset in trial.subsets
            ]
        )
    return trials


def additive(costs):
    return lambda subset: float(sum(costs[part] for part in subset))


def test_parts_alike_whose_losses_add_up_are_taken_in_order():
    costs = np.random.default_rng(0).permutation(12) + 1.0
    strategy = AutoParts(space([0.5] * 12, 3))
    follow(strategy, additive(costs))
    order = np.argsort(costs)
    for size in (1, 2, 3):
        assert strategy.choice()[size] == tuple(sorted(order[: 2 * size]))


def test_the_choice_saves_as_much_as_the_layers_asked_for():
    rng = np.random.default_rng(1)
    worth = np.tile([1 / 3, 2 / 3], 6) * rng.uniform(0.9, 1.1, 12)
    strategy = AutoParts(space(worth, 4))
    follow(strategy, additive(rng.uniform(size=12)))
    assert set(strategy.choice()) == {1, 2, 3, 4}
    for size, subset in strategy.choice().items():
        assert sum(worth[part] for part in subset) >= size - SLACK


def test_a_part_that_saves_more_for_what_it_costs_goes_first():
    strategy = AutoParts(space([1 / 3, 2 / 3, 1 / 3, 2 / 3], 1))
    follow(strategy, additive([0.2, 0.3, 0.9, 0.1]))
    assert strategy.choice()[1] == (0, 3)


def test_few_subsets_are_tried_of_many():
    strategy = AutoParts(space([1 / 3] * 36, 8))
    rng = np.random.default_rng(2)
    trials = follow(strategy, additive(rng.uniform(size=36)))
    assert len(trials[0].subsets) == 36
    assert all(len(trial.subsets) <= BEAM * TRIED for trial in trials[1:-1])
    assert len(trials) == 1 + (8 * 3 - 1) + 1


def test_a_probe_decides_where_the_choice_will_be_trained():
    scored, read = additive([0.1, 0.2, 0.3, 0.4]), additive([0.4, 0.3, 0.2, 0.1])
    strategy = AutoParts(space([1.0] * 4, 1, probed=True))
    trials = follow(strategy, scored, lambda subset: 1 - read(subset))
    assert strategy.choice()[1] == (3,)
    assert all(trial.probe for trial in trials)


@pytest.mark.parametrize("told", [0, 1, 3])
def test_a_replayed_search_goes_on_as_it_was(told):
    loss = additive(np.random.default_rng(3).uniform(size=9))
    first, again = (WithFinalScores(AutoParts(space([0.5] * 9, 2))) for _ in range(2))
    for _ in range(told):
        trial = first.ask()
        first.tell([Result(subset, loss(subset), 0.0, 0.0, 1000) for subset in trial.subsets])
    again.load_state_dict(first.state_dict())
    assert again.ask() == first.ask()
    follow(first, loss)
    follow(again, loss)
    assert first.choice() == again.choice()


def test_whole_layers_have_their_own_strategies():
    assert type(make_strategy("greedy", SearchSpace(4, (2,), 0, list))).__name__ == "Greedy"
    assert isinstance(make_strategy("auto", space([0.5] * 4, 1)), AutoParts)
