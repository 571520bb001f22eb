"""Any number of labels for a sentence, or a pair of them: emotions, topics, kinds of insult."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from compressor.data.baselines import Baseline
from compressor.data.layouts.input_forms import InputForm
from compressor.data.splits import Split
from compressor.data.types import Batch
from compressor.tasks.measured import Measured, resample
from compressor.tasks.task import Task
from compressor.tasks.text_classification import PAIRS, SENTENCE
from compressor.tasks.texts.label_lists import LabelLists, label_lists

LABELS = ("labels", "label", "label_names", "emotions", "topics", "tags", "categories", "genres")


def label_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the mean binary cross-entropy of all labels, as transformers trains them."""
    return F.binary_cross_entropy_with_logits(logits, batch["targets"])


def label_distillation(logits: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Return the same with the teacher's probabilities in place of the right labels."""
    return F.binary_cross_entropy_with_logits(logits, teacher.sigmoid())


def share_of_labels(logits: Tensor, batch: Batch) -> Tensor:
    """Return the share of each sample's labels, given or not, that are right, (B,)."""
    return ((logits > 0) == (batch["targets"] > 0.5)).to(logits.dtype).mean(-1)


def said_labels(logits: Tensor) -> Tensor:
    """Return the labels of a probability above one half, (B, classes) bool."""
    return logits > 0


def said_targets(outputs: Tensor) -> Tensor:
    """Return the labels that the full model gives as targets, (n, classes)."""
    return said_labels(outputs).float()


def f1_of_labels(outputs: Tensor, split: Split) -> Measured:
    """Return the F1 of all labels of all samples together (micro), and the mean over the labels (macro)."""
    said, right = said_labels(outputs).numpy(), (split.targets(range(len(split))) > 0.5).numpy()
    value, each = resample(lambda numbers: micro_f1(said[numbers], right[numbers]), len(said))
    parts = {"macro F1": macro_f1(said, right), "all labels right": float((said == right).all(1).mean())}
    return Measured(value, each, len(said), parts)


def micro_f1(said: np.ndarray, right: np.ndarray) -> float:
    """Return the F1 of labels (n, classes) bool, counted over all classes; 0 without a true positive."""
    return float(_f1(said, right, None))


def macro_f1(said: np.ndarray, right: np.ndarray) -> float:
    """Return the mean over the classes of each one's F1; that of a class that nobody has or is given is 0."""
    return float(np.mean(_f1(said, right, 0)))


def _f1(said: np.ndarray, right: np.ndarray, axis: int | None) -> np.ndarray:
    hits, named = (said & right).sum(axis), said.sum(axis) + right.sum(axis)
    return np.asarray(2 * hits / np.maximum(named, 1))


def usual_labels(train: Split, evaluation: Split) -> float:
    """Return the micro F1 of giving every sample the same labels: the frequent ones, as many as pay in training."""
    known, asked = ((split.targets(range(len(split))) > 0.5).numpy() for split in (train, evaluation))
    shares = known.mean(0)
    guesses = [np.broadcast_to(shares >= share, known.shape) for share in np.unique(shares[shares > 0])]
    best = max(guesses, key=lambda guess: micro_f1(guess, known), default=np.zeros_like(known))
    return micro_f1(np.broadcast_to(best[0], asked.shape), asked)


COLUMNS = LabelLists(
    forms=(
        *(InputForm({"text": (first,), "second": (second,), "label": LABELS}) for first, second in PAIRS),
        InputForm({"text": SENTENCE, "label": LABELS}),
    ),
    classes=label_lists,
)
MULTI_LABEL = Task(
    name="multi-label-classification",
    samples="sentences",
    images=0,
    metric="micro F1",
    scores=share_of_labels,
    measure=f1_of_labels,
    sample_metric="labels right",
    answers=said_labels,
    pseudo_targets=said_targets,
    loss=label_loss,
    distillation=label_distillation,
    probabilities=torch.sigmoid,
    baseline=Baseline("the same labels for all", usual_labels),
    layouts=(COLUMNS,),
    unlabelled=COLUMNS.unlabelled,
    purposes=("multi-label-classification", ""),
)
