"""Counting the costs of a full and a slim model."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from compressor.costs.macs import count_macs
from compressor.costs.model_costs import ModelCosts, Pair, Trims
from compressor.costs.parts import parameters, weight_bytes, without_idle
from compressor.models.steps import StepModel
from compressor.models.trims.simplify import trim
from compressor.token_merging.merge_layers import set_merging


def count_reductions(slim: StepModel, inputs: Mapping[str, Tensor]) -> Trims:
    """Return the MACs of a slim model before and after its exact trims, and if it did not merge the tokens it does."""
    merges = bool(getattr(slim.dims, "merged_tokens", ()))
    return Trims(
        before=count_macs(slim, inputs).total,
        after=count_macs(trim(slim), inputs).total,
        unmerged=count_macs(set_merging(slim, ()), inputs).total if merges else None,
    )


def count_costs(full: StepModel, saved: StepModel, sample: Mapping[str, Tensor]) -> ModelCosts:
    """Count the full and the slim model on one sample, on the device it is on.

    Args:
        full: idle skip adapters do not count.
        saved: the slim model before its exact trims.
        sample: inputs, (1, ...) by name.
    """
    full, slim = without_idle(full), trim(saved)
    before, after, trimmed = (count_macs(model, sample) for model in (full, slim, trim(full)))
    sizes = parameters(full), parameters(slim)
    return ModelCosts(
        macs=Pair(full=before.total, slim=after.total),
        macs_by_pool={
            part: Pair(full=before.by_pool[part], slim=after.by_pool.get(part, 0)) for part in before.by_pool
        },
        macs_by_layer={name: Pair(full=macs, slim=after.by_step.get(name, 0)) for name, macs in before.by_step.items()},
        trims=count_reductions(saved, sample).model_copy(update={"full_after": trimmed.total}),
        parameters=Pair(full=sum(sizes[0].values()), slim=sum(sizes[1].values())),
        parameters_by_pool={part: Pair(full=sizes[0][part], slim=sizes[1].get(part, 0)) for part in sizes[0]},
        weight_bytes=Pair(full=weight_bytes(full), slim=weight_bytes(slim)),
        uncounted=tuple(entry.operator for entry in after.uncounted),
    )
