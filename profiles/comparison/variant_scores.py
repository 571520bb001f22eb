"""The scores of full and slim as a runtime executes them, all on the samples that exports are certified on."""

from __future__ import annotations

from pathlib import Path

from compressor.errors import InputError
from compressor.evaluation.reference import fingerprint_of
from compressor.run_folder import Run
from compressor.tasks import TASKS
from exporters.checks.certificate import change_score
from exporters.checks.records import MetricChange, read_record
from profiles.comparison.full_vs_slim import NotMeasured, Scores
from profiles.timing.worker import FULL


def score_in_pytorch(run: Run) -> Scores:
    """Return the scores of both models in PyTorch, from the answers in the run's folder."""
    task, answers = TASKS[run.manifest.task], run.answers()
    targets, slim = answers.get("targets"), answers["slim"]
    if task.ranked or targets is None:
        return Scores(full=None, slim=None)
    full = answers.get("full")
    before = slim if full is None else full
    no_head = full is None or run.manifest.settings.adapt  # answers of its reference are those of another model
    return Scores(
        full=None if no_head else change_score(task, targets, before, before),
        slim=change_score(task, targets, before, slim),
    )


def read_score(run: Run, which: str, file: Path) -> MetricChange | NotMeasured | None:
    """Return the score of an export from its certificate; or why there is none, None where samples have no scores.

    Args:
        run: the run.
        which: "full" or "slim".
        file: the export.
    """
    what = f"score of {which} in {file.name}"
    try:
        certificate = read_record(file).certificate
    except InputError as error:
        return NotMeasured(what=what, why=error.problems[0].found)
    if certificate is None:
        return NotMeasured(what=what, why="it has no certificate: das verify")
    if certificate.fingerprint != fingerprint_of(run):
        return NotMeasured(what=what, why="certified on other samples than those the run was judged on")
    return certificate.metric if which == FULL else certificate.metric_against_full or certificate.metric
