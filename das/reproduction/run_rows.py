"""Run a table of the paper row by row, seed by seed."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

from compressor.distributed import from_main, is_main
from compressor.errors import CheckFailed, DasError, EnvironmentProblem, Interrupted, Problem
from compressor.evaluation.evaluate_job import FullEvaluations
from compressor.jobs.prepare_job import prepare_job
from compressor.progress import QUIET, Progress
from compressor.saved_run.run_places import partial_of
from compressor.tuning.tune import tune
from compressor.tuning.tuned import open_tuned
from das import api
from das.reproduction.asked_table import (
    AskedTable,
    OpenedTable,
    keep_identity,
    open_table,
    row_settings,
    tune_settings,
)
from das.reproduction.report_rows import Facts, Failures, facts_of, identify, is_finished, report_rows
from das.reproduction.tuned_checkpoint import write_checkpoint
from profiles.paper.reproduction import Failure, Reproduction
from profiles.paper.save_reproduction import save_reproduction
from profiles.paper.table_rows import Attempt


def run_table(asked: AskedTable, command: str = "", progress: Progress = QUIET) -> Reproduction | None:
    """Run the rows that are asked for, but for the runs that are finished, and report on all that there are.

    A run that fails does not keep the others from being made: the report names it.

    Returns:
        The report, which is saved, too; none in all but the main one of several processes.

    Raises:
        DasError: as :func:`das.reproduction.asked_table.open_table`, and where the data cannot be used.
        EnvironmentProblem: the disk is full, or the like, which the next run would meet, too.
        Interrupted: on Ctrl-C or SIGTERM; finished runs stay, and the one that was going on goes on the next time.
    """
    opened = open_table(asked)
    facts = facts_of(prepare_job(opened.settings, progress, opened.inputs))
    from_main(lambda: keep_identity(opened.folder, identify(opened, facts)))
    failures = _run_all(opened, facts, command, progress)
    if not is_main():
        return None
    report = report_rows(opened, facts, failures, command, progress)
    save_reproduction(report, opened.folder)
    return report


def _run_all(opened: OpenedTable, facts: Facts, command: str, progress: Progress) -> Failures:
    """Make every run that is asked for and not finished; return those that failed."""
    attempts = [attempt for row in opened.chosen if not row.missing for attempt in opened.attempts(row)]
    failures: Failures = {}
    known: FullEvaluations = {}
    for number, attempt in enumerate(attempts, 1):
        if from_main(partial(is_finished, opened.folder / attempt.folder)):
            continue
        progress.say(f"run {number} of {len(attempts)}: {attempt.row.title}, seed {attempt.seed}")
        try:
            _run(attempt, opened, facts, command, progress, known)
        except EnvironmentProblem:
            raise
        except DasError as error:
            failures[attempt.folder] = _failure(attempt, error)
            progress.say(f"warning: {attempt.folder} failed, the others go on: {error.problems[0].found}")
        except KeyboardInterrupt as stop:
            hint = f"stopped in run {number} of {len(attempts)}; the same command goes on where this one was"
            raise Interrupted(hint, getattr(stop, "number", signal.SIGINT)) from None
    return failures


def _run(
    attempt: Attempt, opened: OpenedTable, facts: Facts, command: str, progress: Progress, known: FullEvaluations
) -> None:
    """Make one run, or go on with it where it was interrupted."""
    folder, row = opened.folder / attempt.folder, attempt.row
    resume = from_main(lambda: partial_of(folder).exists())
    if row.tunes:
        tune(tune_settings(opened, attempt), progress, command=command, resume=resume)
        return
    checkpoint = _tuned_checkpoint(attempt, opened, facts) if row.start else opened.asked.checkpoint
    settings = row_settings(opened.asked, opened.subject.task, attempt, checkpoint, folder)
    api.compress_and_report(settings, command=command, resume=resume, progress=progress, known=known)


def _tuned_checkpoint(attempt: Attempt, opened: OpenedTable, facts: Facts) -> Path:
    """Return the checkpoint of the tuned model that a run begins with; it is written where it is not there yet.

    Raises:
        CheckFailed: there is no such model.
    """
    (begun,) = (row for row in opened.rows if row.name == attempt.row.start)
    tuned = opened.folder / Attempt(begun, attempt.seed).folder
    if not is_finished(tuned):
        fix = f"the same command makes {tuned.name} first; see why it failed"
        raise CheckFailed(Problem("start-missing", f"there is no {tuned.name} to begin with", "a finished run", fix))
    folder = tuned.with_name(f"{tuned.name}-checkpoint")

    def write() -> None:
        if not folder.exists():
            write_checkpoint(
                open_tuned(tuned), folder, labels=facts.labels, files=facts.files, tokenizer=facts.tokenizer
            )

    from_main(write)
    return folder


def _failure(attempt: Attempt, error: DasError) -> Failure:
    found, fixes = ("; ".join(getattr(problem, part) for problem in error.problems) for part in ("found", "fix"))
    return Failure(seed=attempt.seed, folder=attempt.folder, codes=error.codes, found=found, fix=fixes)


def check_complete(report: Reproduction) -> None:
    """Hold that every run that was asked for is there.

    Raises:
        CheckFailed: some failed; the report has all the others.
    """
    if failures := [failure for row in report.rows for failure in row.failures]:
        raise CheckFailed(
            *(
                Problem("run-failed", f"{failure.folder}: {failure.found}", "a finished run", failure.fix)
                for failure in failures
            )
        )
