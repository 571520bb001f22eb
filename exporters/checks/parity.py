"""Does an export answer as the model does? Blind to what executes either of them.

A candidate passes when every logit is finite and within the tolerance of the reference; of a model that merges tokens a
few samples may be off by more (:func:`exporters.checks.certificate.undecided_share`). Answers may still differ where
the reference's own two best logits are within twice the tolerance of each other: nothing further apart can swap places
while every logit stays inside. So no rule on answers is needed; their agreement is reported beside the errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, repeat

import torch
from torch import Tensor

from compressor.errors import CheckFailed, Problem
from compressor.evaluation.evaluate import share_equal
from compressor.families import FAMILIES
from compressor.families.family import Family
from compressor.models.padding import join_rows
from compressor.models.steps import StepModel
from compressor.tasks.losses import most_likely
from exporters.checks.audit import Shares
from exporters.checks.certificate import largest_judged, round_up
from exporters.checks.records import RECORD, Comparison, Parity, limit_beyond
from exporters.graph.inputs import any_size, shortest_texts, trim_images
from exporters.runtimes.runner import Runner

LEAST_SHARE = 0.9  # of the linear layers' multiply-adds, that run in int8 where no layer is held back
Answers = Callable[[Tensor], Tensor] | None
SINGLE_IMAGES = 4  # compared without the padding of a batch, where images have any size


def compare(
    reference: Tensor,
    candidate: Tensor,
    tolerance: float,
    relative: bool = False,
    answers: Answers = most_likely,
    undecided: float = 0.0,
) -> Comparison:
    """Compare logits, (B, classes) each; a candidate with a number that is not finite never passes.

    ``tolerance`` is multiplied by the largest logit of the reference, where that is above 1, if it is ``relative``;
    ``answers`` are the task's, ``undecided`` the share of rows that may be off by more.
    """
    if reference.shape != candidate.shape:
        reason = f"outputs of shape {tuple(candidate.shape)}, not {tuple(reference.shape)}"
        return Comparison(status="failed", reason=reason, tolerance=tolerance)
    broken = int((~(reference.isfinite() & candidate.isfinite())).sum())
    if broken:
        return Comparison(status="failed", reason=f"{broken} outputs are not finite", tolerance=tolerance)
    if relative:
        tolerance *= max(1.0, float(reference.abs().max()))
    errors = (reference.double() - candidate.double()).abs()
    largest = largest_judged(errors, undecided)
    most, limit = float(errors.max()), limit_beyond(tolerance, float(reference.abs().max()))
    reason = ""
    if largest > tolerance:
        reason = f"an output is {largest:.1e} off, more than {tolerance:.0e}"
    elif undecided and most > limit:
        reason = f"an output is {most:.1e} off, more than {limit:.0e}, which tokens merged otherwise do not explain"
    return Comparison(
        status="failed" if reason else "passed",
        reason=reason,
        tolerance=tolerance,
        max_abs_error=most,
        mean_abs_error=float(errors.mean()),
        answer_agreement=share_equal(answers(reference), answers(candidate)) if answers else None,
        tightest_tolerance=round_up(largest),
    )


def check(
    family: Family,
    reference: Runner,
    candidate: Runner,
    batches: Sequence[dict[str, Tensor]],
    tolerance: float,
    relative: bool = False,
    answers: Answers = most_likely,
    undecided: float = 0.0,
) -> Comparison:
    """Run both on all ``batches``, see :func:`parity_batches`, and compare their logits as :func:`compare` does."""
    logits = [(reference.run(inputs), candidate.run(inputs)) for inputs in batches]
    misshapen = [pair for pair in logits if pair[0].shape != pair[1].shape]
    ours, theirs = misshapen[0] if misshapen else (join_rows(side) for side in zip(*logits, strict=True))
    texts = [family.sizes_of("text", inputs) for inputs in batches]
    images = [family.sizes_of("image", inputs) for inputs in batches if family.names_of("image")]
    return compare(ours, theirs, tolerance, relative, answers, undecided).model_copy(
        update={
            "samples": sum(_rows(inputs) for inputs in batches),
            "batch_sizes": tuple(sorted({_rows(inputs) for inputs in batches})),
            "text_lengths": tuple(sorted({sizes["length"] for sizes in texts if sizes})),
            "image_sizes": tuple(sorted({(sizes["height"], sizes["width"]) for sizes in images})),
        }
    )


def parity_batches(
    model: StepModel, samples: Mapping[str, Tensor], sizes: Sequence[int], any_length: bool = True
) -> list[dict[str, Tensor]]:
    """Return batches of the given sizes, the last size again until every row was in one; then one per varying axis.

    Rows are taken in turn, from the first again when they run out. The last batches are the shortest texts without
    their padding, where a text may have ``any_length``, and, where images have any size, single images without theirs.
    """
    rows, start, batches = _rows(samples), 0, []

    def batch(start: int, size: int) -> dict[str, Tensor]:
        indices = (start + torch.arange(size)) % rows
        return {name: value[indices] for name, value in samples.items()}

    for number, size in enumerate(chain(sizes, repeat(sizes[-1]))):
        if number >= len(sizes) and start >= rows:
            break
        batches.append(batch(start, size))
        start += size
    if any_length and FAMILIES[model.family].masks_texts:
        batches.append(shortest_texts(FAMILIES[model.family], samples, min(sizes)))
    if any_size(model):
        singles = [batch(at, min(sizes)) for at in range(min(SINGLE_IMAGES, rows))]
        batches += [trim_images(FAMILIES[model.family], single, model.dims.patch) for single in singles]
    return batches


def record(runtime: str, precision: str, comparison: Comparison, packages: Sequence[str]) -> Parity:
    """Make the record of an export: the comparison, and versions of ``packages``; still without hashes of its files."""
    return Parity(
        **comparison.model_dump(),
        runtime=runtime,
        precision=precision,
        versions=versions_of(packages),
        sha256={},
    )


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Return the installed version of each distribution, "not installed" without one."""

    def find_version(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    return {package: find_version(package) for package in packages}


def parity_failure(parity: Parity, name: str) -> CheckFailed:
    """Return the error for an export that does not answer as the model does."""
    where = f"; {parity.starts_at}" if parity.starts_at else ""
    wider = f"; {parity.tightest_tolerance:.0e} would pass" if parity.tightest_tolerance else ""
    return CheckFailed(
        Problem(
            "parity-failed",
            f"{name} does not answer as the model does in {parity.runtime}: {parity.reason}{wider}{where}",
            f"its answers, every output within {parity.tolerance:.1g} of PyTorch's",
            f"see {name}{RECORD}; the export was removed: try another --opset, --attention or --precision",
        )
    )


def falls_short(shares: Shares, least: float) -> str:
    """Return why an export does not run in its precision: none of it does, or less than ``least``; empty where it does.

    Args:
        shares: of the export.
        least: part of the multiply-adds, 0 to 1; 0 where layers were held back, which explains a small share.
    """
    if shares.macs is None or (shares.macs > 0 and shares.macs >= least):
        return ""
    wanted = f"not at least {100 * least:.1f} %" if least else "though not all layers were left in float"
    return f"{100 * shares.macs:.1f} % of its MACs run in int8, {wanted}"


def precision_failure(parity: Parity, name: str) -> CheckFailed:
    """Return the error for a quantised export that computes in float all the same."""
    return CheckFailed(
        Problem(
            "precision-not-run",
            f"{name} answers as the model does in {parity.runtime}, but {parity.reason}",
            "the linear layers in int8",
            f"see {name}{RECORD}; the export was removed: --precision fp32, or the versions that das was tested with",
        )
    )


def _rows(inputs: Mapping[str, Tensor]) -> int:
    return len(next(iter(inputs.values())))
