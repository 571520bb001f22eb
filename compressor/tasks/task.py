"""The declaration of a task: its samples, loss, score, baseline and data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from compressor.data.baselines import MAJORITY, Baseline, majority_score
from compressor.data.layouts.input_forms import InputForm
from compressor.data.splits import RankedSplit, Split, UnlabelledSplit
from compressor.data.types import Batch, Layout
from compressor.evaluation.score import IndexRecall
from compressor.tasks.losses import class_distillation, class_loss, correct, count_samples, most_likely, softmax
from compressor.tasks.measured import Measured

OutputKind = Literal["classes", "score", "embedding", "tags"]
"""What a model answers: classes that are compared with each other, a score or a vector to compare with others'."""


@dataclass(frozen=True)
class GeneratedData:
    """Data that is made on the spot, for the demo, the tests and the benchmarks.

    Attributes:
        write: write so many training images (pairs, sentences) and the other splits into a folder, from a seed.
        images: of training, from which a small model learns the task.
        steps: of fine-tuning in which it does.
    """

    write: Callable[[Path, int, int], None]
    images: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """Everything das knows about a task; the defaults are those of classification.

    Attributes:
        name: as users type it.
        samples: what one sample is called, in the plural ("questions").
        images: of one sample; 0 where samples are texts.
        texts: whether a sample has a text, or two.
        classes: outputs, where the task fixes them; None when they are as many as the data has.
        output: what a model answers.
        metric: name of the score in reports; scores are shares in [0, 1], printed in per cent, and larger is better.
        scores: logits (B, classes) and batch to one score a sample, (B,), in [0, 1]. Where there is a ``measure``, or
            a gallery is ranked, it stands in for the task's score wherever a few samples are compared by themselves:
            in search and in certificates.
        measure: what a model returns for every sample of a split in order, (n, ...), and the split to the task's score,
            where that is of the whole split; None where it is the mean of ``scores``. Outputs of texts of unlike length
            are padded with zeros. What is right the split says: its ``targets`` and ``samples``.
        sample_metric: name of ``scores``, where there is a ``measure``.
        further: by name, other metrics of the same kind as ``scores``, of which the mean is reported beside it.
        answers: logits to what they say, (B, ...) whole numbers or bool; None where they are numbers or vectors that
            are compared with others'. Models agree on a sample if all of it is equal.
        pseudo_targets: what the full model returns for unlabelled inputs, (n, ...), to their targets, (n, ...); None:
            its most likely class.
        loss: logits (B, classes) and batch to the training loss, a scalar.
        distillation: student's logits, teacher's logits and batch to a loss on the same scale as ``loss``.
        terms: batch to how many samples, or words, both losses are means over, so that a large batch can be trained on
            in parts; None where a loss compares the samples of a batch with each other.
        probabilities: logits to what the user is told of each class, same shape; or to a score for each sample, (B,).
        baseline: a guesser that never sees an image.
        layouts: how its data lies on disk; the first that a folder has is read.
        unlabelled: the columns that unlabelled inputs have; the first whose columns a file has. None: no such inputs.
        generated: data made on the spot.
        split: the class of its splits: samples to batches.
        taught: targets are what the full model returns, whatever the data, which only scores; samples have no labels.
        across: what the full and the slim model return for samples, (n, ...) each, and the split whose samples they
            are, None where they are a few of it, to what slim finds in an index that the full model made; None where
            there is no index.
        purposes: what a config.json may say that a head for sequences is for, if it can be one of this task:
            "regression", "reranking", "multi-label-classification", or '' where it names no other purpose than classes.
        open_vocabulary: the data may have answers that a model does not know.
        report_val: the validation split's score is reported beside the test split's, as the dataset's papers do.
    """

    name: str
    samples: str
    images: int
    texts: bool = True
    classes: int | None = None
    output: OutputKind = "classes"
    metric: str = "accuracy"
    scores: Callable[[Tensor, Batch], Tensor] = correct
    measure: Callable[[Tensor, Split], Measured] | None = None
    sample_metric: str = ""
    further: Mapping[str, Callable[[Tensor, Batch], Tensor]] = field(default_factory=dict)
    answers: Callable[[Tensor], Tensor] | None = most_likely
    pseudo_targets: Callable[[Tensor], Tensor] | None = None
    loss: Callable[[Tensor, Batch], Tensor] = class_loss
    distillation: Callable[[Tensor, Tensor, Batch], Tensor] = class_distillation
    terms: Callable[[Batch], int] | None = count_samples
    probabilities: Callable[[Tensor], Tensor] = softmax
    baseline: Baseline = MAJORITY
    layouts: tuple[Layout, ...] = ()
    unlabelled: tuple[InputForm, ...] = ()
    generated: GeneratedData | None = None
    split: type[Split] = Split
    taught: bool = False
    across: Callable[[Tensor, Tensor, Split | None], IndexRecall] | None = None
    purposes: tuple[str, ...] = ("",)
    open_vocabulary: bool = False
    report_val: bool = False

    @property
    def ranked(self) -> bool:
        """The score comes of ranking all images and captions of a split, not of one sample after the other."""
        return issubclass(self.split, RankedSplit)

    @property
    def excludes(self) -> bool:
        """A model says one of several classes of a sample, or of a word, which exclude each other."""
        return self.output == "tags" or self.answers is most_likely

    @property
    def probed(self) -> bool:
        """A linear probe can read the answers: there is one for each sample, of what the head reads of it."""
        return not self.ranked and self.output != "tags"

    @property
    def metric_of_samples(self) -> str:
        """Name of ``scores``."""
        return self.sample_metric or self.metric


def teacher_agreement(task: Task) -> Task:
    """Return the task on unlabelled inputs: what the full model says is right, as it always is where it teaches."""
    if task.taught:
        return task
    if task.measure is not None:
        return replace(
            task,
            metric=f"{task.metric} with the full model",
            sample_metric=f"{task.sample_metric} with the full model",
            split=task.split if issubclass(task.split, UnlabelledSplit) else UnlabelledSplit,
            report_val=False,
        )
    return replace(
        task,
        metric="agreement with the full model",
        baseline=Baseline("its most frequent answer", majority_score),
        split=UnlabelledSplit,
        report_val=False,
    )
