"""Columns that a sample's texts and images are made of, labels left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.readers import RowSource
from compressor.data.types import ImageRef

Form = Mapping[str, tuple[str, ...]]
"""The columns of a task by what they hold ("text", "second", "label", "image"), each with the names it goes by."""
IMAGES = ("image", "right image")  # what columns of images hold
IMAGE = ("image", "image_path", "file_name", "filename")
COCO_NAME = "file name in COCO"
FLICKR = ("Flickr30K_ID", "Flickr30k_ID", "Flickr30kID", "Flikr30kID", "flickr30k_id", "captionID")
"""What editions of SNLI-VE call the image; the last holds its caption's number, too: ``3416050480.jpg#2``."""


def bind(form: Form, source: RowSource) -> dict[str, str] | None:
    """Return the column that a source has for each thing in a form; None where it lacks one."""
    bound = {role: next((n for n in names if n in source.columns), "") for role, names in form.items()}
    return bound if all(bound.values()) else None


def image_in_cell(files: ImageFiles, cell: Any) -> tuple[ImageRef, ...]:
    """Return the image of a cell, or the one at the path in it."""
    return (files.of(cell),)


def image_by_name(files: ImageFiles, cell: Any) -> tuple[ImageRef, ...]:
    """Return the image file of this name, wherever it lies (VQA v2)."""
    return (files.named(cell),)


def image_of_flickr(files: ImageFiles, cell: Any) -> tuple[ImageRef, ...]:
    """Return the image of Flickr30k with this number, file name, or caption (SNLI-VE)."""
    number = str(cell).partition("#")[0].removesuffix(".jpg")
    return (files.named(f"{number}.jpg"),)


def image_pair(files: ImageFiles, cell: Any) -> tuple[ImageRef, ...]:
    """Return both images of a statement's identifier, which ends in the statement's number (NLVR2)."""
    pair = str(cell).rpartition("-")[0]
    return tuple(files.named(f"{pair}-img{side}.png") for side in (0, 1))


@dataclass(frozen=True)
class InputForm:
    """Columns that inputs may be made of.

    Attributes:
        columns: by what they hold.
        images: the images that a cell of a column of images means.
        some_absent: not all of the images can be had.
    """

    columns: Form
    images: Callable[[ImageFiles, Any], tuple[ImageRef, ...]] = image_in_cell
    some_absent: bool = False
