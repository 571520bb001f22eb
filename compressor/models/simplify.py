"""Exact trims: what no logit depends on is not computed, and constants are added up beforehand.

The epilogue pools token 0 of some streams. Walked backwards from there, a step whose stream nobody reads any more goes;
one of whose output only token 0 is read computes that row alone, where its block can. The logits stay the same.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from compressor.families import FAMILIES
from compressor.models.steps import RowWise, StepModel


class FirstRow(nn.Module):
    """A block that computes only token 0 of what it writes, (B, 1, D)."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *reads: Tensor | None) -> Tensor:
        """Call the block's ``first_row`` with the streams it reads, all their rows."""
        return self.block.first_row(*reads)  # type: ignore[operator]


@torch.no_grad()
def trim(model: StepModel) -> StepModel:
    """The same function of the inputs with less to compute; for inference, not for training.

    ``model`` is not changed. Weights are shared with it, but for those that a constant was folded into. Skip adapters
    that stand by (``model.skips``) are left behind.
    """
    blocks, kept = {}, []
    trimmed = _sharing_tensors(model)
    for module in list(trimmed.modules()):
        if hasattr(module, "fold_constants"):
            module.fold_constants()  # type: ignore[operator]
    read, read_whole = set(FAMILIES[model.family].readout), set[str]()
    for round_ in reversed(model.rounds):
        live = tuple(step for step in round_ if step.writes in read)
        for step in live:
            block = trimmed.blocks[step.name]
            whole = step.writes in read_whole or not hasattr(block, "first_row")
            blocks[step.name] = block if whole else FirstRow(block)
        written = {step.writes for step in live}
        of_all = [step for step in live if not _reads_first_row(blocks[step.name])]
        read = read - written | {name for step in live for name in step.reads}
        read_whole = read_whole - written | {name for step in of_all for name in step.reads}
        kept += [live] if live else []
    return StepModel(
        model.family, model.task, model.dims, trimmed.prologue, tuple(reversed(kept)), blocks, trimmed.epilogue
    ).train(model.training)


def _reads_first_row(block: nn.Module) -> bool:
    return isinstance(block, FirstRow) and isinstance(block.block, RowWise)


def _sharing_tensors(model: StepModel) -> StepModel:
    """A copy of the modules around the very same tensors."""
    tensors = (*model.parameters(), *model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
