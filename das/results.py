"""Results of the Python API; the commands print them with ``--json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.evaluation.score import Score
from compressor.jobs.job import Job
from compressor.models.plan import Plan
from compressor.search.result import SearchResult
from compressor.settings import Choice
from compressor.training.expected_time import Expected, expect_time
from compressor.tuning.prepare_tuning import Tuning
from compressor.tuning.tune import expect_tuning_time
from compressor.values import Value
from exporters.export import ExportReport
from profiles.deployment.best import Best
from profiles.deployment.recommend_export import Choices


class Exports(ExportReport):
    """The exports, and which of them to run here.

    ``choices`` is null where there was nothing to time, ``best`` where the runtime was chosen by the user.
    """

    choices: Choices | None
    best: Best | None = None


class Searched(Value):
    """The layers that would be skipped, and the search's result."""

    schema_version: int = 1
    plan: Plan
    search: SearchResult


class SplitScore(Score):
    """A score, and the split it was taken on: files, rows and fingerprint."""

    split: Mapping[str, Any]


class Evaluated(SplitScore):
    """The score on the evaluation split, and in ``apart`` on others by name.

    ``remarks`` say what makes it implausible.
    """

    schema_version: int = 1
    task: str
    apart: Mapping[str, SplitScore]
    remarks: tuple[str, ...] = ()


class Answered(Value):
    """A file of answers to every sample of a split.

    Attributes:
        task: of the model.
        split: its files, rows and fingerprint.
        file: that was written.
        answers: how many.
        fields: what an id and an answer are called.
        form: what the file is, in words.
        use: what to do with it, in words.
        score: where the split has answers, else null.
    """

    schema_version: int = 1
    task: str
    split: Mapping[str, Any]
    file: str
    answers: int
    fields: tuple[str, str]
    form: str
    use: str
    score: SplitScore | None


class DryRun(Value):
    """The plan of a compression, and how long it is expected to take on this machine.

    ``skip`` is null with a ``budget``, ``leftovers`` are unread keys by reason. With ``--seeds`` it is the plan of the
    next one, ``seeds`` are those that have no run yet, and ``out`` is the folder of all.
    """

    schema_version: int = 1
    family: str
    task: str
    candidates: tuple[str, ...]
    skip: int | None
    budget: str | None
    strategy: str | None
    search_steps: int
    merge_tokens: str | float | None = None
    recover: str
    recover_steps: int
    recover_learning_rate: float | None
    device: str
    out: str
    layout: str
    data: tuple[Mapping[str, Any], ...]
    leftovers: Mapping[str, tuple[str, ...]]
    expected: Expected
    seeds: tuple[int, ...] | None = None


def describe_job(job: Job, folder: Path) -> DryRun:
    """Return the plan of compressing ``job`` into ``folder``."""
    settings, recovery, trains = job.settings, job.recovery, job.trains_in_recovery
    return DryRun(
        family=job.model.family,
        task=job.model.task,
        candidates=job.candidates,
        skip=None if settings.budget else job.skip,
        budget=str(settings.budget) if settings.budget else None,
        strategy=job.strategy if settings.choice in (Choice.SEARCH, Choice.LOT) else None,
        search_steps=job.search_steps if job.trains_while_searching else 0,
        merge_tokens=settings.merge_tokens,
        recover=settings.recover,
        recover_steps=recovery.steps if trains else 0,
        recover_learning_rate=recovery.learning_rate if trains else None,
        device=str(job.device),
        out=str(folder),
        layout=job.data.layout,
        data=tuple(split.describe() for split in job.data.splits),
        expected=expect_time(job),
        leftovers={reason: tuple(keys) for reason, keys in job.loaded.leftovers_by_reason.items()},
    )


class TunePlan(Value):
    """The plan of a tuning, and how long it is expected to take on this machine.

    ``updated_parameters`` are counted by what they are, ``additional_macs`` are those of one sample (1 MAC = 2 FLOPs)
    on top of the plain model, ``leftovers`` are unread keys by reason.
    """

    schema_version: int = 1
    family: str
    task: str
    method: str
    steps: int
    learning_rate: float
    head_learning_rate: float
    updated_parameters: Mapping[str, int]
    additional_macs: int
    device: str
    out: str
    layout: str
    data: tuple[Mapping[str, Any], ...]
    leftovers: Mapping[str, tuple[str, ...]]
    expected: Expected


def describe_tuning(tuning: Tuning, folder: Path) -> TunePlan:
    """Return the plan of a tuning into ``folder``; its model is not to be trained afterwards."""
    job, updated, expected = tuning.job, tuning.updated_parameters, expect_tuning_time(tuning)
    return TunePlan(
        family=tuning.model.family,
        task=tuning.model.task,
        method=tuning.method.name,
        steps=tuning.steps,
        learning_rate=tuning.learning_rate,
        head_learning_rate=tuning.head_learning_rate,
        updated_parameters=updated,
        additional_macs=tuning.merge() - tuning.plain_macs,
        device=str(job.device),
        out=str(folder),
        layout=job.data.layout,
        data=tuple(split.describe() for split in job.data.splits),
        leftovers={reason: tuple(keys) for reason, keys in job.loaded.leftovers_by_reason.items()},
        expected=expected,
    )
