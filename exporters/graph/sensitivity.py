"""Which layers stay float when rounding all of them to int8 costs too much: those whose outputs it changes most."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.progress import QUIET, Progress
from exporters.graph.quantise import REDUCED, WHOLE

T = TypeVar("T")

ROWS = 4  # samples that are run at a time
SHARES = (0.05, 0.1, 0.2)  # of the layers, left in float when rounding all of them costs too much


@torch.inference_mode()
def sensitivities(
    model: nn.Module, samples: Mapping[str, Tensor], symmetric: bool, progress: Progress = QUIET
) -> dict[str, float]:
    """Return the relative int8 error of the output y of each layer, in one pass: sum (y_q - y)^2 / sum y^2.

    Layers are every ``nn.Linear`` and every ``nn.Embedding``.

    Args:
        model: in eval mode, on the CPU.
        samples: real inputs, (N, ...) by name; activations get their range from a few at a time.
        symmetric: everything is rounded as in ``quantise_static``; otherwise as in ``quantise_dynamic``.
        progress: told about the samples.
    """
    sums: dict[str, Tensor] = {}
    levels = WHOLE if symmetric else REDUCED

    def add(name: str, layer: nn.Module, inputs: tuple[Tensor], y: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            y_q = F.linear(_round_activation(inputs[0], symmetric), _round_weight(layer.weight, levels), layer.bias)
        else:
            y_q = _round_weight(y.flatten(0, -2), WHOLE).view_as(y)  # a row is rounded by itself
        sums[name] = sums.get(name, torch.zeros(2)) + torch.stack([(y_q - y).square().sum(), y.square().sum()])

    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Embedding)}
    rows = torch.arange(len(next(iter(samples.values())))).split(ROWS)
    batches = [{name: x[few] for name, x in samples.items()} for few in rows]
    hooks = [layer.register_forward_hook(partial(add, name)) for name, layer in layers.items()]
    try:
        for batch in progress.track(batches, "rounding layers to int8"):
            model(**batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: float(error / size) if size else 0.0 for name, (error, size) in sums.items()}


def hold_back(errors: Mapping[str, float], share: float) -> tuple[str, ...]:
    """Return the ``share`` of the layers with the largest errors, rounded up, the worst first."""
    return tuple(sorted(errors, key=lambda name: -errors[name])[: math.ceil(share * len(errors))])


def quantise_until_passing(
    make: Callable[[tuple[str, ...]], T], passes: Callable[[T], bool], measure: Callable[[], Mapping[str, float]]
) -> tuple[T, tuple[str, ...]]:
    """Quantise everything; while the result does not pass, leave more of the most sensitive layers in float.

    Args:
        make: quantises all but the layers it is given.
        passes: judges what was made.
        measure: the sensitivities; called only when something has to be held back.

    Returns:
        What was made last, whether it passes or not, and the layers that were held back for it.
    """
    held: tuple[str, ...] = ()
    result = make(held)
    if passes(result):
        return result, held
    errors = measure()
    for share in SHARES:
        held = hold_back(errors, share)
        result = make(held)
        if passes(result):
            break
    return result, held


def _round_weight(weight: Tensor, levels: int) -> Tensor:
    """(out, in) as int8 holds it, symmetric, in ``levels`` steps to either side, a scale for each output channel."""
    scale = _scale(weight.abs().amax(1), levels)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -levels, levels)


def _round_activation(x: Tensor, symmetric: bool) -> Tensor:
    """Return ``x`` as int8 with zero point 0 holds it, or uint8 with one of its own; one scale."""
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    if symmetric:
        high = torch.maximum(-low, high)
        low = -high
    smallest, largest = (-127, 127) if symmetric else (0, 255)
    scale = _scale(high - low, largest - smallest)
    zero = (smallest - low / scale).round().to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(x, scale, zero, smallest, largest)


def _scale(width: Tensor, levels: int) -> Tensor:
    return (width / levels).clamp(min=torch.finfo(width.dtype).tiny)
