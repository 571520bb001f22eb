"""Attention of one query token, and the layers it makes cheap.

One token needs no keys and values of its own: with q_h the query of head h and x_n the tokens attended to, the scores
are q_h . (W_K,h x_n + b_K) = (W_K,h^T q_h) . x_n + const, and softmax drops the constant; the values are summed before
they are projected, sum_n p_n (W_V x_n + b_V) = W_V (sum_n p_n x_n) + b_V, for the p_n sum to 1. With N tokens of width
D this is 2 D^2 N multiply-adds less, and the same result.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from compressor.models.steps import Pick


def attend_one_token(
    token: Tensor, context: Tensor, query: nn.Linear, key: nn.Linear, value: nn.Linear, heads: int, mask: Tensor | None
) -> Tensor:
    """Return multi-head attention of one token on ``context``, up to the output projection, without dropout.

    Args:
        token: the one that asks, (B, 1, D).
        context: the tokens it attends to, (B, N, D).
        query: projection of ``token``.
        key: projection of ``context``.
        value: projection of ``context``.
        heads: number of heads.
        mask: (B, 1, 1, N), or (B, 1, heads, N), added to the scores, or bool and True at what takes part; None where
            nothing is masked.

    Returns:
        (B, 1, D). Softmax is in float32 at least.
    """
    width = query.out_features // heads
    per_head = query(token).reshape(-1, heads, width).transpose(0, 1)  # (heads, B, D / heads)
    queries = (per_head * width**-0.5) @ key.weight.unflatten(0, (heads, width))  # (heads, B, D)
    scores = queries.transpose(0, 1) @ context.transpose(1, 2)  # (B, heads, N)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask[:, 0], torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask[:, 0]
    mixed = scores.softmax(-1).to(context.dtype) @ context  # (B, heads, D)
    values = mixed.transpose(0, 1) @ value.weight.unflatten(0, (heads, width)).transpose(1, 2)  # (heads, B, D / heads)
    joined = values.transpose(0, 1).reshape(-1, 1, heads * width)
    return joined if value.bias is None else joined + value.bias


def one_token_of(layer: Any, pick: Pick, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Return one token, (B, 1, D), of the output of a library's layer of BERT's layout.

    Args:
        layer: BERT's, or one with submodules of the same names.
        pick: takes the token.
        hidden: (B, N, D).
        mask: (B, 1, 1, N); None where nothing is masked.
    """
    return layer.feed_forward_chunk(one_token_of_attention(layer.attention, pick, hidden, mask))


def one_token_of_attention(attention: Any, pick: Pick, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Return one token, (B, 1, D), of the output of the attention of such a layer, its norm included.

    Args:
        attention: BERT's, or one with submodules of the same names.
        pick: takes the token.
        hidden: (B, N, D).
        mask: (B, 1, 1, N); None where nothing is masked.
    """
    token, inner = pick(hidden), attention.self
    heads = inner.num_attention_heads
    return attention.output(attend_one_token(token, hidden, inner.query, inner.key, inner.value, heads, mask), token)


def one_token_of_clip(layer: Any, pick: Pick, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Return one token, (B, 1, D), of the output of a library's pre-LN layer of CLIP's layout.

    Args:
        layer: CLIP's, or one with submodules of the same names.
        pick: takes the token.
        hidden: (B, N, D).
        mask: (B, 1, 1, N), of what the token attends to; None where nothing is masked.
    """
    normed, inner = layer.layer_norm1(hidden), layer.self_attn
    projections = inner.q_proj, inner.k_proj, inner.v_proj
    token = pick(hidden) + inner.out_proj(attend_one_token(pick(normed), normed, *projections, inner.num_heads, mask))
    return token + layer.mlp(layer.layer_norm2(token))
