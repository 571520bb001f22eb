"""Cache of the activations in front of the first trained parameter, one entry per sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.nn import functional as F

from compressor.data.splits import Split
from compressor.distributed import from_main, world_size
from compressor.progress import QUIET, Progress

CHUNK = 64
MEMORY_SHARE = 0.35

Tensors = Mapping[str, Tensor]


class Encoded:
    """A split behind a frozen encoder.

    Where the results fit into memory (35 % of what is free) every sample is encoded once, in fixed chunks so that
    the numbers do not depend on the order of training; otherwise each batch is encoded when it is asked for.
    A sample may have several rows of a tensor (the images of a pair), and another length than the next one's.

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
        self.stored: dict[str, list[Tensor]] | None = None
        self.chunk = max(1, CHUNK // split.rows_per_sample)
        with progress.stage(label):
            first = self._encode(np.arange(min(self.chunk, len(split))))
        self.sample_bytes = sum(value.nbytes for value in first.values()) // max(1, min(self.chunk, len(split)))
        needed = self.sample_bytes * len(split) * world_size()
        fits = from_main(lambda: needed < MEMORY_SHARE * psutil.virtual_memory().available)
        self.in_memory = fits if in_memory is None else in_memory
        if self.in_memory:
            self._store(first, progress, label)

    def __len__(self) -> int:
        return len(self.split)

    def batch(self, numbers: np.ndarray) -> dict[str, Tensor]:
        """Return the encoded samples with these numbers."""
        if self.stored is None:
            return self._encode(numbers)
        return {name: join_rows([rows[i] for i in numbers]).to(self.device) for name, rows in self.stored.items()}

    def _encode(self, numbers: np.ndarray) -> dict[str, Tensor]:
        batch = {name: value.to(self.device) for name, value in self.split.batch(numbers).items()}
        with torch.inference_mode():
            encoded = self.encode(batch)
        # Inference tensors cannot be used in training: hand out ordinary copies.
        return {name: value.clone() for name, value in encoded.items()}

    def _store(self, first: Tensors, progress: Progress, label: str) -> None:
        stored: dict[str, list[Tensor]] = {name: [] for name in first}
        starts = range(0, len(self.split), self.chunk)
        for start in progress.track(starts, label, len(starts)):
            numbers = np.arange(start, min(start + self.chunk, len(self.split)))
            for name, value in (first if start == 0 else self._encode(numbers)).items():
                stored[name] += value.cpu().chunk(len(numbers))
        self.stored = stored


def join_rows(rows: Sequence[Tensor]) -> Tensor:
    """Concatenate tensors (r, ...), shorter ones padded with zeros, which every mask that das makes leaves out."""
    shapes = [row.shape[1:] for row in rows]
    if len(set(shapes)) == 1:
        return torch.cat(list(rows))
    largest = [max(sizes) for sizes in zip(*shapes, strict=True)]

    def pad(row: Tensor) -> Tensor:
        missing = [size - length for size, length in zip(largest, row.shape[1:], strict=True)]
        return F.pad(row, [amount for size in reversed(missing) for amount in (0, size)])

    return torch.cat([pad(row) for row in rows])
