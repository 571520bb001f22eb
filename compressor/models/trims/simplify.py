"""Exact graph simplification: what no output depends on is not computed, and constants are added up beforehand.

Walked backwards from the tokens that the epilogue reads, see :mod:`compressor.models.readout`, a step whose streams
nobody reads any more goes; one of whose output only the first or the last token is read computes that token alone,
where its block can. The outputs stay the same.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from compressor.families import FAMILIES
from compressor.models.prefix import Prefix
from compressor.models.readout import ONE, Readout, read_tokens
from compressor.models.rounds import Round, Step
from compressor.models.steps import StepModel, TokenQuery, TokenWise, masks_of

Needs = dict[str, Readout]
"""Which tokens of each stream are read behind some round, ``first``, ``last`` or ``all``; of streams left out none."""


class OneToken(nn.Module):
    """A block that computes one token of what it writes, (B, 1, D).

    Args:
        block: its ``one_token`` is called with a function that picks the token, (B, N, D) -> (B, 1, D), and with the
            streams that the block reads.
        stream: the one it writes.
        readout: ``first`` or ``last``; for ``last`` the possible masks of the stream are read behind all else.
    """

    def __init__(self, block: nn.Module, stream: str, readout: Readout) -> None:
        super().__init__()
        self.block, self.stream, self.readout = block, stream, readout

    def forward(self, *reads: Tensor | None) -> Tensor:
        """Return the token, (B, 1, D); ``reads`` are whole streams, or None for those that the model does not have."""
        names = _masks_read(self.stream, self.readout)
        reads, masks = reads[: len(reads) - len(names)], reads[len(reads) - len(names) :]
        named = {name: mask for name, mask in zip(names, masks, strict=True) if mask is not None}

        def pick(x: Tensor) -> Tensor:
            return read_tokens({self.stream: x, **named}, self.stream, self.readout)

        return self.block.one_token(pick, *reads)  # type: ignore[operator]


@torch.no_grad()
def trim(model: StepModel) -> StepModel:
    """Return the same function of the inputs with less to compute; for inference, not for training.

    ``model`` is not changed. Weights are shared with it, but for those that a constant was folded into. Skip adapters
    that stand by (``model.skips``) are left behind. Streams of which one token is read may become (B, 1, D).
    """
    trimmed = _copy_modules(model)
    for module in list(trimmed.modules()):
        if hasattr(module, "fold_constants"):
            module.fold_constants()  # type: ignore[operator]
    needs = _needs_of_epilogue(model)
    rounds, blocks = [], {}
    for round_ in reversed(model.rounds):
        needs = _before_new_masks(needs, round_)
        live = [step for step in round_ if needs.keys() & {*step.writes}]
        before: Needs = {name: need for name, need in needs.items() if not any(name in step.writes for step in live)}
        steps = []
        for step in live:
            block, need = trimmed.blocks[step.name], needs.get(step.stream, "all")
            if one := _compute_one_token(step, block, need):
                _need(before, step.reads[:1], need if isinstance(block, TokenWise) else "all")
                alike = isinstance(block, TokenWise) and not isinstance(block, TokenQuery)
                _need(before, step.reads[1:], need if alike else "all")
                _need(before, _masks_read(step.stream, need), "all")
            else:
                _need(before, step.reads, "all")
            step, blocks[step.name] = one or (step, block)
            steps.append(step)
        needs = before
        rounds += [tuple(steps)] if steps else []
    return StepModel(
        model.family, model.task, model.dims, trimmed.prologue, tuple(reversed(rounds)), blocks, trimmed.epilogue
    ).train(model.training)


def trim_last_round(model: StepModel, last: Round) -> dict[str, tuple[Step, nn.Module]]:
    """Return those steps of ``last``, behind which is the epilogue alone, that one token is read of; by name.

    Each comes with a block that computes that token alone, (B, 1, D), with the model's own weights.
    """
    needs = _before_new_masks(_needs_of_epilogue(model), last)
    trimmed = {
        step.name: _compute_one_token(step, model.blocks[step.name], needs.get(step.stream, "all")) for step in last
    }
    return {name: one for name, one in trimmed.items() if one}


def _needs_of_epilogue(model: StepModel) -> Needs:
    """Return what the epilogue reads of each stream."""
    needs: Needs = {}
    for stream, readout in FAMILIES[model.family].readout(model.dims, model.task).items():
        _need(needs, (stream,), readout if readout in ONE else "all")
        _need(needs, _masks_read(stream, readout), "all")
    return needs


def _compute_one_token(step: Step, block: nn.Module, need: Readout) -> tuple[Step, nn.Module] | None:
    """Return the step and its block where one token is read of it and it can compute that alone, else None."""
    if need not in ONE or not _knows_one_token(block) or len(step.writes) > 1:
        return None
    reads = (*step.reads, *_masks_read(step.stream, need))
    return replace(step, reads=reads), OneToken(block, step.stream, need)


def _knows_one_token(block: nn.Module) -> bool:
    """Return whether a block computes one token alone: its attention does so without the keys of a prefix."""
    return hasattr(block, "one_token") and not any(isinstance(module, Prefix) for module in block.modules())


def _need(needs: Needs, streams: Iterable[str], need: Readout) -> None:
    """Add that ``need`` of each of the ``streams`` is read."""
    for name in streams:
        needs[name] = need if needs.get(name, need) == need else "all"


def _masks_read(stream: str, readout: Readout) -> tuple[str, ...]:
    """Return the masks that tell which tokens of ``stream`` are read."""
    return masks_of(stream) if readout in ("last", "mean") else ()


def _before_new_masks(needs: Needs, round_: Round) -> Needs:
    """Return ``needs`` with streams whose mask this round writes needed whole: the old mask may end elsewhere."""
    masks = {name for step in round_ for name in step.writes}
    return {name: "all" if need == "last" and masks & {*masks_of(name)} else need for name, need in needs.items()}


def _copy_modules(model: StepModel) -> StepModel:
    """Return a copy of the modules around the very same tensors."""
    tensors = (*model.parameters(), *model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
