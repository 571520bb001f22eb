"""From the finished runs of a table to its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from compressor.jobs.job import Job
from compressor.models.steps import StepModel
from compressor.progress import Progress
from compressor.saved_run.run_folder import Run, is_run, open_run
from compressor.settings import PLACES
from compressor.tuning.tuned import Tuned, is_tuned, open_tuned
from das.reproduction.asked_table import OpenedTable
from profiles.machine.environment import describe_environment
from profiles.paper.comparability import list_differences
from profiles.paper.printed import PrintedPart
from profiles.paper.reproduction import (
    Failure,
    Measurement,
    ReproducedRow,
    Reproduction,
    complete_rows,
    measure_run,
    measure_tuned,
    plain_of,
)
from profiles.paper.row_times import PLAIN, time_rows
from profiles.paper.table_rows import FULL_MODEL, LEFT_OUT, Attempt, TableRow, check_table, choose_part, find_printed
from profiles.timing.latency import Latency

Failures = dict[str, Failure]
"""Runs that could not be made, by the name of their folder."""
Finished = list[tuple[Attempt, Run | Tuned]]


@dataclass(frozen=True)
class Facts:
    """What is known of model and data without their weights and samples.

    Attributes:
        dims: sizes of the model.
        data: the splits, as manifests describe them.
        samples: that are scored.
        labels: name of each class.
        files: of settings and of the tokenizer, by name, as they came with the checkpoint.
        tokenizer: content of tokenizer.json; empty of a model that reads no text.
        device: to train on.
        sha256: of the checkpoint.
    """

    dims: Any
    data: tuple[Mapping[str, Any], ...]
    samples: int
    labels: tuple[str, ...]
    files: Mapping[str, Path]
    tokenizer: str
    device: torch.device
    sha256: str


def facts_of(job: Job) -> Facts:
    """Return what is to be kept of a job."""
    return Facts(
        dims=job.model.dims,
        data=tuple(split.describe() for split in job.data.splits),
        samples=len(job.data.evaluation),
        labels=job.data.labels,
        files=job.source_files,
        tokenizer=job.tokenizer.to_str() if job.tokenizer else "",
        device=job.device,
        sha256=job.source.sha256,
    )


def identify(opened: OpenedTable, facts: Facts) -> dict[str, Any]:
    """Return what all runs of a folder have in common."""
    options = {name: value for name, value in opened.asked.options.items() if name not in PLACES}
    return {
        "table": opened.asked.table,
        "task": opened.subject.task,
        "checkpoint": facts.sha256,
        "data": [split["fingerprint"] for split in facts.data],
        **options,
    }


def report_rows(
    opened: OpenedTable, facts: Facts, failures: Failures, command: str, progress: Progress
) -> Reproduction:
    """Read every finished run, time the first of each row, and put the paper's rows beside them.

    Raises:
        InputError: a finished run is damaged.
    """
    asked, subject = opened.asked, opened.subject
    part = choose_part(check_table(asked.table, subject), facts.dims.classes)
    runs = {row.name: _finished(opened, row) for row in opened.rows}
    environment = describe_environment(facts.device.type, torch.get_num_threads())
    times = time_rows(
        *(subject.family, subject.task, facts.dims),
        {name: _load(found[0][1]) for name, found in runs.items() if found},
        device=facts.device,
        seconds=asked.seconds,
        progress=progress,
    )
    compressed = [
        run.manifest for row in opened.rows if not row.start for _, run in runs[row.name] if isinstance(run, Run)
    ]
    plain = plain_of(compressed[0], times[PLAIN]) if compressed else None
    full = {FULL_MODEL: plain.score} if plain and plain.score else {}
    return Reproduction(
        table=asked.table,
        checkpoint=asked.checkpoint.name,
        family=subject.family,
        task=subject.task,
        fine_tuned=subject.fine_tuned,
        dataset=part.dataset,
        split=part.split,
        differs=list_differences(part, subject.family, subject.task, facts.dims, facts.samples),
        seeds=tuple(range(asked.seeds)),
        plain=plain,
        rows=complete_rows(
            [_row(row, part, opened, runs[row.name], failures, times) for row in opened.rows],
            {row.name: row.against for row in opened.rows},
            full,
        ),
        data=facts.data,
        settings={name: str(value) for name, value in asked.options.items()},
        environment=environment,
        folder=str(opened.folder),
        command=command,
    )


def is_finished(folder: Path) -> bool:
    """Return whether a run of ``das compress`` or ``das tune`` in this folder is complete."""
    return is_run(folder) or is_tuned(folder)


def _finished(opened: OpenedTable, row: TableRow) -> Finished:
    """Return the finished runs of a row, in the order of seeds and draws."""
    folders = [(attempt, opened.folder / attempt.folder) for attempt in opened.attempts(row)]
    open_ = open_tuned if row.tunes else open_run
    return [(attempt, open_(folder)) for attempt, folder in folders if is_finished(folder)]


def _load(run: Run | Tuned) -> Callable[[], StepModel]:
    """Return what loads a model without exact trims, which the plain one could have as well."""
    return run.load_saved if isinstance(run, Run) else run.load


def _measure(run: Run | Tuned, attempt: Attempt) -> Measurement:
    if isinstance(run, Run):
        return measure_run(run.manifest, attempt.folder, attempt.seed)
    return measure_tuned(run, attempt.folder, attempt.seed)


def _row(
    row: TableRow,
    part: PrintedPart,
    opened: OpenedTable,
    found: Finished,
    failures: Failures,
    times: Mapping[str, Latency],
) -> ReproducedRow:
    """Return what there is of one row."""
    folders = [attempt.folder for attempt in opened.attempts(row)]
    return ReproducedRow(
        name=row.name,
        title=row.title,
        method=row.method,
        skip=row.skip,
        start=row.start,
        runs=tuple(_measure(run, attempt) for attempt, run in found),
        failures=tuple(failures[folder] for folder in folders if folder in failures),
        missing=row.missing or ("" if found or row in opened.chosen else LEFT_OUT),
        latency=times.get(row.name),
        printed=find_printed(part, row),
    )
