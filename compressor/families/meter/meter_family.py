"""METER's declaration."""

from __future__ import annotations

from compressor.data.images import ClipTransform
from compressor.families.family import ATTENTION_MASK, INPUT_IDS, PIXEL_VALUES, Family, Pool
from compressor.families.meter.meter_checkpoint import PUBLIC, prepare
from compressor.families.meter.meter_model import READOUT, MeterDims, build, rounds
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
    fusion_layer_macs,
    fusion_token_macs,
    multiply_macs,
    norm_macs,
    projection_macs,
)


def formula(dims: MeterDims, task: str, patches: tuple[int, int]) -> ModelMacs:
    """Return the MACs of a METER: an encoder for each modality, a projection behind it, fusion layers on both sides."""
    d, text, image, images = dims.hidden, dims.text_length, patches[0] * patches[1] + 1, dims.images
    words, pixels = dims.text_hidden, dims.vision_width

    def fusion(tokens: int, others: int) -> Place:
        whole = fusion_layer_macs(tokens, others, d, dims.fusion_ffn)
        return Place(images, tokens, d, whole, fusion_token_macs(tokens, others, d, dims.fusion_ffn, dims.heads), 3)

    language = encoder_layer_macs(text, words, dims.text_ffn)
    language_first = encoder_token_macs(text, words, dims.text_ffn, dims.text_heads, normed=1)
    vision = encoder_layer_macs(image, pixels, dims.vision_ffn)
    vision_first = encoder_token_macs(image, pixels, dims.vision_ffn, dims.vision_heads, normed=image)
    embedded = {CONVOLUTION: (image - 1) * 3 * dims.patch**2 * pixels, NORMS: norm_macs(image, pixels)}
    return ModelMacs(
        prologue=add_macs(multiply_macs(images, embedded), {NORMS: norm_macs(text, words)}),
        places={
            "language": Place(1, text, words, language, language_first),
            "vision": Place(images, image, pixels, vision, vision_first),
            "text_bridge": Place(1, text, d, projection_macs(text, words, d), projection_macs(1, words, d)),
            "image_bridge": Place(
                images,
                image,
                d,
                projection_macs(image, pixels, d, normed=True),
                projection_macs(1, pixels, d, normed=True),
            ),
            "fusion-language": fusion(text, image),
            "fusion-vision": fusion(image, text),
        },
        head=add_macs({PRODUCTS: images * 2 * d**2}, classifier_macs(task, images * 2 * d, 2 * d, dims.classes)),
    )


METER = Family(
    name="meter",
    formats=(PUBLIC,),
    pools=(
        Pool("language", "LEn", 1 / 4),
        Pool("vision", "VEn", 1 / 4),
        Pool("fusion-language", "FL", 3 / 8),
        Pool("fusion-vision", "FV", 3 / 8),
    ),
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
    rounds=rounds,
    build=build,
    image_transform=lambda dims: ClipTransform(dims.image_size),
    formula=formula,
    prepare=prepare,
)
