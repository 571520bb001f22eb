"""The parts a model's costs are broken down into: its pools, and what surrounds them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from itertools import chain

from torch import nn

from compressor.costs.part_names import BRIDGES, HEAD, PARALLEL, PROLOGUE, SKIP
from compressor.families import FAMILIES
from compressor.models.adapters import Adapter
from compressor.models.steps import StepModel, steps_of


def by_part(model: StepModel, amount: Callable[[str], int]) -> dict[str, int]:
    """Sum ``amount`` of the modules, named as in ``named_modules``, over the parts of the model.

    A parallel adapter counts for itself, not for the pool of the layer it sits in. Every part is a key, in the order
    the model runs, also when it is empty.
    """
    pools = (pool.name for pool in FAMILIES[model.family].pools)
    totals = dict.fromkeys((PROLOGUE, *pools, BRIDGES, PARALLEL, SKIP, HEAD), 0)
    totals[PROLOGUE] = amount("prologue")
    for step in steps_of(model.rounds):
        block = f"blocks.{step.name}"
        modules = model.blocks[step.name].named_modules(prefix=block)
        beside = 0 if step.skipped else sum(amount(name) for name, module in modules if isinstance(module, Adapter))
        totals[PARALLEL] += beside
        totals[SKIP if step.skipped else step.pool or BRIDGES] += amount(block) - beside
    totals[SKIP] += amount("skips")
    totals[HEAD] = amount("epilogue")
    return totals


def parameters(model: StepModel) -> dict[str, int]:
    """Count the parameters of each part; those that several layers have count once, for the first."""
    once = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return by_part(model, lambda part: sum(count for name, count in once.items() if name.startswith(f"{part}.")))


def parameters_of_layers(model: StepModel) -> dict[str, int]:
    """Count the parameters that go with each layer, by name: those that no other layer has."""
    members = {name: {id(p): p.numel() for p in model.blocks[name].parameters()} for name in model.layers}
    shared = Counter(chain.from_iterable(members.values()))
    return {name: sum(count for p, count in own.items() if shared[p] == 1) for name, own in members.items()}


def without_idle(model: StepModel) -> StepModel:
    """Return a full model that shares the modules of ``model`` but has no skip adapters, which it does not call."""
    blocks = {step.name: model.blocks[step.name] for step in steps_of(model.rounds)}
    bare = StepModel(model.family, model.task, model.dims, model.prologue, model.rounds, blocks, model.epilogue)
    return bare.train(model.training)


def without_adapters(model: StepModel) -> StepModel:
    """Return a full model that shares the modules of ``model`` but has no adapters at all, skip or parallel."""
    blocks = {step.name: _without_adapters(model.blocks[step.name]) for step in steps_of(model.rounds)}
    dims = model.dims.model_copy(update={"parallel_width": 0})
    plain = StepModel(model.family, model.task, dims, model.prologue, model.rounds, blocks, model.epilogue)
    return plain.train(model.training)


def _without_adapters(module: nn.Module) -> nn.Module:
    """Return a shallow copy in which None stands for each adapter, as in a block of a model without them."""
    bare = copy.copy(module)
    bare._modules = {
        name: None if child is None or isinstance(child, Adapter) else _without_adapters(child)
        for name, child in module._modules.items()
    }
    return bare


def weight_bytes(model: nn.Module) -> int:
    """Count the bytes of all parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def blocks_of(model: StepModel) -> dict[str, nn.Module]:
    """Return the modules that a call of ``model`` runs, in order: prologue, every step and head, by name."""
    steps = {step.name: model.blocks[step.name] for step in steps_of(model.rounds)}
    return {PROLOGUE: model.prologue, **steps, HEAD: model.epilogue}
