"""Embeddings that models share: of texts without token types, and positions of patches at another image size."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from transformers.models.bert.modeling_bert import BertEmbeddings
    from transformers.models.roberta.modeling_roberta import RobertaEmbeddings
    from transformers.models.vilt.modeling_vilt import TextEmbeddings


class UntypedEmbeddings(nn.Module):
    """What the library's embeddings compute when every token is of type 0, whose row is part of the positions here.

    Args:
        typed: RoBERTa's, BERT's or ViLT's embeddings; their words and norm are shared, not copied.
        place: token ids, (B, L), to the position of each, (B, L) or (1, L).
    """

    def __init__(
        self, typed: RobertaEmbeddings | BertEmbeddings | TextEmbeddings, place: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.word_embeddings, self.LayerNorm, self.place = typed.word_embeddings, typed.LayerNorm, place
        positions = typed.position_embeddings.weight + typed.token_type_embeddings.weight[0]
        self.position_embeddings = nn.Embedding.from_pretrained(positions, freeze=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 -> (B, L, D)."""
        return self.LayerNorm(self.word_embeddings(input_ids) + self.position_embeddings(self.place(input_ids)))


def from_the_start(input_ids: Tensor) -> Tensor:
    """Positions of tokens, (B, L), counted from 0, padding or not: (1, L)."""
    return torch.arange(input_ids.shape[1], device=input_ids.device)[None]


def untyped_roberta(typed: RobertaEmbeddings) -> UntypedEmbeddings:
    """RoBERTa's embeddings, whose positions count tokens from behind the padding token's."""
    place, padding = type(typed).create_position_ids_from_input_ids, typed.padding_idx
    return UntypedEmbeddings(typed, lambda ids: place(ids, padding))


def resize_positions(positions: Tensor, grid: int, class_tokens: int = 1, antialias: bool = False) -> Tensor:
    """Return positions of a square of patches, (class tokens + g * g, D), at another side: (class tokens + grid^2, D).

    Those of the class tokens, which come first, are kept; the others are resampled bicubically, as in METER and
    transformers, some of whose models smooth beforehand (``antialias``).
    """
    old = math.isqrt(len(positions) - class_tokens)
    if old == grid:
        return positions
    square = positions[class_tokens:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(square, size=(grid, grid), mode="bicubic", antialias=antialias)
    return torch.cat([positions[:class_tokens], resized.permute(0, 2, 3, 1).flatten(1, 2)[0]])
