"""METER's declaration; what it builds is imported when it is built, for transformers' models take seconds to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compressor.architectures.meter import POOLS, READOUT, MeterDims, meter_macs, meter_rounds
from compressor.families.family import ATTENTION_MASK, INPUT_IDS, PIXEL_VALUES, Family
from compressor.families.library_parts import BertAttention, BertFeedForward, ClipAttention, ClipFeedForward, halves
from compressor.families.meter.meter_checkpoint import PUBLIC, prepare_meter
from compressor.families.meter.meter_fusion import FUSION_PARTS
from compressor.families.vision_language import OUTPUTS, SECONDARY

if TYPE_CHECKING:
    from compressor.families.image_transforms import ClipTransform
    from compressor.models.steps import StepModel


def build(dims: MeterDims, task: str) -> StepModel:
    """Return a randomly initialised METER."""
    from compressor.families.meter.meter_model import build_meter

    return build_meter(dims, task)


def image_transform(dims: MeterDims) -> ClipTransform:
    """Return what turns images into pixels."""
    from compressor.families.image_transforms import ClipTransform

    return ClipTransform(dims.image_size)


METER = Family(
    unmasked=True,
    name="meter",
    formats=(PUBLIC,),
    pools=POOLS,
    scopes={
        "fusion": ("fusion-language", "fusion-vision"),
        "global": ("language", "fusion-language", "fusion-vision"),
        "all": ("language", "vision", "fusion-language", "fusion-vision"),
    },
    inputs=(INPUT_IDS, ATTENTION_MASK, PIXEL_VALUES),
    streams={"text": ("text", "text_mask"), "image": ("image", "image_mask")},
    readout=lambda dims, task: READOUT,
    outputs=OUTPUTS,
    secondary=SECONDARY,
    dims_type=MeterDims,
    rounds=meter_rounds,
    build=build,
    image_transform=image_transform,
    formula=meter_macs,
    prepare=prepare_meter,
    absorbers={"vision": "mlp.fc2"},
    parts={
        "language": halves(BertAttention, BertFeedForward, reads=(0, 1)),
        "vision": halves(ClipAttention, ClipFeedForward),
        "fusion-language": FUSION_PARTS,
        "fusion-vision": FUSION_PARTS,
    },
    merging="vision",
)
