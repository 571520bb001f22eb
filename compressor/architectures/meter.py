"""The sizes and layers of METER (Dou et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

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
    fusion_layer_macs,
    fusion_parts,
    fusion_token_macs,
    multiply_macs,
    norm_macs,
    projection_macs,
)
from compressor.models.rounds import Rounds, Step
from compressor.token_merging.merge_schedule import check_counts, merging_places, merging_rounds, tokens_along
from compressor.values import Value

if TYPE_CHECKING:
    from transformers.models.bert.configuration_bert import BertConfig
    from transformers.models.clip.configuration_clip import CLIPVisionConfig
    from transformers.models.roberta.configuration_roberta import RobertaConfig

    from compressor.models.readout import Readout

TextEncoder = Literal["roberta", "bert"]
RESERVED: Mapping[TextEncoder, int] = {"roberta": 2, "bert": 0}
"""Of the rows of positions, those that no token has: RoBERTa counts from behind its padding token's, BERT from 0."""

POOLS = (
    Pool("language", "LEn", 1 / 4),
    Pool("vision", "VEn", 1 / 4),
    Pool("fusion-language", "FL", 3 / 8),
    Pool("fusion-vision", "FV", 3 / 8),
)
READOUT: Mapping[str, Readout] = {"text": "first", "image": "first"}


