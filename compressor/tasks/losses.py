"""Losses, probabilities and scores that several tasks share, as METER's and ViLT's public code trains and scores."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from compressor.data.types import Batch


def soft_binary_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the binary cross-entropy with the soft scores, times the number of answers: METER's and ViLT's for VQA."""
    return F.binary_cross_entropy_with_logits(logits, batch["targets"]) * logits.shape[-1]


def soft_binary_distillation(logits: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Return the same loss with the teacher's answer probabilities in place of the annotators' scores."""
    return F.binary_cross_entropy_with_logits(logits, teacher.sigmoid()) * logits.shape[-1]


def soft_scores(logits: Tensor, batch: Batch) -> Tensor:
    """Return the soft score of the answer with the largest logit, (B,)."""
    return batch["targets"].gather(-1, logits.argmax(-1, keepdim=True))[:, 0]


def class_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the cross-entropy of the right class.

    For retrieval the classes are the captions of one image: logits (B * n, 1) against targets (B, n).
    """
    targets = batch["targets"]
    return F.cross_entropy(logits.reshape(targets.shape), targets.argmax(-1))


def class_distillation(logits: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Return the cross-entropy with the teacher's probabilities in place of the right class."""
    shape = batch["targets"].shape
    return F.cross_entropy(logits.reshape(shape), teacher.reshape(shape).softmax(-1))


def count_samples(batch: Batch) -> int:
    """Return how many samples a batch has."""
    return len(batch["targets"])


def correct(logits: Tensor, batch: Batch) -> Tensor:
    """Return 1 where the largest logit is the right class, else 0; (B,)."""
    targets = batch["targets"]
    return (logits.reshape(targets.shape).argmax(-1) == targets.argmax(-1)).to(logits.dtype)


def most_likely(logits: Tensor) -> Tensor:
    """Return the number of the class with the largest logit, (B,)."""
    return logits.argmax(-1)


def softmax(logits: Tensor) -> Tensor:
    """Return the probabilities of classes that exclude each other."""
    return torch.softmax(logits, -1)


def single_score(logits: Tensor) -> Tensor:
    """Return the score of each sample, (B,), where a model has one output, (B, 1)."""
    return logits[:, 0]
