"""Inspection of a checkpoint: family, heads, sizes, and every layer with its costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from compressor.checkpoints.build import outline_checkpoint
from compressor.checkpoints.recognise import recognise
from compressor.costs.macs import count_macs
from compressor.costs.parts import parameters_of_layers
from compressor.models.plan import summarise
from compressor.models.steps import steps_of
from compressor.values import Value

SCHEMA_VERSION = 1
WITHOUT_HEAD = "no head that das can compress a model for: parameters and MACs are counted without a head"


class LayerCost(Value):
    """One skippable layer; MACs of one sample (1 MAC = 2 FLOPs)."""

    name: str
    pool: str
    parameters: int
    macs: int


class TaskHead(Value):
    """A task that the checkpoint has a head for, and whether das can compress a model for it."""

    task: str
    compressible: bool


class Inspection(Value):
    """The result of ``das inspect``.

    ``tasks`` are the compressible ones of ``heads``. ``parameters`` and ``macs`` include the head of ``counted_head``
    and no other; None when das can compress for none of the heads, and no head is counted. ``leftovers`` are keys that
    nothing reads, by reason.
    """

    schema_version: int = SCHEMA_VERSION
    checkpoint: str
    family: str
    format: str
    tasks: tuple[str, ...]
    heads: tuple[TaskHead, ...]
    counted_head: str | None
    dims: dict[str, Any]
    parameters: int
    macs: int
    layers: tuple[LayerCost, ...]
    scopes: dict[str, str]
    leftovers: dict[str, list[str]]
    notes: tuple[str, ...]


def inspect_checkpoint(path: Path, task: str | None) -> Inspection:
    """Count a checkpoint's parameters and MACs, on one sample of its own sizes, from the shapes of its tensors.

    Raises:
        InputError: as loading does.
    """
    checkpoint = recognise(path)
    family, tasks = checkpoint.family, checkpoint.tasks
    head = task or next(iter(tasks), None)
    loaded = outline_checkpoint(checkpoint, head)
    model, dims = loaded.model, loaded.model.dims
    with torch.device("meta"):
        macs = count_macs(model, family.example_inputs(dims))
    refusals = (f"every other command refuses it: {problem.found}; {problem.fix}" for problem in loaded.problems)
    pools, own = {step.name: step.pool for step in steps_of(model.rounds) if step.pool}, parameters_of_layers(model)
    order = family.layer_order(model.layers)
    return Inspection(
        checkpoint=path.name,
        family=family.name,
        format=checkpoint.format.name,
        tasks=tasks,
        heads=tuple(TaskHead(task=name, compressible=name in tasks) for name in checkpoint.heads),
        counted_head=head,
        dims=dims.model_dump(exclude=None if head else {"classes"}),
        parameters=sum(p.numel() for p in model.parameters()),
        macs=macs.total,
        layers=tuple(
            LayerCost(
                name=name,
                pool=str(pools[name]),
                parameters=own[name],
                macs=macs.by_step[name],
            )
            for name in order
        ),
        scopes={
            scope: summarise([name for name in order if pools[name] in members])
            for scope, members in family.scopes.items()
        },
        leftovers=loaded.leftovers_by_reason,
        notes=(*loaded.notes, *(() if head else (WITHOUT_HEAD,)), *refusals),
    )
