"""The probe against the regressions that it stands for, one for each sample that is left out."""

import numpy as np
import pytest
import torch

from compressor.search.linear_probe import RIDGE, probe_answers


def noisy(rows=40, width=7, outputs=3, noise=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features, weights = (torch.randn(shape, generator=generator) for shape in ((rows, width), (width, outputs)))
    return features, features @ weights + noise * torch.randn(rows, outputs, generator=generator)


@pytest.mark.parametrize("shape", [(40, 7, 3), (30, 50, 1)])
def test_it_is_what_maps_say_of_samples_they_were_not_fitted_on(shape):
    features, answers = noisy(*shape)
    x, y = features.double().numpy(), answers.double().numpy()
    ridge = RIDGE * (x - x.mean(0)).var(0).mean() * len(x)
    missed = 0.0
    for left_out in range(len(x)):
        others = np.arange(len(x)) != left_out
        means = x[others].mean(0), y[others].mean(0)
        a, b = x[others] - means[0], y[others] - means[1]
        weights = np.linalg.solve(a.T @ a + ridge * np.eye(x.shape[1]), a.T @ b)
        missed += (((x[left_out] - means[0]) @ weights + means[1] - y[left_out]) ** 2).sum()
    assert probe_answers(features, answers) == pytest.approx(1 - missed / ((y - y.mean(0)) ** 2).sum())


def test_what_a_linear_map_can_undo_costs_nothing():
    features, answers = noisy(200)
    turned = 3 * features @ torch.linalg.qr(torch.randn(7, 7, generator=torch.Generator().manual_seed(1)))[0] + 5
    assert probe_answers(turned, answers) == pytest.approx(probe_answers(features, answers), abs=1e-5)
    assert probe_answers(features, answers * 100 - 7) == pytest.approx(probe_answers(features, answers), abs=1e-5)


def test_nothing_is_read_of_noise_and_less_where_directions_are_gone():
    features, answers = noisy(400, noise=0.1)
    shuffled = features[torch.randperm(400, generator=torch.Generator().manual_seed(2))]
    half = features * (torch.arange(7) < 4)
    assert probe_answers(shuffled, answers) < 0.05 < probe_answers(half, answers) < probe_answers(features, answers)
    assert probe_answers(features * 0, answers) <= 0  # tokens that are all the same
