"""What a model of a family costs, from its sizes alone: no checkpoint, no weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from compressor.errors import Problem, UsageError, usage_error
from compressor.families import FAMILIES
from compressor.families.base import Family
from compressor.loading import Transfer
from compressor.plan import Plan
from compressor.steps import StepModel
from compressor.surgery import make_plan, remove_layers
from profiles.flops import Uncounted, count


class FlopsSettings(BaseModel):
    """What was counted: one sample, ``image_size`` in pixels, ``text_length`` in tokens."""

    model_config = ConfigDict(frozen=True)

    image_size: int | None
    text_length: int
    skip_layers: tuple[str, ...]
    parallel_adapters: bool


class FlopsReport(BaseModel):
    """MACs of one forward pass (1 MAC = 2 FLOPs) and the difference to the plain full model without adapters."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = 1
    family: str
    settings: FlopsSettings
    macs: int
    additional_macs: int
    by_pool: dict[str, int]
    uncounted: tuple[Uncounted, ...]


_INPUTS: Mapping[str, Callable[[Any], Tensor]] = {
    "input_ids": lambda dims: torch.zeros(1, dims.text_length, dtype=torch.long),
    "attention_mask": lambda dims: torch.ones(1, dims.text_length, dtype=torch.long),
    "pixel_values": lambda dims: torch.zeros(1, 3, dims.image_size, dims.image_size),
}


def flops(
    family: str,
    *,
    image_size: int | None = None,
    text_length: int | None = None,
    skip_layers: Sequence[str] = (),
    parallel_adapters: bool = False,
) -> FlopsReport:
    """Count a model of ``family`` at its published sizes with ``skip_layers`` replaced by their skip adapters.

    Args:
        family: a key of ``compressor.families.FAMILIES``.
        image_size: pixels; the family's own when left out.
        text_length: tokens; the family's own when left out.
        skip_layers: layer names or patterns.
        parallel_adapters: whether kept fusion layers carry the paper's parallel adapters.

    Raises:
        UsageError: unknown family or layer, or a size the family cannot have.
    """
    if family not in FAMILIES:
        raise usage_error(
            f"no family {family!r}", f"one of: {', '.join(FAMILIES)}", f"das flops {next(iter(FAMILIES))}"
        )
    kind = FAMILIES[family]
    plain = _dims(kind, image_size, text_length)
    width = max(1, round(plain.hidden * Transfer.parallel_fraction)) if parallel_adapters else 0
    dims = plain.model_copy(update={"parallel_width": width})
    task = next(iter(kind.heads))
    with torch.device("meta"):
        model = kind.build(dims, task)
        plan = make_plan(model, skip_layers) if skip_layers else Plan(skip=())
        model, full = remove_layers(model, plan), kind.build(plain, task)
    inputs = example_inputs(kind, dims)
    counted = count(_traceable(model), inputs)
    return FlopsReport(
        family=family,
        settings=FlopsSettings(
            image_size=getattr(dims, "image_size", None),
            text_length=dims.text_length,
            skip_layers=plan.layers,
            parallel_adapters=parallel_adapters,
        ),
        macs=counted.total,
        additional_macs=counted.total - count(_traceable(full), inputs).total,
        by_pool=counted.by_pool,
        uncounted=counted.uncounted,
    )


def example_inputs(family: Family, dims: Any) -> dict[str, Tensor]:
    """One sample of the family's inputs at the sizes of ``dims``: token 0 everywhere, nothing masked, a black image."""
    return {name: _INPUTS[name](dims) for name in family.inputs}


def _dims(family: Family, image_size: int | None, text_length: int | None) -> Any:
    """The family's published sizes with these two changed."""
    dims = family.dims_type()
    problems = []
    if image_size is not None and not hasattr(dims, "image_size"):
        problems.append(Problem(f"an image size for {family.name}", "none: it reads no images", "drop --image-size"))
    elif image_size is not None and (image_size <= 0 or image_size % dims.patch):
        expected = f"a positive multiple of the patch size {dims.patch}"
        problems.append(Problem(f"image size {image_size}", expected, f"--image-size {dims.image_size}"))
    if text_length is not None and not 1 <= text_length <= dims.longest_text:
        expected = f"1 to {dims.longest_text} tokens"
        problems.append(Problem(f"text length {text_length}", expected, f"--text-length {dims.text_length}"))
    if problems:
        raise UsageError(*problems)
    changed = {"image_size": image_size, "text_length": text_length}
    return dims.model_copy(update={name: size for name, size in changed.items() if size is not None})


def _traceable(model: StepModel) -> StepModel:
    """Give the prologue real zeros: it is cheap to run, and convolutions on the meta device cannot be traced."""
    model.prologue.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*model.prologue.parameters(), *model.prologue.buffers()):
            tensor.zero_()
    return model
