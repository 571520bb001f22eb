"""Attention and feed-forward of the library's layers, by their layout: BERT's, CLIP's and ViT's.

Each takes a layer of the library and shares its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from compressor.models.layer_parts import ATTENTION, FEED_FORWARD, LayerPart
from compressor.models.steps import Pick, TokenWise
from compressor.models.trims.single_query import attend_one_token, one_token_of_attention


class BertAttention(nn.Module):
    """Self-attention, and the norm behind it."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.attention = layer.attention

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N, D) and (B, 1, 1, N), or None, -> (B, N, D)."""
        out: Tensor = self.attention(x, mask)[0]
        return out

    def one_token(self, pick: Pick, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        return one_token_of_attention(self.attention, pick, x, mask)


class BertFeedForward(TokenWise):
    """Feed-forward, and the norm behind it."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.intermediate, self.output = layer.intermediate, layer.output

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        out: Tensor = self.output(self.intermediate(x), x)
        return out


class ClipAttention(nn.Module):
    """A norm, and self-attention behind it."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer_norm1, self.self_attn = layer.layer_norm1, layer.self_attn

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        out: Tensor = x + self.self_attn(self.layer_norm1(x), attention_mask=None)[0]
        return out

    def one_token(self, pick: Pick, x: Tensor) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        normed, inner = self.layer_norm1(x), self.self_attn
        projections = inner.q_proj, inner.k_proj, inner.v_proj
        attended = attend_one_token(pick(normed), normed, *projections, inner.num_heads, None)
        out: Tensor = pick(x) + inner.out_proj(attended)
        return out


class ClipFeedForward(TokenWise):
    """A norm, and feed-forward behind it."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer_norm2, self.mlp = layer.layer_norm2, layer.mlp

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        out: Tensor = x + self.mlp(self.layer_norm2(x))
        return out


class VitAttention(nn.Module):
    """A norm, and self-attention behind it."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layernorm_before, self.attention, self.dropout = layer.layernorm_before, layer.attention, layer.dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        out: Tensor = x + self.dropout(self.attention(self.layernorm_before(x))[0])
        return out

    def one_token(self, pick: Pick, x: Tensor) -> Tensor:
        """Return the output, (B, 1, D), at the token that ``pick`` takes."""
        normed, inner = self.layernorm_before(x), self.attention
        projections = inner.q_proj, inner.k_proj, inner.v_proj
        attended = attend_one_token(pick(normed), normed, *projections, inner.num_attention_heads, None)
        out: Tensor = pick(x) + self.dropout(inner.o_proj(attended))
        return out


class VitFeedForward(TokenWise):
    """A norm, and feed-forward behind it."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layernorm_after, self.mlp, self.dropout = layer.layernorm_after, layer.mlp, layer.dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        out: Tensor = x + self.dropout(self.mlp(self.layernorm_after(x)))
        return out


def halves(
    attention: Callable[[Any], nn.Module],
    feed_forward: Callable[[Any], nn.Module],
    reads: tuple[int, ...] = (0,),
    layer: Callable[[Any], nn.Module] = lambda block: block,
) -> tuple[LayerPart, ...]:
    """Return the two parts of a layer; ``reads`` says what its attention reads, ``layer`` finds it in its block."""
    return (
        LayerPart(ATTENTION, reads, lambda block: attention(layer(block))),
        LayerPart(FEED_FORWARD, (0,), lambda block: feed_forward(layer(block))),
    )
