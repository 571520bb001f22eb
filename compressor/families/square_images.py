"""Images of families whose dims hold the settings of an image processor that makes squares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from compressor.families.image_settings import ALONE, read_image_settings

if TYPE_CHECKING:
    from compressor.families.image_transforms import ProcessorTransform

SquareDims = TypeVar("SquareDims", bound=Any)
"""Dims with ``image_size`` and ``pixels``, ``stored_size``, the size that positions are stored for, and ``side_step``,
which divides every size, in pixels."""


def image_transform(dims: Any) -> ProcessorTransform:
    """Return what turns images into pixels."""
    from compressor.families.image_transforms import ProcessorTransform

    return ProcessorTransform(dims.pixels.at(dims.image_size))


def write_settings(dims: Any) -> dict[str, dict[str, Any]]:
    """Return the file that :func:`read_settings` reads ``dims`` of, by name."""
    return {ALONE: dims.pixels.at(dims.image_size).model_dump()}


def read_settings(dims: SquareDims, checkpoint: Path) -> tuple[SquareDims, tuple[str, ...]]:
    """Return ``dims`` with what the folder says of images, and a note where it says nothing or of another size.

    Raises:
        InputError: a file is damaged, of another model's images, or asks for what das does not do.
    """
    usual = dims.pixels.image_processor_type
    said = read_image_settings(checkpoint, usual, dims.side_step)
    if said is None:
        side = dims.stored_size
        note = f"no {ALONE}: images are resized to {side} pixels and normalised as {usual} does by default"
        return _with_pixels(dims, dims.pixels.at(side)), (note,)
    stored = dims.stored_size
    note = f"positions for images of {stored} pixels are interpolated to the {said.side} that {ALONE} asks for"
    return _with_pixels(dims, said), (note,) * (said.side != stored)


def _with_pixels(dims: SquareDims, pixels: Any) -> SquareDims:
    """Return ``dims`` for images of other settings.

    Raises:
        ValueError: they are no whole number of patches.
    """
    return type(dims)(**{**dict(dims), "pixels": pixels, "image_size": pixels.side})
