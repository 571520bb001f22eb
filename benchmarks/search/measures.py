"""What held-out samples say of subsets of layers, sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from compressor.data.batches import batches_of_like_length
from compressor.models.supernet import Supernet
from compressor.progress import Progress
from compressor.search.linear_probe import probe_answers
from compressor.search.loop import TOGETHER
from compressor.tasks import TASKS
from compressor.training.activation_cache import ANSWER, Encoded

MEASURES = DIVERGENCE, LOSS, SCORE = "divergence", "loss", "score"


def measure_subsets(
    supernet: Supernet, held_out: Encoded, subsets: Sequence[frozenset[str]], progress: Progress
) -> np.ndarray:
    """Return divergence, loss and score of each subset on each sample, (subsets, 3, samples).

    Args:
        supernet: with the adapters to be judged.
        held_out: samples encoded by ``with_teacher``.
        subsets: of the supernet's candidates.
        progress: told about the batches.
    """
    task = TASKS[supernet.model.task]
    found = np.empty((len(subsets), len(MEASURES), len(held_out)), np.float32)
    chunks = batches_of_like_length(held_out.lengths, TOGETHER)
    for numbers in progress.track(chunks, f"Scoring {len(subsets)} subsets", len(chunks)):
        batch = held_out.batch(numbers)
        answers = dict(supernet.logits_of_all(batch, subsets))
        logits, rows = torch.cat([answers[subset] for subset in subsets]), len(subsets)
        teacher, targets = (batch[name].repeat(rows, 1) for name in (ANSWER, "targets"))
        certain = per_sample(task.distillation, batch[ANSWER], batch["targets"], batch[ANSWER]).repeat(rows)
        values = (
            per_sample(task.distillation, logits, targets, teacher) - certain,
            per_sample(task.loss, logits, targets),
            task.scores(logits, {"targets": targets}),
        )
        found[:, :, numbers] = torch.stack(values).unflatten(1, (rows, -1)).transpose(0, 1).numpy()
    return found


def probe_subsets(supernet: Supernet, held_out: Encoded, subsets: Sequence[frozenset[str]]) -> list[float]:
    """Return the share of the full model's answers to the samples that a linear probe reads of each subset."""
    read: dict[frozenset[str], list[Tensor]] = {subset: [] for subset in subsets}
    answers = []
    for numbers in batches_of_like_length(held_out.lengths, TOGETHER):
        batch = held_out.batch(numbers)
        answers.append(batch[ANSWER])
        for subset, last in supernet.streams_of_all(batch, subsets):
            read[subset].append(supernet.read(last).reshape(len(numbers), -1))
    return [probe_answers(torch.cat(read[subset]), torch.cat(answers)) for subset in subsets]


def per_sample(mean: Callable[..., Tensor], logits: Tensor, targets: Tensor, *teacher: Tensor) -> Tensor:
    """Return a task's loss, which is a mean over a batch, of each sample alone, (B,)."""

    def of_one(logits: Tensor, targets: Tensor, *teacher: Tensor) -> Tensor:
        return mean(logits[None], *(one[None] for one in teacher), {"targets": targets[None]})

    return torch.vmap(of_one)(logits, targets, *teacher)
