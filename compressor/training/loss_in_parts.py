"""The loss of a training step in parts of its batch, so that its activations fit into a fixed amount of memory.

The gradient is that of the whole batch. A batch that fits is one part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from compressor.data.types import Batch
from compressor.models.steps import StepModel

KEPT_BYTES = 1 << 29  # of activations that a part keeps for its backward pass

Forward = Callable[[dict[str, Tensor]], Tensor]
"""A batch to its logits."""


@dataclass(frozen=True)
class LossInParts:
    """A loss of batches that may be too large for one forward and backward pass.

    Attributes:
        forward: a batch to logits, (B, ...); gradients flow through it.
        loss: logits and batch to a scalar.
        terms: as of a :class:`compressor.tasks.task.Task`.
        kept: bytes of activations for each byte of a batch, as :func:`kept_per_byte` returns.
    """

    forward: Forward
    loss: Callable[[Tensor, Batch], Tensor]
    terms: Callable[[Batch], int] | None
    kept: float

    def of(self, batch: dict[str, Tensor], weight: float) -> Iterator[tuple[Tensor, float]]:
        """Yield losses with their weights, to be gone backward through and forgotten one by one.

        The gradients of the losses times their weights add up to that of the whole batch's times ``weight``.
        """
        parts = self._cut(batch)
        if len(parts) == 1:
            yield self.loss(self.forward(batch), batch), weight
        elif self.terms is None:
            # Samples of all parts are compared: each part runs once for its logits, and again in the backward pass.
            logits = [checkpoint(self.forward, part, use_reentrant=False, preserve_rng_state=False) for part in parts]
            yield self.loss(torch.cat(logits), batch), weight
        else:
            whole = self.terms(batch)
            for part in parts:
                if own := self.terms(part):  # the mean of nothing is NaN
                    yield self.loss(self.forward(part), part), weight * own / whole

    def _cut(self, batch: dict[str, Tensor]) -> Sequence[dict[str, Tensor]]:
        """Return a batch in as few parts of like size as fit; a sample's rows lie side by side, and stay together."""
        samples = len(batch["targets"])
        count = math.ceil(samples / most_samples(self.kept * _bytes(batch) / samples))
        ends = [samples * part // count for part in range(count + 1)]

        def rows(value: Tensor, first: int, last: int) -> Tensor:
            each = len(value) // samples
            return value[first * each : last * each]

        return [{name: rows(value, first, last) for name, value in batch.items()} for first, last in pairwise(ends)]


def most_samples(kept: float) -> int:
    """Return how many samples a part has at most, of each of which ``kept`` bytes are kept; at least 1."""
    return max(1, int(KEPT_BYTES / max(1.0, kept)))


def kept_per_byte(model: StepModel, forward: Forward, sample: dict[str, Tensor]) -> float:
    """Return how many bytes ``forward`` keeps for its backward pass, for each byte of what it is given.

    Attention that is written out keeps more for each token of a longer text, so the sample should be the longest.
    """
    with torch.enable_grad():
        return count_kept_bytes(model, partial(forward, sample)) / _bytes(sample)


def count_kept_bytes(model: StepModel, run: Callable[[], object]) -> int:
    """Return how many bytes autograd keeps of a run of a model for the backward pass, the model's own tensors apart.

    The device may be meta.
    """
    own = {_storage(value) for value in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(value: Tensor) -> Tensor:
        if _storage(value) not in own:
            kept[_storage(value)] = value.detach()  # so that no other one takes its place in memory
        return value.detach()

    with saved_tensors_hooks(keep, lambda value: value):
        run()
    return sum(value.untyped_storage().nbytes() for value in kept.values())


def _storage(value: Tensor) -> int:
    return value.untyped_storage()._cdata


def _bytes(batch: Batch) -> int:
    return sum(value.nbytes for value in batch.values())
