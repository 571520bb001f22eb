"""Pseudo-labels: label unlabelled inputs with the full model's predictions."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import Tensor

from compressor.data.splits import Split, UnlabelledSplit
from compressor.evaluation.evaluate import collect_outputs, evaluate
from compressor.jobs.job import Job
from compressor.progress import Progress
from compressor.saved_run.resume import RunCheckpoint, Stage


def label_with_full(job: Job, checkpoint: RunCheckpoint, progress: Progress) -> Job:
    """Return the job with the full model's most likely class, or all that it returns, as the label of each input.

    Predicted in the batches in which the model is evaluated, so that it agrees with itself to the last input. A resumed
    job takes the labels that were saved.
    """
    data, labels = job.data, checkpoint.result(Stage.LABEL)
    if labels is None:
        labels = (_ask_once if job.task.taught else _ask_each)(job, progress)
        checkpoint.finish(Stage.LABEL, labels)
    train, held_out, evaluation, *extra = map(_with_labels, data.splits, labels)
    return replace(job, data=replace(data, train=train, held_out=held_out, evaluation=evaluation, extra=tuple(extra)))


def _ask_each(job: Job, progress: Progress) -> list[Tensor]:
    """Return the labels of each split."""
    return [_ask(job, split, progress, f"Asking the full model, {split.name}") for split in job.data.splits]


def _ask_once(job: Job, progress: Progress) -> list[Tensor]:
    """Return the vectors of the texts of each split; the full model reads each text once, however many have it."""
    splits = job.data.splits
    rows = {text: row for row, text in enumerate(dict.fromkeys(text for split in splits for text in split.samples))}
    every = copy.copy(job.data.train)
    every.samples = tuple(rows)
    vectors = _ask(job, every, progress, "Asking the full model")
    return [vectors[[rows[text] for text in split.samples]] for split in splits]


def _ask(job: Job, split: Split, progress: Progress, label: str) -> Tensor:
    """Return the numbers of the most likely classes, (n,), or the targets that the task makes of outputs, (n, ...)."""
    if job.task.pseudo_targets is not None:
        return job.task.pseudo_targets(collect_outputs(job.model, split, progress, label))
    return evaluate(job.model, split, job.task, progress=progress, label=label).answers


def _with_labels(split: Split, labels: Tensor) -> Split:
    assert isinstance(split, UnlabelledSplit)
    return split.with_labels(labels.tolist()) if labels.ndim == 1 else split.with_targets(labels)
