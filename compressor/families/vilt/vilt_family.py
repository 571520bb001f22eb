"""ViLT's declaration."""

from __future__ import annotations

from compressor.architectures.vilt import POOLS, ViltDims, example_image, vilt_macs, vilt_rounds
from compressor.data.images import PixelbertTransform
from compressor.families.family import ATTENTION_MASK, INPUT_IDS, PIXEL_MASK, PIXEL_VALUES, Family
from compressor.families.vilt.vilt_checkpoint import HUGGING_FACE, PUBLIC, prepare_vilt
from compressor.families.vilt.vilt_model import READOUT, build
from compressor.families.vision_language import OTHER_HEADS, OUTPUTS

VILT = Family(
    name="vilt",
    formats=(PUBLIC, HUGGING_FACE),
    pools=POOLS,
    scopes={"encoder": ("encoder",)},
    inputs=(INPUT_IDS, ATTENTION_MASK, PIXEL_VALUES, PIXEL_MASK),
    streams={"text": ("text", "text_mask"), "image": ("image", "image_mask")},
    readout=READOUT,
    outputs=OUTPUTS,
    other_heads=OTHER_HEADS,
    dims_type=ViltDims,
    rounds=vilt_rounds,
    build=build,
    example_image=example_image,
    image_transform=lambda dims: PixelbertTransform(dims.image_size, dims.pixels.model_dump()),
    formula=vilt_macs,
    prepare=prepare_vilt,
)
