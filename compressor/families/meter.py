"""METER (Dou et al., CVPR 2022): CLIP ViT and RoBERTa, joined by rounds of co-attention layers.

The forward pass computes what the public code computes, trap by trap: both fusion layers of a round read the previous
text and image; post-LN with eps 1e-12 in fusion, 1e-5 elsewhere; QuickGELU in CLIP, erf GELU elsewhere; the image
mask is all ones; DAS's checkpoints replace the projected text token 0 by a learned one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.clip.configuration_clip import CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPEncoderLayer, CLIPVisionEmbeddings
from transformers.models.roberta.configuration_roberta import RobertaConfig
from transformers.models.roberta.modeling_roberta import RobertaEmbeddings, RobertaLayer

from compressor.data.images import ClipTransform
from compressor.families.embeddings import UntypedEmbeddings, untyped_roberta
from compressor.families.family import (
    ATTENTION_MASK,
    INPUT_IDS,
    LOGITS,
    MATCH,
    PIXEL_VALUES,
    Family,
    Head,
    Pool,
    for_another_task,
)
from compressor.families.key_mapping import Format, KeyTable, Leftover, Part, State
from compressor.models.adapters import Adapter
from compressor.models.readout import Readout, read_tokens
from compressor.models.single_query import attend_one_token, one_token_of
from compressor.models.steps import Pick, Rounds, Step, StepModel, Streams, TokenWise, expand_batch
from compressor.values import Value

READOUT: Mapping[str, Readout] = {"text": "first", "image": "first"}
MASKED = -10000.0  # added to the scores of padding, as in the public code


class MeterDims(Value):
    """Sizes of a METER; the defaults are the published model at 384 pixels with a VQA v2 head.

    ``text_positions`` includes RoBERTa's two reserved rows. ``image_size`` is in pixels. ``parallel_width`` is the
    bottleneck of the parallel adapters in fusion layers, 0 when there are none. ``text_length`` is the length
    questions are padded to, ``images`` the number of images that belong to one question.
    """

    hidden: PositiveInt = 768
    heads: PositiveInt = 12
    fusion_layers: PositiveInt = 6
    fusion_ffn: PositiveInt = 3072
    text_vocabulary: PositiveInt = 50265
    text_positions: PositiveInt = 514
    text_types: PositiveInt = 1
    text_hidden: PositiveInt = 768
    text_layers: PositiveInt = 12
    text_heads: PositiveInt = 12
    text_ffn: PositiveInt = 3072
    vision_width: PositiveInt = 768
    vision_layers: PositiveInt = 11
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

    @model_validator(mode="after")
    def _heads_divide_widths(self) -> MeterDims:
        streams = (self.hidden, self.heads), (self.text_hidden, self.text_heads), (self.vision_width, self.vision_heads)
        for width, heads in streams:
            if not heads or width % heads:
                raise ValueError(f"{heads} attention heads do not divide a width of {width}")
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
    def longest_text(self) -> int:
        """Most tokens a text may have: the position rows without RoBERTa's two reserved ones."""
        return self.text_positions - 2

    @property
    def text_config(self) -> RobertaConfig:
        """RoBERTa's configuration for transformers."""
        config = RobertaConfig(
            vocab_size=self.text_vocabulary,
            hidden_size=self.text_hidden,
            num_attention_heads=self.text_heads,
            intermediate_size=self.text_ffn,
            max_position_embeddings=self.text_positions,
            type_vocab_size=self.text_types,
            layer_norm_eps=1e-5,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
        )
        config._attn_implementation = "sdpa"
        return config

    @property
    def vision_config(self) -> CLIPVisionConfig:
        """CLIP's configuration for transformers."""
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


