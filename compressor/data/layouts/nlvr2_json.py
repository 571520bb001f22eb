"""NLVR2 as its repository gives it: statements in JSON lines, images in folders."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from compressor.data.layouts.arrow_tables import NLVR2_LABELS
from compressor.data.layouts.input_forms import image_pair
from compressor.data.reading.class_labels import one_class
from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.json_files import first_row, json_rows
from compressor.data.reading.rows import (
    Labels,
    Row,
    any_labels,
    describe_unanswered,
    find_files,
    read_labels,
    read_rows,
    text_cell,
    unanswered,
)
from compressor.data.types import RawDataset, Reading, Sample

FILES = {"train": "train.json", "val": "dev.json", "test": "test1.json"}
FIELDS = {"identifier", "sentence"}


class Nlvr2Json:
    """A file for each split, and the images anywhere below the folder."""

    name = "NLVR2's JSON lines"
    looks_for = f"{', '.join(FILES.values())} with {', '.join(sorted(FIELDS))}"

    def recognises(self, root: Path) -> bool:
        """Return whether the first row of one of the files is a statement of NLVR2."""
        return any(set(first_row(json_rows(path))) >= FIELDS for path in find_files(root, FILES).values())

    def read(self, root: Path, reading: Reading) -> RawDataset:
        """Return statements with two images each: the left one, then the right one.

        The images are downloaded from all over the web, where some are gone: statements without theirs may be many.

        Raises:
            InputError: a file is no text.
        """
        samples = partial(_samples, ImageFiles(root), reading.whole)
        paths = {split: path for split, path in find_files(root, FILES).items() if reading.wants(split)}
        hidden = unanswered(paths, reading, lambda split: any_labels(json_rows(paths[split]), _label))
        notes = describe_unanswered([paths.pop(split) for split in hidden])
        splits = {
            split: read_rows([path], json_rows(path), samples, reading, some_absent=True)
            for split, path in paths.items()
        }
        return RawDataset(self.name, splits, NLVR2_LABELS, files=FILES, ids="identifier", notes=notes)


def _label(row: Row) -> Labels:
    return one_class(row.get("label"), NLVR2_LABELS)


def _samples(images: ImageFiles, whole: bool, row: Row) -> list[Sample]:
    """Return one statement; its identifier names its images."""
    labels, scores = read_labels(whole, partial(_label, row))
    identifier = text_cell(row, "identifier")
    return [Sample(text_cell(row, "sentence"), None, image_pair(images, identifier), labels, scores, id=identifier)]
