"""What a reproduction will take on this machine: steps and hours of each row, disk and memory of the whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import psutil

from compressor.costs.parts import weight_bytes
from compressor.jobs.job import Job
from compressor.jobs.open_inputs import open_inputs
from compressor.jobs.prepare_job import prepare_job
from compressor.progress import QUIET, Progress
from compressor.training.expected_time import expect_time
from compressor.tuning.prepare_tuning import prepare_tuning
from compressor.tuning.tune import expect_tuning_time
from compressor.values import Value
from das.doctor.estimates import GRADIENT_AND_MOMENTS, estimate_compress, measure_free, outline_model
from das.doctor.health import Need
from das.reproduction.asked_table import (
    AskedTable,
    OpenedTable,
    check_identity,
    open_table,
    row_settings,
    tune_settings,
)
from das.reproduction.report_rows import facts_of, identify, is_finished
from profiles.paper.table_rows import FULL_ROW, TableRow


class PlannedRow(Value):
    """What a row of a table will take.

    Attributes:
        name, title: of the row.
        runs: that are still to be made.
        finished: that are there.
        missing: why it cannot be run, as a sentence; '' where it can.
        search_steps, train_steps: of each run; 0 where nothing is trained.
        seconds: that each run is expected to take.
    """

    name: str
    title: str
    runs: int = 0
    finished: int = 0
    missing: str = ""
    search_steps: int = 0
    train_steps: int = 0
    seconds: float = 0.0


class ReproductionPlan(Value):
    """What running a table will take.

    Attributes:
        table: as users type it.
        checkpoint, family, task, fine_tuned: as in the report.
        seeds: of each row.
        rows: that are asked for.
        needs: of disk and memory, upper bounds.
        data: the splits, as manifests describe them.
        device: to train on.
        load: average of the last minute when the rows were timed: beside others they take longer.
        cores: of this machine.
        out: folder of all runs.
    """

    schema_version: int = 1
    table: str
    checkpoint: str
    family: str
    task: str
    fine_tuned: bool
    seeds: int
    rows: tuple[PlannedRow, ...]
    needs: tuple[Need, ...]
    data: tuple[Mapping[str, Any], ...]
    device: str
    load: float
    cores: int
    out: str

    @property
    def runs(self) -> int:
        """Runs that are still to be made."""
        return sum(row.runs for row in self.rows)

    @property
    def seconds(self) -> float:
        """Seconds of all of them."""
        return sum(row.runs * row.seconds for row in self.rows)


def plan_table(asked: AskedTable, progress: Progress = QUIET) -> ReproductionPlan:
    """Open and check everything, time a few batches of each row, and write nothing.

    Raises:
        DasError: as :func:`das.reproduction.asked_table.open_table`, and where the data cannot be used.
    """
    opened = open_table(asked)
    job = prepare_job(opened.settings, progress, opened.inputs)
    check_identity(opened.folder, identify(opened, facts_of(job)))
    chosen = progress.track(opened.chosen, "Timing a few batches of each row", len(opened.chosen))
    rows = tuple(_plan_row(row, opened, job) for row in chosen)
    return ReproductionPlan(
        table=asked.table,
        checkpoint=asked.checkpoint.name,
        family=opened.subject.family,
        task=opened.subject.task,
        fine_tuned=opened.subject.fine_tuned,
        seeds=asked.seeds,
        rows=rows,
        needs=_needs(opened, job, rows),
        data=tuple(split.describe() for split in job.data.splits),
        device=str(job.device),
        load=psutil.getloadavg()[0],
        cores=os.cpu_count() or 1,
        out=str(opened.folder),
    )


def _plan_row(row: TableRow, opened: OpenedTable, job: Job) -> PlannedRow:
    if row.missing:
        return PlannedRow(name=row.name, title=row.title, missing=row.missing)
    attempts = opened.attempts(row)
    finished = sum(is_finished(opened.folder / attempt.folder) for attempt in attempts)
    steps = _steps_of_tuning(row, opened) if row.tunes else _steps(row, opened, job)
    return PlannedRow(name=row.name, title=row.title, runs=len(attempts) - finished, finished=finished, **steps)


def _steps(row: TableRow, opened: OpenedTable, job: Job) -> dict[str, Any]:
    """Return steps and seconds of a run of ``das compress``."""
    first = opened.attempts(row)[0]
    settings = row_settings(opened.asked, opened.subject.task, first, opened.asked.checkpoint, opened.folder)
    # What begins with a tuned model is timed on the checkpoint, which has the same layers.
    candidates = job.candidates if row.start else open_inputs(settings).candidates
    own = replace(job, settings=settings, candidates=candidates)
    return {
        "search_steps": own.search_steps if own.trains_while_searching else 0,
        "train_steps": own.recovery.steps if own.trains_in_recovery else 0,
        "seconds": expect_time(own).total,
    }


def _steps_of_tuning(row: TableRow, opened: OpenedTable) -> dict[str, Any]:
    """Return steps and seconds of a run of ``das tune``."""
    settings = tune_settings(opened, opened.attempts(row)[0])
    tuning = prepare_tuning(settings, inputs=open_inputs(settings.adaptation))
    return {"train_steps": tuning.steps, "seconds": expect_tuning_time(tuning).total}


def _needs(opened: OpenedTable, job: Job, rows: tuple[PlannedRow, ...]) -> tuple[Need, ...]:
    """Return the disk that all runs take, and the memory of the training and of the timing at the end."""
    existing = next(path for path in opened.folder.absolute().parents if path.exists())
    free, weights = measure_free(existing), weight_bytes(job.model)
    _, training, _ = estimate_compress(outline_model(opened.asked.checkpoint), free, opened.settings.batch_size)
    runs, models = sum(row.runs for row in rows), 1 + sum(not row.missing for row in rows)
    disk = {f"models of {runs} runs, at most": runs * weights, "the state of one, old and new": 2 * weights}
    state = {"gradients and moments": GRADIENT_AND_MOMENTS * weights}
    full = {"model": weights, **state, **{name: size for name, size in training.parts.items() if "activations" in name}}
    timing = {f"{models} models at once, to time them": models * weights}
    return (
        Need(stage="all runs", resource="disk", parts=disk, free=free.disk),
        training.model_copy(update={"stage": "training adapters", "fix": None}),
        *(
            Need(stage=row.title, resource=training.resource, parts=full, free=training.free)
            for row in rows
            if row.name == FULL_ROW
        ),
        Need(stage="timing", resource="memory", parts=timing, free=free.memory),
    )
