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
        loss: mean training loss.
        parts: further metrics by name, at most 1 each: GLUE's, or recall at several ranks.
    """

    metric: str
    value: float
    margin: float
    samples: int
    loss: float
    parts: Mapping[str, float] = {}


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
