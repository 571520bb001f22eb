"""Bipartite soft matching: which tokens are alike, and their means (ToMe, Bolya et al., 2023, arXiv 2210.09461, 3).

Tokens are patches, or means of several that were merged. How many patches each stands for, its size s, travels as
log s, which is added to attention scores: keys then count as often as the patches that they stand for (proportional
attention, softmax(QK^T / sqrt(d) + log s)).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def merge_alike(x: Tensor, keys: Tensor, log_sizes: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Merge ``count`` pairs of tokens that are most alike.

    All but token 0 are dealt out in turn to two sets. Of the second, those ``count`` tokens whose nearest token of the
    first is nearest, by the cosine of their keys' mean over the heads, become part of that one: the mean of both by
    size. The others stay in their order, behind token 0, in front of the first set.

    Args:
        x: tokens, (B, N, D).
        keys: of the attention in the same layer, (B, heads, N, D / heads).
        log_sizes: (B, 1, 1, N); None where every token is one patch.
        count: at most (N - 1) // 2.

    Returns:
        Tokens, (B, N - count, D), and their log sizes, (B, 1, 1, N - count).
    """
    sizes = x.new_ones(x.shape[0], x.shape[1], 1) if log_sizes is None else log_sizes[:, 0, 0, :, None].exp()
    if count == 0:
        return x, sizes.log().transpose(1, 2)[:, None]
    metric = F.normalize(keys.float().mean(1), dim=-1)  # (B, N, D / heads)
    first, second = metric[:, 1::2], metric[:, 2::2]
    likeness, partner = (second @ first.transpose(1, 2)).max(-1)  # of each token of the second set
    order = likeness.topk(second.shape[1]).indices
    merged, kept = order[:, :count], order[:, count:].sort().values  # sorted: rounding must not change their order
    places = torch.arange(first.shape[1], device=x.device)
    into = (partner.gather(1, merged)[:, None] == places[:, None]).to(x.dtype)  # (B, first set, count), of 0 and 1

    def pick(rows: Tensor, numbers: Tensor) -> Tensor:  # of the second set
        return rows[:, 2::2].gather(1, numbers[:, :, None].expand(-1, -1, rows.shape[2]))

    added = pick(sizes, merged)
    together = sizes[:, 1::2] + into @ added
    # Weights that sum to 1, not sums that are divided: half precision has no room for those.
    means = x[:, 1::2] * (sizes[:, 1::2] / together) + (into * added.transpose(1, 2) / together) @ pick(x, merged)
    sizes = torch.cat((sizes[:, :1], pick(sizes, kept), together), dim=1)
    return torch.cat((x[:, :1], pick(x, kept), means), dim=1), sizes.log().transpose(1, 2)[:, None]