class MeterDims(Value):
    """Sizes of a METER; the defaults are the published model at 384 pixels with a VQA v2 head.

    ``text_positions`` includes two rows that RoBERTa reserves. ``image_size`` is in pixels. ``parallel_width`` is the
    bottleneck of the parallel adapters in fusion layers, 0 when there are none. ``text_length`` is the most
    tokens of a question, ``images`` the number of images that belong to one question. ``merged_tokens`` says how many
    tokens each vision layer merges; none where it is empty.
    """

    hidden: PositiveInt = 768
    heads: PositiveInt = 12
    fusion_layers: LayerCount = 6
    fusion_ffn: PositiveInt = 3072
    text_encoder: TextEncoder = "roberta"
    text_vocabulary: PositiveInt = 50265
    text_positions: PositiveInt = 514
    text_types: PositiveInt = 1
    text_hidden: PositiveInt = 768
    text_layers: LayerCount = 12
    text_heads: PositiveInt = 12
    text_ffn: PositiveInt = 3072
    vision_width: PositiveInt = 768
    vision_layers: LayerCount = 11
    vision_ffn: PositiveInt = 3072
    patch: PositiveInt = 16
    image_size: PositiveInt = 384
    images: PositiveInt = 1
    image_types: PositiveInt = 1
    classes: PositiveInt = 3129
    text_length: PositiveInt = 50
    class_token: bool = False
    parallel_width: NonNegativeInt = 0
    dropout: float = Field(default=0.1, ge=0, le=1)
    merged_tokens: tuple[NonNegativeInt, ...] = ()

    @model_validator(mode="after")
    def _heads_divide_widths(self) -> MeterDims:
        streams = (self.hidden, self.heads), (self.text_hidden, self.text_heads), (self.vision_width, self.vision_heads)
        for width, heads in streams:
            if not heads or width % heads:
                raise ValueError(f"{heads} attention heads do not divide a width of {width}")
        return self

    @model_validator(mode="after")
    def _layers_have_so_many_tokens(self) -> MeterDims:
        check_counts(self.image_tokens, self.vision_layers, self.merged_tokens)
        return self

    @property
    def vision_heads(self) -> int:
        """CLIP's rule, whatever the configuration says."""
        return self.vision_width // 64

    @property
    def image_tokens(self) -> int:
        """Patches and the class token."""
        return (self.image_size // self.patch) ** 2 + 1

    @property
    def text_padding(self) -> int | None:
        """Id of the padding token."""
        return self.text_config.pad_token_id

    @property
    def longest_text(self) -> int:
        """Most tokens a text may have."""
        return self.text_positions - RESERVED[self.text_encoder]

    @property
    def text_config(self) -> RobertaConfig | BertConfig:
        """The text encoder's configuration for transformers."""
        from transformers.models.bert.configuration_bert import BertConfig
        from transformers.models.roberta.configuration_roberta import RobertaConfig

        kind, norm_eps = {"roberta": (RobertaConfig, 1e-5), "bert": (BertConfig, 1e-12)}[self.text_encoder]
        config = kind(
            vocab_size=self.text_vocabulary,
            hidden_size=self.text_hidden,
            num_attention_heads=self.text_heads,
            intermediate_size=self.text_ffn,
            max_position_embeddings=self.text_positions,
            type_vocab_size=self.text_types,
            layer_norm_eps=norm_eps,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
        )
        config._attn_implementation = "sdpa"
        return config

    @property
    def vision_config(self) -> CLIPVisionConfig:
        """CLIP's configuration for transformers."""
        from transformers.models.clip.configuration_clip import CLIPVisionConfig

        config = CLIPVisionConfig(
            hidden_size=self.vision_width,
            num_attention_heads=self.vision_heads,
            intermediate_size=self.vision_ffn,
            patch_size=self.patch,
            image_size=self.image_size,
            hidden_act="quick_gelu",
            layer_norm_eps=1e-5,
        )
        config._attn_implementation = "sdpa"
        return config


def meter_rounds(dims: MeterDims) -> Rounds:
    """Return the steps of a METER in the order they run."""
    vision = merging_rounds(dims.vision_layers, dims.merged_tokens, "vision")
    language = [(Step(f"LEn{i}", ("text", "text_mask"), ("text",), "language"),) for i in range(dims.text_layers)]
    bridges = (Step("text_bridge", ("text",), ("text",)), Step("image_bridge", ("image",), ("image",)))
    meeting = (
        Step("match_text", ("text", "image"), ("text",), light=True),
        Step("match_mask", ("text_mask", "image"), ("text_mask",), light=True),
        Step("match_image", ("image", "text"), ("image",), light=True),
        *([Step("match_sizes", ("image_mask", "text"), ("image_mask",), light=True)] if dims.merged_tokens else []),
    )
    fusion = [
        (
            Step(f"FL{i}", ("text", "image", "text_mask", "image_mask"), ("text",), "fusion-language"),
            Step(f"FV{i}", ("image", "text", "image_mask", "text_mask"), ("image",), "fusion-vision"),
        )
        for i in range(dims.fusion_layers)
    ]
    return (*language, *vision, bridges, meeting, *fusion)


def meter_macs(dims: MeterDims, task: str, patches: tuple[int, int]) -> ModelMacs:
    """Return the MACs of a METER: an encoder for each modality, a projection behind it, fusion layers on both sides."""
    d, text, images = dims.hidden, dims.text_length, dims.images
    tokens = tokens_along(patches[0] * patches[1] + 1, dims.merged_tokens)
    image, left = tokens[0], tokens[-1]  # in front of the vision layers, and behind them
    words, pixels = dims.text_hidden, dims.vision_width

    def fusion(tokens: int, others: int) -> Place:
        sizes = tokens, others, d, dims.fusion_ffn
        whole, one = fusion_layer_macs(*sizes, d), fusion_token_macs(*sizes, dims.heads, d)
        return Place(images, tokens, d, whole, one, 3, fusion_parts(*sizes, dims.heads, d))

    language = encoder_layer_macs(text, words, dims.text_ffn)
    language_first = encoder_token_macs(text, words, dims.text_ffn, dims.text_heads, normed=1)
    language_parts = encoder_parts(text, words, dims.text_ffn, dims.text_heads, normed=1)
    vision = encoder_layer_macs(image, pixels, dims.vision_ffn)
    vision_first = encoder_token_macs(image, pixels, dims.vision_ffn, dims.vision_heads, normed=image)
    sizes = pixels, dims.vision_ffn, dims.vision_heads
    embedded = {CONVOLUTION: (image - 1) * 3 * dims.patch**2 * pixels, NORMS: norm_macs(image, pixels)}
    return ModelMacs(
        prologue=add_macs(multiply_macs(images, embedded), {NORMS: norm_macs(text, words)}),
        places={
            "language": Place(1, text, words, language, language_first, parts=language_parts),
            "vision": Place(images, image, pixels, vision, vision_first, parts=encoder_parts(image, *sizes, image)),
            **merging_places(images, image, dims.merged_tokens, sizes),
            "text_bridge": Place(1, text, d, projection_macs(text, words, d), projection_macs(1, words, d)),
            "image_bridge": Place(
                images,
                left,
                d,
                projection_macs(left, pixels, d, normed=True),
                projection_macs(1, pixels, d, normed=True),
            ),
            "fusion-language": fusion(text, left),
            "fusion-vision": fusion(left, text),
        },
        head=add_macs({PRODUCTS: images * 2 * d**2}, classifier_macs(task, images * 2 * d, 2 * d, dims.classes)),
    )


ARCHITECTURE = Architecture(
    name="meter",
    task="vqa",
    dims_type=MeterDims,
    pools=POOLS,
    rounds=meter_rounds,
    formula=meter_macs,
    image_size=lambda dims: (dims.image_size, dims.image_size),
    merging="vision",
)
