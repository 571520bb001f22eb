"""How much of the full model's answers a linear map still reads of a slim model: a linear probe, without labels.

A score before recovery punishes what training repairs at once, as answers that are off by a scale, or tokens that have
turned. What training cannot bring back is what the tokens that the head reads no longer hold. So subsets whose models
will be trained are compared by a probe (Alain and Bengio, arXiv 1610.01644): the best linear map from these tokens to
the full model's answers, judged on samples that it was not fitted on.
"""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 0.1  # of the mean variance of the features
LEAST = 64  # samples that a map can be fitted on


def probe_answers(features: Tensor, answers: Tensor) -> float:
    """Return the share of the variance of ``answers`` that a linear map of ``features`` explains, at most 1.

    Ridge regression with a constant, each sample predicted by the map fitted on all others: in closed form, as the
    residuals of the fit over what each sample does not decide by itself (Allen's PRESS, 1974).

    Args:
        features: (n, d).
        answers: the full model's, (n, outputs).
    """
    x, y = (part.double() - part.double().mean(0) for part in (features, answers))
    squares = x.T @ x
    ridge = RIDGE * squares.diagonal().mean().clamp_min(1e-12)
    hat = x @ torch.linalg.solve(squares + ridge * torch.eye(len(squares), dtype=x.dtype), x.T)
    left = 1 - hat.diagonal() - 1 / len(x)
    missed = ((y - hat @ y) / left[:, None]).pow(2).sum()
    return 1 - float(missed / y.pow(2).sum().clamp_min(1e-12))
