"""A model of the same weights whose layers merge tokens, or other numbers of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compressor.families import FAMILIES
from compressor.models.steps import StepModel, steps_of


def set_merging(model: StepModel, counts: Sequence[int]) -> StepModel:
    """Return ``model`` with layers that merge ``counts`` tokens each, none where it is empty; skipped ones stay so.

    It shares all modules that have weights. Skip adapters that stand by are left behind.

    Args:
        model: full or slim, of a family that merges.
        counts: one for each layer of the family's pool ``merging``, 0 for skipped ones; or none.
    """
    family = FAMILIES[model.family]
    dims = model.dims.model_copy(update={"merged_tokens": tuple(counts)})
    with torch.device("meta"):
        built = family.build(dims, model.task)
    own = {step.name: step for step in steps_of(model.rounds)}
    rounds = tuple(
        tuple(own[step.name] if step.name in model.skipped else step for step in round_) for round_ in built.rounds
    )
    blocks = {}
    for step in steps_of(rounds):
        blocks[step.name] = block = model.blocks[step.name] if step.name in own else built.blocks[step.name]
        if step.pool == family.merging and not step.skipped:
            blocks[step.name] = built.blocks[step.name]
            for name, child in block.named_children():
                setattr(blocks[step.name], name, child)
    merging = StepModel(model.family, model.task, dims, model.prologue, rounds, blocks, model.epilogue)
    return merging.train(model.training)