class WordEmbeddings(RobertaEmbeddings):
    """RoBERTa's embeddings of texts of one token type."""

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 -> (B, L, Dt)."""
        return super().forward(input_ids, token_type_ids=torch.zeros_like(input_ids))


class Prologue(nn.Module):
    """Token ids and pixels to the first ``text`` and ``image`` streams and the additive ``text_mask``."""

    def __init__(self, dims: MeterDims) -> None:
        super().__init__()
        self.text: WordEmbeddings | UntypedEmbeddings = WordEmbeddings(dims.text_config)
        self.image = CLIPVisionEmbeddings(dims.vision_config)
        self.image_norm = nn.LayerNorm(dims.vision_width, eps=1e-5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor) -> Streams:
        """Token ids and mask (B, L) with pixels (B, 3, H, W), or (B, 2, 3, H, W) of pairs, to the first streams.

        ``text`` (B, L, Dt), ``text_mask`` (B, 1, 1, L), ``image`` (B, N, Dv); the images of a pair become rows of
        their own, (2 B, N, Dv).
        """
        if pixel_values.ndim == 5:
            pixel_values = pixel_values.flatten(0, 1)
        image = self.image_norm(self.image(pixel_values))
        mask = (1.0 - attention_mask[:, None, None, :].to(image.dtype)) * MASKED
        return {"text": self.text(input_ids), "image": image, "text_mask": mask}

    def fold_constants(self) -> None:
        """Add RoBERTa's token type to the positions."""
        if isinstance(self.text, WordEmbeddings):
            self.text = untyped_roberta(self.text)


class TextBridge(TokenWise):
    """RoBERTa's width to the fusion width, plus the text's type; token 0 replaced when DAS trained one."""

    def __init__(self, dims: MeterDims) -> None:
        super().__init__()
        self.project = nn.Linear(dims.text_hidden, dims.hidden)
        self.token_type: nn.Parameter | None = nn.Parameter(torch.zeros(1, dims.hidden))
        self.class_token = nn.Parameter(torch.zeros(1, 1, dims.hidden)) if dims.class_token else None

    def forward(self, text: Tensor) -> Tensor:
        """(B, L, Dt) -> (B, L, D)."""
        text = self.project(text)
        if self.class_token is not None:
            text = torch.cat([self.class_token.expand(text.shape[0], -1, -1), text[:, 1:]], dim=1)
        return text if self.token_type is None else text + self.token_type

    def fold_constants(self) -> None:
        """Add the type to the projection's bias, and to the class token."""
        if self.token_type is not None:
            self.project.bias = nn.Parameter(self.project.bias + self.token_type[0])
            if self.class_token is not None:
                self.class_token = nn.Parameter(self.class_token + self.token_type)
            self.token_type = None


class ImageBridge(TokenWise):
    """CLIP's final norm, its width to the fusion width, plus the image's type: its own for each of a pair."""

    def __init__(self, dims: MeterDims) -> None:
        super().__init__()
        self.images = dims.images
        self.norm = nn.LayerNorm(dims.vision_width, eps=1e-5)
        self.project = nn.Linear(dims.vision_width, dims.hidden)
        self.token_types: nn.Parameter | None = nn.Parameter(torch.zeros(dims.image_types, dims.hidden))

    def forward(self, image: Tensor) -> Tensor:
        """(B, N, Dv) -> (B, N, D)."""
        image = self.project(self.norm(image))
        if self.token_types is None:
            return image
        if self.images == 1:
            return image + self.token_types[0]
        pairs = image.unflatten(0, (-1, self.images)) + self.token_types[: self.images, None]
        return pairs.flatten(0, 1)

    def fold_constants(self) -> None:
        """Add the type to the projection's bias, where there is one type for all images."""
        if self.images == 1 and self.token_types is not None:
            self.project.bias = nn.Parameter(self.project.bias + self.token_types[0])
            self.token_types = None


class Match(TokenWise):
    """Where text and image meet they need as many rows: a pair repeats its text, several captions their image."""

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """(B, ...) and (B', ...) -> (max(B, B'), ...)."""
        return expand_batch(x, other)


