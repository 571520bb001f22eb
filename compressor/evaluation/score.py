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
        value: mean over the samples, in [0, 1].
        margin: half width of the 95 % interval of the mean (normal approximation).
        samples: how many.
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
class EveryAnswer:
    """Answers of the full and the slim model to every sample of a split, (n,) each.

    ``expected``, ``full`` and ``slim`` are numbers of answers, the scores say how right each is, in [0, 1]: see
    :class:`compressor.evaluation.evaluate.Evaluation`.
    """

    expected: np.ndarray
    full: np.ndarray
    slim: np.ndarray
    full_scores: np.ndarray
    slim_scores: np.ndarray
