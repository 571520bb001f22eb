"""Columns that a sample's texts and images are made of, labels left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.row_source import RowSource
from compressor.data.types import ImageRef
from compressor.errors import input_error

Form = Mapping[str, tuple[str, ...]]
"""The columns of a task by what they hold ("text", "second", "label", "image"), each with the names it goes by."""
STANDARD: Mapping[str, str] = MappingProxyType({})  # columns that the user has named: none
IMAGES = ("image", "right image")  # what columns of images hold
IMAGE = ("image", "img", "image_path", "img_path", "image_file", "image_name", "file_name", "filename", "filepath")
COCO_NAME = "file name in COCO"
FLICKR = ("Flickr30K_ID", "Flickr30k_ID", "Flickr30kID", "Flikr30kID", "flickr30k_id", "captionID")
"""What editions of SNLI-VE call the image; the last holds its caption's number, too: ``3416050480.jpg#2``."""


def bind(form: Form, source: RowSource) -> dict[str, str] | None:
    """Return the column that a source has for each thing in a form; None where it lacks one.

    Upper and lower case are the same, and so are blanks and underscores. Of several columns of images the first in the
    form is taken: a picture stands before the name of its file.

    Raises:
        InputError: several columns may be the text or the label.
    """
    there: defaultdict[str, list[str]] = defaultdict(list)
    for column in dict.fromkeys(source.columns):
        there[_plain(column)].append(column)
    known = {role: dict.fromkeys(map(_plain, names)) for role, names in form.items()}
    bound = {role: [column for name in names for column in there[name]] for role, names in known.items()}
    if not all(bound.values()):
        return None
    for role, columns in bound.items():
        if len(columns) > 1 and role not in IMAGES:
            raise input_error(
                "columns-ambiguous",
                f"{source.files[0]} has several columns for the {role}: {', '.join(columns)}",
                f"one of {', '.join(form[role])}",
                "remove or rename those that are not meant",
            )
    return {role: columns[0] for role, columns in bound.items()}


def _plain(column: str) -> str:
    return "_".join(column.lower().split())


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


def name_columns(forms: Sequence[InputForm], columns: Mapping[str, str]) -> tuple[InputForm, ...]:
    """Return the forms that have all of ``columns``, under these names: by what they hold, the column of a file.

    Where a text is named, the forms are those of one text, or of two, as named; all other columns keep their names.
    """
    texts = {"text", "second"} & columns.keys()
    return tuple(
        replace(form, columns={**form.columns, **{role: (name,) for role, name in columns.items()}})
        for form in forms
        if columns.keys() <= form.columns.keys() and (not texts or ("second" in form.columns) == ("second" in texts))
    )


def describe_columns(forms: Sequence[InputForm]) -> dict[str, str]:
    """Return the names that are taken for each thing: those that all forms share, then those that they differ in."""
    first, *others = (form.columns for form in forms)
    shared = {role: names for role, names in first.items() if all(form.get(role) == names for form in others)}
    own = [{role: names for role, names in form.items() if role not in shared} for form in (first, *others)]
    known = {role: ", ".join(names) for role, names in shared.items()}
    if not any(own):
        return known
    roles = dict.fromkeys(" and ".join(form) for form in own)
    ways = dict.fromkeys(" and ".join(", ".join(names) for names in form.values()) for form in own)
    return known | {" or ".join(roles): "; or ".join(ways)}


def list_columns(forms: Sequence[InputForm]) -> str:
    """Return the same in one line, for messages."""
    return "; ".join(f"{role}: {names}" for role, names in describe_columns(forms).items())
