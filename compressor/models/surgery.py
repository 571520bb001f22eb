"""Removing layers for good, or parts of them: the list of steps is edited, what is kept is copied, the rest left."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from itertools import chain

from torch import nn

from compressor.families import FAMILIES
from compressor.models.adapters import PassThrough, SkipAdapter
from compressor.models.layer_parts import layers_of, parts_of_layers, split_rounds
from compressor.models.plan import Plan, Skip, match_layers
from compressor.models.steps import Keep, StepModel, steps_of


def stream_width(model: StepModel, layer: str) -> int:
    """Return the width of the stream that ``layer`` writes: what a skip adapter in its place must read and write.

    It is that of the layer's outermost norm, of whatever kind: those of attention heads lie deeper.
    """
    norms = {name: module for name, module in model.blocks[layer].named_modules() if _is_norm(module)}
    outermost = min(norms, key=lambda name: name.count("."))
    return len(next(norms[outermost].parameters()))


def _is_norm(module: nn.Module) -> bool:
    """Return whether all that ``module`` holds are vectors: LayerNorm, and RMSNorm of any library."""
    weights = list(module.parameters(recurse=False))
    return bool(weights) and not any(module.children()) and all(weight.ndim == 1 for weight in weights)


def adapter_width(model: StepModel, layer: str) -> int:
    """Return the bottleneck of ``layer``'s skip adapter: the checkpoint's own, or the paper's fraction of the width."""
    if layer in model.skips:
        return model.skips[layer].width  # type: ignore[return-value]
    pool = next(step.pool for step in steps_of(model.rounds) if step.name == layer)
    return max(1, round(FAMILIES[model.family].pool(str(pool)).skip_fraction * stream_width(model, layer)))


def split_layers(model: StepModel, names: Collection[str]) -> StepModel:
    """Return ``model`` with those layers in parts that ``names`` names parts of; the model itself where there are none.

    All is shared with it: weights, and skip adapters.
    """
    parts = FAMILIES[model.family].parts
    known = parts_of_layers(model.rounds, parts)
    layers = [layer for layer in layers_of(names) if not {*names}.isdisjoint(known.get(layer, ()))]
    if not layers:
        return model
    rounds, blocks = split_rounds(model.rounds, layers, parts), dict(model.blocks.items())
    for step in steps_of(model.rounds):
        if step.name in layers:
            taken = (part.take(model.blocks[step.name]) for part in parts[str(step.pool)])
            blocks |= zip(known[step.name], taken, strict=True)
    blocks |= {step.name: Keep() for step in steps_of(rounds) if step.name not in blocks}
    split = StepModel(model.family, model.task, model.dims, model.prologue, rounds, blocks, model.epilogue)
    split.skips = model.skips
    return split.train(model.training)


def make_plan(model: StepModel, layers: Sequence[str], adapters: bool = True, width: int | None = None) -> Plan:
    """Return the plan that skips ``layers`` (names or patterns) of ``model``, with adapters in their place or nothing.

    ``width`` is the bottleneck of all of them; None is that of :func:`adapter_width`.

    Raises:
        UsageError: a name that is not in the model.

    """
    family = FAMILIES[model.family]
    parts = chain.from_iterable(parts_of_layers(model.rounds, family.parts).values())
    names = match_layers(layers, family.layer_order(model.layers), family.layer_order(tuple(parts)))
    model = split_layers(model, names)
    widths = {name: (width or adapter_width(model, name)) if adapters else 0 for name in names}
    return Plan(skip=tuple(Skip(layer=name, adapter_width=width) for name, width in widths.items()))


def new_skip_adapter(model: StepModel, layer: str, width: int | None = None) -> SkipAdapter:
    """Return a copy of the model's own skip adapter for ``layer``, or a fresh one that passes its stream through."""
    if layer in model.skips:
        return copy.deepcopy(model.skips[layer])  # type: ignore[return-value]
    adapter = SkipAdapter(stream_width(model, layer), width or adapter_width(model, layer))
    return adapter.to(next(model.blocks[layer].parameters()).device)


def remove_layers(model: StepModel, plan: Plan, copy_kept: bool = True) -> StepModel:
    """Return a slim copy of ``model``: planned layers gone, their adapters in place if any, nothing unused kept.

    The model itself is not changed, and shares nothing with the copy unless ``copy_kept`` is False, which saves memory
    when the model is thrown away anyway. Without training, a fresh adapter passes its stream through unchanged.

    Raises:
        UsageError: a planned layer is not in the model.

    """
    model = split_layers(model, plan.layers)
    match_layers(plan.layers, model.layers)
    width = {entry.layer: entry.adapter_width for entry in plan.skip}
    # What blocks and prologue share, their copies share.
    copies: dict[int, object] = {} if copy_kept else {id(module): module for module in model.blocks.modules()}

    def keep(module: nn.Module) -> nn.Module:
        return copy.deepcopy(module, copies) if copy_kept else module

    rounds = tuple(
        tuple(step.as_skipped() if step.name in width else step for step in round_) for round_ in model.rounds
    )
    blocks = {
        step.name: (new_skip_adapter(model, step.name, width[step.name]) if width[step.name] else PassThrough())
        if step.name in width
        else keep(model.blocks[step.name])
        for step in steps_of(model.rounds)
    }
    return StepModel(
        model.family,
        model.task,
        model.dims,
        copy.deepcopy(model.prologue, copies),
        rounds,
        blocks,
        keep(model.epilogue),
    ).train(model.training)
