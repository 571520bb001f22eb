"""How full and slim answer as a runtime executes them, all on the samples that exports are certified on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from compressor.errors import InputError
from compressor.evaluation.reference import Reference, fingerprint_of
from compressor.families import FAMILIES
from compressor.models.steps import StepModel
from compressor.progress import Progress
from compressor.saved_run.run_folder import Run
from compressor.tasks import TASKS
from exporters.checks.certificate import certify, change_score, undecided_share
from exporters.checks.records import Certificate, MetricChange, read_record
from exporters.checks.validate import CHECKED_SIZES
from exporters.graph.inputs import VARYING
from exporters.graph.precision import Precision
from exporters.runtimes.runtime import ModelSource, Runtime
from exporters.runtimes.torch_runner import TorchRunner
from profiles.comparison.full_vs_slim import Answers, NotMeasured
from profiles.timing.worker import FULL


@dataclass(frozen=True)
class Answered:
    """The score of a model as it is executed, against the full one in PyTorch, and what executing it so costs.

    None where no sample has a score of its own, was scored on other samples, or nobody compared.
    """

    score: MetricChange | None = None
    answers: Answers | None = None


def answered_in_pytorch(run: Run) -> dict[str, Answered]:
    """Return how full and slim answer in PyTorch and fp32, from the answers in the run's folder."""
    task, kept = TASKS[run.manifest.task], run.answers()
    targets, slim = kept.get("targets"), kept["slim"]
    if task.ranked or targets is None:
        same = Answered(answers=Answers(change=None, agreement=None if task.ranked else 1.0))
        return {"full": same, "slim": same}
    full = kept.get("full")
    before = slim if full is None else full
    no_head = full is None or run.manifest.settings.adapt  # answers of its reference are those of another model

    def answered(own: Tensor) -> Answered:
        exact = Answers(change=change_score(task, targets, own, own), agreement=1.0)
        return Answered(change_score(task, targets, before, own), exact)

    return {"full": Answered() if no_head else answered(before), "slim": answered(slim)}


def read_answered(run: Run, which: str, file: Path) -> Answered | NotMeasured:
    """Return how an export answers, by its certificate; or why nobody knows.

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
    return _by_certificate(which, certificate)


def ask_cast(
    runtime: Runtime,
    which: str,
    model: StepModel,
    precision: Precision,
    reference: Reference,
    device: str,
    progress: Progress,
) -> Answered | NotMeasured:
    """Certify ``model`` as a runtime that needs no file runs it in ``precision``; why it does not pass, where it fails.

    Args:
        runtime: that executes it.
        which: "full" or "slim".
        model: in fp32.
        precision: that the runtime casts it to.
        reference: real samples with the model's own answers.
        device: ``cpu`` or ``cuda``.
        progress: told about it.
    """
    tolerance = FAMILIES[model.family].tolerances[precision.name]
    source = ModelSource(lambda: model, precision=precision)
    with TorchRunner(model, "cpu") as own, runtime.open(source, device) as cast:
        size = CHECKED_SIZES[-1]
        undecided = undecided_share(model.dims)
        certificate = certify(cast, own, reference, size, tolerance, precision, VARYING, progress, undecided)
    if not certificate.passed:
        return NotMeasured(what=f"{which} {precision.name} in {runtime.name}", why=certificate.reason)
    return _by_certificate(which, certificate)


def _by_certificate(which: str, certificate: Certificate) -> Answered:
    score = certificate.metric if which == FULL else certificate.metric_against_full or certificate.metric
    answers = Answers(change=certificate.metric, agreement=certificate.against_slim.answer_agreement)
    return Answered(score, answers)
