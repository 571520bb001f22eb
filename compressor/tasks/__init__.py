"""Tasks: what a batch is worth, and how an answer is read. One explicit registry."""

from __future__ import annotations

from dataclasses import replace

import torch

from compressor.data.baselines import chance_score, majority_score, text_only_score
from compressor.data.splits import RankedSplit, UnlabelledSplit
from compressor.errors import usage_error
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
    baseline=text_only_score,
    baseline_name="question-only guesser",
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
    baseline=majority_score,
    baseline_name="training's most frequent class",
    images=0,
)
NLVR2 = replace(
    TEXT_CLASSIFICATION,
    name="nlvr2",
    samples="statements",
    baseline=text_only_score,
    baseline_name="statement-only guesser",
    images=2,
    report_val=True,
)
SNLI_VE = replace(NLVR2, name="snli-ve", samples="hypotheses", baseline_name="hypothesis-only guesser", images=1)
IRTR = replace(
    TEXT_CLASSIFICATION,
    name="irtr",
    metric="mean R@1",
    samples="captions",
    baseline=chance_score,
    baseline_name="chance",
    images=1,
    split=RankedSplit,
    ranked=True,
)

TASKS: dict[str, Task] = {task.name: task for task in (VQA, NLVR2, IRTR, SNLI_VE, TEXT_CLASSIFICATION)}
"""Every task das knows, by the name users type."""


def teacher_agreement(task: Task) -> Task:
    """The task on inputs without answers: the full model's answer is the right one."""
    return replace(
        task,
        metric="agreement with the full model",
        baseline=majority_score,
        baseline_name="its most frequent answer",
        split=UnlabelledSplit,
        report_val=False,
    )


def check_task(name: str) -> None:
    """Refuse a task that a checkpoint may have a head for, but that das cannot score.

    Raises:
        UsageError: no such task.
    """
    if name not in TASKS:
        raise usage_error(
            f"--task {name}: das loads such a head, and has no data or metric to compress it for",
            f"one of {', '.join(TASKS)}",
            f"--task {next(iter(TASKS))}",
        )