class VisionLayer(CLIPEncoderLayer):
    """CLIP's pre-LN encoder layer, without its unused mask argument."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, N, Dv) -> (B, N, Dv)."""
        return super().forward(image, None)

    def one_token(self, pick: Pick, image: Tensor) -> Tensor:
        """Return the output, (B, 1, Dv), at the token that ``pick`` takes."""
        normed, inner = self.layer_norm1(image), self.self_attn
        projections = inner.q_proj, inner.k_proj, inner.v_proj
        attended = attend_one_token(pick(normed), normed, *projections, inner.num_heads, None)
        token = pick(image) + inner.out_proj(attended)
        return token + self.mlp(self.layer_norm2(token))


class LanguageLayer(RobertaLayer):
    """RoBERTa's post-LN encoder layer."""

    def one_token(self, pick: Pick, text: Tensor, mask: Tensor) -> Tensor:
        """Return the output, (B, 1, Dt), at the token that ``pick`` takes."""
        return one_token_of(self, pick, text, mask)


class _Projections(nn.Module):
    """Multi-head attention of one stream on another, up to the output projection."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value = (nn.Linear(hidden, hidden) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        def split(projected: Tensor) -> Tensor:  # (B, N, D) -> (B, heads, N, D / heads)
            return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        attended = F.scaled_dot_product_attention(
            split(self.query(x)),
            split(self.key(context)),
            split(self.value(context)),
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return attended.transpose(1, 2).flatten(2)

    def one_token(self, token: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        return attend_one_token(token, context, self.query, self.key, self.value, self.heads, mask)


class _AttentionOutput(nn.Module):
    """LN(dense(attended) + x + A(x)): the parallel adapter reads the sub-layer's input and sits inside the norm."""

    def __init__(self, dims: MeterDims) -> None:
        super().__init__()
        self.dense = nn.Linear(dims.hidden, dims.hidden)
        self.LayerNorm = nn.LayerNorm(dims.hidden, eps=1e-12)
        self.dropout = nn.Dropout(dims.dropout)
        self.adapter = Adapter(dims.hidden, dims.parallel_width) if dims.parallel_width else None

    def forward(self, attended: Tensor, x: Tensor) -> Tensor:
        x = x if self.adapter is None else x + self.adapter(x)
        return self.LayerNorm(self.dropout(self.dense(attended)) + x)


class _Attention(nn.Module):
    def __init__(self, dims: MeterDims) -> None:
        super().__init__()
        self.self = _Projections(dims.hidden, dims.heads, dims.dropout)
        self.output = _AttentionOutput(dims)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        return self.output(self.self(x, context, mask), x)

    def one_token(self, token: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        return self.output(self.self.one_token(token, context, mask), token)


class _Intermediate(nn.Module):
    def __init__(self, dims: MeterDims) -> None:
        super().__init__()
        self.dense = nn.Linear(dims.hidden, dims.fusion_ffn)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.dense(x))


class _FeedForwardOutput(nn.Module):
    def __init__(self, dims: MeterDims) -> None:
        super().__init__()
        self.dense = nn.Linear(dims.fusion_ffn, dims.hidden)
        self.LayerNorm = nn.LayerNorm(dims.hidden, eps=1e-12)
        self.dropout = nn.Dropout(dims.dropout)

    def forward(self, inner: Tensor, x: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(inner)) + x)


class FusionLayer(nn.Module):
    """Self-attention, cross-attention to the other stream, feed-forward; each followed by its norm.

    The parallel adapter of the feed-forward reads its input and is added outside its norm (facts of the public code).
    """

    def __init__(self, dims: MeterDims) -> None:
        super().__init__()
        self.attention = _Attention(dims)
        self.crossattention = _Attention(dims)
        self.intermediate = _Intermediate(dims)
        self.output = _FeedForwardOutput(dims)
        self.adapter = Adapter(dims.hidden, dims.parallel_width) if dims.parallel_width else None

    def forward(self, x: Tensor, other: Tensor, mask: Tensor | None, other_mask: Tensor | None) -> Tensor:
        """(B, N, D) reading ``other`` (B, M, D); masks are additive, (B, 1, 1, N) and (B, 1, 1, M), or None."""
        x = self.attention(x, x, mask)
        return self._feed_forward(self.crossattention(x, other, other_mask))

    def one_token(self, pick: Pick, x: Tensor, other: Tensor, mask: Tensor | None, other_mask: Tensor | None) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        token = self.attention.one_token(pick(x), x, mask)
        return self._feed_forward(self.crossattention.one_token(token, other, other_mask))

    def _feed_forward(self, x: Tensor) -> Tensor:
        out = self.output(self.intermediate(x), x)
        return out if self.adapter is None else out + self.adapter(x)


