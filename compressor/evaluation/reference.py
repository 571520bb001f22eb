"""Real samples, and what the full and the slim model answered on them: what exports are compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compressor.data.splits import Split
from compressor.errors import InputError
from compressor.evaluation.evaluate import parity_indices
from compressor.evaluation.open_data import open_evaluation
from compressor.families import FAMILIES
from compressor.families.family import Family
from compressor.saved_run.run_folder import Run
from compressor.tasks import TASKS
from compressor.tasks.task import Task


@dataclass(frozen=True)
class Reference:
    """Samples by number, from 0, with the answers of the models before any export.

    Attributes:
        samples: how many.
        inputs: numbers to the model's inputs, (B, ...) by name; texts have the full length.
        slim: its logits, (samples, classes), computed in PyTorch on a CPU; None where they are to be computed now.
        full: the full model's, or those of the run's own reference; None where it has no head of its own.
        targets: how right each answer is, (samples, classes); None where one sample has no score of its own.
        task: how answers are scored.
        fingerprint: short digest of the inputs' identity: the data's files and the samples' numbers.
        note: why these are fewer samples than there could be; empty when they are not.
    """

    samples: int
    inputs: Callable[[list[int]], Mapping[str, Tensor]]
    slim: Tensor | None
    full: Tensor | None
    targets: Tensor | None
    task: Task
    family: Family
    fingerprint: str
    note: str = ""


def open_reference(run: Run, data: str | None = None) -> Reference:
    """Return the samples that ``run`` was judged on: of its data, or, where that is gone, the few in the run's folder.

    Raises:
        InputError: the data folder ``data`` was named and is unusable.
    """
    answers = run.answers()
    try:
        split = open_evaluation(run, data)
    except InputError as error:
        if data is not None:
            raise
        return _from_folder(run, answers, f"the data is not at hand ({error.problems[0].found})")
    if data is None and not same_data(run, split):
        return _from_folder(run, answers, "the data has changed since the run was made")
    # Answers belong to the data they were given on; on other data they are asked for again.
    known = answers if data is None else {}
    numbers = [int(number) for number in known.get("numbers", torch.from_numpy(parity_indices(len(split))))]
    task = TASKS[run.manifest.task]
    return Reference(
        samples=len(numbers),
        inputs=lambda rows: split.inputs([numbers[row] for row in rows], full_length=True),
        slim=_of_a_cpu(run, known),
        full=known.get("full"),
        targets=None if task.ranked else known.get("targets", split.targets(numbers) if split.has_targets else None),
        task=task,
        family=FAMILIES[run.manifest.family],
        fingerprint=digest(split.describe()["fingerprint"], numbers),
    )


def of_full(run: Run, reference: Reference) -> Reference:
    """Return the same samples for exports of the full model: its own answers stand where those of slim are."""
    if reference.full is None or run.manifest.settings.adapt:  # an untrained head has no score
        return replace(reference, slim=None, targets=None)
    own = reference.full if run.manifest.device == "cpu" else None
    return replace(reference, slim=own, full=None)


def fingerprint_of(run: Run) -> str:
    """Return the fingerprint of the samples that the run was judged on, whose answers are in its folder."""
    numbers = [int(number) for number in run.answers()["numbers"]]
    return digest(*(split["fingerprint"] for split in run.manifest.data[2:3]), numbers)


def same_data(run: Run, split: Split) -> bool:
    """Return whether ``split`` is read from the very files that the run was made with."""
    return split.describe()["fingerprint"] in {part.get("fingerprint") for part in run.manifest.data}


def _from_folder(run: Run, answers: Mapping[str, Tensor], why: str) -> Reference:
    samples = run.samples()
    count = len(next(iter(samples.values())))
    known = {name: rows[:count] for name, rows in answers.items()}
    return Reference(
        samples=count,
        inputs=lambda rows: {name: values[rows] for name, values in samples.items()},
        slim=_of_a_cpu(run, known),
        full=known.get("full"),
        targets=known.get("targets"),
        task=TASKS[run.manifest.task],
        family=FAMILIES[run.manifest.family],
        fingerprint=digest(run.path.name, list(range(count))),
        note=f"{why}: only the {count} samples in the run's folder",
    )


def _of_a_cpu(run: Run, answers: Mapping[str, Tensor]) -> Tensor | None:
    """Return slim's logits; None of those made on a GPU, which differ in more digits than an export may."""
    return answers.get("slim") if run.manifest.device == "cpu" else None


def digest(*parts: object) -> str:
    """Return a short digest of what the parts print as."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
