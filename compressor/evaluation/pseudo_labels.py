"""Inputs without answers: the full model is asked once, and its answers are the right ones from then on."""

from __future__ import annotations

from dataclasses import replace

import torch

from compressor.data.splits import Split, UnlabelledSplit
from compressor.evaluation.evaluate import evaluate
from compressor.job import Job
from compressor.progress import Progress
from compressor.resume import Resumable


def with_own_answers(job: Job, keep: Resumable, progress: Progress) -> Job:
    """The job with the full model's most likely class as the answer to each of its inputs.

    Asked in the batches in which the model is evaluated, so that it agrees with itself to the last input. A resumed
    job takes the answers that were kept.
    """
    data = job.data
    if "answers" not in keep.state:
        label = "Asking the full model, {}"
        keep.state["answers"] = [
            evaluate(job.model, split, job.task, progress=progress, label=label.format(split.name)).answers
            for split in data.splits
        ]
        keep.save()

    def answered(split: Split, labels: torch.Tensor) -> Split:
        assert isinstance(split, UnlabelledSplit)
        return split.with_labels(labels.tolist())

    train, held_out, evaluation = map(answered, data.splits, keep.state["answers"])
    return replace(job, data=replace(data, train=train, held_out=held_out, evaluation=evaluation))