class _Pooler(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.dense(x[:, 0]))


def _mlp(dims: MeterDims) -> nn.Module:
    width = 2 * dims.hidden
    return nn.Sequential(
        nn.Linear(dims.images * width, width), nn.LayerNorm(width, eps=1e-5), nn.GELU(), nn.Linear(width, dims.classes)
    )


def _linear(dims: MeterDims) -> nn.Module:
    return nn.Linear(dims.images * 2 * dims.hidden, dims.classes)


class Epilogue(nn.Module):
    """Pool token 0 of each stream, text first; join what belongs to one pair; classify."""

    def __init__(self, dims: MeterDims, task: str) -> None:
        super().__init__()
        self.images = dims.images
        self.text_pooler = _Pooler(dims.hidden)
        self.image_pooler = _Pooler(dims.hidden)
        self.head = _HEADS.get(task, _mlp)(dims)

    def forward(self, streams: Streams) -> Tensor:
        """Streams to logits (B, classes)."""
        text, image = (read_tokens(streams, name, readout) for name, readout in READOUT.items())
        pooled = torch.cat([self.text_pooler(text), self.image_pooler(image)], dim=-1)
        return self.head(pooled if self.images == 1 else pooled.unflatten(0, (-1, self.images)).flatten(1))


_HEADS = {"irtr": _linear, "itm": _linear}  # the others are _mlp


def rounds(dims: MeterDims) -> Rounds:
    """The steps of a METER in the order they run."""
    vision = [(Step(f"VEn{i}", ("image",), ("image",), "vision"),) for i in range(dims.vision_layers)]
    language = [(Step(f"LEn{i}", ("text", "text_mask"), ("text",), "language"),) for i in range(dims.text_layers)]
    bridges = (Step("text_bridge", ("text",), ("text",)), Step("image_bridge", ("image",), ("image",)))
    meeting = (
        Step("match_text", ("text", "image"), ("text",), light=True),
        Step("match_mask", ("text_mask", "image"), ("text_mask",), light=True),
        Step("match_image", ("image", "text"), ("image",), light=True),
    )
    fusion = [
        (
            Step(f"FL{i}", ("text", "image", "text_mask", "image_mask"), ("text",), "fusion-language"),
            Step(f"FV{i}", ("image", "text", "image_mask", "text_mask"), ("image",), "fusion-vision"),
        )
        for i in range(dims.fusion_layers)
    ]
    return (*language, *vision, bridges, meeting, *fusion)


def build(dims: MeterDims, task: str) -> StepModel:
    """A randomly initialised METER."""
    blocks: dict[str, nn.Module] = {"text_bridge": TextBridge(dims), "image_bridge": ImageBridge(dims)}
    blocks |= {f"match_{what}": Match() for what in ("text", "mask", "image")}
    blocks |= {f"VEn{i}": VisionLayer(dims.vision_config) for i in range(dims.vision_layers)}
    blocks |= {f"LEn{i}": LanguageLayer(dims.text_config) for i in range(dims.text_layers)}
    blocks |= {f"{side}{i}": FusionLayer(dims) for side in ("FL", "FV") for i in range(dims.fusion_layers)}
    return StepModel("meter", task, dims, Prologue(dims), rounds(dims), blocks, Epilogue(dims, task))


_PARALLEL_ADAPTER = r"cross_modal_(text|image)_layers\.\d+\.(.+\.)?adapter\.down_proj\.weight"


def _count(state: Mapping[str, Tensor], template: str) -> int:
    count = 0
    while template.format(i=count) in state:
        count += 1
    return count


