"""Adapters inside a layer: behind one of its projections (sequential), and beside its feed-forward part (parallel).

The adapters of DAS, :mod:`compressor.models.adapters`, stand beside or in place of a whole layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SCALE = 2  # of what is added in parallel (He et al.), and of LoRA


class Bottleneck(nn.Module):
    """up(relu(down(x))), of LN(x) where it is ``normed``. Starts at zero output, (B, N, width) -> (B, N, width)."""

    def __init__(self, width: int, bottleneck: int, normed: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-5) if normed else None
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        nn.init.normal_(self.down.weight, std=0.02)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added."""
        return self.up(torch.relu(self.down(x if self.norm is None else self.norm(x))))


class Behind(nn.Module):
    """A projection and an adapter behind it: y + A(y) with y = W x."""

    def __init__(self, projection: nn.Module, adapter: Bottleneck) -> None:
        super().__init__()
        self.projection, self.adapter = projection, adapter

    def forward(self, x: Tensor) -> Tensor:
        """Return the projection with what the adapter adds."""
        y = self.projection(x)
        return y + self.adapter(y)


class BesideFeedForward(nn.Module):
    """A feed-forward part and an adapter beside it, which reads the part's input.

    Where the part ends in a module of its own, which is given what the inner projection made and then the input, for
    the residual, the adapter's output joins the latter: it is inside the norm either way.
    """

    def __init__(self, part: nn.Module, adapter: Bottleneck) -> None:
        super().__init__()
        self.part, self.adapter = part, adapter

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the part's output with what the adapter adds."""
        *inner, x = inputs
        added = SCALE * self.adapter(x)
        return self.part(*inner, x + added) if inner else self.part(x) + added
