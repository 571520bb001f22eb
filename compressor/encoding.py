"""What depends on no trained parameter is computed once per sample and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import psutil
import torch
from torch import Tensor

from compressor.progress import QUIET, Progress

CHUNK = 64
MEMORY_SHARE = 0.35

Tensors = Mapping[str, Tensor]


class Split(Protocol):
    """Numbered samples of a task."""

    def __len__(self) -> int: ...

    def batch(self, numbers: np.ndarray) -> dict[str, Tensor]:
        """The model's inputs and the task's targets."""


class Encoded:
    """A split behind a frozen encoder.

    Where the results fit into memory (35 % of what is free) every sample is encoded once, in fixed chunks so that
    the numbers do not depend on the order of training; otherwise each batch is encoded when it is asked for.

    Args:
        split: samples.
        encode: a batch on ``device`` to whatever the training needs, each tensor (B, ...).
        device: where results are handed out.
        progress: told about the encoding.
        label: what the progress calls it.
        in_memory: keep the results or not; None decides by the memory that is free now.
    """

    def __init__(
        self,
        split: Split,
        encode: Callable[[dict[str, Tensor]], Tensors],
        device: torch.device,
        progress: Progress = QUIET,
        label: str = "Encoding",
        in_memory: bool | None = None,
    ) -> None:
        self.split, self.encode, self.device = split, encode, device
        self.stored: dict[str, Tensor] | None = None
        with progress.stage(label):
            first = self._encode(np.arange(min(CHUNK, len(split))))
        size = sum(value.nbytes for value in first.values()) / max(1, min(CHUNK, len(split))) * len(split)
        fits = size < MEMORY_SHARE * psutil.virtual_memory().available
        self.in_memory = fits if in_memory is None else in_memory
        if self.in_memory:
            self._store(first, progress, label)

    def __len__(self) -> int:
        return len(self.split)

    def batch(self, numbers: np.ndarray) -> dict[str, Tensor]:
        """The encoded samples with these numbers."""
        if self.stored is None:
            return self._encode(numbers)
        return {name: value[numbers].to(self.device) for name, value in self.stored.items()}

    def _encode(self, numbers: np.ndarray) -> dict[str, Tensor]:
        batch = {name: value.to(self.device) for name, value in self.split.batch(numbers).items()}
        with torch.inference_mode():
            encoded = self.encode(batch)
        # Inference tensors cannot be used in training: hand out ordinary copies.
        return {name: value.clone() for name, value in encoded.items()}

    def _store(self, first: Tensors, progress: Progress, label: str) -> None:
        stored = {
            name: torch.empty(len(self.split), *value.shape[1:], dtype=value.dtype) for name, value in first.items()
        }
        starts = range(0, len(self.split), CHUNK)
        for start in progress.track(starts, label, len(starts)):
            numbers = np.arange(start, min(start + CHUNK, len(self.split)))
            for name, value in (first if start == 0 else self._encode(numbers)).items():
                stored[name][start : start + len(numbers)] = value.cpu()
        self.stored = stored
