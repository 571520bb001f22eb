"""Layers of a family of models, from its sizes alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from compressor.costs.layer_macs import ModelMacs
from compressor.models.rounds import Rounds

MOST_LAYERS = 1000
LayerCount = Annotated[int, Field(ge=1, le=MOST_LAYERS)]
"""Layers of one kind. None is so deep: a damaged number is refused before a model of as many layers is begun."""


@dataclass(frozen=True)
class Pool:
    """An ordered set of skippable layers of one kind.

    ``skip_fraction`` sizes the skip adapter: its bottleneck as a fraction of the width of the layer's stream.
    """

    name: str
    prefix: str
    skip_fraction: float


@dataclass(frozen=True)
class Architecture:
    """A family of models without its modules.

    Attributes:
        name: of the family, as users type it.
        task: whose head the published model has.
        dims_type: the pydantic class of the dims; its defaults are the published model.
        pools: the skippable layers by kind, in report order.
        rounds: the ordered steps of a model of these dims.
        formula: dims, task, and rows and columns of an image's patches to the MACs of a full model.
        image_size: height and width of an example image of these dims, in pixels.
        masks_texts: an input tells the tokens of a text from its padding.
        any_shape: images may have any height and width in whole patches; else they are square.
        parallel_fraction: bottleneck of the parallel adapters over the hidden size.
        merging: the pool of layers that can merge tokens; empty where none can.
    """

    name: str
    task: str
    dims_type: type
    pools: tuple[Pool, ...]
    rounds: Callable[[Any], Rounds]
    formula: Callable[[Any, str, tuple[int, int]], ModelMacs]
    image_size: Callable[[Any], tuple[int, int]]
    masks_texts: bool = True
    any_shape: bool = False
    parallel_fraction: float = 1 / 8
    merging: str = ""
