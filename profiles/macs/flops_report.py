"""The MACs of a family's published model as one JSON document."""

from __future__ import annotations

from compressor.values import Value
from profiles.macs.agreement import Agreement


class FlopsSettings(Value):
    """The counted model: one sample, ``image_size`` (height, width) in pixels, ``text_length`` in tokens.

    ``parallel_width`` is the bottleneck of the parallel adapters (0 without them), ``skip_widths`` those of the skip
    adapters by layer, ``merged_tokens`` how many tokens each vision layer merges, none where it is empty.
    """

    image_size: tuple[int, int] | None
    text_length: int
    skip_layers: tuple[str, ...]
    parallel_width: int
    skip_widths: dict[str, int]
    merged_tokens: tuple[int, ...] = ()


class UncountedOperator(Value):
    """An operator that adds nothing to the total, and how often it is called; ``calls`` is null without ``--check``."""

    operator: str
    calls: int | None = None


class FlopsReport(Value):
    """MACs of one forward pass (1 MAC = 2 FLOPs) and the difference to the plain full model without adapters.

    ``agreement`` holds the same counted in two other ways, null without ``--check``.
    """

    schema_version: int = 1
    family: str
    settings: FlopsSettings
    macs: int
    additional_macs: int
    by_pool: dict[str, int]
    uncounted: tuple[UncountedOperator, ...]
    agreement: Agreement | None
