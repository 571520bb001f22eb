"""Scoring a model on a split of a task."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from compressor.encoding import Split
from compressor.families import FAMILIES
from compressor.progress import QUIET, Progress
from compressor.steps import StepModel
from compressor.tasks.base import Task


class Score(BaseModel):
    """A task's score on a split.

    Attributes:
        metric: name of the score.
        value: mean over the samples, in [0, 1].
        margin: half width of the 95 % interval of the mean (normal approximation).
        samples: how many.
        loss: mean training loss.
    """

    model_config = ConfigDict(frozen=True)

    metric: str
    value: float
    margin: float
    samples: int
    loss: float


@dataclass(frozen=True)
class Evaluation:
    """A score, and the answer given to each sample (class numbers, (n,))."""

    score: Score
    answers: Tensor


def evaluate(
    model: StepModel,
    split: Split,
    task: Task,
    *,
    batch_size: int = 64,
    progress: Progress = QUIET,
    label: str = "Evaluating",
) -> Evaluation:
    """Score ``model`` in eval mode on every sample of ``split``, on the model's own device."""
    device, names = next(model.parameters()).device, FAMILIES[model.family].inputs
    scores, answers, losses = [], [], 0.0
    starts = range(0, len(split), batch_size)
    model.eval()
    with torch.inference_mode():
        for start in progress.track(starts, label, len(starts)):
            numbers = np.arange(start, min(start + batch_size, len(split)))
            batch = {name: value.to(device) for name, value in split.batch(numbers).items()}
            logits = model(**{name: batch[name] for name in names})
            scores.append(task.scores(logits, batch).cpu())
            answers.append(logits.argmax(-1).cpu())
            losses += float(task.loss(logits, batch)) * len(numbers)
    each = torch.cat(scores).double()
    margin = 1.96 * float(each.std()) / math.sqrt(len(each)) if len(each) > 1 else 0.0
    score = Score(
        metric=task.metric, value=float(each.mean()), margin=margin, samples=len(each), loss=losses / len(each)
    )
    return Evaluation(score, torch.cat(answers))
