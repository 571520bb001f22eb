"""ViLT (Kim et al., ICML 2021): words and image patches in one sequence, through one pre-LN encoder.

The forward pass computes what the public code computes, without its chance: the patches of a padded image keep their
row-major order and padding is masked, where the public code permutes patches and draws padding at random. A patch
belongs to the image when the pixel mask is 1 at its top-left pixel. LayerNorm eps is 1e-6 in the encoder (1e-12 in
Hugging Face's conversions), 1e-12 in the text embeddings, 1e-5 in heads and adapters; GELU is the erf form; attention
probabilities have no dropout; token 0 of the text is pooled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.vilt.modeling_vilt import TextEmbeddings

from compressor.architectures.vilt import READOUT, ViltDims, vilt_rounds
from compressor.families.embeddings import UntypedEmbeddings, from_the_start
from compressor.families.vilt.vilt_patch_embedding import PatchEmbedding
from compressor.families.vision_language import build_head
from compressor.models.adapters import Adapter
from compressor.models.prefix import attend
from compressor.models.readout import read_tokens
from compressor.models.steps import Pick, StepModel, Streams, TokenWise, expand_batch
from compressor.models.trims.single_query import attend_one_token


class ViltWordEmbeddings(TextEmbeddings):
    """BERT's embeddings of texts of one token type."""

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 -> (B, L, D)."""
        positions = from_the_start(input_ids)
        return super().forward(input_ids, token_type_ids=torch.zeros_like(input_ids), position_ids=positions)


class ViltPrologue(nn.Module):
    """Token ids and pixels to ``text`` and ``image``, typed, and the masks of both; True takes part."""

    def __init__(self, dims: ViltDims) -> None:
        super().__init__()
        self.images = dims.images
        self.text: ViltWordEmbeddings | UntypedEmbeddings = ViltWordEmbeddings(dims.text_config)
        self.image = PatchEmbedding(dims.hidden, dims.patch, dims.position_grid, dims.dropout)
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
        if isinstance(self.text, ViltWordEmbeddings) and self.text_type is not None:
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


class _ViltAttention(_Branch):
    reads_prefix = True

    def __init__(self, dims: ViltDims) -> None:
        super().__init__(dims)
        self.heads = dims.heads
        self.query, self.key, self.value, self.output = (nn.Linear(dims.hidden, dims.hidden) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        normed = self.norm(x)

        def split(projected: Tensor) -> Tensor:  # (B, N, D) -> (B, heads, N, D / heads)
            return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        attended = attend(self, split(self.query(normed)), split(self.key(normed)), split(self.value(normed)), mask)
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


class ViltEncoderLayer(nn.Module):
    """Self-attention and feed-forward, each with its norm before it."""

    def __init__(self, dims: ViltDims) -> None:
        super().__init__()
        self.attention = _ViltAttention(dims)
        self.mlp = _FeedForward(dims)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) and bool (B, N), True takes part, -> (B, N, D)."""
        return self.mlp(self.attention(x, mask[:, None, None]))

    def one_token(self, pick: Pick, x: Tensor, mask: Tensor) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        return self.mlp(self.attention.one_token(pick, x, mask[:, None, None]))


class ViltAttention(nn.Module):
    """The attention of a layer, and the norm in front of it."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.attention: _ViltAttention = layer.attention

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) and bool (B, N), True takes part, -> (B, N, D)."""
        out: Tensor = self.attention(x, mask[:, None, None])
        return out

    def one_token(self, pick: Pick, x: Tensor, mask: Tensor) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        return self.attention.one_token(pick, x, mask[:, None, None])


class ViltFeedForward(TokenWise):
    """The feed-forward of a layer, and the norm in front of it."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.mlp: nn.Module = layer.mlp

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        out: Tensor = self.mlp(x)
        return out


class ViltEpilogue(nn.Module):
    """Norm and pool token 0, which is the text's; join what belongs to one pair; classify."""

    def __init__(self, dims: ViltDims, task: str) -> None:
        super().__init__()
        self.images = dims.images
        self.norm = nn.LayerNorm(dims.hidden, eps=dims.norm_eps)
        self.pooler = nn.Linear(dims.hidden, dims.hidden)
        self.head = build_head(task, dims.images * dims.hidden, 2 * dims.hidden, dims.classes)

    def forward(self, streams: Streams) -> Tensor:
        """Streams to logits (B, classes)."""
        token = read_tokens(streams, "hidden", READOUT["hidden"])[:, 0]
        pooled = torch.tanh(self.pooler(self.norm(token)))
        return self.head(pooled.unflatten(0, (-1, self.images)).flatten(1))


def build_vilt(dims: ViltDims, task: str) -> StepModel:
    """Return a randomly initialised ViLT."""
    blocks: dict[str, nn.Module] = {"join": Join(), "join_mask": Join()}
    blocks |= {f"En{i}": ViltEncoderLayer(dims) for i in range(dims.layers)}
    return StepModel("vilt", task, dims, ViltPrologue(dims), vilt_rounds(dims), blocks, ViltEpilogue(dims, task))
