"""Count the published model of a family on the operators it executes, built without weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from compressor.costs.macs import count_macs
from compressor.errors import Problem, UsageError
from compressor.families import FAMILIES
from compressor.families.family import Family
from compressor.models.steps import StepModel
from compressor.models.surgery import make_plan, remove_layers
from profiles.macs.flops_report import FlopsReport, FlopsSettings, UncountedOperator


def find_family(name: str) -> Family:
    """Return the family of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in FAMILIES:
        known = f"one of: {', '.join(FAMILIES)}"
        unknown = Problem("unknown-family", f"no family {name!r}", known, f"das flops {next(iter(FAMILIES))}")
        raise UsageError(unknown, *FAMILIES.problems)
    return FAMILIES[name]


def count_built(
    kind: Family,
    dims: Any,
    plain: Any,
    shape: tuple[int, int] | None,
    skip_layers: Sequence[str],
    skip_width: int | None,
    check: bool,
) -> FlopsReport:
    """Count a model of ``dims`` with skipped layers, and the ``plain`` full one, on one sample.

    Args:
        kind: the family.
        dims: of the model.
        plain: of the full model without adapters.
        shape: height and width of its images in pixels; None is the family's own.
        skip_layers: names or patterns of layers.
        skip_width: bottleneck of their adapters; None is the pool's own.
        check: count on the traced graph and by formula, too.

    Raises:
        UsageError: a layer that the model does not have.
    """
    if check:
        from profiles.macs.crosscheck import cross_check

    task = next(iter(kind.heads))
    with torch.device("meta"):
        model = kind.build(dims, task)
        plan = make_plan(model, skip_layers, width=skip_width)
        model, full = remove_layers(model, plan), kind.build(plain, task)
    inputs = _in_shape(kind, kind.example_inputs(dims), shape)
    macs = count_macs(make_traceable(model), inputs)
    images = kind.sizes_of("image", inputs)
    return FlopsReport(
        family=kind.name,
        settings=FlopsSettings(
            image_size=(images["height"], images["width"]) if images else None,
            text_length=dims.text_length,
            skip_layers=plan.layers,
            parallel_width=dims.parallel_width,
            skip_widths={entry.layer: entry.adapter_width for entry in plan.skip},
            merged_tokens=getattr(dims, "merged_tokens", ()),
        ),
        macs=macs.total,
        additional_macs=macs.total - count_macs(make_traceable(full), inputs).total,
        by_pool=macs.by_pool,
        uncounted=tuple(UncountedOperator(operator=entry.operator, calls=entry.calls) for entry in macs.uncounted),
        agreement=cross_check(model, inputs, macs) if check else None,
    )


def _in_shape(family: Family, inputs: dict[str, Tensor], shape: tuple[int, int] | None) -> dict[str, Tensor]:
    """Return the same inputs with images of another height and width."""
    if shape is None:
        return inputs
    one_pixel = {name: inputs[name][..., :1, :1] for name in family.names_of("image")}
    return inputs | {name: x.expand(*x.shape[:-2], *shape) for name, x in one_pixel.items()}


def make_traceable(model: StepModel) -> StepModel:
    """Give the prologue of a model on the meta device real zeros: convolutions there cannot be traced.

    What blocks share with it stays where they are.
    """
    model.prologue.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*model.prologue.parameters(), *model.prologue.buffers()):
            tensor.zero_()
    for shared in {*model.prologue.modules()} & {*model.blocks.modules()}:
        shared.to("meta")
    return model
