"""ViLT (Kim et al., ICML 2021): words and image patches in one sequence, through one pre-LN encoder.

The forward pass computes what the public code computes, without its chance: the patches of a padded image keep their
row-major order and padding is masked, where the public code permutes patches and draws padding at random. A patch
belongs to the image when the pixel mask is 1 at its top-left pixel. LayerNorm eps is 1e-6 in the encoder (1e-12 in
Hugging Face's conversions), 1e-12 in the text embeddings, 1e-5 in heads and adapters; GELU is the erf form; attention
probabilities have no dropout; token 0 of the text is pooled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import count
from typing import Any

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.vilt.configuration_vilt import ViltConfig
from transformers.models.vilt.modeling_vilt import TextEmbeddings

from compressor.data.images import PixelbertTransform
from compressor.families.embeddings import UntypedEmbeddings, from_the_start
from compressor.families.family import (
    ATTENTION_MASK,
    INPUT_IDS,
    LOGITS,
    MATCH,
    PIXEL_MASK,
    PIXEL_VALUES,
    Family,
    Head,
    Pool,
    for_another_task,
)
from compressor.families.key_mapping import Format, KeyTable, Leftover, Part, State
from compressor.models.adapters import Adapter
from compressor.models.readout import Readout, read_tokens
from compressor.models.single_query import attend_one_token
from compressor.models.steps import Pick, Rounds, Step, StepModel, Streams, expand_batch
from compressor.values import Value

READOUT: Mapping[str, Readout] = {"hidden": "first"}


class ViltDims(Value):
    """Sizes of a ViLT; the defaults are the published ViLT-B/32 with a VQA v2 head.

    ``position_grid`` is the side of the stored grid of positions, which is interpolated to every image;
    ``image_size`` is the shorter side that images are resized to, in pixels. ``images`` belong to one text;
    ``image_types`` are the learned vectors that tell them apart. ``text_length`` is the length texts are padded to.
    ``parallel_width`` is the bottleneck of the parallel adapters, 0 when there are none.
    """

    hidden: PositiveInt = 768
    heads: PositiveInt = 12
    layers: PositiveInt = 12
    ffn: PositiveInt = 3072
    patch: PositiveInt = 32
    position_grid: PositiveInt = 12
    image_size: PositiveInt = 384
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
    def longest_text(self) -> int:
        """Most tokens a text may have."""
        return self.text_positions

    @property
    def text_config(self) -> ViltConfig:
        """The configuration of the text embeddings for transformers."""
        return ViltConfig(
            vocab_size=self.text_vocabulary,
            hidden_size=self.hidden,
            max_position_embeddings=self.text_positions,
            type_vocab_size=self.text_types,
            layer_norm_eps=self.text_norm_eps,
            hidden_dropout_prob=self.dropout,
        )


class WordEmbeddings(TextEmbeddings):
    """BERT's embeddings of texts of one token type."""

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 -> (B, L, D)."""
        positions = from_the_start(input_ids)
        return super().forward(input_ids, token_type_ids=torch.zeros_like(input_ids), position_ids=positions)


class ImageEmbeddings(nn.Module):
    """Patches, a class token before them, and positions interpolated to each image's own size."""

    def __init__(self, dims: ViltDims) -> None:
        super().__init__()
        self.patch, self.grid = dims.patch, dims.position_grid
        self.projection = nn.Conv2d(3, dims.hidden, dims.patch, stride=dims.patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dims.hidden))
        self.positions = nn.Parameter(0.02 * torch.randn(1, self.grid**2 + 1, dims.hidden))
        self.dropout = nn.Dropout(dims.dropout)

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) and (B, H, W) -> (B, 1 + N, D) and bool (B, 1 + N); N patches in row-major order."""
        patches = self.projection(pixel_values).permute(0, 2, 3, 1)
        valid = pixel_mask[:, :: self.patch, :: self.patch] > 0
        patches = (patches + self._patch_positions(valid)).flatten(1, 2)
        first = (self.class_token + self.positions[:, :1]).expand(patches.shape[0], -1, -1)
        image = self.dropout(torch.cat([first, patches], dim=1))
        return image, torch.cat([valid.new_ones(valid.shape[0], 1), valid.flatten(1)], dim=1)

    def add_to_all(self, vector: Tensor) -> None:
        """Make ``vector``, (D,), part of every token of every image."""
        assert self.projection.bias is not None
        self.projection.bias = nn.Parameter(self.projection.bias + vector)
        self.class_token = nn.Parameter(self.class_token + vector)

    def _patch_positions(self, valid: Tensor) -> Tensor:
        """Bool (B, h, w) -> (B, h, w, D): bilinear with aligned corners, over the valid rows and columns."""
        rows, columns = self._weights(valid[:, :, 0]), self._weights(valid[:, 0])
        stored = self.positions[0, 1:].reshape(self.grid, -1)
        return columns[:, None] @ (rows @ stored).unflatten(-1, (self.grid, -1))

    def _weights(self, valid: Tensor) -> Tensor:
        """Bool (B, n) -> (B, n, grid): what each stored place contributes to n places, of which some are valid."""
        last = (valid.sum(1, keepdim=True) - 1).clamp(min=1)
        place = torch.arange(valid.shape[1], device=valid.device) * (self.grid - 1) / last
        weights = torch.relu(1 - (place[:, :, None] - torch.arange(self.grid, device=valid.device)).abs())
        return weights.to(self.positions.dtype)


class Prologue(nn.Module):
    """Token ids and pixels to ``text`` and ``image``, typed, and the masks of both; True takes part."""

    def __init__(self, dims: ViltDims) -> None:
        super().__init__()
        self.images = dims.images
        self.text: WordEmbeddings | UntypedEmbeddings = WordEmbeddings(dims.text_config)
        self.image = ImageEmbeddings(dims)
        self.text_type: nn.Parameter | None = nn.Parameter(torch.zeros(1, dims.hidden))
        self.image_types: nn.Parameter | None = nn.Parameter(torch.zeros(dims.image_types, dims.hidden))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor, pixel_mask: Tensor) -> Streams:
        """Token ids and mask (B, L), pixels (B, 3, H, W) with mask (B, H, W); pairs (B, 2, 3, H, W) and (B, 2, H, W).

        Makes ``text`` (B, L, D), ``text_mask`` (B, L), ``image`` (B, 1 + N, D), ``image_mask`` (B, 1 + N); the images
        of a pair become rows of their own, (2 B, 1 + N, D).
        """
        text = self.text(input_ids)
        image, image_mask = self.image(pixel_values.flatten(0, -4), pixel_mask.flatten(0, -3))
        if self.text_type is not None:
            text = text + self.text_type
        if self.image_types is not None:
            typed = image.unflatten(0, (-1, self.images)) + self.image_types[: self.images, None]
            image = typed.flatten(0, 1)
        return {"text": text, "text_mask": attention_mask > 0, "image": image, "image_mask": image_mask}

    def fold_constants(self) -> None:
        """Add BERT's token type to the positions, the text's type to its norm, and the only image's to its tokens."""
        if isinstance(self.text, WordEmbeddings) and self.text_type is not None:
            norm = self.text.LayerNorm
            norm.bias = nn.Parameter(norm.bias + self.text_type[0])
            self.text, self.text_type = UntypedEmbeddings(self.text, from_the_start), None
        if self.images == 1 and self.image_types is not None:
            self.image.add_to_all(self.image_types[0])
            self.image_types = None


