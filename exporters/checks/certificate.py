"""Does an export answer as the models do, on real samples: the errors of its logits, and what they cost in score."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from compressor.device import cpu_instructions
from compressor.errors import usage_error
from compressor.evaluation.evaluate import share_equal
from compressor.evaluation.reference import Reference, digest
from compressor.models.padding import join_rows
from compressor.progress import Progress
from compressor.tasks.measured import margin_of
from compressor.tasks.task import Task
from exporters.checks.records import Certificate, Difference, MetricChange
from exporters.graph.inputs import VARYING, Fixed, as_the_graph_takes, texts_that_fit
from exporters.graph.precision import Precision
from exporters.runtimes.runner import Runner, refused

BATCH = 8  # samples that the slim model is given at once
MAX_DROP = 0.005  # of the task's score, as a share, that a quantised export may lose
UNDECIDED = 0.05  # of the samples, whose logits may be off by more where tokens are merged


def certify(
    candidate: Runner,
    slim: Runner,
    reference: Reference,
    batch: int,
    tolerance: float,
    precision: Precision,
    fixed: Fixed,
    progress: Progress,
    undecided: float = 0.0,
) -> Certificate:
    """Run ``candidate`` on the samples of ``reference`` and compare.

    Args:
        candidate: the export, open.
        slim: the model it was made from, open; run where the reference does not know its answers.
        reference: real samples and known answers.
        batch: samples that it is given at once.
        tolerance: of the family, for this precision.
        precision: of the export.
        fixed: axes that it takes one size of only.
        progress: told about the samples.
        undecided: share of samples that may be off by more, :func:`undecided_share` of the model.

    Raises:
        Refused: it does not take a batch, or its logits are not all finite.
        UsageError: no sample's text fits into its one text length.
    """
    rows = _usable(reference, fixed)
    dropped = reference.samples - len(rows)
    left_out = f"{dropped} texts of more than {fixed.text_length} tokens left out" if dropped else ""
    theirs = _logits(candidate, reference, rows, batch, fixed, progress, f"Certifying {candidate.name}")
    if broken := int((~theirs.isfinite()).flatten(1).any(1).sum()):
        found = f"{candidate.name} gives outputs that are not finite for {broken} of {len(rows)} samples"
        raise refused("logits-not-finite", found, "finite outputs", "another --precision")
    ours = (
        _logits(slim, reference, rows, BATCH, VARYING, progress, f"Asking {slim.name}")
        if reference.slim is None
        else reference.slim[rows]
    )
    ours, theirs = _of_one_length(ours, theirs)
    allowed = tolerance * max(1.0, float(ours.abs().max())) if precision.relative else tolerance
    full = None if reference.full is None else _of_one_length(reference.full[rows], theirs)[0]
    errors = (ours.double() - theirs.double()).abs()
    certificate = Certificate(
        samples=len(rows),
        fingerprint=digest(reference.fingerprint, rows) if left_out else reference.fingerprint,
        tolerance=allowed,
        tightest_tolerance=round_up(largest_judged(errors, undecided)),
        beyond=int((errors.flatten(1).amax(1) > allowed).sum()),
        may_be_beyond=count_undecided(len(rows), undecided),
        against_slim=difference(ours, theirs, reference.task),
        against_full=None if full is None else difference(full, theirs, reference.task),
        metric=_change(reference, rows, ours, theirs),
        metric_against_full=None if full is None else _change(reference, rows, full, theirs),
        note="; ".join(filter(None, (reference.note, left_out))),
        instructions=cpu_instructions(),
        index=None if full is None or reference.task.across is None else reference.task.across(full, theirs, None),
    )
    return certificate.model_copy(update={"reason": _reason(certificate, precision)})


def difference(reference: Tensor, candidate: Tensor, task: Task) -> Difference:
    """Compare logits, (samples, classes) each; ``task`` says which of them are the same answer."""
    ours, theirs = reference.double(), candidate.double()
    errors = (ours - theirs).abs()
    alike = torch.nn.functional.cosine_similarity(ours.flatten(1), theirs.flatten(1), dim=-1)
    return Difference(
        max_abs_error=float(errors.max()),
        mean_abs_error=float(errors.mean()),
        p99_abs_error=float(errors.flatten().quantile(0.99)),
        cosine=float(alike.min()),
        answer_agreement=share_equal(task.answers(ours), task.answers(theirs)) if task.answers else None,
        scale=float(ours.abs().max()),
    )


def _of_one_length(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits of tokens, (samples, L, classes), as long as the longer ones: what is behind a text is 0."""
    if ours.ndim < 3:
        return ours, theirs
    length = max(ours.shape[1], theirs.shape[1])
    padded = (torch.nn.functional.pad(x, (0, 0, 0, length - x.shape[1])) for x in (ours, theirs))
    return next(padded), next(padded)


