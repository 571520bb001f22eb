"""Scores of the models of a job on all of its splits."""

from __future__ import annotations

import json

from compressor.evaluation.evaluate import Evaluation, evaluate
from compressor.jobs.job import Job
from compressor.models.steps import StepModel
from compressor.progress import Progress

Evaluations = tuple[Evaluation, ...]
"""Of the evaluation split first, then of the further splits."""
FullEvaluations = dict[str, Evaluations]
"""Of full models that were scored before, by all that their scores depend on (:func:`identify_full`)."""


def evaluate_splits(job: Job, model: StepModel, name: str, progress: Progress) -> Evaluations:
    """Return the scores of a model, called ``name``, on the evaluation split and on the further splits."""
    return tuple(
        evaluate(
            model,
            split,
            job.task,
            metrics=job.data.metrics,
            progress=progress,
            label=f"Evaluating the {name} model on {split.name}",
        )
        for split in (job.data.evaluation, *job.data.extra)
    )


def identify_full(job: Job) -> str:
    """Return what the scores of the full model, or of the reference that stands for it, depend on."""
    splits = (job.data.evaluation, *job.data.extra)
    parts = {
        **{"checkpoint": job.source.sha256, "dims": repr(job.model.dims), "task": job.task.name},
        "reference": str(job.reference.path) if job.reference else "",
        "data": [(split.name, split.describe()["fingerprint"]) for split in splits],
        "labels": list(job.data.labels),
        "tokens": job.tokens_digest,
        "calibration": job.settings.calibration is not None,
    }
    return json.dumps(parts)
