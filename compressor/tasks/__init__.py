"""Tasks: what a batch is worth, and how an answer is read. One explicit registry."""

from __future__ import annotations

from dataclasses import replace

import torch

from compressor.data.splits import InputSplit, RankedSplit, chance_floor, majority_floor, text_only_floor
from compressor.tasks.losses import (
    class_distillation,
    class_loss,
    right,
    soft_binary_distillation,
    soft_binary_loss,
    soft_scores,
    softmax,
)
from compressor.tasks.task import Task

VQA = Task(
    name="vqa",
    metric="VQA score",
    samples="questions",
    loss=soft_binary_loss,
    distillation=soft_binary_distillation,
    probabilities=torch.sigmoid,
    scores=soft_scores,
    floor=text_only_floor,
    floor_name="question-only guesser",
    open_vocabulary=True,
)
TEXT_CLASSIFICATION = Task(
    name="text-classification",
    metric="accuracy",
    samples="sentences",
    loss=class_loss,
    distillation=class_distillation,
    probabilities=softmax,
    scores=right,
    floor=majority_floor,
    floor_name="training's most frequent class",
    images=0,
)
NLVR2 = replace(
    TEXT_CLASSIFICATION,
    name="nlvr2",
    samples="statements",
    floor=text_only_floor,
    floor_name="statement-only guesser",
    images=2,
    dev_apart=True,
)
SNLI_VE = replace(NLVR2, name="snli-ve", samples="hypotheses", floor_name="hypothesis-only guesser", images=1)
IRTR = replace(
    TEXT_CLASSIFICATION,
    name="irtr",
    metric="mean R@1",
    samples="captions",
    floor=chance_floor,
    floor_name="chance",
    images=1,
    split=RankedSplit,
    ranked=True,
)

TASKS: dict[str, Task] = {task.name: task for task in (VQA, NLVR2, IRTR, SNLI_VE, TEXT_CLASSIFICATION)}
"""Every task das knows, by the name users type."""


def judged_by_full(task: Task) -> Task:
    """The task on inputs without answers: the full model's answer is the right one."""
    return replace(
        task,
        metric="agreement with the full model",
        floor=majority_floor,
        floor_name="its most frequent answer",
        split=InputSplit,
        dev_apart=False,
    )
