"""NLVR2 as its repository gives it: statements in JSON lines, images in folders."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from compressor.data.layouts.arrow_tables import NLVR2_LABELS
from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.readers import first_row, json_rows
from compressor.data.reading.rows import Row, class_of, field, find_file, read_rows, text
from compressor.data.types import Layout, RawDataset, Sample
from compressor.progress import Progress

NAME = "NLVR2's JSON lines"
FILES = {"train": "train.json", "val": "dev.json", "test": "test1.json"}
FIELDS = {"identifier", "sentence", "label"}


def recognises(root: Path) -> bool:
    """Whether the first row of one of the files is a statement of NLVR2."""
    return any(set(first_row(json_rows(path))) >= FIELDS for path in _paths(root).values())


def read(root: Path, progress: Progress) -> RawDataset:
    """Statements with two images each: the left one, then the right one.

    Raises:
        InputError: a file is no text.
    """
    pictures = ImageFiles(root)
    splits = {
        split: read_rows([path], json_rows(path), partial(_samples, pictures), progress)
        for split, path in _paths(root).items()
    }
    return RawDataset(NAME, splits, NLVR2_LABELS)


def _paths(root: Path) -> dict[str, Path]:
    found = {split: find_file(root, name) for split, name in FILES.items()}
    return {split: path for split, path in found.items() if path is not None}


def _samples(pictures: ImageFiles, row: Row) -> list[Sample]:
    """One statement; its images are named after the identifier without the number of the statement."""
    pair = text(row, "identifier").rpartition("-")[0]
    label = class_of(field(row, "label", object), NLVR2_LABELS)
    images = tuple(pictures.named(f"{pair}-img{side}.png") for side in (0, 1))
    return [Sample(text(row, "sentence"), images=images, labels=(label,), scores=(1.0,))]


LAYOUT = Layout(NAME, f"{', '.join(FILES.values())} with {', '.join(sorted(FIELDS))}", recognises, read)
