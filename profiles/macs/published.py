"""Count the MACs of a family's published model from its sizes alone: no checkpoint, no weights, no PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from compressor.architectures import ARCHITECTURES
from compressor.architectures.architecture import Architecture
from compressor.architectures.asked_sizes import find_impossible_length, find_impossible_sides
from compressor.errors import Problem, UsageError
from compressor.models.plan import match_layers
from compressor.models.rounds import steps_of
from compressor.token_merging.merge_schedule import check_merging, parse_share, schedule_merging
from profiles.macs.flops_report import FlopsReport, FlopsSettings, UncountedOperator
from profiles.macs.formula import LEFT_OUT, count_by_part

if TYPE_CHECKING:
    from compressor.families.family import Family


def count_published(
    family: str,
    *,
    image_size: int | tuple[int, int] | None = None,
    text_length: int | None = None,
    skip_layers: Sequence[str] = (),
    parallel_adapters: bool = False,
    parallel_width: int | None = None,
    skip_width: int | None = None,
    merge_tokens: str | float | None = None,
    check: bool = False,
) -> FlopsReport:
    """Count a model of ``family`` at its published sizes with ``skip_layers`` replaced by their skip adapters.

    The formula answers at once where the family has one. Else, and with ``check``, the model is built without weights
    and the operators it executes are counted.

    Args:
        family: a key of ``compressor.families.FAMILIES``.
        image_size: pixels, or height and width where the family reads images of any shape; its own when left out.
        text_length: tokens; the family's own when left out.
        skip_layers: layer names or patterns.
        parallel_adapters: whether kept layers carry the paper's parallel adapters.
        parallel_width: their bottleneck; the family's own when left out.
        skip_width: bottleneck of the skip adapters; the pool's own when left out.
        merge_tokens: share of the MACs of the vision layers left that merging tokens saves, as ``"0.3x"``; None merges
            none.
        check: count on the executed operators and on the traced graph, too, and put the three counts side by side.

    Raises:
        UsageError: unknown family or layer, a size the family cannot have, or tokens that it cannot merge.
    """
    kind = (None if check else ARCHITECTURES.get(family)) or _find_family(family)
    _check_widths(parallel_adapters, parallel_width, skip_width)
    plain = change_published(kind, kind.dims_type(), image_size, text_length)
    family_width = max(1, round(plain.hidden * kind.parallel_fraction))
    dims = plain.model_copy(update={"parallel_width": (parallel_width or family_width) if parallel_adapters else 0})
    shape = image_size if isinstance(image_size, tuple) else None
    if merge_tokens is not None:
        dims = _merge_tokens(kind, dims, skip_layers, parse_share(merge_tokens))
    if isinstance(kind, Architecture):
        return _count(kind, dims, plain, shape, skip_layers, skip_width)
    from profiles.macs.built import count_built

    return count_built(kind, dims, plain, shape, skip_layers, skip_width, check)


def _find_family(name: str) -> Family:
    from profiles.macs.built import find_family  # which imports PyTorch

    return find_family(name)


def _merge_tokens(kind: Architecture | Family, dims: Any, skip_layers: Sequence[str], share: float) -> Any:
    """Return ``dims`` with as many tokens merged as save the share of what the layers that are left cost."""
    check_merging(kind, _merging_families())
    layers = tuple(step.name for step in steps_of(kind.rounds(dims)) if step.pool)
    task = kind.task if isinstance(kind, Architecture) else next(iter(kind.heads))
    return schedule_merging(kind, dims, task, match_layers(skip_layers, layers), share)


def _merging_families() -> Iterator[str]:
    from compressor.families import FAMILIES  # which imports PyTorch: for those that are refused

    yield from (name for name, family in FAMILIES.items() if family.merging)


def _count(
    architecture: Architecture,
    dims: Any,
    plain: Any,
    shape: tuple[int, int] | None,
    skip_layers: Sequence[str],
    skip_width: int | None,
) -> FlopsReport:
    height, width = shape or architecture.image_size(dims)
    patches = height // dims.patch, width // dims.patch
    places = architecture.formula(dims, architecture.task, patches).places
    steps = steps_of(architecture.rounds(dims))
    layers = {step.name: pool for pool in architecture.pools for step in steps if step.pool == pool.name}
    skip = {
        name: skip_width or max(1, round(layers[name].skip_fraction * places[layers[name].name].width))
        for name in match_layers(skip_layers, tuple(layers))
    }
    by_pool = count_by_part(architecture, dims, architecture.task, skip, patches)
    macs = sum(by_pool.values())
    return FlopsReport(
        family=architecture.name,
        settings=FlopsSettings(
            image_size=(height, width),
            text_length=dims.text_length,
            skip_layers=tuple(skip),
            parallel_width=dims.parallel_width,
            skip_widths=skip,
            merged_tokens=getattr(dims, "merged_tokens", ()),
        ),
        macs=macs,
        additional_macs=macs - sum(count_by_part(architecture, plain, architecture.task, patches=patches).values()),
        by_pool=by_pool,
        uncounted=tuple(UncountedOperator(operator=name) for name in LEFT_OUT),
        agreement=None,
    )


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


def change_published(
    kind: Architecture | Family,
    dims: Any,
    image_size: int | tuple[int, int] | None,
    text_length: int | None,
) -> Any:
    """Return the dims of a model of a family with these two changed, where they are given.

    Raises:
        UsageError: sizes the family cannot have.
    """
    sides = image_size if isinstance(image_size, tuple) else () if image_size is None else (image_size,)
    problems = (
        *find_impossible_sides(kind.name, dims, sides, kind.any_shape),
        *find_impossible_length(kind.name, dims, text_length, kind.masks_texts),
    )
    if problems:
        raise UsageError(*problems)
    changed = {"image_size": image_size if len(sides) == 1 else None, "text_length": text_length}
    return dims.model_copy(update={name: size for name, size in changed.items() if size is not None})
