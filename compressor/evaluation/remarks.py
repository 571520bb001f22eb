"""Whether a full model is worth compressing: what its answers say before any work is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from compressor.data.reading.class_labels import is_nameless
from compressor.errors import shorten
from compressor.evaluation.evaluate import Evaluation
from compressor.evaluation.score import Score
from compressor.evaluation.significance import at_most, mcnemar
from compressor.tasks.task import Task

CHANCE = 0.01


@dataclass(frozen=True)
class Numbering:
    """Another numbering of a model's classes.

    Attributes:
        classes: the data's class for each class that the model answered, the most frequent first.
        share: of the samples whose answer would be right.
    """

    classes: Mapping[int, int]
    share: float


@dataclass(frozen=True)
class Guesser:
    """A guesser that does not look at a sample, and its score.

    Attributes:
        name: what it does.
        share: its score, in [0, 1].
        p_value: how likely it is by chance alone that a model as good scores as little as the model at hand.
    """

    name: str
    share: float
    p_value: float


def remark_on(evaluation: Evaluation, task: Task, labels: Sequence[str], floor: float = 0.0) -> tuple[str, ...]:
    """Return what makes a model's score implausible, as sentences; none of a model that answers as it should.

    No model is refused for it: data of another kind than the training's may well be hard.

    Args:
        evaluation: of the model.
        task: what it was evaluated on.
        labels: name of each class.
        floor: score of the task's trivial baseline on the same samples, in [0, 1]; without training data there is none.
    """
    if task.measure is not None:
        return _remark_on_whole(evaluation.score, task, floor)
    score, share = evaluation.score, attrgetter("share")
    guessers = _guess(evaluation, task, labels, floor)
    better = max((guesser for guesser in guessers if guesser.p_value < CHANCE), key=share, default=None)
    numbering = None if task.ranked else find_numbering(evaluation, max(map(share, guessers)))
    remarks = []
    if better:
        guess = f"{better.name}, {_percent(better.share)}"
        remarks.append(f"{score.metric} {_percent(score.value)} of the model is worse than {guess}.")
    one_answer = "" if task.ranked else _find_one_answer(evaluation, labels)
    if one_answer:
        remarks.append(one_answer)
    if numbering:
        remarks.append(
            f"With its classes numbered otherwise {_percent(numbering.share)} of its answers would be right: "
            f"{_describe(numbering.classes, labels)}. Name the classes in the checkpoint (id2label) and in the data, "
            "or renumber the data."
        )
    elif remarks:
        remarks.append("Check that checkpoint, tokenizer and data belong together.")
    return tuple(remarks)


def _remark_on_whole(score: Score, task: Task, floor: float) -> tuple[str, ...]:
    """Return whether a score of a whole split is below the trivial baseline's by more than chance explains."""
    if score.value + score.margin >= floor:
        return ()
    guess = f"{task.baseline.name}, {_percent(floor)}"
    worse = f"{score.metric} {_percent(score.value)} of the model is worse than {guess}."
    return worse, "Check that checkpoint, tokenizer and data belong together."


def _guess(evaluation: Evaluation, task: Task, labels: Sequence[str], floor: float) -> list[Guesser]:
    """Return a guesser that gives one answer to all samples, or any, and the task's trivial baseline."""
    score = evaluation.score
    right = round(score.value * score.samples)
    baseline = Guesser(task.baseline.name, floor, at_most(right, score.samples, floor))
    classes, counts = evaluation.expected.unique(return_counts=True)
    if task.ranked:
        chance = 1 / len(classes)
        return [Guesser("chance", chance, at_most(right, score.samples, chance)), baseline]
    usual = int(classes[counts.argmax()])
    guessed, answered = evaluation.expected == usual, evaluation.scores > 0
    lost, gained = int((guessed & ~answered).sum()), int((answered & ~guessed).sum())
    p_value = mcnemar(lost, gained) if lost > gained else 1.0
    return [Guesser(f"always giving {_name(usual, labels)}", float(guessed.double().mean()), p_value), baseline]


def _find_one_answer(evaluation: Evaluation, labels: Sequence[str]) -> str:
    """Return that a model gives one answer to all samples, where chance does not explain it; else nothing.

    The classes are as frequent as they are: were the usual one drawn every time, that would be just as unlikely.
    """
    answers = evaluation.answers.unique()
    _, counts = evaluation.expected.unique(return_counts=True)
    samples = int(counts.sum())
    if len(answers) > 1 or (int(counts.max()) / samples) ** samples >= CHANCE:
        return ""
    return f"The model gives all {samples:,} samples the same answer, {_name(int(answers), labels)}."


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def find_numbering(evaluation: Evaluation, floor: float) -> Numbering | None:
    """Return a numbering of the model's classes under which it is right far more often; None where there is none.

    It is found on each half of the samples and tried on the other one, where it has to gain more than chance explains;
    and it has to be better than the ``floor``.
    """
    answers, expected = evaluation.answers.numpy(), evaluation.expected.numpy()
    half = np.random.default_rng(0).permutation(len(answers)) % 2 == 0
    before, after = evaluation.scores.numpy() > 0, np.zeros(len(answers), bool)
    for here, there in ((half, ~half), (~half, half)):
        after[there] = _renumber(answers[there], _match_classes(answers[here], expected[here])) == expected[there]
    lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
    if gained <= lost or mcnemar(lost, gained) >= CHANCE:
        return None
    classes = _match_classes(answers, expected)
    hits = int((_renumber(answers, classes) == expected).sum())
    if at_most(len(answers) - hits, len(answers), 1 - floor) >= CHANCE:
        return None
    return Numbering(classes, hits / len(answers))


def _match_classes(answers: np.ndarray, expected: np.ndarray) -> dict[int, int]:
    """Return the class expected for each class answered, one for one: pairs that occur most often come first.

    These are the large cells of the confusion matrix; where classes are only numbered otherwise there is one in each
    row and column.
    """
    pairs, counts = np.unique(np.stack([answers, expected]), axis=1, return_counts=True)
    classes, taken = dict[int, int](), set[int]()
    for place in np.argsort(-counts, kind="stable"):
        answer, truth = map(int, pairs[:, place])
        if answer not in classes and truth not in taken:
            classes[answer] = truth
            taken.add(truth)
    return classes


def _renumber(answers: np.ndarray, classes: Mapping[int, int]) -> np.ndarray:
    """Return answers under another numbering; -1 for those that it does not have."""
    return np.array([classes.get(int(answer), -1) for answer in answers])


def _describe(classes: Mapping[int, int], labels: Sequence[str]) -> str:
    moved = [(ours, theirs) for ours, theirs in classes.items() if ours != theirs]
    shown = [f"the model's {_name(ours, labels)} is the data's {_name(theirs, labels)}" for ours, theirs in moved]
    return shorten(shown)


def _name(number: int, labels: Sequence[str]) -> str:
    label = labels[number]
    return str(number) if label == str(number) or is_nameless(label) else f"{number} ({label})"
