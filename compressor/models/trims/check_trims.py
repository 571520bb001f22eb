"""Do exact trims answer as the model does: both on a few samples, and where they first differ.

Trims follow from what a family declares: the tokens that its epilogue reads, and the blocks that can compute one token
alone. A declaration that is wrong would make another model of a run than the one that was trained and scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from compressor.errors import CheckFailed, Problem, first_line
from compressor.models.readout import read_tokens
from compressor.models.steps import StepModel
from compressor.models.trims.simplify import OneToken, trim

TOLERANCE = 1e-4  # in units of the largest value, where that is above 1
SAMPLES = 4
EPILOGUE = "the epilogue: it reads other tokens than the family's readout says"


class TrimsDiffer(CheckFailed):
    """A model whose exact trims are not exact: what its family declares is wrong."""


@torch.no_grad()
def check_trims(model: StepModel, inputs: Mapping[str, Tensor]) -> None:
    """Compare ``model`` with :func:`trim` of it on the first ``SAMPLES`` of ``inputs``, place by place.

    Args:
        model: in eval mode, before its trims.
        inputs: a batch of the family's inputs, on the model's device.

    Raises:
        TrimsDiffer: names the step, or the epilogue, where both first differ.
    """
    few, place = {name: x[:SAMPLES] for name, x in inputs.items()}, "the inputs"
    try:
        for place, whole, trimmed in _compute_both(model, trim(model), few):
            if not (apart := _distance(whole, trimmed)) <= TOLERANCE:
                raise _differ(model, f"differs by {apart:.2g} of the largest value in {place}")
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise _differ(model, f"fails behind {place} ({first_line(error)})") from None


def _differ(model: StepModel, how: str) -> TrimsDiffer:
    return TrimsDiffer(
        Problem(
            "trims-differ",
            f"a {model.family} that {how}, where its exact trims leave out what no output depends on",
            "the same but for rounding: a run is loaded with its trims",
            "correct what the family declares (docs/add-a-family.md), then the same command with --resume",
        )
    )


def _compute_both(
    model: StepModel, trimmed: StepModel, inputs: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield what both models make of ``inputs``: each place, and the tokens there that the trimmed model has."""
    whole, cut, left = model.prologue(**inputs), trimmed.prologue(**inputs), list(trimmed.rounds)
    for name in cut:
        yield f"the prologue ({name})", whole[name], cut[name]
    for round_ in model.rounds:
        whole = model.advance(whole, (round_,))
        if not left or not {step.name for step in left[0]} <= {step.name for step in round_}:
            continue  # nothing is read of it
        steps = left.pop(0)
        cut = trimmed.advance(cut, (steps,))
        for step in steps:
            block = trimmed.blocks[step.name]
            for name in step.writes:
                alike = read_tokens(whole, name, block.readout) if isinstance(block, OneToken) else whole[name]
                yield step.name, alike, cut[name]
    yield EPILOGUE, model.epilogue(whole), trimmed.epilogue(cut)


def _distance(whole: Tensor, trimmed: Tensor) -> float:
    """Return the largest difference in units of the largest value, where that is above 1; infinite for other shapes."""
    if torch.equal(whole, trimmed):  # masks may hold infinities
        return 0.0
    if whole.shape != trimmed.shape:
        return torch.inf
    return float((whole.float() - trimmed.float()).abs().max() / whole.float().abs().max().clamp(min=1))
