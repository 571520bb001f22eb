"""Metrics beside accuracy that a dataset is scored by: GLUE's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """Given answers and right classes, (n,) each, a figure; at most 1."""

    name: str
    value: Callable[[Tensor, Tensor], float]


def _counts(answers: Tensor, truth: Tensor, positive: int = 1) -> tuple[int, int, int, int]:
    """Count true and false positives, false and true negatives."""
    said, so = answers == positive, truth == positive
    pairs = (said & so, said & ~so, ~said & so, ~said & ~so)
    true_positives, false_positives, false_negatives, true_negatives = (int(found.sum()) for found in pairs)
    return true_positives, false_positives, false_negatives, true_negatives


def f1(answers: Tensor, truth: Tensor, positive: int = 1) -> float:
    """Return the F1 of one class (GLUE: MRPC, QQP); 0 without a true positive."""
    hits, false_positives, false_negatives, _ = _counts(answers, truth, positive)
    return 2 * hits / (2 * hits + false_positives + false_negatives) if hits else 0.0


def matthews(answers: Tensor, truth: Tensor) -> float:
    """Return the Matthews correlation of two classes (GLUE: CoLA); 0 where it is not defined."""
    hits, false_positives, false_negatives, rejections = _counts(answers, truth)
    product = (hits + false_positives) * (hits + false_negatives)
    product *= (rejections + false_positives) * (rejections + false_negatives)
    return (hits * rejections - false_positives * false_negatives) / math.sqrt(product) if product else 0.0


METRICS = {
    "f1": Metric("F1", f1),
    "f1 of class 0": Metric("F1", partial(f1, positive=0)),
    "matthews": Metric("Matthews correlation", matthews),
}