def _usable(reference: Reference, fixed: Fixed) -> list[int]:
    """Return the samples whose texts fit into a graph of one text length.

    Raises:
        UsageError: none does.
    """
    rows = list(range(reference.samples))
    if fixed.text_length is None:
        return rows
    parts = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    family, length = reference.family, fixed.text_length
    fits = torch.cat([texts_that_fit(family, reference.inputs(part), length) for part in parts]).tolist()
    if not any(fits):
        raise usage_error(
            "texts-too-long",
            f"none of {len(rows)} texts has {fixed.text_length} tokens or fewer",
            "a text length that real samples have",
            "a larger --text-length",
        )
    return [row for row, fit in zip(rows, fits, strict=True) if fit]


def _logits(
    runner: Runner, reference: Reference, rows: list[int], size: int, fixed: Fixed, progress: Progress, label: str
) -> Tensor:
    """Return the logits of ``rows``, (rows, classes), in batches of ``size``, the last filled up with first samples."""
    starts = range(0, len(rows), size)
    logits = []
    for start in progress.track(starts, label, len(starts)):
        inputs = reference.inputs([rows[number % len(rows)] for number in range(start, start + size)])
        logits.append(runner.run(as_the_graph_takes(reference.family, inputs, fixed)))
    return join_rows(logits)[: len(rows)].float()


def _change(reference: Reference, rows: list[int], before: Tensor, after: Tensor) -> MetricChange | None:
    if reference.targets is None:
        return None
    return change_score(reference.task, reference.targets[rows], before, after)


def change_score(task: Task, targets: Tensor, before: Tensor, after: Tensor) -> MetricChange:
    """Compare the scores of samples by two sets of logits; ``targets`` say how right each is, (samples, classes)."""
    ours, theirs = (task.scores(logits, {"targets": targets}).double() for logits in (before, after))
    changes = theirs - ours
    margin = margin_of(changes.numpy())
    scores = {"before": float(ours.mean()), "after": float(theirs.mean())}
    return MetricChange(metric=task.metric_of_samples, margin=margin, **scores)


def _reason(certificate: Certificate, precision: Precision) -> str:
    """Return why it does not pass; a score may fall by half a point, or by what chance explains, where it may at all.

    That is where an export is quantised, or some of its logits are off by more because tokens were merged otherwise.
    """
    errors, metric = certificate.against_slim, certificate.metric
    if not certificate.within_tolerance:
        off = f"an output is {errors.max_abs_error:.1e} off, more than {certificate.tolerance:.1e}"
        return f"{off}, in {certificate.beyond} samples" if certificate.may_be_beyond else off
    if (precision.quantised or certificate.beyond) and metric and -metric.change > max(MAX_DROP, metric.margin):
        return f"{metric.metric} falls by {-100 * metric.change:.2f} points, more than {100 * MAX_DROP:.1f}"
    return ""


def undecided_share(dims: Any) -> float:
    """Return the share of samples whose logits may be off by more in another runtime: of a model that merges tokens.

    Which tokens it merges is a choice between some that may be alike but for rounding, and runtimes round otherwise.
    """
    return UNDECIDED if getattr(dims, "merged_tokens", ()) else 0.0


def count_undecided(samples: int, share: float) -> int:
    """Return how many of so many samples that are: at least one of several, and never all."""
    return min(math.ceil(share * samples), samples - 1)


def largest_judged(errors: Tensor, undecided: float) -> float:
    """Return the largest of the errors, (samples, ...), but for those of samples that may be off by more."""
    of_samples = errors.flatten(1).amax(1).sort().values
    return float(of_samples[len(of_samples) - 1 - count_undecided(len(of_samples), undecided)])


def round_up(error: float) -> float:
    """Round up to one significant digit: 1.43e-06 -> 2e-06."""
    if error == 0:
        return 0.0
    exponent = math.floor(math.log10(error))
    return float(f"{math.ceil(error / 10.0**exponent)}e{exponent}")
