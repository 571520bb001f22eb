"""Skip adapters solved for instead of trained: regression of what a layer does on what it reads.

A layer turns its stream x into y. The adapter that takes its place, x + up(relu(down(LN(x)))), is fitted to y - x by
ridge regression of reduced rank: the best linear map of LN(x) whose rank is the adapter's bottleneck. The bias of
``down`` keeps the ReLU open wherever the calibration samples lie, so the adapter starts as this linear map, and may
leave it when it is trained. No labels are needed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from compressor.errors import input_error
from compressor.models.adapters import SkipAdapter
from compressor.models.steps import Streams, valid_tokens
from compressor.models.supernet import Supernet

RIDGE = 1e-3  # of the mean variance of the inputs
OPEN = 4.0  # standard deviations below the mean at which a unit of the bottleneck closes


class Regression:
    """Sums over rows of inputs and outputs, all that least squares needs of them.

    Args:
        width: of the stream; inputs and outputs are rows of it.
    """

    def __init__(self, width: int) -> None:
        self.rows = 0
        self.inputs, self.outputs = (torch.zeros(width, dtype=torch.float64) for _ in range(2))
        self.squares, self.products = (torch.zeros(width, width, dtype=torch.float64) for _ in range(2))
        self.spread = 0.0

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add rows: ``x`` (n, width) what the layer reads, ``y`` (n, width) what shall come out."""
        u, v = F.layer_norm(x, x.shape[-1:]), y - x
        self.rows += len(u)
        self.inputs += u.sum(0).double().cpu()
        self.outputs += v.sum(0).double().cpu()
        self.squares += (u.T @ u).double().cpu()
        self.products += (u.T @ v).double().cpu()
        self.spread += float(v.double().pow(2).sum())

    def solve(self, adapter: SkipAdapter) -> float:
        """Set the adapter's parameters to the best map of its rank; returns the share of variance it explains."""
        mean, target = self.inputs / self.rows, self.outputs / self.rows
        covariance = self.squares / self.rows - mean.outer(mean)
        products = self.products / self.rows - mean.outer(target)
        ridge = RIDGE * covariance.diag().mean().clamp_min(1e-12)
        weights = torch.linalg.solve(covariance + ridge * torch.eye(len(mean), dtype=torch.float64), products)
        # The directions in which the fitted outputs vary most: reduced-rank regression (Izenman 1975).
        _, directions = torch.linalg.eigh(weights.T @ covariance @ weights)
        up = directions[:, -adapter.width :]
        down = weights @ up
        balance = down.norm(dim=0).clamp_min(1e-12).sqrt()  # both projections at the same scale, to be trained alike
        down, up = down / balance, up * balance
        deviation = ((covariance @ down) * down).sum(0).clamp_min(0).sqrt()
        bias = OPEN * deviation - mean @ down
        explained = 2 * (products * (down @ up.T)).sum() - ((covariance @ down @ up.T) * (down @ up.T)).sum()
        variance = self.spread / self.rows - float(target.pow(2).sum())
        values = {
            "down_proj.weight": down.T,
            "down_proj.bias": bias,
            "up_proj.weight": up,
            "up_proj.bias": target - (mean @ down + bias) @ up.T,
        }
        state = adapter.state_dict()
        for name, value in values.items():
            state[name].copy_(value)
        state["adapter_layer_norm_before.weight"].fill_(1)
        state["adapter_layer_norm_before.bias"].zero_()
        return float(explained) / max(variance, 1e-12)


def fit_adapters(
    supernet: Supernet,
    batches: Sequence[Streams],
    skipped: Collection[str] | None = None,
    keep: Collection[str] = (),
) -> dict[str, float]:
    """Fit skip adapters in place; return the share of its layer's update that each explains.

    With ``skipped`` each adapter is fitted on the streams of the model that is already slim in front of it, and to the
    full model's streams behind its layer: it makes up for what the earlier ones lost. Without, every candidate is
    fitted by itself on the full model's streams, so that any subset may be tried.

    Args:
        supernet: its candidates' adapters are set.
        batches: calibration samples in front of the first candidate, as ``supernet.encode`` returns them.
        skipped: the layers that will go together; None fits all candidates, each for itself.
        keep: layers whose adapters stay as they are.

    Raises:
        InputError: a layer gives NaN or infinity.
    """
    model, names = supernet.model, supernet.candidates if skipped is None else skipped
    explained = {}
    full = slim = list(batches)
    with torch.no_grad():
        for round_ in supernet.varying:
            after = [model.advance(streams, (round_,)) for streams in full]
            here = [step for step in round_ if step.name in names]
            for step in (step for step in here if step.name not in keep):
                adapter = cast(SkipAdapter, model.skips[step.name])
                regression = Regression(adapter.up_proj.out_features)
                for before, target in zip(slim, after, strict=True):
                    real = valid_tokens(before, step.stream)
                    regression.add(before[step.stream][real], target[step.stream][real])
                if not math.isfinite(regression.spread):
                    raise input_error(
                        "answers-not-finite",
                        f"layer {step.name} gives NaN or infinity on the samples that adapters are fitted on",
                        "streams that are numbers",
                        "a checkpoint whose answers are numbers",
                    )
                explained[step.name] = regression.solve(adapter)
            if skipped is None:
                slim = after
            else:
                routed = {step.name: model.skips[step.name] for step in here}
                slim = [model.advance(streams, (round_,), routed) for streams in slim]
            full = after
    return explained
