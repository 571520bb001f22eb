"""METER's declaration."""

from __future__ import annotations

from compressor.architectures.meter import POOLS, MeterDims, meter_macs, meter_rounds
from compressor.data.images import ClipTransform
from compressor.families.family import ATTENTION_MASK, INPUT_IDS, PIXEL_VALUES, Family
from compressor.families.meter.meter_checkpoint import PUBLIC, prepare_meter
from compressor.families.meter.meter_model import READOUT, build
from compressor.families.vision_language import OTHER_HEADS, OUTPUTS

METER = Family(
    name="meter",
    formats=(PUBLIC,),
    pools=POOLS,
    scopes={
        "fusion": ("fusion-language", "fusion-vision"),
        "global": ("language", "fusion-language", "fusion-vision"),
        "all": ("language", "vision", "fusion-language", "fusion-vision"),
    },
    inputs=(INPUT_IDS, ATTENTION_MASK, PIXEL_VALUES),
    streams={"text": ("text", "text_mask"), "image": ("image",)},
    readout=READOUT,
    outputs=OUTPUTS,
    other_heads=OTHER_HEADS,
    dims_type=MeterDims,
    rounds=meter_rounds,
    build=build,
    image_transform=lambda dims: ClipTransform(dims.image_size),
    formula=meter_macs,
    prepare=prepare_meter,
)
