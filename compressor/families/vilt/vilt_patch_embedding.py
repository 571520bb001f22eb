"""ViLT's patch embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PatchEmbedding(nn.Module):
    """Patches, a class token before them, and positions interpolated to each image's own size.

    Args:
        hidden: width of a token.
        patch: side of a patch in pixels.
        position_grid: side of the grid of stored positions.
        dropout: share of what is returned that is dropped out in training.
    """

    def __init__(self, hidden: int, patch: int, position_grid: int, dropout: float) -> None:
        super().__init__()
        self.patch, self.grid = patch, position_grid
        self.projection = nn.Conv2d(3, hidden, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, hidden))
        self.positions = nn.Parameter(0.02 * torch.randn(1, self.grid**2 + 1, hidden))
        self.dropout = nn.Dropout(dropout)

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
