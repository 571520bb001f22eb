"""Tokens in front of the keys and values of an attention, which queries attend to besides the tokens of the stream."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Prefix(nn.Module):
    """Keys and values of ``length`` tokens, for all heads of an attention together.

    Values start at zero: the attention then mixes what it did, only weaker by the prefix's share.

    Args:
        length: tokens.
        width: of the keys and the values, all heads together.
    """

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.key, self.value = nn.Parameter(torch.empty(length, width)), nn.Parameter(torch.zeros(length, width))
        nn.init.normal_(self.key, std=0.02)

    def extend(self, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Put the prefix in front of keys and values, (B, heads, N, D / heads) each; the mask lets it pass.

        A mask is (B, 1 or heads, 1 or M, N): bool, True at what takes part, or added to the scores.
        """
        if mask is not None:
            seen = mask.new_ones if mask.dtype == torch.bool else mask.new_zeros
            mask = torch.cat([seen(*mask.shape[:-1], len(self.key)), mask], dim=-1)
        return self._before(self.key, key), self._before(self.value, value), mask

    def _before(self, prefix: Tensor, x: Tensor) -> Tensor:
        own = prefix.unflatten(1, (x.shape[1], -1)).transpose(0, 1)  # (heads, length, D / heads)
        return torch.cat([own.expand(x.shape[0], -1, -1, -1), x], dim=2)


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float = 0.0
) -> Tensor:
    """Return scaled dot-product attention, (B, heads, M, D / heads), over the prefix, where there is one, and the keys.

    Args:
        module: whose attention it is; its child ``prefix``, where it has one, is a :class:`Prefix`.
        query: (B, heads, M, D / heads).
        key: (B, heads, N, D / heads).
        value: (B, heads, N, D / heads).
        mask: as :meth:`Prefix.extend` has it; None where nothing is masked.
        dropout: share of the weights that is dropped.
    """
    if prefix := prefix_of(module):
        key, value, mask = prefix.extend(key, value, mask)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)


def prefix_of(module: nn.Module) -> Prefix | None:
    """Return the prefix of an attention; None where it has none."""
    prefix = module._modules.get("prefix")
    return prefix if isinstance(prefix, Prefix) else None


def attend_in_library(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Do the same as one of transformers' attention functions (``AttentionInterface``)."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if prefix := prefix_of(module):
        key, value, attention_mask = prefix.extend(key, value, attention_mask)
    return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