class Join(nn.Module):
    """Text and image in one sequence; a pair repeats its text, several captions repeat their image."""

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """(B, L, ...) and (B', 1 + N, ...) -> (max(B, B'), L + 1 + N, ...)."""
        return torch.cat([expand_batch(text, image), expand_batch(image, text)], dim=1)


class _Branch(nn.Module):
    """What both halves of a layer have: a norm before, dropout after, and DAS's adapter beside.

    The adapter reads the stream before the norm (public code of DAS).
    """

    def __init__(self, dims: ViltDims) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dims.hidden, eps=dims.norm_eps)
        self.dropout = nn.Dropout(dims.dropout)
        self.adapter = Adapter(dims.hidden, dims.parallel_width) if dims.parallel_width else None

    def add(self, x: Tensor, out: Tensor) -> Tensor:
        x = x if self.adapter is None else x + self.adapter(x)
        return x + self.dropout(out)


class _Attention(_Branch):
    def __init__(self, dims: ViltDims) -> None:
        super().__init__(dims)
        self.heads = dims.heads
        self.query, self.key, self.value, self.output = (nn.Linear(dims.hidden, dims.hidden) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        normed = self.norm(x)

        def split(projected: Tensor) -> Tensor:  # (B, N, D) -> (B, heads, N, D / heads)
            return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        attended = F.scaled_dot_product_attention(
            split(self.query(normed)), split(self.key(normed)), split(self.value(normed)), attn_mask=mask
        )
        return self.add(x, self.output(attended.transpose(1, 2).flatten(2)))

    def one_token(self, pick: Pick, x: Tensor, mask: Tensor) -> Tensor:
        normed = self.norm(x)
        attended = attend_one_token(pick(normed), normed, self.query, self.key, self.value, self.heads, mask)
        return self.add(pick(x), self.output(attended))


class _FeedForward(_Branch):
    def __init__(self, dims: ViltDims) -> None:
        super().__init__(dims)
        self.fc1 = nn.Linear(dims.hidden, dims.ffn)
        self.fc2 = nn.Linear(dims.ffn, dims.hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.add(x, self.fc2(self.dropout(F.gelu(self.fc1(self.norm(x))))))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each with its norm before it."""

    def __init__(self, dims: ViltDims) -> None:
        super().__init__()
        self.attention = _Attention(dims)
        self.mlp = _FeedForward(dims)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) and bool (B, N), True takes part, -> (B, N, D)."""
        return self.mlp(self.attention(x, mask[:, None, None]))

    def one_token(self, pick: Pick, x: Tensor, mask: Tensor) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        return self.mlp(self.attention.one_token(pick, x, mask[:, None, None]))


class Epilogue(nn.Module):
    """Norm and pool token 0, which is the text's; join what belongs to one pair; classify."""

    def __init__(self, dims: ViltDims, task: str) -> None:
        super().__init__()
        self.images = dims.images
        self.norm = nn.LayerNorm(dims.hidden, eps=dims.norm_eps)
        self.pooler = nn.Linear(dims.hidden, dims.hidden)
        self.head = _HEADS.get(task, _mlp)(dims)

    def forward(self, streams: Streams) -> Tensor:
        """Streams to logits (B, classes)."""
        token = read_tokens(streams, "hidden", READOUT["hidden"])[:, 0]
        pooled = torch.tanh(self.pooler(self.norm(token)))
        return self.head(pooled.unflatten(0, (-1, self.images)).flatten(1))


def _mlp(dims: ViltDims) -> nn.Module:
    width = 2 * dims.hidden
    return nn.Sequential(
        nn.Linear(dims.images * dims.hidden, width),
        nn.LayerNorm(width, eps=1e-5),
        nn.GELU(),
        nn.Linear(width, dims.classes),
    )


def _linear(dims: ViltDims) -> nn.Module:
    return nn.Linear(dims.images * dims.hidden, dims.classes)


_HEADS = {"irtr": _linear, "itm": _linear}  # the others are _mlp


def rounds(dims: ViltDims) -> Rounds:
    """The steps of a ViLT in the order they run."""
    meeting = (
        Step("join", ("text", "image"), ("hidden",), light=True),
        Step("join_mask", ("text_mask", "image_mask"), ("mask",), light=True),
    )
    encoder = [(Step(f"En{i}", ("hidden", "mask"), ("hidden",), "encoder"),) for i in range(dims.layers)]
    return (meeting, *encoder)


def build(dims: ViltDims, task: str) -> StepModel:
    """A randomly initialised ViLT."""
    blocks: dict[str, nn.Module] = {"join": Join(), "join_mask": Join()}
    blocks |= {f"En{i}": EncoderLayer(dims) for i in range(dims.layers)}
    return StepModel("vilt", task, dims, Prologue(dims), rounds(dims), blocks, Epilogue(dims, task))


def example_image(dims: ViltDims) -> tuple[int, int]:
    """Return the size of an image in 4:3 in whole patches, 384 x 512 for the published model."""
    return dims.image_size, max(1, dims.image_size * 4 // 3 // dims.patch) * dims.patch


def _sizes(state: Mapping[str, Tensor], keys: KeyTable, last: str, task: str | None) -> dict[str, Any]:
    """The dims that shapes show; ``last`` is the key of the output layer of a head whose classes the task leaves open.

    Raises:
        KeyError: a tensor that sizes are read from is missing.
    """

    def find(name: str) -> Tensor | None:
        return state.get(keys.checkpoint_name(name))

    def shape(name: str) -> torch.Size:
        return state[keys.checkpoint_name(name)].shape

    head = VILT.heads[task] if task else Head()
    hidden, _, _, patch = shape("prologue.image.projection.weight")
    types = shape("prologue.image_types")[0] - 1  # the first is the text's
    adapter = find("blocks.En0.attention.adapter.down_proj.weight")
    return {
        "hidden": hidden,
        "layers": next(i for i in count() if find(f"blocks.En{i}.mlp.fc1.weight") is None),
        "ffn": shape("blocks.En0.mlp.fc1.weight")[0],
        "patch": patch,
        "position_grid": math.isqrt(shape("prologue.image.positions")[1] - 1),
        "images": head.images,
        "image_types": max(types, head.images) if types else 0,
        "text_vocabulary": shape("prologue.text.word_embeddings.weight")[0],
        "text_positions": shape("prologue.text.position_embeddings.weight")[0],
        "text_types": shape("prologue.text.token_type_embeddings.weight")[0],
        "classes": head.classes or (len(state[last]) if task and last in state else 1),
        "parallel_width": 0 if adapter is None else len(adapter),
    }


def read_public_dims(state: Mapping[str, Tensor], config: Mapping[str, Any], task: str | None) -> ViltDims:
    """Sizes from the tensors; what no shape shows from ``hyper_parameters["config"]``.

    Args:
        state: the checkpoint's tensors under their public names.
        config: ``hyper_parameters["config"]``, {} when the checkpoint has none.
        task: whose head is used; None, or one without a head in the checkpoint, for one output.

    Raises:
        KeyError: a tensor that sizes are read from is missing.
        ValueError, TypeError, IndexError: sizes that make no ViLT.
    """
    sizes = _sizes(state, PUBLIC_KEYS, f"{PUBLIC.prefix(task)}3.weight" if task else "", task)
    return ViltDims(
        **sizes,
        heads=int(config.get("num_heads", sizes["hidden"] // 64)),
        image_size=int(config.get("image_size", sizes["position_grid"] * sizes["patch"])),
        text_length=min(int(config.get("max_text_len", 40)), sizes["text_positions"]),
        dropout=float(config.get("drop_rate", 0.1)),
    )


def read_hugging_face_dims(state: Mapping[str, Tensor], config: Mapping[str, Any], task: str | None) -> ViltDims:
    """Sizes from the tensors; what no shape shows from ``config.json``.

    Args:
        state: the checkpoint's tensors under Hugging Face's names.
        config: the content of ``config.json``, which leaves out what has its default.
        task: whose head is used; None, or one without a head in the checkpoint, for one output.

    Raises:
        KeyError: a tensor that sizes are read from is missing.
        ValueError, TypeError, IndexError: sizes or settings that make no ViLT.
    """
    settings = ViltConfig.from_dict(dict(config))
    if settings.hidden_act != "gelu":
        raise ValueError(f"hidden_act {settings.hidden_act!r} is not gelu")
    sizes = _sizes(state, HUGGING_FACE_KEYS, "classifier.3.weight", task)
    return ViltDims(
        **sizes,
        heads=settings.num_attention_heads,
        image_size=settings.image_size,
        text_length=sizes["text_positions"],
        norm_eps=settings.layer_norm_eps,
        text_norm_eps=settings.layer_norm_eps,
        dropout=settings.hidden_dropout_prob,
    )


def prepare(ours: State, dims: ViltDims, state: State, task: str | None) -> State:
    """Types and ranking head of a checkpoint that is fine-tuned for another task."""
    return for_another_task(ours, state, task, "prologue.image_types", dims.image_types, PUBLIC_HEADS["itm"])


_TYPES = Part("prologue.text_type", 0, 1), Part("prologue.image_types", 1, None)
_BLOCK, _ATTENTION, _MLP = "transformer.blocks.{i}.", "blocks.En{i}.attention.", "blocks.En{i}.mlp."
_QKV = ("query", "key", "value")

PUBLIC_KEYS = KeyTable(
    renames=(
        ("text_embeddings.", "prologue.text."),
        ("transformer.patch_embed.proj.", "prologue.image.projection."),
        ("transformer.cls_token", "prologue.image.class_token"),
        ("transformer.pos_embed", "prologue.image.positions"),
        (_BLOCK + "norm1.", _ATTENTION + "norm."),
        (_BLOCK + "attn.proj.", _ATTENTION + "output."),
        (_BLOCK + "adapter0.", _ATTENTION + "adapter."),
        (_BLOCK + "norm2.", _MLP + "norm."),
        (_BLOCK + "adapter1.", _MLP + "adapter."),
        (_BLOCK + "mlp.fc1.", _MLP + "fc1."),
        (_BLOCK + "mlp.fc2.", _MLP + "fc2."),
        ("transformer.norm.", "epilogue.norm."),
        ("pooler.dense.", "epilogue.pooler."),
        ("adapter_list.{i}.0.", "skips.En{i}."),
    ),
    splits=(
        *(
            (
                f"{_BLOCK}attn.qkv.{kind}",
                tuple(Part(f"{_ATTENTION}{name}.{kind}", at, at + 1, of=3) for at, name in enumerate(_QKV)),
            )
            for kind in ("weight", "bias")
        ),
        ("token_type_embeddings.weight", _TYPES),
    ),
)

_LAYER = "vilt.encoder.layer.{i}."

HUGGING_FACE_KEYS = KeyTable(
    renames=(
        ("vilt.embeddings.text_embeddings.", "prologue.text."),
        ("vilt.embeddings.patch_embeddings.projection.", "prologue.image.projection."),
        ("vilt.embeddings.cls_token", "prologue.image.class_token"),
        ("vilt.embeddings.position_embeddings", "prologue.image.positions"),
        (_LAYER + "layernorm_before.", _ATTENTION + "norm."),
        *((f"{_LAYER}attention.attention.{name}.", f"{_ATTENTION}{name}.") for name in _QKV),
        (_LAYER + "attention.output.dense.", _ATTENTION + "output."),
        (_LAYER + "layernorm_after.", _MLP + "norm."),
        (_LAYER + "intermediate.dense.", _MLP + "fc1."),
        (_LAYER + "output.dense.", _MLP + "fc2."),
        ("vilt.layernorm.", "epilogue.norm."),
        ("vilt.pooler.dense.", "epilogue.pooler."),
    ),
    splits=(("vilt.embeddings.token_type_embeddings.weight", _TYPES),),
)

PUBLIC_HEADS = {
    "vqa": "vqa_classifier.",
    "nlvr2": "nlvr2_classifier.",
    "irtr": "rank_output.",
    "itm": "itm_score.fc.",
    "snli-ve": "snli_classifier.",
}

_BUFFERS = Leftover(r"(vilt\.embeddings\.)?text_embeddings\.(position_ids|token_type_ids)$", "a constant buffer")

PUBLIC = Format(
    name="ViLT's or DAS's public code",
    signature=(
        "text_embeddings.word_embeddings.weight",
        "transformer.patch_embed.proj.weight",
        "transformer.blocks.0.attn.qkv.weight",
    ),
    keys=PUBLIC_KEYS,
    heads=PUBLIC_HEADS,
    other_heads="{task}_classifier.",
    read_dims=read_public_dims,
    leftovers=(_BUFFERS, Leftover(r"das_gate|skip_num", "search state of the public DAS code")),
    heads_by_name={"mlm": "mlm_score.", "mpp": "mpp_score."},
)

HUGGING_FACE = Format(
    name="Hugging Face",
    signature=(
        "vilt.embeddings.text_embeddings.word_embeddings.weight",
        "vilt.embeddings.patch_embeddings.projection.weight",
        "vilt.encoder.layer.0.attention.attention.query.weight",
    ),
    keys=HUGGING_FACE_KEYS,
    heads={"vqa": "classifier.", "nlvr2": "classifier.", "irtr": "rank_output."},
    read_dims=read_hugging_face_dims,
    model_type="vilt",
    architectures={
        "vqa": "ViltForQuestionAnswering",
        "nlvr2": "ViltForImagesAndTextClassification",
        "irtr": "ViltForImageAndTextRetrieval",
    },
    leftovers=(_BUFFERS,),
    heads_by_name={"mlm": "mlm_score."},
    base_prefix="vilt.",
)

VILT = Family(
    name="vilt",
    formats=(PUBLIC, HUGGING_FACE),
    pools=(Pool("encoder", "En", 1 / 4),),
    scopes={"encoder": ("encoder",)},
    inputs=(INPUT_IDS, ATTENTION_MASK, PIXEL_VALUES, PIXEL_MASK),
    streams={"text": ("text", "text_mask"), "image": ("image", "image_mask")},
    readout=READOUT,
    outputs={"classes": (LOGITS,), "score": (MATCH,)},
    other_heads={"itm": Head(classes=2)},
    dims_type=ViltDims,
    rounds=rounds,
    build=build,
    example_image=example_image,
    image_transform=lambda dims: PixelbertTransform(dims.image_size),
    prepare=prepare,
)
