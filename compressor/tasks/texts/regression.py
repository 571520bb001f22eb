"""A score for a sentence, or for a pair of them, as people gave it: STS-B (Cer et al., SemEval 2017)."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from compressor.data.baselines import Baseline
from compressor.data.layouts.columns import NamedColumns
from compressor.data.layouts.input_forms import InputForm
from compressor.data.layouts.label_columns import Classes
from compressor.data.reading.row_source import RowSource
from compressor.data.splits import Split
from compressor.data.texts.scored_pairs import read_score
from compressor.data.types import Batch
from compressor.tasks.losses import single_score
from compressor.tasks.measured import Measured, resample
from compressor.tasks.task import Task
from compressor.tasks.text_classification import PAIRS, SENTENCE
from compressor.tasks.vectors.correlation import pearson, spearman

SCORE = ("score", "label", "labels", "similarity_score", "similarity", "relatedness_score", "rating", "target")


def only_score(train: RowSource, column: str, root: Path) -> Classes:
    """Return the one output of a model, which is a score."""
    return Classes(("score",), read_score)


def squared_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the mean squared error of scores, (B, 1) each, as transformers trains regression."""
    return F.mse_loss(logits, batch["targets"])


def squared_distance(logits: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Return the same with the teacher's scores in place of the right ones."""
    return F.mse_loss(logits, teacher)


def closeness(logits: Tensor, batch: Batch) -> Tensor:
    """Return 1 / (1 + |error|) of each score, (B,), in [0, 1]."""
    return 1 / (1 + (logits - batch["targets"]).abs()[:, 0])


def correlations(outputs: Tensor, split: Split) -> Measured:
    """Return Spearman's rank correlation with the right scores, and Pearson's; ``outputs`` are (n, 1)."""
    said, right = outputs[:, 0].double().numpy(), split.targets(range(len(split)))[:, 0].double().numpy()
    value, each = resample(lambda numbers: spearman(said[numbers], right[numbers]), len(said))
    return Measured(value, each, len(said), {"Pearson": pearson(said, right)})


def unchanged(outputs: Tensor) -> Tensor:
    """Return the full model's scores, which are right where nobody gave any."""
    return outputs


COLUMNS = NamedColumns(
    forms=(
        *(InputForm({"text": (first,), "second": (second,), "label": SCORE}) for first, second in PAIRS),
        InputForm({"text": SENTENCE, "label": SCORE}),
    ),
    classes=only_score,
)
REGRESSION = Task(
    name="regression",
    samples="sentences",
    images=0,
    classes=1,
    output="score",
    metric="Spearman correlation",
    scores=closeness,
    measure=correlations,
    sample_metric="1 / (1 + |error|)",
    answers=None,
    pseudo_targets=unchanged,
    probabilities=single_score,
    loss=squared_loss,
    distillation=squared_distance,
    baseline=Baseline("one score for all", lambda train, evaluation: 0.0),
    layouts=(COLUMNS,),
    unlabelled=COLUMNS.unlabelled,
    purposes=("regression", "reranking"),
)
