"""A model's inputs as a graph sees them: which axes vary, how far, and inputs without their padding."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from compressor.families import FAMILIES
from compressor.steps import StepModel

TEXT_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
IMAGE_INPUTS = frozenset({"pixel_values", "pixel_mask"})


def image_sides(model: StepModel) -> tuple[int, int] | None:
    """Smallest and largest side in pixels of the images ``model`` reads; None when it reads none."""
    transform = FAMILIES[model.family].image_transform
    return transform(model.dims).sides if transform else None


def any_size(model: StepModel) -> bool:
    """Whether images of different heights and widths may come."""
    sides = image_sides(model)
    return sides is not None and sides[0] < sides[1]


def trimmed(inputs: Mapping[str, Tensor], patch: int) -> dict[str, Tensor]:
    """The same samples without the padding their images have in common, down to whole patches of ``patch`` pixels."""
    if "pixel_mask" not in inputs:
        return dict(inputs)
    mask = inputs["pixel_mask"].flatten(0, -3).amax(0)
    height, width = (-(-int(mask.amax(axis).sum()) // patch) * patch for axis in (1, 0))
    return {name: x[..., :height, :width] if name in IMAGE_INPUTS else x for name, x in inputs.items()}


def shortest(inputs: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """The ``size`` samples with the shortest texts without their common padding; cut in half when they have none."""
    mask = inputs["attention_mask"]
    lengths = (mask * torch.arange(1, mask.shape[1] + 1)).amax(1)  # position of the last real token, from 1
    chosen = lengths.argsort(stable=True)[torch.arange(size) % len(lengths)]
    longest, padded = int(lengths[chosen].max()), mask.shape[1]
    cut = longest if 0 < longest < padded else max(1, padded // 2)
    return {name: value[chosen, :cut] if name in TEXT_INPUTS else value[chosen] for name, value in inputs.items()}
