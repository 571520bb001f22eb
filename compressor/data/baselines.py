"""Trivial baselines: scores of guessers that see no image, or nothing at all."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from compressor.data.splits import Split


@dataclass(frozen=True)
class Baseline:
    """A trivial guesser.

    Attributes:
        name: what it does, for reports.
        score: training and evaluation splits to its score.
    """

    name: str
    score: Callable[[Split, Split], float]


def text_only_score(train: Split, evaluation: Split) -> float:
    """Return the score of guessing each text's likeliest answer in training, without its image."""
    votes: defaultdict[tuple[str, str | None], Counter[int]] = defaultdict(Counter)
    overall: Counter[int] = Counter()
    for sample in train.samples:
        for label, score in zip(sample.labels, sample.scores, strict=True):
            votes[sample.text, sample.second][label] += score  # type: ignore[assignment]
            overall[label] += score  # type: ignore[assignment]
    anything = overall.most_common(1)[0][0]
    total = 0.0
    for sample in evaluation.samples:
        counts = votes.get((sample.text, sample.second))
        guess = counts.most_common(1)[0][0] if counts else anything
        total += dict(zip(sample.labels, sample.scores, strict=True)).get(guess, 0.0)
    return total / len(evaluation)


def majority_score(train: Split, evaluation: Split) -> float:
    """Return the accuracy of always giving the most frequent class of the training data."""
    most = Counter(sample.labels[0] for sample in train.samples).most_common(1)[0][0]
    return sum(sample.labels[0] == most for sample in evaluation.samples) / len(evaluation)


def chance_score(train: Split, evaluation: Split) -> float:
    """Return R@1, either way, of a guesser that knows neither captions nor images."""
    return 1 / len({sample.images[0] for sample in evaluation.samples})


MAJORITY = Baseline("training's most frequent class", majority_score)
