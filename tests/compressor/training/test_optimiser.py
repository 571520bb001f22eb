"""The schedule, what decays, and an optimiser that goes on where another stopped."""

import copy

import pytest
import torch
from torch import nn

from compressor.training.optimiser import Optimiser


def one_step(optimiser, parameter):
    optimiser.step([((parameter * torch.tensor([1.0, -3.0, 5.0])).sum() + parameter.square().sum(), 1.0)])


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
