"""The schedule, what decays, the order of the data, and an optimiser that goes on where another stopped."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from compressor.training.optimiser import Optimiser, batch_of_step


def one_step(optimiser, parameter):
    optimiser.step((parameter * torch.tensor([1.0, -3.0, 5.0])).sum() + parameter.square().sum())


def test_the_rate_rises_over_a_tenth_of_the_steps_and_falls_to_nothing():
    parameter, rates = nn.Parameter(torch.ones(3)), []
    optimiser = Optimiser([([parameter], 4.0)], 20)
    for _ in range(20):
        rates.append(optimiser.adam.param_groups[0]["lr"])
        one_step(optimiser, parameter)
    assert rates == pytest.approx([2.0, 4.0, *(4.0 * left / 18 for left in range(17, -1, -1))])


def test_norms_and_biases_do_not_decay():
    optimiser = Optimiser([(list(nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)).parameters()), 1e-3)], 10)
    decays = {group["weight_decay"]: {p.ndim for p in group["params"]} for group in optimiser.adam.param_groups}
    assert decays == {0.01: {2}, 0.0: {1}}


def test_every_epoch_has_all_samples_in_an_order_of_its_own():
    epochs = [[n for step in range(3 * e, 3 * e + 3) for n in batch_of_step(step, 4, 12, seed=5)] for e in range(4)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert all(before != after for before, after in pairwise(epochs))
    assert batch_of_step(0, 12, 12, seed=6).tolist() != epochs[0]


def test_a_resumed_optimiser_takes_the_same_steps():
    parameter = nn.Parameter(torch.ones(3))
    optimiser = Optimiser([([parameter], 0.1)], 20)
    for _ in range(5):
        one_step(optimiser, parameter)
    resumed = nn.Parameter(parameter.detach().clone())
    later = Optimiser([([resumed], 0.1)], 20)
    later.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    assert later.done == 5
    for _ in range(5):
        one_step(optimiser, parameter)
        one_step(later, resumed)
    assert torch.equal(resumed, parameter)
