"""Validate an export: parity over all dynamic sizes, then accuracy on many real samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor

from compressor.evaluation.reference import Reference
from compressor.families import FAMILIES
from compressor.models.steps import StepModel
from compressor.progress import Progress
from compressor.tasks import TASKS
from exporters.checks.certificate import certify, undecided_share
from exporters.checks.parity import check, parity_batches
from exporters.checks.records import Certificate, Comparison
from exporters.graph.inputs import Fixed
from exporters.graph.precision import Precision
from exporters.runtimes.runner import Refused, Remembering, Runner
from exporters.runtimes.torch_runner import TorchRunner

CHECKED_SIZES = (1, 2, 8)  # batch sizes that graphs which take any are tried with
Worth = Callable[[Runner], bool]
NOT_COMPARED = "slower in a first timing"


def always(runner: Runner) -> bool:
    """Compare every export."""
    return True


def judge(
    candidate: Runner,
    model: StepModel,
    samples: Mapping[str, Tensor],
    sizes: Sequence[int],
    *,
    reference: Reference | None,
    precision: Precision,
    fixed: Fixed,
    progress: Progress,
    device: str = "cpu",
    known: dict[str, Tensor] | None = None,
    answered: dict[str, Tensor] | None = None,
    worth: Worth = always,
) -> tuple[Comparison, Certificate | None]:
    """Compare on a few samples and, where that holds and there is a reference, make the certificate.

    The certificate is made in batches of the largest size; with it, the few samples are run in the other sizes alone.

    Args:
        candidate: the export, not open yet; what it refuses to run has failed.
        model: in eval mode, on the CPU.
        samples: real inputs, (N, ...) by name, of the text length the export takes.
        sizes: batch sizes to try, the largest last.
        reference: many samples; None compares on all of ``samples`` and makes no certificate.
        precision: of the export.
        fixed: axes that it takes one size of only.
        progress: told about the samples.
        device: that the model is run on, too, "cpu" or "cuda".
        known: what the model answered before, and what it answers now, see :class:`Remembering`; None forgets.
        answered: the same of the export.
        worth: called with the export when it is open; where it says no, nothing is compared.

    Raises:
        EnvironmentProblem: the runtime is not here.
        InputError: a sample of the reference cannot be read.
        UsageError: no sample fits into an export of one text length.
    """
    family, task, undecided = FAMILIES[model.family], TASKS[model.task], undecided_share(model.dims)
    tolerance = family.tolerances[precision.name]
    first = sizes[:-1] or sizes if reference else sizes
    few = {name: rows[: sum(first)] for name, rows in samples.items()} if reference else samples
    batches = parity_batches(model, few, first, any_length=not fixed.text_length)
    ours = Remembering(TorchRunner(model if device == "cpu" else deepcopy(model), device), known)
    if reference:
        _learn_answers(ours, reference, batches[: len(first)])
    candidate = candidate if answered is None else Remembering(candidate, answered)
    certificate = None
    try:
        with ours, candidate:
            if not worth(candidate):
                return Comparison(status="not verified", reason=NOT_COMPARED, tolerance=tolerance), None
            comparison = check(family, ours, candidate, batches, tolerance, precision.relative, task.answers, undecided)
            samples_run = min(comparison.samples, len(next(iter(few.values()))))
            comparison = comparison.model_copy(update={"samples": samples_run})
            if comparison.status == "failed":
                return comparison, None
            try:
                if reference:
                    certificate = certify(
                        candidate, ours, reference, sizes[-1], tolerance, precision, fixed, progress, undecided
                    )
            except Refused as error:
                return comparison.model_copy(update={"status": "failed", "reason": error.problems[0].found}), None
    except Refused as error:  # the runtime takes neither the file nor a batch that the model takes
        return Comparison(status="failed", reason=error.problems[0].found, tolerance=tolerance), None
    if certificate is None:
        return comparison, None
    comparison = comparison.model_copy(update={"batch_sizes": tuple(sorted({*comparison.batch_sizes, sizes[-1]}))})
    if not certificate.passed:
        wider = None if certificate.within_tolerance else certificate.tightest_tolerance
        limits = {"tolerance": certificate.tolerance, "tightest_tolerance": wider}
        comparison = comparison.model_copy(update={"status": "failed", "reason": certificate.reason, **limits})
    return comparison, certificate


def _learn_answers(model: Remembering, reference: Reference, batches: Sequence[Mapping[str, Tensor]]) -> None:
    """Let the model know what it answered when the run was made, where ``batches`` are the first samples in order."""
    if reference.slim is None or reference.slim.ndim > 2:  # logits of tokens are as long as their batch was
        return
    start = 0
    for batch in batches:
        end = start + len(next(iter(batch.values())))
        rows = reference.inputs(list(range(start, min(end, reference.samples))))
        if all(name in rows and torch.equal(value, rows[name]) for name, value in batch.items()):
            model.learn(batch, reference.slim[start:end])
        start = end
