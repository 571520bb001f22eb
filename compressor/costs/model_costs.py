"""Costs of the full and the slim model, side by side: MACs, parameters, bytes."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import computed_field
from torch import Tensor

from compressor.costs.macs import count_macs
from compressor.costs.parts import parameters, weight_bytes, without_idle
from compressor.models.simplify import trim
from compressor.models.steps import StepModel
from compressor.values import Value


class Pair(Value):
    """A quantity of the full and of the slim model; ``difference`` is slim less full."""

    full: int
    slim: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def difference(self) -> int:
        """Slim minus full: negative where the slim model needs less."""
        return self.slim - self.full


class Trims(Value):
    """MACs of the slim model without and with its exact trims, which leave out what no logit depends on."""

    before: int
    after: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def saved(self) -> int:
        """Savings of the trims, apart from those of the skipped layers."""
        return self.before - self.after


class ModelCosts(Value):
    """MACs of one sample (1 MAC = 2 FLOPs), parameters, and bytes of the float32 weights; slim is with its trims."""

    macs: Pair
    macs_by_pool: dict[str, Pair]
    macs_by_layer: dict[str, Pair]
    trims: Trims
    parameters: Pair
    parameters_by_pool: dict[str, Pair]
    weight_bytes: Pair
    uncounted: tuple[str, ...]


def count_costs(full: StepModel, saved: StepModel, sample: Mapping[str, Tensor]) -> ModelCosts:
    """Count the full and the slim model on one sample, on the device it is on.

    Args:
        full: idle skip adapters do not count.
        saved: the slim model before its exact trims.
        sample: inputs, (1, ...) by name.
    """
    full, slim = without_idle(full), trim(saved)
    before, untrimmed, after = (count_macs(model, sample) for model in (full, saved, slim))
    sizes = parameters(full), parameters(slim)
    return ModelCosts(
        macs=Pair(full=before.total, slim=after.total),
        macs_by_pool={
            part: Pair(full=before.by_pool[part], slim=after.by_pool.get(part, 0)) for part in before.by_pool
        },
        macs_by_layer={name: Pair(full=macs, slim=after.by_step.get(name, 0)) for name, macs in before.by_step.items()},
        trims=Trims(before=untrimmed.total, after=after.total),
        parameters=Pair(full=sum(sizes[0].values()), slim=sum(sizes[1].values())),
        parameters_by_pool={part: Pair(full=sizes[0][part], slim=sizes[1].get(part, 0)) for part in sizes[0]},
        weight_bytes=Pair(full=weight_bytes(full), slim=weight_bytes(slim)),
        uncounted=tuple(entry.operator for entry in after.uncounted),
    )
