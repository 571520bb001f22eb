"""Scoring a model on a split of a task."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compressor.checkpoints.finite import is_finite
from compressor.data.batches import batches_of_like_length
from compressor.data.pairs.paired_split import PairedSplit
from compressor.data.splits import RankedSplit, Split
from compressor.device import use_fast_products
from compressor.distributed import all_gather, deal
from compressor.errors import input_error
from compressor.evaluation.metrics import METRICS
from compressor.evaluation.ranking import encode_apart, match_scores
from compressor.evaluation.score import EveryAnswer, EveryScore, Score
from compressor.evaluation.significance import margin_of
from compressor.families import FAMILIES
from compressor.models.padding import join_rows
from compressor.models.steps import StepModel
from compressor.progress import QUIET, Progress
from compressor.tasks.task import Task
from compressor.tasks.towers.matches import hits, recalls

PARITY_SAMPLES = 200
NONE = torch.empty(0, dtype=torch.long)


@dataclass(frozen=True)
class Evaluation:
    """A score, and what it comes of, on the CPU.

    Attributes:
        score: the task's.
        answers: to each sample, (n, ...): a class number, or for retrieval the number of the best image; none, (0,),
            where what a model returns is no answer but a number or a vector.
        logits: of the samples that :func:`parity_indices` names, (m, classes); for retrieval how well each of these
            captions matches its own image, (m, 1).
        expected: the best answer to each sample, numbered as ``answers``, (n,); none, (0,), where the score is of the
            whole split.
        scores: how right each answer is, (n,), in [0, 1]; for retrieval 1 where a caption finds its image. Of a score
            of the whole split what its units contribute, (units,).
        outputs: what the model returns for every sample, (n, ...), where the score is of the whole split; else None.
    """

    score: Score
    answers: Tensor
    logits: Tensor
    expected: Tensor
    scores: Tensor
    outputs: Tensor | None = None


def pair_answers(full: Evaluation, slim: Evaluation) -> EveryScore:
    """Return two models' scores on the same samples, and their answers where they are numbered, in few bytes."""
    scores = full.scores.float().numpy(), slim.scores.float().numpy()
    if not len(slim.expected):
        return EveryScore(*scores)
    return EveryAnswer(*scores, *(x.int().numpy() for x in (slim.expected, full.answers, slim.answers)))


def share_agreed(full: Evaluation, slim: Evaluation) -> float | None:
    """Return the share of the samples that two models give the same answer to; None where they give none."""
    return share_equal(full.answers, slim.answers) if len(full.answers) else None


def share_equal(ours: Tensor, theirs: Tensor) -> float:
    """Return the share of rows that are equal throughout, of answers (n, ...)."""
    return float((ours == theirs).reshape(len(ours), -1).all(1).double().mean())


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
    with use_fast_products(model):
        if isinstance(split, RankedSplit):
            return _ranked(model.eval(), split, task, batch_size, progress, label)
        return evaluate_samples(
            model, split, task, metrics=metrics, batch_size=batch_size, progress=progress, label=label
        )


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
    scores, answers, truth, losses, kept, batches = [], [], [], [], [], []
    further: dict[str, list[Tensor]] = {name: [] for name in task.further}
    parity = parity_indices(len(split))
    wanted = parity if task.measure is None else np.arange(len(split))
    for numbers, batch, logits in _forward(model, split, batch_size, progress, label):
        scores.append(task.scores(logits, batch).cpu())
        for name, rows in further.items():
            rows.append(task.further[name](logits, batch).cpu())
        if task.answers is not None:
            answers.append(task.answers(logits).cpu())
        kept.append(logits.float().cpu()[np.isin(numbers, wanted)])
        truth.append(batch["targets"].argmax(-1).cpu())
        if split.has_targets:
            losses.append(float(task.loss(logits, batch)) * len(numbers))
        batches.append(numbers)
    order = np.concatenate(all_gather(batches))
    place, place_of_wanted = order.argsort(), order[np.isin(order, wanted)].argsort()
    outputs = join_rows(all_gather(kept))[place_of_wanted]
    loss = sum(all_gather(losses)) / len(order) if split.has_targets else None
    given = NONE if task.answers is None else join_rows(all_gather(answers))[place]
    if task.measure is not None:
        found = task.measure(outputs, split)
        score = Score(
            metric=found.metric or task.metric,
            value=found.value,
            margin=found.margin,
            samples=found.samples,
            loss=loss,
            parts=found.parts,
            unit=found.unit,
        )
        return Evaluation(score, given, outputs[parity], NONE, torch.from_numpy(found.each), outputs)
    each, expected = (torch.cat(all_gather(rows))[place] for rows in (scores, truth))
    each = each.double()
    score = Score(
        metric=task.metric,
        value=float(each.mean()),
        margin=margin_of(each.numpy()),
        samples=len(each),
        loss=loss,
        parts={METRICS[name].name: METRICS[name].value(given, expected) for name in metrics}
        | {name: float(torch.cat(all_gather(rows)).double().mean()) for name, rows in further.items()},
    )
    return Evaluation(score, given, outputs, expected, each)


def collect_outputs(model: StepModel, split: Split, progress: Progress = QUIET, label: str = "Asking") -> Tensor:
    """Return what a model returns for every sample of a split in order, (n, ...), on the CPU; no answers are needed.

    Raises:
        InputError: the model answers with NaN or infinity.
    """
    rows = [(numbers, logits.float().cpu()) for numbers, _, logits in _forward(model, split, 64, progress, label)]
    order, outputs = zip(*all_gather(rows), strict=True)
    return join_rows(outputs)[np.concatenate(order).argsort()]


def _forward(
    model: StepModel, split: Split, batch_size: int, progress: Progress, label: str
) -> Iterator[tuple[np.ndarray, dict[str, Tensor], Tensor]]:
    """Yield numbers, inputs and targets, and logits, of this process's share of batches of texts of like length.

    Of two towers each text and each image is encoded once, and no inputs are yielded.
    """
    model.eval()
    device, names = next(model.parameters()).device, FAMILIES[model.family].input_names
    batches = deal(batches_of_like_length(split.lengths, max(1, batch_size // split.rows_per_sample)))
    if isinstance(split, PairedSplit):
        vectors = encode_apart(model, split, progress)
        check_logits(vectors, split, range(len(split)))
        yield from ((numbers, {"targets": split.targets(numbers)}, vectors[numbers]) for numbers in batches)
        return
    with torch.inference_mode():
        for numbers in progress.track(batches, label, len(batches)):
            batch = {name: value.to(device) for name, value in split.batch(numbers).items()}
            logits = model(**{name: batch[name] for name in names})
            check_logits(logits, split, numbers)
            yield numbers, batch, logits


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
        margin=math.hypot(*(margin_of(found.numpy()) for found in (by_image, by_caption))) / 2,
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
            "outputs that are numbers",
            "compare with the program that trained it: weights or inputs may be too large for float32",
        )
