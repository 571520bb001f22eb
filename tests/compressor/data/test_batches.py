"""Batches of like length, and the order of training."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.data.batches import TrainingOrder, batch_of_step, batches_of_like_length, steps_per_epoch

LENGTHS = st.lists(st.integers(1, 128), min_size=1, max_size=300)


@given(LENGTHS, st.integers(1, 70))
def test_batches_of_like_length_have_every_sample_once(lengths, size):
    batches = batches_of_like_length(lengths, size)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    for before, after in pairwise(batches):
        assert min(lengths[n] for n in before) >= max(lengths[n] for n in after)


def test_every_epoch_draws_all_samples_in_an_order_of_its_own():
    epochs = [[n for step in range(3 * e, 3 * e + 3) for n in batch_of_step(step, 4, 12, seed=5)] for e in range(4)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert all(before != after for before, after in pairwise(epochs))
    assert batch_of_step(0, 12, 12, seed=6).tolist() != epochs[0]


def epoch_of(order, number):
    return [order.batch(step).tolist() for step in range(number * order.steps, (number + 1) * order.steps)]


@given(LENGTHS, st.integers(1, 70), st.integers(0, 2**31))
def test_every_epoch_of_a_training_has_all_samples_that_fill_batches(lengths, size, seed):
    order = TrainingOrder(np.array(lengths), size, seed)
    assert order.steps == steps_per_epoch(size, len(lengths))
    for number in (0, 3):
        batches = epoch_of(order, number)
        drawn = [n for batch in batches for n in batch]
        assert {len(batch) for batch in batches} == {min(size, len(lengths))}
        assert len(set(drawn)) == len(drawn) == order.steps * order.size


def test_the_longest_sample_is_one_that_is_trained_on():
    lengths = np.array([3, 9, 5, 7, 2, 8])
    order = TrainingOrder(lengths, 2, 0)
    for steps in range(1, 7):
        (longest,) = order.longest(steps)
        assert longest in order.samples(steps) and lengths[longest] == lengths[order.samples(steps)].max()


def test_epochs_and_seeds_have_orders_of_their_own():
    lengths = np.random.default_rng(0).integers(3, 60, 400)
    order = TrainingOrder(lengths, 8, seed=5)
    first, second = epoch_of(order, 0), epoch_of(order, 1)
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}
    assert epoch_of(TrainingOrder(lengths, 8, seed=6), 0) != first
    assert TrainingOrder(lengths, 8, seed=5).batch(7).tolist() == first[7]  # a resumed one
    assert epoch_of(order, 0) == first


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_batches_of_a_training_have_little_padding_and_come_in_no_order_of_length(seed):
    lengths = np.random.default_rng(seed).geometric(0.08, 6400)
    batches = np.array(epoch_of(TrainingOrder(lengths, 64, seed), 0))
    longest = lengths[batches].max(1)
    assert longest.sum() * 64 < 1.25 * lengths.sum()
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.3
    drawn = np.array([batch_of_step(step, 64, 6400, seed) for step in range(100)])
    assert longest.sum() < 0.4 * lengths[drawn].max(1).sum()


def test_samples_of_one_length_are_in_an_order_of_chance():
    order = TrainingOrder(np.full(256, 9), 16, 0)
    first = np.concatenate(epoch_of(order, 0))
    assert abs(np.corrcoef(first, np.arange(256))[0, 1]) < 0.2
