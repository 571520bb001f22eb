"""Samples to batches: of like length where order does not matter, and in training in an order of chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TOGETHER = 50  # batches of an epoch that are sorted together, as transformers' ``train_sampling_strategy`` does
SHARE = 4  # parts at least that an epoch is sorted in, where it has as many batches


def batches_of_like_length(lengths: Sequence[int] | np.ndarray, size: int) -> list[np.ndarray]:
    """Return the numbers of all samples in batches of ``size``, the longest first: what is too large shows at once.

    Args:
        lengths: tokens of each sample.
        size: samples of a batch; the last one has what is left.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]


def batch_of_step(step: int, size: int, samples: int, seed: int) -> np.ndarray:
    """Return the sample numbers (size,) of step ``step``, drawn whatever their length.

    Epochs are shuffled by (seed, epoch), so that it needs no memory.
    """
    size = min(size, samples)
    epoch, at = divmod(step, samples // size)
    return _shuffled(samples, seed, epoch)[at * size : (at + 1) * size]


def steps_per_epoch(size: int, samples: int) -> int:
    """Return the number of training steps in one pass over the data."""
    return max(1, samples // min(size, samples))


class TrainingOrder:
    """The samples of every training step: in each epoch all of them once, in batches of like length.

    An epoch is shuffled and cut into parts, which are sorted by length and cut into batches; the batches are shuffled.
    It follows from (seed, epoch), so that training can be resumed at any step.

    Args:
        lengths: tokens of each sample.
        size: samples of a step; what is left of an epoch is in none.
        seed: of the order.
        groups: numbers of what samples belong to, (n,), where those of one group are to share their batches: whole
            groups are shuffled then, and sorted by length. None where each sample is for itself.
    """

    def __init__(self, lengths: np.ndarray, size: int, seed: int, groups: np.ndarray | None = None) -> None:
        self.lengths, self.size, self.seed, self.groups = lengths, min(size, len(lengths)), seed, groups
        self.steps = steps_per_epoch(size, len(lengths))
        self._epoch, self._batches = -1, np.empty((0, 0), dtype=int)

    def batch(self, step: int) -> np.ndarray:
        """Return the sample numbers (size,) of training step ``step``."""
        epoch, at = divmod(step, self.steps)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._order(epoch)
        return self._batches[at]

    def samples(self, steps: int) -> np.ndarray:
        """Return the numbers of all samples that the first ``steps`` have, each once."""
        return np.unique(np.concatenate([self.batch(step) for step in range(steps)]))

    def longest(self, steps: int) -> np.ndarray:
        """Return the number of the longest sample that the first ``steps`` have, (1,)."""
        samples = self.samples(steps)
        return samples[[self.lengths[samples].argmax()]]

    def _order(self, epoch: int) -> np.ndarray:
        """Return the batches of an epoch, (steps, size)."""
        samples = self._shuffle(epoch)[: self.steps * self.size]
        together = self.size * max(1, min(TOGETHER, self.steps // SHARE))
        parts = np.split(samples, range(together, len(samples), together))
        samples = np.concatenate([part[np.argsort(self.lengths[part], kind="stable")] for part in parts])
        return np.random.default_rng((self.seed, epoch, 1)).permutation(samples.reshape(self.steps, self.size))

    def _shuffle(self, epoch: int) -> np.ndarray:
        """Return the samples in the order of chance of an epoch, those of a group side by side."""
        samples = _shuffled(len(self.lengths), self.seed, epoch)
        if self.groups is None:
            return samples
        names, places = np.unique(self.groups, return_inverse=True)
        turn = np.random.default_rng((self.seed, epoch, 2)).permutation(len(names))
        return samples[np.argsort(turn[places[samples]], kind="stable")]


def _shuffled(samples: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(samples)
