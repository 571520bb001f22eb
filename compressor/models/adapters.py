"""The two adapters of DAS: beside a kept layer (parallel) and in place of a skipped one (skip).

Both are LayerNorm -> down -> ReLU -> up (paper section 3.3; widths in docs/architecture.md). Parameter names are those
of the public checkpoints, so that adapters trained with the public code load unchanged.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.models.steps import TokenWise


class Adapter(TokenWise):
    """Bottleneck adapter A(x) = up(relu(down(LN(x)))).

    Starts at zero output (``up_proj`` zero), so that adding one to a trained network changes nothing until it is
    trained. The public code draws both projections from N(0, 0.02) instead.

    Shapes: (B, N, hidden) -> (B, N, hidden).
    """

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.adapter_layer_norm_before = nn.LayerNorm(hidden, eps=1e-5)
        self.down_proj = nn.Linear(hidden, width)
        self.up_proj = nn.Linear(width, hidden)
        nn.init.normal_(self.down_proj.weight, std=0.02)
        nn.init.zeros_(self.down_proj.bias)
        nn.init.zeros_(self.up_proj.weight)
        nn.init.zeros_(self.up_proj.bias)

    @property
    def width(self) -> int:
        """Size of the bottleneck."""
        return self.down_proj.out_features

    @property
    def idle(self) -> bool:
        """True where it returns zeros, whatever it reads: a fresh one that was never trained or fitted."""
        return not (self.up_proj.weight.any() or self.up_proj.bias.any())

    def forward(self, x: Tensor) -> Tensor:
        """Return the adapter's output without the residual."""
        return self.up_proj(torch.relu(self.down_proj(self.adapter_layer_norm_before(x))))


class SkipAdapter(Adapter):
    """A skipped layer's replacement: x + A(x), on the layer's own output stream, (B, N, hidden)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus the adapter's output."""
        return x + super().forward(x)


class PassThrough(TokenWise):
    """A skipped layer's place where nothing stands in it (``--replace none``): its stream as it is."""

    width = 0  # of a bottleneck that is not there

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, (B, N, hidden)."""
        return x