def read_dims(state: Mapping[str, Tensor], config: Mapping[str, Any], task: str | None) -> MeterDims:
    """Sizes from the tensors; head counts and lengths, which no shape shows, from ``hyper_parameters``.

    Args:
        state: the checkpoint's tensors under their public names.
        config: ``hyper_parameters["config"]``, {} when the checkpoint has none.
        task: whose head is used; None, or one without a head in the checkpoint, for one output.

    Raises:
        KeyError: a tensor that sizes are read from is missing.
        ValueError, TypeError, IndexError: sizes that make no METER.

    """
    head = METER.heads[task] if task else Head()
    last = f"{PUBLIC.prefix(task)}3.weight" if task else ""
    hidden, text_hidden = state["cross_modal_text_transform.weight"].shape
    conv = state["vit_model.visual.conv1.weight"]
    grid = math.isqrt(len(state["vit_model.visual.positional_embedding"]) - 1)
    layer = "text_transformer.encoder.layer.{i}.intermediate.dense.weight"
    block = "vit_model.visual.transformer.resblocks.{i}.mlp.c_fc.weight"
    fusion = "cross_modal_text_layers.{i}.intermediate.dense.weight"
    positions = len(state["text_transformer.embeddings.position_embeddings.weight"])
    types = len(state["token_type_embeddings.weight"]) - 1  # the first is the text's
    heads = int(config.get("num_heads", hidden // 64))
    # Any layer's will do: adapters in some layers only are found incomplete when they are loaded.
    adapters = [len(state[key]) for key in state if re.fullmatch(_PARALLEL_ADAPTER, key)]
    return MeterDims(
        hidden=hidden,
        heads=heads,
        fusion_layers=_count(state, fusion),
        fusion_ffn=len(state[fusion.format(i=0)]),
        text_vocabulary=len(state["text_transformer.embeddings.word_embeddings.weight"]),
        text_positions=positions,
        text_types=len(state["text_transformer.embeddings.token_type_embeddings.weight"]),
        text_hidden=text_hidden,
        text_layers=_count(state, layer),
        # No upstream configuration names RoBERTa's heads; RoBERTa-base has as many as the fusion layers.
        text_heads=heads if text_hidden == hidden else text_hidden // 64,
        text_ffn=len(state[layer.format(i=0)]),
        vision_width=len(conv),
        vision_layers=_count(state, block),
        vision_ffn=len(state[block.format(i=0)]),
        patch=conv.shape[-1],
        image_size=grid * conv.shape[-1],
        images=head.images,
        image_types=max(types, head.images) if types else 0,
        classes=head.classes or (len(state[last]) if last in state else 1),
        text_length=min(int(config.get("max_text_len", 50)), positions - 2),
        class_token="token4classifier" in state,
        parallel_width=adapters[0] if adapters else 0,
        dropout=float(config.get("drop_rate", 0.1)),
    )


def resize_positions(positions: Tensor, grid: int) -> Tensor:
    """CLIP position embeddings, (g*g+1, D), to another grid: class row kept, the rest resampled bicubically."""
    old = math.isqrt(len(positions) - 1)
    if old == grid:
        return positions
    square = positions[1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([positions[:1], resized.permute(0, 2, 3, 1).flatten(1, 2)[0]])


def prepare(ours: State, dims: MeterDims, state: State, task: str | None) -> State:
    """Positions at the model's image size; types and head of a checkpoint that is fine-tuned for another task."""
    ours = for_another_task(ours, state, task, "blocks.image_bridge.token_types", dims.image_types, PREFIXES["itm"])
    positions = "prologue.image.position_embedding.weight"
    if positions in ours:
        ours[positions] = resize_positions(ours[positions], dims.image_size // dims.patch)
    return ours


_BLOCK = "vit_model.visual.transformer.resblocks.{i}."
_QKV = tuple((f"blocks.VEn{{i}}.self_attn.{name}_proj.", part) for part, name in enumerate("qkv"))

KEYS = KeyTable(
    renames=(
        ("text_transformer.embeddings.word_embeddings.", "prologue.text.word_embeddings."),
        ("text_transformer.embeddings.position_embeddings.", "prologue.text.position_embeddings."),
        ("text_transformer.embeddings.token_type_embeddings.", "prologue.text.token_type_embeddings."),
        ("text_transformer.embeddings.LayerNorm.", "prologue.text.LayerNorm."),
        ("text_transformer.encoder.layer.{i}.", "blocks.LEn{i}."),
        ("vit_model.visual.conv1.", "prologue.image.patch_embedding."),
        ("vit_model.visual.class_embedding", "prologue.image.class_embedding"),
        ("vit_model.visual.positional_embedding", "prologue.image.position_embedding.weight"),
        ("vit_model.visual.ln_pre.", "prologue.image_norm."),
        (_BLOCK + "ln_1.", "blocks.VEn{i}.layer_norm1."),
        (_BLOCK + "ln_2.", "blocks.VEn{i}.layer_norm2."),
        (_BLOCK + "mlp.c_fc.", "blocks.VEn{i}.mlp.fc1."),
        (_BLOCK + "mlp.c_proj.", "blocks.VEn{i}.mlp.fc2."),
        (_BLOCK + "attn.out_proj.", "blocks.VEn{i}.self_attn.out_proj."),
        ("vit_model.visual.ln_post.", "blocks.image_bridge.norm."),
        ("cross_modal_text_transform.", "blocks.text_bridge.project."),
        ("cross_modal_image_transform.", "blocks.image_bridge.project."),
        ("token4classifier", "blocks.text_bridge.class_token"),
        ("cross_modal_text_layers.{i}.", "blocks.FL{i}."),
        ("cross_modal_image_layers.{i}.", "blocks.FV{i}."),
        ("cross_modal_text_pooler.", "epilogue.text_pooler."),
        ("cross_modal_image_pooler.", "epilogue.image_pooler."),
        ("adapter_list_l.{i}.0.", "skips.FL{i}."),
        ("adapter_list_v.{i}.0.", "skips.FV{i}."),
    ),
    splits=(
        *(
            (_BLOCK + f"attn.in_proj_{kind}", tuple(Part(name + kind, at, at + 1, of=3) for name, at in _QKV))
            for kind in ("weight", "bias")
        ),
        (
            "token_type_embeddings.weight",
            (Part("blocks.text_bridge.token_type", 0, 1), Part("blocks.image_bridge.token_types", 1, None)),
        ),
    ),
)

PREFIXES = {
    "vqa": "vqa_classifier.",
    "nlvr2": "nlvr2_classifier.",
    "irtr": "rank_output.",
    "snli-ve": "snli_classifier.",
    "itm": "itm_score.fc.",
}

PUBLIC = Format(
    name="METER's or DAS's public code",
    signature=(
        "cross_modal_text_transform.weight",
        "cross_modal_text_layers.0.intermediate.dense.weight",
        "vit_model.visual.conv1.weight",
        "text_transformer.embeddings.word_embeddings.weight",
    ),
    keys=KEYS,
    leftovers=(
        Leftover(r"text_transformer\.embeddings\.position_ids", "a constant buffer of old transformers"),
        Leftover(r"text_transformer\.pooler\.", "RoBERTa's pooler, unused by METER"),
        Leftover(r"vit_model\.(positional_embedding|ln_final\.)", "CLIP's text side, unused by METER"),
        Leftover(r"das_gate|skip_num", "search state of the public DAS code"),
    ),
    heads=PREFIXES,
    other_heads="{task}_classifier.",
    heads_by_name={"mlm": "mlm_score."},
    read_dims=read_dims,
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
    outputs={"classes": (LOGITS,), "score": (MATCH,)},
    other_heads={"itm": Head(classes=2)},
    dims_type=MeterDims,
    rounds=rounds,
    build=build,
    image_transform=lambda dims: ClipTransform(dims.image_size),
    prepare=prepare,
)
