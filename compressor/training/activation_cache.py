"""Cache of the activations in front of the first trained parameter, one entry per sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
ANSWER = "teacher"  # name of the full model's logits among what is encoded

Tensors = Mapping[str, Tensor]
Encoder = Callable[[dict[str, Tensor]], Tensors]


@dataclass(frozen=True)
class Answered:
    """What an encoding leaves to the next one of the same samples.

    Attributes:
        kept: names of what it kept in memory.
        answers: the full model's logits of each sample.
    """

    kept: tuple[str, ...]
    answers: list[Tensor]


class Encoded:
    """A split behind a frozen encoder.

    Where the results fit into memory (35 % of what is free) every sample is encoded once, in fixed chunks of like
    length so that the numbers do not depend on the order of training. Where they do not, the full model's logits are
    kept if they fit, and all else is encoded for each batch that is asked for. A sample may have several rows of a
    tensor (the images of a pair), and another length than the next one's: it is kept as long as its chunk, not as the
    longest of all.

    Args:
        split: samples.
        encode: a batch on ``device`` to whatever the training needs, each tensor (B, ...).
        device: where results are handed out.
        progress: told about the encoding.
        label: what the progress calls it.
        unanswered: the same as ``encode`` without the full model's logits, where it returns them.
        numbers: the samples that will be asked for; None are all.
        kept: names of what is kept in memory; None decides by the memory that is free now.
        answered: of an earlier encoding; ``encode`` is without the full model's logits then, and the same is kept.

    Attributes:
        lengths: tokens of each sample of the split, (n,).
        sample_bytes: of a sample of mean length.
        largest_bytes: of the longest sample.
    """

    def __init__(
        self,
        split: Split,
        encode: Encoder,
        device: torch.device,
        progress: Progress = QUIET,
        label: str = "Encoding",
        unanswered: Encoder | None = None,
        numbers: np.ndarray | None = None,
        kept: Sequence[str] | None = None,
        answered: Answered | None = None,
    ) -> None:
        self.split, self.device = split, device
        with progress.stage("Encoding a first batch"):
            self.lengths = split.lengths
            used = np.arange(len(split)) if numbers is None else numbers
            lengths, size = self.lengths[used], max(1, CHUNK // split.rows_per_sample)
            chunks = [used[rows] for rows in batches_of_like_length(lengths, size)]
            # Bytes grow with the length, so samples of mean length have the mean of all.
            mean = int((lengths > lengths.mean()).sum()) // len(chunks[0])
            known = {at: self._encode(chunks[at], encode) for at in {0, mean}}
        self.largest_bytes, self.sample_bytes = (_bytes(known[at]) // len(chunks[at]) for at in (0, mean))
        self._stored: dict[str, list[Tensor]] = {ANSWER: answered.answers} if answered else {}
        everything, answers = (*known[mean], *self._stored), (ANSWER,) if unanswered else ()
        if answered:
            kept = answered.kept
        elif kept is None:
            kept = from_main(lambda: _choose((everything, answers), known[mean], len(used) / len(chunks[mean])))
        self.kept = tuple(kept)
        self._rest = None if self.kept == everything else unanswered if self.kept else encode
        if set(self.kept) - self._stored.keys():
            self._store(chunks, known, encode, progress, label)

    def __len__(self) -> int:
        return len(self.split)

    @property
    def answered(self) -> Answered | None:
        """What the next encoding of these samples need not ask the full model for; None where nothing was kept."""
        return Answered(self.kept, self._stored[ANSWER]) if ANSWER in self._stored else None

    def batch(self, numbers: np.ndarray) -> dict[str, Tensor]:
        """Return the encoded samples with these numbers."""
        encoded = self._encode(numbers, self._rest) if self._rest else {}
        if self.kept:
            rows = [{name: self._stored[name][number] for name in self.kept} for number in numbers]
            encoded |= {name: value.to(self.device) for name, value in join_streams(rows).items()}
        return encoded

    def _encode(self, numbers: np.ndarray, encode: Encoder) -> dict[str, Tensor]:
        batch = {name: value.to(self.device) for name, value in self.split.batch(numbers).items()}
        with torch.inference_mode():
            encoded = encode(batch)
        # Inference tensors cannot be used in training: hand out ordinary copies.
        return {name: value.clone() for name, value in encoded.items()}

    def _store(
        self,
        chunks: Sequence[np.ndarray],
        known: Mapping[int, Tensors],
        encode: Encoder,
        progress: Progress,
        label: str,
    ) -> None:
        nothing = torch.empty(0)
        new = {name: [nothing] * len(self.split) for name in self.kept if name not in self._stored}
        for at, numbers in enumerate(progress.track(chunks, label, len(chunks))):
            encoded = known.get(at) or self._encode(numbers, encode)
            for name, rows in new.items():
                for number, row in zip(numbers, encoded[name].cpu().chunk(len(numbers)), strict=True):
                    rows[number] = row
        self._stored |= new


def fits_into_memory(size: float) -> bool:
    """Return whether every process can keep so many bytes: together 35 % of what is free."""
    return size * world_size() < MEMORY_SHARE * psutil.virtual_memory().available


def _choose(choices: Sequence[Sequence[str]], chunk: Tensors, chunks: float) -> Sequence[str]:
    """Return the first of the choices of tensors of which so many chunks fit into memory; else none."""
    sizes = (sum(chunk[name].nbytes for name in names) * chunks for names in choices)
    return next((names for names, size in zip(choices, sizes, strict=True) if fits_into_memory(size)), ())


def _bytes(encoded: Tensors) -> int:
    return sum(value.nbytes for value in encoded.values())
