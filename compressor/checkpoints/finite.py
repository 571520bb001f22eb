"""Weights have to be numbers: a single NaN or infinity makes every answer NaN, or every answer the same."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from compressor.errors import input_error, shorten


def check_finite(weights: Iterable[tuple[str, Tensor]], path: Path) -> None:
    """Refuse weights that are NaN or infinite.

    Args:
        weights: with the names that the file has for them. On the meta device nothing is known, and all pass.
        path: of the file or folder they were read from.

    Raises:
        InputError: names the first of them, and says how many there are.
    """
    wrong = list(dict.fromkeys(name for name, values in weights if not is_finite(values)))
    if wrong:
        raise input_error(
            "weights-not-finite",
            f"{path} has NaN or infinity in {len(wrong)} tensor{'s' * (len(wrong) > 1)}: {shorten(wrong)}",
            "weights that are numbers",
            "a checkpoint from before its training diverged, or saved in float32 where float16 overflowed",
        )


def is_finite(values: Tensor) -> bool:
    """Return whether all values are numbers, neither NaN nor infinite."""
    if values.is_meta or not values.numel():
        return True
    least, most = values.aminmax()  # NaN where any value is; eight times faster than a mask of all values
    return bool(least.isfinite() and most.isfinite())
