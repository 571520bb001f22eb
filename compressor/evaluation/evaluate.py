"""Scoring a model on a split of a task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compressor.checkpoints.finite import is_finite
from compressor.data.batches import batches_of_like_length
from compressor.data.splits import RankedSplit, Split
from compressor.distributed import all_gather, deal
from compressor.errors import input_error
from compressor.evaluation.metrics import METRICS
from compressor.evaluation.ranking import hits, match_scores, recalls
from compressor.evaluation.score import EveryAnswer, Score
from compressor.families import FAMILIES
from compressor.models.steps import StepModel
from compressor.progress import QUIET, Progress
from compressor.tasks.task import Task

PARITY_SAMPLES = 200


@dataclass(frozen=True)
class Evaluation:
    """A score, and what it comes of, on the CPU.

    Attributes:
        score: the task's.
        answers: to each sample, (n,): a class number, or for retrieval the number of the best image.
        logits: of the samples that :func:`parity_indices` names, (m, classes); for retrieval how well each of these
            captions matches its own image, (m, 1).
        expected: the best answer to each sample, numbered as ``answers``, (n,).
        scores: how right each answer is, (n,), in [0, 1]; for retrieval 1 where a caption finds its image.
    """

    score: Score
    answers: Tensor
    logits: Tensor
    expected: Tensor
    scores: Tensor


def pair_answers(full: Evaluation, slim: Evaluation) -> EveryAnswer:
    """Return two models' answers to the same samples, in few bytes."""
    return EveryAnswer(
        expected=slim.expected.int().numpy(),
        full=full.answers.int().numpy(),
        slim=slim.answers.int().numpy(),
        full_scores=full.scores.float().numpy(),
        slim_scores=slim.scores.float().numpy(),
    )


def parity_indices(samples: int) -> np.ndarray:
    """Return the indices of up to 200 samples, spread evenly, that exports are compared on, (m,)."""
    return np.unique(np.linspace(0, samples - 1, min(samples, PARITY_SAMPLES)).astype(int))


def evaluate(
    model: StepModel,
    split: Split,
    task: Task,
    *,
    metrics: Sequence[str] = (),
    batch_size: int = 64,
    progress: Progress = QUIET,
    label: str = "Evaluating",
) -> Evaluation:
    """Return the score of ``model`` in eval mode on every sample of ``split``, on the model's own device.

    Args:
        model: full or slim.
        split: samples of ``task``.
        task: says how they are scored.
        metrics: keys of ``METRICS`` that belong to the dataset.
        batch_size: rows of the model's batch.
        progress: told about the batches.
        label: what it calls them.

    Raises:
        InputError: the model answers with NaN or infinity.
    """
    if isinstance(split, RankedSplit):
        return _ranked(model.eval(), split, task, batch_size, progress, label)
    return evaluate_samples(model, split, task, metrics=metrics, batch_size=batch_size, progress=progress, label=label)


def evaluate_samples(
    model: StepModel,
    split: Split,
    task: Task,
    *,
    metrics: Sequence[str] = (),
    batch_size: int = 64,
    progress: Progress = QUIET,
    label: str = "Evaluating",
) -> Evaluation:
    """Return a score sample by sample, in batches of texts of like length, as :func:`evaluate` does without ranking.

    Of retrieval the score is how often the right caption is told from those it is trained against, as a search has it.

    Raises:
        InputError: the model answers with NaN or infinity.
    """
    model.eval()
    device, names = next(model.parameters()).device, FAMILIES[model.family].input_names
    scores, answers, truth, losses, kept = [], [], [], [], []
    wanted = parity_indices(len(split))
    batches = deal(batches_of_like_length(split.lengths, max(1, batch_size // split.rows_per_sample)))
    with torch.inference_mode():
        for numbers in progress.track(batches, label, len(batches)):
            batch = {name: value.to(device) for name, value in split.batch(numbers).items()}
            logits = model(**{name: batch[name] for name in names})
            check_logits(logits, split, numbers)
            scores.append(task.scores(logits, batch).cpu())
            answers.append(logits.argmax(-1).cpu())
            kept.append(logits.float().cpu()[np.isin(numbers, wanted)])
            truth.append(batch["targets"].argmax(-1).cpu())
            losses.append(float(task.loss(logits, batch)) * len(numbers))
    order = np.concatenate(all_gather(batches))
    place, place_of_wanted = order.argsort(), order[np.isin(order, wanted)].argsort()
    each, given, expected = (torch.cat(all_gather(rows))[place] for rows in (scores, answers, truth))
    each = each.double()
    score = Score(
        metric=task.metric,
        value=float(each.mean()),
        margin=_margin(each),
        samples=len(each),
        loss=sum(all_gather(losses)) / len(each),
        parts={METRICS[name].name: METRICS[name].value(given, expected) for name in metrics},
    )
    return Evaluation(score, given, torch.cat(all_gather(kept))[place_of_wanted], expected, each)


def _ranked(
    model: StepModel, split: RankedSplit, task: Task, batch_size: int, progress: Progress, label: str
) -> Evaluation:
    """Return the mean of image and text retrieval's R@1; the loss is on the captions that training would draw."""
    matches, owners = match_scores(model, split, batch_size, progress, label), torch.from_numpy(split.owners)
    check_logits(matches.T, split, range(len(split)))
    by_image, by_caption = (found[1].double() for found in hits(matches, owners))
    drawn = torch.tensor([split.captions_of(number) for number in range(len(split))])
    logits, targets = matches[owners[:, None], drawn], torch.zeros(drawn.shape)
    targets[:, 0] = 1
    score = Score(
        metric=task.metric,
        value=float(by_image.mean() + by_caption.mean()) / 2,
        margin=math.hypot(_margin(by_image), _margin(by_caption)) / 2,
        samples=len(split),
        loss=float(task.loss(logits, {"targets": targets})),
        parts=recalls(matches, owners),
    )
    own = matches[owners, torch.arange(len(owners))][parity_indices(len(split)), None]
    return Evaluation(score, matches.argmax(0), own, owners, by_caption)


def check_logits(logits: Tensor, split: Split, numbers: Sequence[int] | np.ndarray) -> None:
    """Refuse logits (B, classes) of these samples of a split that are NaN or infinite.

    Raises:
        InputError: names one of the samples.
    """
    if not is_finite(logits):
        row = int((~logits.isfinite()).flatten(1).any(1).nonzero()[0])
        raise input_error(
            "answers-not-finite",
            f"the model answers with NaN or infinity, as to sample {numbers[row]} of {split.name}",
            "logits that are numbers",
            "compare with the program that trained it: weights or inputs may be too large for float32",
        )


def _margin(each: Tensor) -> float:
    return 1.96 * float(each.std()) / math.sqrt(len(each)) if len(each) > 1 else 0.0
