"""What a checkpoint is: family, heads, sizes, and every layer with its costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from compressor.checkpoints import read_checkpoint
from compressor.families import FAMILIES
from compressor.loading import load_checkpoint, recognise, tasks_of
from compressor.plan import summarise
from compressor.steps import steps_of
from profiles.flops import count

SCHEMA_VERSION = 1


class LayerCost(BaseModel):
    """One skippable layer; MACs of one sample (1 MAC = 2 FLOPs)."""

    model_config = ConfigDict(frozen=True)

    name: str
    pool: str
    parameters: int
    macs: int


class Inspection(BaseModel):
    """What ``das inspect`` prints; ``leftovers`` are keys that nothing reads, by reason."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    checkpoint: str
    family: str
    tasks: tuple[str, ...]
    dims: dict[str, Any]
    parameters: int
    macs: int
    layers: tuple[LayerCost, ...]
    scopes: dict[str, str]
    leftovers: dict[str, list[str]]
    notes: tuple[str, ...]


def inspect_checkpoint(path: Path, task: str | None) -> Inspection:
    """Open a checkpoint and count it on one sample of its own sizes.

    Raises:
        InputError: as loading does.
    """
    checkpoint = read_checkpoint(path)
    family = recognise(checkpoint)
    heads = tasks_of(checkpoint, family)
    loaded = load_checkpoint(path, task or (heads[0] if heads else None))
    model = loaded.model
    dims = model.dims
    sample = {
        "input_ids": torch.zeros(1, dims.text_length, dtype=torch.long),
        "attention_mask": torch.ones(1, dims.text_length, dtype=torch.long),
        "pixel_values": torch.zeros(1, 3, dims.image_size, dims.image_size),
    }
    macs = count(model, {name: sample[name] for name in family.inputs})
    pools = {step.name: step.pool for step in steps_of(model.rounds) if step.pool}
    order = family.layer_order(model.layers)
    return Inspection(
        checkpoint=path.name,
        family=family.name,
        tasks=heads,
        dims=dims.model_dump(),
        parameters=sum(p.numel() for p in model.parameters()),
        macs=macs.total,
        layers=tuple(
            LayerCost(
                name=name,
                pool=str(pools[name]),
                parameters=sum(p.numel() for p in model.blocks[name].parameters()),
                macs=macs.by_step[name],
            )
            for name in order
        ),
        scopes={
            scope: summarise([name for name in order if pools[name] in members])
            for scope, members in FAMILIES[family.name].scopes.items()
        },
        leftovers=loaded.leftovers_by_reason,
        notes=loaded.notes,
    )
