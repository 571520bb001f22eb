"""What an evaluation leaves to be stored: a score, and both models' answers. Read without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from compressor.values import Value


class Score(Value):
    """A task's score on a split.

    Attributes:
        metric: name of the score.
        value: mean over the samples, or of all of them together; in [0, 1], but correlations, in [-1, 1].
        margin: half width of the 95 % interval of the value (normal approximation).
        samples: how many; queries, where one query has several candidates.
        loss: mean training loss; None where the samples have nothing that a model is trained towards.
        parts: further metrics by name, at most 1 each: GLUE's, or recall at several ranks.
        unit: what ``samples`` counts, in the plural, where that is not the task's samples.
    """

    metric: str
    value: float
    margin: float
    samples: int
    loss: float | None
    parts: Mapping[str, float] = {}
    unit: str = ""


class IndexRecall(Value):
    """What queries find in an index of documents, by the model that made either; shares in [0, 1].

    Attributes:
        sought: what is to be found, in words.
        at: documents that a query finds.
        full_on_full: recall of the full model's queries on its own index.
        slim_on_full: of the slim model's queries on the full model's index, which then need not be made again.
        slim_on_slim: of the slim model's queries on its own index.
        margin: half width of the 95 % interval of ``slim_on_full`` less ``full_on_full``, query by query.
        queries, documents: how many.
    """

    sought: str
    at: int
    full_on_full: float
    slim_on_full: float
    slim_on_slim: float
    margin: float
    queries: int
    documents: int


@dataclass(frozen=True)
class EveryScore:
    """What two models' scores come of, (n,) each: ``scores`` of :class:`compressor.evaluation.evaluate.Evaluation`."""

    full_scores: np.ndarray
    slim_scores: np.ndarray


@dataclass(frozen=True)
class EveryAnswer(EveryScore):
    """Numbers of the right, the full and the slim model's answers, too, (n,) each; the scores are of these samples."""

    expected: np.ndarray
    full: np.ndarray
    slim: np.ndarray
