"""METER's co-attention layer: self-attention, cross-attention to the other stream, feed-forward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from compressor.models.adapters import Adapter
from compressor.models.layer_parts import ATTENTION, CROSS_ATTENTION, FEED_FORWARD, LayerPart
from compressor.models.prefix import attend
from compressor.models.steps import Pick, TokenQuery, TokenWise
from compressor.models.trims.single_query import attend_one_token


@dataclass(frozen=True)
class FusionSizes:
    """Widths of the streams, of the feed-forward and of the parallel adapters, 0 without; heads; share dropped out."""

    hidden: int
    heads: int
    ffn: int
    parallel_width: int
    dropout: float


class _Projections(nn.Module):
    """Multi-head attention of one stream on another, up to the output projection."""

    reads_prefix = True

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value = (nn.Linear(hidden, hidden) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        def split(projected: Tensor) -> Tensor:  # (B, N, D) -> (B, heads, N, D / heads)
            return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        attended = attend(
            self,
            split(self.query(x)),
            split(self.key(context)),
            split(self.value(context)),
            mask,
            dropout=self.dropout if self.training else 0.0,
        )
        return attended.transpose(1, 2).flatten(2)

    def one_token(self, token: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        return attend_one_token(token, context, self.query, self.key, self.value, self.heads, mask)


class _AttentionOutput(nn.Module):
    """LN(dense(attended) + x + A(x)): the parallel adapter reads the sub-layer's input and sits inside the norm."""

    def __init__(self, sizes: FusionSizes) -> None:
        super().__init__()
        self.dense = nn.Linear(sizes.hidden, sizes.hidden)
        self.LayerNorm = nn.LayerNorm(sizes.hidden, eps=1e-12)
        self.dropout = nn.Dropout(sizes.dropout)
        self.adapter = Adapter(sizes.hidden, sizes.parallel_width) if sizes.parallel_width else None

    def forward(self, attended: Tensor, x: Tensor) -> Tensor:
        x = x if self.adapter is None else x + self.adapter(x)
        return self.LayerNorm(self.dropout(self.dense(attended)) + x)


class _FusionAttention(nn.Module):
    def __init__(self, sizes: FusionSizes) -> None:
        super().__init__()
        self.self = _Projections(sizes.hidden, sizes.heads, sizes.dropout)
        self.output = _AttentionOutput(sizes)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        return self.output(self.self(x, context, mask), x)

    def one_token(self, token: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        return self.output(self.self.one_token(token, context, mask), token)


class _Intermediate(nn.Module):
    def __init__(self, sizes: FusionSizes) -> None:
        super().__init__()
        self.dense = nn.Linear(sizes.hidden, sizes.ffn)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.dense(x))


class _FeedForwardOutput(nn.Module):
    def __init__(self, sizes: FusionSizes) -> None:
        super().__init__()
        self.dense = nn.Linear(sizes.ffn, sizes.hidden)
        self.LayerNorm = nn.LayerNorm(sizes.hidden, eps=1e-12)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, inner: Tensor, x: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(inner)) + x)


class FusionLayer(nn.Module):
    """Self-attention, cross-attention to the other stream, feed-forward; each followed by its norm.

    The parallel adapter of the feed-forward reads its input and is added outside its norm (facts of the public code).
    """

    def __init__(self, sizes: FusionSizes) -> None:
        super().__init__()
        self.attention = _FusionAttention(sizes)
        self.crossattention = _FusionAttention(sizes)
        self.intermediate = _Intermediate(sizes)
        self.output = _FeedForwardOutput(sizes)
        self.adapter = Adapter(sizes.hidden, sizes.parallel_width) if sizes.parallel_width else None

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


class FusionAttention(nn.Module):
    """The self-attention of a fusion layer, its norm included."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.attention: _FusionAttention = layer.attention

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, D) and an additive mask, (B, 1, 1, N), or None, -> (B, N, D)."""
        out: Tensor = self.attention(x, x, mask)
        return out

    def one_token(self, pick: Pick, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        return self.attention.one_token(pick(x), x, mask)


class FusionCrossAttention(TokenQuery):
    """The attention of a fusion layer to the other stream, its norm included."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.crossattention: _FusionAttention = layer.crossattention

    def forward(self, x: Tensor, other: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, D), (B, M, D) and an additive mask, (B, 1, 1, M), or None, -> (B, N, D)."""
        out: Tensor = self.crossattention(x, other, mask)
        return out

    def one_token(self, pick: Pick, x: Tensor, *others: Tensor | None) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        other, mask = others
        assert other is not None
        return self.crossattention.one_token(pick(x), other, mask)


class FusionFeedForward(TokenWise):
    """The feed-forward of a fusion layer, its norm included."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.intermediate, self.output = layer.intermediate, layer.output

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        out: Tensor = self.output(self.intermediate(x), x)
        return out


FUSION_PARTS = (
    LayerPart(ATTENTION, (0, 2), FusionAttention),
    LayerPart(CROSS_ATTENTION, (0, 1, 3), FusionCrossAttention),
    LayerPart(FEED_FORWARD, (0,), FusionFeedForward),
)
