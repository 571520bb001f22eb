"""What a model of a family costs, from its sizes alone: no checkpoint, no weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from compressor.errors import Problem, UsageError, usage_error
from compressor.families import FAMILIES
from compressor.families.family import Family
from compressor.models.macs import Uncounted, count_macs
from compressor.models.plan import Plan
from compressor.models.steps import StepModel
from compressor.models.surgery import make_plan, remove_layers
from compressor.values import Value
from profiles.macs.crosscheck import Agreement, agreement


class FlopsSettings(Value):
    """What was counted: one sample, ``image_size`` (height, width) in pixels, ``text_length`` in tokens.

    ``parallel_width`` is the bottleneck of the parallel adapters (0 without them), ``skip_widths`` those of the skip
    adapters by layer.
    """

    image_size: tuple[int, int] | None
    text_length: int
    skip_layers: tuple[str, ...]
    parallel_width: int
    skip_widths: dict[str, int]


class FlopsReport(Value):
    """MACs of one forward pass (1 MAC = 2 FLOPs) and the difference to the plain full model without adapters.

    ``agreement`` holds the same counted in two other ways; None where that was not asked for.
    """

    schema_version: int = 1
    family: str
    settings: FlopsSettings
    macs: int
    additional_macs: int
    by_pool: dict[str, int]
    uncounted: tuple[Uncounted, ...]
    agreement: Agreement | None


def count_published(
    family: str,
    *,
    image_size: int | tuple[int, int] | None = None,
    text_length: int | None = None,
    skip_layers: Sequence[str] = (),
    parallel_adapters: bool = False,
    parallel_width: int | None = None,
    skip_width: int | None = None,
    check: bool = False,
) -> FlopsReport:
    """Count a model of ``family`` at its published sizes with ``skip_layers`` replaced by their skip adapters.

    Args:
        family: a key of ``compressor.families.FAMILIES``.
        image_size: pixels, or height and width where the family reads images of any shape; its own when left out.
        text_length: tokens; the family's own when left out.
        skip_layers: layer names or patterns.
        parallel_adapters: whether kept layers carry the paper's parallel adapters.
        parallel_width: their bottleneck; the family's own when left out.
        skip_width: bottleneck of the skip adapters; the pool's own when left out.
        check: count again on the traced graph and by formula.

    Raises:
        UsageError: unknown family or layer, or a size the family cannot have.
    """
    if family not in FAMILIES:
        raise usage_error(
            "unknown-family",
            f"no family {family!r}",
            f"one of: {', '.join(FAMILIES)}",
            f"das flops {next(iter(FAMILIES))}",
        )
    kind = FAMILIES[family]
    shape = image_size if isinstance(image_size, tuple) else None
    _check_widths(parallel_adapters, parallel_width, skip_width)
    plain = _dims(kind, image_size, text_length)
    own = max(1, round(plain.hidden * kind.parallel_fraction))
    dims = plain.model_copy(update={"parallel_width": (parallel_width or own) if parallel_adapters else 0})
    task = next(iter(kind.heads))
    with torch.device("meta"):
        model = kind.build(dims, task)
        plan = make_plan(model, skip_layers) if skip_layers else Plan(skip=())
        if skip_width:
            plan = Plan(skip=tuple(entry.model_copy(update={"adapter_width": skip_width}) for entry in plan.skip))
        model, full = remove_layers(model, plan), kind.build(plain, task)
    inputs = _in_shape(kind, kind.example_inputs(dims), shape)
    counted = count_macs(traceable(model), inputs)
    images = kind.sizes_of("image", inputs)
    return FlopsReport(
        family=family,
        settings=FlopsSettings(
            image_size=(images["height"], images["width"]) if images else None,
            text_length=dims.text_length,
            skip_layers=plan.layers,
            parallel_width=dims.parallel_width,
            skip_widths={entry.layer: entry.adapter_width for entry in plan.skip},
        ),
        macs=counted.total,
        additional_macs=counted.total - count_macs(traceable(full), inputs).total,
        by_pool=counted.by_pool,
        uncounted=counted.uncounted,
        agreement=agreement(model, inputs, counted) if check else None,
    )


def _in_shape(family: Family, inputs: dict[str, Tensor], shape: tuple[int, int] | None) -> dict[str, Tensor]:
    """The same inputs with images of another height and width."""
    if shape is None:
        return inputs
    one_pixel = {name: inputs[name][..., :1, :1] for name in family.names_of("image")}
    return inputs | {name: x.expand(*x.shape[:-2], *shape) for name, x in one_pixel.items()}


def _check_widths(parallel_adapters: bool, parallel_width: int | None, skip_width: int | None) -> None:
    problems = [
        Problem("width-too-small", f"{option} {width}", "at least 1", f"{option} 96")
        for option, width in (("--parallel-width", parallel_width), ("--skip-width", skip_width))
        if width is not None and width < 1
    ]
    if parallel_width is not None and not parallel_adapters:
        problems.append(
            Problem(
                "width-without-adapters", "--parallel-width without --parallel-adapters", "both", "--parallel-adapters"
            )
        )
    if problems:
        raise UsageError(*problems)


def _dims(family: Family, image_size: int | tuple[int, int] | None, text_length: int | None) -> Any:
    """The family's published sizes with these two changed."""
    dims, problems = family.dims_type(), []
    sides = image_size if isinstance(image_size, tuple) else () if image_size is None else (image_size,)
    any_shape = family.mask_of("image") is not None
    if sides and not hasattr(dims, "image_size"):
        problems.append(
            Problem(
                "image-size-without-images",
                f"an image size for {family.name}",
                "none: it reads no images",
                "drop --image-size",
            )
        )
    elif len(sides) == 2 and not any_shape:
        found = f"image size {sides[0]}x{sides[1]} for {family.name}"
        problems.append(
            Problem("image-not-square", found, "one number: its images are square", f"--image-size {dims.image_size}")
        )
    elif any(side <= 0 or side % dims.patch for side in sides):
        found, expected = "x".join(map(str, sides)), f"positive multiples of the patch size {dims.patch}"
        problems.append(
            Problem("image-size-impossible", f"image size {found}", expected, f"--image-size {dims.image_size}")
        )
    if text_length is not None and not 1 <= text_length <= dims.longest_text:
        expected = f"1 to {dims.longest_text} tokens"
        problems.append(
            Problem(
                "text-length-impossible", f"text length {text_length}", expected, f"--text-length {dims.text_length}"
            )
        )
    if problems:
        raise UsageError(*problems)
    changed = {"image_size": image_size if len(sides) == 1 else None, "text_length": text_length}
    return dims.model_copy(update={name: size for name, size in changed.items() if size is not None})


def traceable(model: StepModel) -> StepModel:
    """Give the prologue of a model on the meta device real zeros: convolutions there cannot be traced."""
    model.prologue.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*model.prologue.parameters(), *model.prologue.buffers()):
            tensor.zero_()
    return model
