"""Which sizes of images and texts a user may ask for, of a checkpoint's model or of a published one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from compressor.errors import Problem


def find_impossible_sides(family: str, dims: Any, sides: Sequence[int], any_shape: bool = False) -> Iterator[Problem]:
    """Yield what keeps a model of ``dims`` from seeing images of these sides: none, one, or height and width.

    Args:
        family: its name.
        dims: where images are read, with ``image_size``, ``patch`` and, if it is not a patch, ``side_step``: what every
            side is a multiple of. With a smaller step a part of a patch is left out.
        sides: in pixels.
        any_shape: its images may have any height and width.
    """
    if not sides:
        return
    if not hasattr(dims, "image_size"):
        yield Problem(
            "image-size-without-images", f"an image size for {family}", "none: it reads no images", "leave it out"
        )
        return
    step, fix = getattr(dims, "side_step", dims.patch), f"--image-size {dims.image_size}"
    if len(sides) == 2 and not any_shape:
        found = f"image size {sides[0]}x{sides[1]} for {family}"
        yield Problem("image-not-square", found, "one number: its images are square", fix)
    elif any(side < dims.patch or side % step for side in sides):
        whole = f"positive multiples of the patch size {dims.patch}"
        expected = whole if step == dims.patch else f"at least the patch size {dims.patch}"
        yield Problem("image-size-impossible", f"image size {'x'.join(map(str, sides))}", expected, fix)


def find_impossible_length(family: str, dims: Any, length: int | None, masked: bool) -> Iterator[Problem]:
    """Yield what keeps a model of ``dims`` from reading texts of at most ``length`` tokens; None asks for nothing.

    Args:
        family: its name.
        dims: with ``longest_text``, and the ``text_length`` that it was trained with.
        length: in tokens.
        masked: an input tells tokens from padding. Where none does, padding is read as well, and with other padding
            every answer would be another one.
    """
    if length is None:
        return
    found = f"text length {length} for {family}"
    if not dims.longest_text:
        yield Problem("text-length-without-texts", found, "none: it reads no text", "leave it out")
    elif not 1 <= length <= dims.longest_text:
        expected, fix = f"1 to {dims.longest_text} tokens", f"--text-length {dims.text_length}"
        yield Problem("text-length-impossible", found, expected, fix)
    elif not masked and length != dims.text_length:
        expected = f"the {dims.text_length} tokens that it was trained with: nothing masks padding, which it reads, too"
        fix = "leave it out: shorter texts are padded to that length, longer ones are cut"
        yield Problem("text-length-fixed", found, expected, fix)
