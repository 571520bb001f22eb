"""Visual question answering with soft scores, as METER and ViLT train and score it."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from compressor.data.vqa import load_vqa, question_only_floor
from compressor.tasks.base import Batch, Task


def loss(logits: Tensor, batch: Batch) -> Tensor:
    """Binary cross-entropy with the soft scores, times the number of answers (METER's VQA objective)."""
    return F.binary_cross_entropy_with_logits(logits, batch["targets"]) * logits.shape[-1]


def distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """The same loss with the teacher's answer probabilities in place of the annotators' scores."""
    return F.binary_cross_entropy_with_logits(logits, teacher.sigmoid()) * logits.shape[-1]


def scores(logits: Tensor, batch: Batch) -> Tensor:
    """VQA score of each question: the soft score of the answer with the largest logit, (B,)."""
    return batch["targets"].gather(-1, logits.argmax(-1, keepdim=True))[:, 0]


VQA = Task("vqa", "VQA score", loss, distillation, scores, load_vqa, question_only_floor, "question-only guesser")
