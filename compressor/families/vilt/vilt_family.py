"""ViLT's declaration."""

from __future__ import annotations

from compressor.data.images import PixelbertTransform
from compressor.families.family import ATTENTION_MASK, INPUT_IDS, PIXEL_MASK, PIXEL_VALUES, Family, Pool
from compressor.families.vilt.vilt_checkpoint import HUGGING_FACE, PUBLIC, prepare
from compressor.families.vilt.vilt_model import READOUT, ViltDims, build, rounds
from compressor.families.vision_language import OTHER_HEADS, OUTPUTS, classifier_macs
from compressor.models.layer_macs import (
    CONVOLUTION,
    NORMS,
    PRODUCTS,
    ModelMacs,
    Place,
    add_macs,
    encoder_layer_macs,
    encoder_token_macs,
    multiply_macs,
    norm_macs,
    projection_macs,
)


def example_image(dims: ViltDims) -> tuple[int, int]:
    """Return the size of an image in 4:3 in whole patches, 384 x 512 for the published model."""
    return dims.image_size, max(1, dims.image_size * 4 // 3 // dims.patch) * dims.patch


def formula(dims: ViltDims, task: str, patches: tuple[int, int]) -> ModelMacs:
    """Return the MACs of a ViLT; the stored grid of positions is interpolated to each image's own size."""
    d, (rows, columns), images = dims.hidden, patches, dims.images
    tokens = dims.text_length + 1 + rows * columns
    embedded = {
        CONVOLUTION: rows * columns * 3 * dims.patch**2 * d,
        PRODUCTS: rows * dims.position_grid * (dims.position_grid + columns) * d,
    }
    whole = encoder_layer_macs(tokens, d, dims.ffn)
    first = encoder_token_macs(tokens, d, dims.ffn, dims.heads, normed=tokens)
    pooled = multiply_macs(images, projection_macs(1, d, d, normed=True))
    return ModelMacs(
        prologue=add_macs(multiply_macs(images, embedded), {NORMS: norm_macs(dims.text_length, d)}),
        places={"encoder": Place(images, tokens, d, whole, first, 2)},
        head=add_macs(pooled, classifier_macs(task, images * d, 2 * d, dims.classes)),
    )


VILT = Family(
    name="vilt",
    formats=(PUBLIC, HUGGING_FACE),
    pools=(Pool("encoder", "En", 1 / 4),),
    scopes={"encoder": ("encoder",)},
    inputs=(INPUT_IDS, ATTENTION_MASK, PIXEL_VALUES, PIXEL_MASK),
    streams={"text": ("text", "text_mask"), "image": ("image", "image_mask")},
    readout=READOUT,
    outputs=OUTPUTS,
    other_heads=OTHER_HEADS,
    dims_type=ViltDims,
    rounds=rounds,
    build=build,
    example_image=example_image,
    image_transform=lambda dims: PixelbertTransform(dims.image_size),
    formula=formula,
    prepare=prepare,
)
