"""What a task declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Task:
    """Batch to loss, score and answer.

    Attributes:
        name: as users type it.
        metric: name of the score in reports; scores are shares in [0, 1], printed in per cent.
        loss: logits (B, classes) and batch to the training loss, a scalar.
        distillation: student's and teacher's logits to a loss on the same scale as ``loss``.
        scores: logits and batch to one score a sample, (B,).
        load_data: folder, transforms and classes to the task's data.
        floor: training and evaluation splits to the score of the best guesser that sees one modality only.
        floor_name: what that guesser does.
    """

    name: str
    metric: str
    loss: Callable[[Tensor, Batch], Tensor]
    distillation: Callable[[Tensor, Tensor], Tensor]
    scores: Callable[[Tensor, Batch], Tensor]
    load_data: Callable[..., Any]
    floor: Callable[[Any, Any], float]
    floor_name: str
