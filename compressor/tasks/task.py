"""What a task declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from compressor.data.splits import Split

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Task:
    """Batch to loss, score and answer.

    Attributes:
        name: as users type it.
        metric: name of the score in reports; scores are shares in [0, 1], printed in per cent.
        samples: what one sample is called, in the plural ("questions").
        loss: logits (B, classes) and batch to the training loss, a scalar.
        distillation: student's logits, teacher's logits and batch to a loss on the same scale as ``loss``.
        probabilities: logits to what the user is told of each class, same shape.
        scores: logits and batch to one score a sample, (B,); unused where a gallery is ranked.
        split: the class of its splits: samples to batches.
        baseline: training and evaluation splits to the score of a guesser that never sees an image.
        baseline_name: what that guesser does.
        images: of one sample.
        open_vocabulary: the data may have answers that a model does not know.
        ranked: the score comes of ranking all images and captions of a split, not of one sample after the other.
        report_val: the validation split's score is reported beside the test split's, as the dataset's papers do.
    """

    name: str
    metric: str
    samples: str
    loss: Callable[[Tensor, Batch], Tensor]
    distillation: Callable[[Tensor, Tensor, Batch], Tensor]
    probabilities: Callable[[Tensor], Tensor]
    scores: Callable[[Tensor, Batch], Tensor]
    baseline: Callable[[Split, Split], float]
    baseline_name: str
    split: type[Split] = Split
    images: int = 1
    open_vocabulary: bool = False
    ranked: bool = False
    report_val: bool = False
