"""Whether the paper's figures may be read beside one's own."""

from __future__ import annotations

from typing import Any

import torch

from compressor.costs.parts import parameters
from compressor.families import FAMILIES
from compressor.models.steps import steps_of
from profiles.paper.printed import PrintedPart


def list_differences(part: PrintedPart, family: str, task: str, dims: Any, samples: int) -> tuple[str, ...]:
    """Return why the paper's figures are of something else, as sentences; empty where no size says so.

    Args:
        part: of the table.
        family: of the model at hand.
        task: that it is run for.
        dims: of the model.
        samples: that it is scored on.
    """
    sentences = []
    if family != part.family:
        sentences.append(f"The paper's model is a {part.family}, this one a {family}.")
    elif _layer_sizes(family, task, dims) != _layer_sizes(family, task, FAMILIES[family].dims_type()):
        sentences.append(f"This model has not the sizes of the {part.family} that the paper took.")
    side = getattr(dims, "image_size", None)
    height, width = part.image_size or (None, None)
    if height == width != side:
        sentences.append(f"The paper's images have {height} pixels on a side, these {side}.")
    if dims.text_length != part.text_length:
        sentences.append(
            f"The paper counts MACs at {part.text_length} tokens of text, here they are counted at {dims.text_length}."
        )
    if part.samples is None:
        sentences.append(
            f"The paper's scores are of {part.dataset}'s {part.split}, whose answers a server keeps; scored here are "
            "samples with answers."
        )
    elif samples != part.samples:
        sentences.append(
            f"The paper scores the {part.samples:,} samples of {part.dataset}'s {part.split}, here are {samples:,}."
        )
    return tuple(sentences)


def _layer_sizes(family: str, task: str, dims: Any) -> dict[str, tuple[int, int]]:
    """Return for each pool its layers and their parameters, of the model without adapters."""
    kind = FAMILIES[family]
    with torch.device("meta"):
        model = kind.build(dims.model_copy(update={"parallel_width": 0}), task)
    counts, pools = parameters(model), [step.pool for step in steps_of(model.rounds)]
    return {pool.name: (pools.count(pool.name), counts[pool.name]) for pool in kind.pools}
