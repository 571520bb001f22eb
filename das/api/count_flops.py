"""``das.flops``: the MACs of a published model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from profiles.macs.flops_report import FlopsReport


def flops(
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
    """Count the MACs of a family's published model, from its sizes alone.

    Args:
        family: as users type it, e.g. ``meter``.
        image_size: pixels, or height and width where the family reads images of any shape; None is the family's own.
        text_length: tokens; None is the family's own.
        skip_layers: names or patterns of layers replaced by their skip adapters.
        parallel_adapters: whether kept layers carry the paper's parallel adapters.
        parallel_width: their bottleneck; None is the family's own.
        skip_width: bottleneck of the skip adapters; None is the pool's own.
        merge_tokens: share of the MACs of the vision layers left that merging tokens saves, e.g. ``"0.3x"``.
        check: also count on the executed operators and on the traced graph, which takes a while.

    Raises:
        UsageError: an unknown family or layer, a size the family cannot have, or tokens that it cannot merge.
    """
    from profiles.macs.published import count_published

    return count_published(
        family,
        image_size=image_size,
        text_length=text_length,
        skip_layers=skip_layers,
        parallel_adapters=parallel_adapters,
        parallel_width=parallel_width,
        skip_width=skip_width,
        merge_tokens=merge_tokens,
        check=check,
    )
