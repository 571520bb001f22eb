"""What a method of ``compressor.tuning`` costs a published model, from its sizes alone: no checkpoint, no weights.

With N tokens of width d in a row of a stream, a attentions in a layer (two in METER's fusion layers), a prefix of l
tokens, LoRA of rank r and adapters of bottleneck b, for each layer that the method touches:

- prefix: 2 a l d parameters, 2 a l N d MACs
- LoRA: 4 a r d parameters, no MACs: it is merged into the weights
- adapters in sequence, behind each attention and behind the feed-forward part, which has a LayerNorm in front of its
  own: (a + 1)(2 d b + b + d) + 2 d parameters, 2 (a + 1) N d b + 5 N d MACs
- an adapter beside the feed-forward part: 2 d b + b + d parameters, 2 N d b MACs

BitFit counts all biases but those of poolers and head. Full tuning counts all weights but the last projection, to the
classes; the other methods leave out poolers and head, which they train as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from compressor.costs.layer_macs import norm_macs
from compressor.errors import usage_error
from compressor.families.family import Family
from compressor.families.key_mapping import HEAD
from compressor.models.steps import StepModel, steps_of
from compressor.tuning.apply_method import trunk_of
from compressor.tuning.methods import Method, find_method
from compressor.tuning.places import Layer, tuned_layers
from profiles.macs.built import find_family
from profiles.macs.published import change_published


@dataclass(frozen=True)
class TuningCosts:
    """What a method trains, as papers count it, and MACs of one sample (1 MAC = 2 FLOPs) on top of the plain model."""

    updated_parameters: int
    additional_macs: int


def count_tuning(
    family: str,
    method: str | Method,
    *,
    text_length: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    dims: Any = None,
) -> TuningCosts:
    """Count what a method trains and adds.

    Args:
        family: a key of ``compressor.families.FAMILIES``.
        method: a key of ``compressor.tuning.methods.METHODS``, or a method of other sizes.
        text_length: tokens; the family's own when left out.
        image_size: pixels, or height and width where the family reads images of any shape; its own when left out.
        dims: sizes of another model of the family; the published one's when left out.

    Raises:
        UsageError: unknown family or method, a size the family cannot have, a method without a place in its layers, or
            a family without a formula.
    """
    kind = find_family(family)
    chosen = method if isinstance(method, Method) else find_method(method)
    if kind.formula is None:
        raise usage_error(
            "formula-missing",
            f"no formula for the layers of {family}",
            "a family with one",
            "das tune counts its model",
        )
    sizes = change_published(kind, dims or kind.dims_type(), image_size, text_length)
    task = next(iter(kind.heads))
    with torch.device("meta"):
        model = kind.build(sizes, task)
    places = kind.formula(sizes, task, _patches(kind, sizes, image_size)).places
    pools = {step.name: str(step.pool) for step in steps_of(model.rounds)}
    parameters, macs = _count_trunk(model, chosen), 0
    for layer in tuned_layers(model, chosen) if chosen.adds else ():
        place = places[pools[layer.name]]
        parameters += _parameters(layer, chosen)
        macs += place.rows * _macs(layer, chosen, place.tokens)
    return TuningCosts(parameters, macs)


def _patches(kind: Family, dims: Any, image_size: int | tuple[int, int] | None) -> tuple[int, int]:
    if not kind.names_of("image"):
        return 0, 0
    height, width = image_size if isinstance(image_size, tuple) else kind.example_image(dims)
    return height // dims.patch, width // dims.patch


def _count_trunk(model: StepModel, method: Method) -> int:
    names = trunk_of(model, method)
    counted = sum(model.get_parameter(name).numel() for name in names)
    if method.trunk != "all":
        return counted
    rest = dict(model.epilogue.named_parameters(prefix="epilogue"))
    last = {name for name, parameter in rest.items() if name.startswith(HEAD) and len(parameter) == model.dims.classes}
    return counted + sum(parameter.numel() for name, parameter in rest.items() if name not in {*names, *last})


def _parameters(layer: Layer, method: Method) -> int:
    d, attentions = layer.width, len(layer.attentions)
    prefix, rank, sequential, parallel = (method.size(share, d) for share in method.shares)
    count = attentions * (2 * prefix * d + 4 * rank * d)
    count += (attentions + 1) * (2 * d * sequential + sequential + d) + 2 * d if sequential else 0
    return count + (2 * d * parallel + parallel + d if parallel else 0)


def _macs(layer: Layer, method: Method, tokens: int) -> int:
    """Return those of one row; LoRA adds none."""
    d, attentions = layer.width, len(layer.attentions)
    prefix, _, sequential, parallel = (method.size(share, d) for share in method.shares)
    products = 2 * tokens * d * (attentions * prefix + (attentions + 1) * sequential + parallel)
    return products + (norm_macs(tokens, d) if sequential else 0)
