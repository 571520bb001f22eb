"""Cache of the activations in front of the first trained parameter, one entry per sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import psutil
import torch
from torch import Tensor

from compressor.data.batches import batches_of_like_length
from compressor.data.splits import Split
from compressor.distributed import from_main, world_size
from compressor.models.padding import join_streams
from compressor.progress import QUIET, Progress

CHUNK = 64
MEMORY_SHARE = 0.35

Tensors = Mapping[str, Tensor]


class Encoded:
    """A split behind a frozen encoder.

    Where the results fit into memory (35 % of what is free) every sample is encoded once, in fixed chunks of like
    length so that the numbers do not depend on the order of training; otherwise each batch is encoded when it is asked
    for. A sample may have several rows of a tensor (the images of a pair), and another length than the next one's: it
    is kept as long as its chunk, not as the longest of all.

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
        with progress.stage(label):
            self.lengths = split.lengths
            chunks = batches_of_like_length(self.lengths, max(1, CHUNK // split.rows_per_sample))
            # Bytes grow with the length, so samples of mean length have the mean of all.
            mean = int((self.lengths > self.lengths.mean()).sum()) // len(chunks[0])
            known = {at: self._encode(chunks[at]) for at in {0, mean}}
        self.largest_bytes, self.sample_bytes = (_bytes(known[at]) // len(chunks[at]) for at in (0, mean))
        needed = self.sample_bytes * len(split) * world_size()
        fits = from_main(lambda: needed < MEMORY_SHARE * psutil.virtual_memory().available)
        self.in_memory = fits if in_memory is None else in_memory
        if self.in_memory:
            self._store(chunks, known, progress, label)

    def __len__(self) -> int:
        return len(self.split)

    def batch(self, numbers: np.ndarray) -> dict[str, Tensor]:
        """Return the encoded samples with these numbers."""
        if self.stored is None:
            return self._encode(numbers)
        samples = [{name: rows[number] for name, rows in self.stored.items()} for number in numbers]
        return {name: value.to(self.device) for name, value in join_streams(samples).items()}

    def _encode(self, numbers: np.ndarray) -> dict[str, Tensor]:
        batch = {name: value.to(self.device) for name, value in self.split.batch(numbers).items()}
        with torch.inference_mode():
            encoded = self.encode(batch)
        # Inference tensors cannot be used in training: hand out ordinary copies.
        return {name: value.clone() for name, value in encoded.items()}

    def _store(self, chunks: list[np.ndarray], known: Mapping[int, Tensors], progress: Progress, label: str) -> None:
        stored: dict[str, list[Tensor]] = {}
        for at, numbers in enumerate(progress.track(chunks, label, len(chunks))):
            for name, value in (known.get(at) or self._encode(numbers)).items():
                rows = stored.setdefault(name, [value] * len(self.split))
                for number, row in zip(numbers, value.cpu().chunk(len(numbers)), strict=True):
                    rows[number] = row
        self.stored = stored


def _bytes(encoded: Tensors) -> int:
    return sum(value.nbytes for value in encoded.values())
