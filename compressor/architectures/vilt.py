"""The sizes and layers of ViLT (Kim et al., ICML 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from compressor.architectures.architecture import Architecture, LayerCount, Pool
from compressor.costs.layer_macs import (
    CONVOLUTION,
    NORMS,
    PRODUCTS,
    ModelMacs,
    Place,
    add_macs,
    classifier_macs,
    encoder_layer_macs,
    encoder_parts,
    encoder_token_macs,
    multiply_macs,
    norm_macs,
    projection_macs,
)
from compressor.models.rounds import Rounds, Step
from compressor.values import Value

if TYPE_CHECKING:
    from transformers.models.vilt.configuration_vilt import ViltConfig

    from compressor.models.readout import Readout

POOLS = (Pool("encoder", "En", 1 / 4),)
READOUT: Mapping[str, Readout] = {"hidden": "first"}


class PixelSettings(Value):
    """What is done to the values of an image's pixels, 0 to 255, under the names of transformers' image processor.

    ``resample`` is Pillow's number of the filter that images are resized with (3 is bicubic); ``size_divisor`` divides
    both sides of what the model sees, in pixels.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    resample: int = Field(default=3, ge=0, le=5)
    do_rescale: bool = True
    rescale_factor: float = Field(default=1 / 255, gt=0)
    do_normalize: bool = True
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.5, 0.5, 0.5)
    size_divisor: PositiveInt = 32


class ViltDims(Value):
    """Sizes of a ViLT; the defaults are the published ViLT-B/32 with a VQA v2 head.

    ``position_grid`` is the side of the stored grid of positions, which is interpolated to every image;
    ``image_size`` is the shorter side that images are resized to, in pixels, and ``pixels`` what else is done to them.
    ``images`` belong to one text; ``image_types`` are the learned vectors that tell them apart. ``text_length`` is the
    most tokens of a text. ``parallel_width`` is the bottleneck of the parallel adapters, 0 when there are none.
    """

    hidden: PositiveInt = 768
    heads: PositiveInt = 12
    layers: LayerCount = 12
    ffn: PositiveInt = 3072
    patch: PositiveInt = 32
    position_grid: PositiveInt = 12
    image_size: PositiveInt = 384
    pixels: PixelSettings = PixelSettings()
    images: PositiveInt = 1
    image_types: PositiveInt = 1
    text_vocabulary: PositiveInt = 30522
    text_positions: PositiveInt = 40
    text_types: PositiveInt = 2
    text_length: PositiveInt = 40
    classes: PositiveInt = 3129
    parallel_width: NonNegativeInt = 0
    norm_eps: PositiveFloat = 1e-6
    text_norm_eps: PositiveFloat = 1e-12
    dropout: float = Field(default=0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ViltDims:
        if self.hidden % self.heads:
            raise ValueError(f"{self.heads} attention heads do not divide a width of {self.hidden}")
        return self

    @property
    def text_padding(self) -> None:
        """Nothing: positions are counted from the start, and no configuration names the padding token."""

    @property
    def longest_text(self) -> int:
        """Most tokens a text may have."""
        return self.text_positions

    @property
    def text_config(self) -> ViltConfig:
        """The configuration of the text embeddings for transformers."""
        from transformers.models.vilt.configuration_vilt import ViltConfig

        return ViltConfig(
            vocab_size=self.text_vocabulary,
            hidden_size=self.hidden,
            max_position_embeddings=self.text_positions,
            type_vocab_size=self.text_types,
            layer_norm_eps=self.text_norm_eps,
            hidden_dropout_prob=self.dropout,
        )


def vilt_rounds(dims: ViltDims) -> Rounds:
    """Return the steps of a ViLT in the order they run."""
    meeting = (
        Step("join", ("text", "image"), ("hidden",), light=True),
        Step("join_mask", ("text_mask", "image_mask"), ("mask",), light=True),
    )
    encoder = [(Step(f"En{i}", ("hidden", "mask"), ("hidden",), "encoder"),) for i in range(dims.layers)]
    return (meeting, *encoder)


def example_image(dims: ViltDims) -> tuple[int, int]:
    """Return the size of an image in 4:3 in whole patches, 384 x 512 for the published model."""
    height, width = (max(1, side // dims.patch) * dims.patch for side in (dims.image_size, dims.image_size * 4 // 3))
    return height, width


def vilt_macs(dims: ViltDims, task: str, patches: tuple[int, int]) -> ModelMacs:
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
        places={
            "encoder": Place(
                images, tokens, d, whole, first, 2, encoder_parts(tokens, d, dims.ffn, dims.heads, normed=tokens)
            )
        },
        head=add_macs(pooled, classifier_macs(task, images * d, 2 * d, dims.classes)),
    )


ARCHITECTURE = Architecture(
    name="vilt",
    task="vqa",
    dims_type=ViltDims,
    pools=POOLS,
    rounds=vilt_rounds,
    formula=vilt_macs,
    image_size=example_image,
    any_shape=True,
)
