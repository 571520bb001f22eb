"""Splits of texts with their images, each embedded by itself; the full model's vectors are what a slim one answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from compressor.data.splits import UnlabelledSplit


class PairedSplit(UnlabelledSplit):
    """Texts, each with its image; both may be in several samples."""

    @property
    def has_targets(self) -> bool:
        """Whether the full model was asked for its vectors."""
        return self._targets is not None

    def targets(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Return the full model's vectors of these samples, (B, 2, width), texts first; zeros before it was asked."""
        return torch.zeros(len(indices), 2, self.classes) if self._targets is None else super().targets(indices)
