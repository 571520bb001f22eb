"""ViLT's declaration; what it builds is imported when it is built, for transformers' models take seconds to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compressor.architectures.vilt import POOLS, READOUT, ViltDims, example_image, vilt_macs, vilt_rounds
from compressor.families.family import ATTENTION_MASK, INPUT_IDS, PIXEL_MASK, PIXEL_VALUES, Family
from compressor.families.library_parts import halves
from compressor.families.vilt.vilt_checkpoint import HUGGING_FACE, PUBLIC, prepare_vilt
from compressor.families.vision_language import OUTPUTS, SECONDARY

if TYPE_CHECKING:
    from torch import nn

    from compressor.families.image_transforms import PixelbertTransform
    from compressor.models.steps import StepModel


def build(dims: ViltDims, task: str) -> StepModel:
    """Return a randomly initialised ViLT."""
    from compressor.families.vilt.vilt_model import build_vilt

    return build_vilt(dims, task)


def take_attention(layer: nn.Module) -> nn.Module:
    """Return the attention of a layer."""
    from compressor.families.vilt.vilt_model import ViltAttention

    return ViltAttention(layer)


def take_feed_forward(layer: nn.Module) -> nn.Module:
    """Return the feed-forward of a layer."""
    from compressor.families.vilt.vilt_model import ViltFeedForward

    return ViltFeedForward(layer)


def image_transform(dims: ViltDims) -> PixelbertTransform:
    """Return what turns images into pixels."""
    from compressor.families.image_transforms import PixelbertTransform

    return PixelbertTransform(dims.image_size, dims.pixels.model_dump())


VILT = Family(
    name="vilt",
    formats=(PUBLIC, HUGGING_FACE),
    pools=POOLS,
    scopes={"encoder": ("encoder",)},
    inputs=(INPUT_IDS, ATTENTION_MASK, PIXEL_VALUES, PIXEL_MASK),
    streams={"text": ("text", "text_mask"), "image": ("image", "image_mask")},
    readout=lambda dims, task: READOUT,
    outputs=OUTPUTS,
    secondary=SECONDARY,
    dims_type=ViltDims,
    rounds=vilt_rounds,
    build=build,
    example_image=example_image,
    image_transform=image_transform,
    formula=vilt_macs,
    absorbers={POOLS[0].name: "mlp.fc2"},
    parts={POOLS[0].name: halves(take_attention, take_feed_forward, reads=(0, 1))},
    prepare=prepare_vilt,
)
