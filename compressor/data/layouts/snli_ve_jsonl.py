"""SNLI-VE as its repository gives it: hypotheses in JSON lines, Flickr30k's images in a folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from compressor.data.layouts.arrow_tables import SNLI_VE_LABELS
from compressor.data.layouts.input_forms import FLICKR, image_of_flickr
from compressor.data.reading.class_labels import one_class
from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.json_files import json_rows
from compressor.data.reading.rows import (
    NO_LABEL,
    Labels,
    Row,
    any_labels,
    describe_unanswered,
    field,
    find_files,
    read_labels,
    read_rows,
    text_cell,
    unanswered,
)
from compressor.data.types import RawDataset, Reading, Sample

FILES = {"train": "snli_ve_train.jsonl", "val": "snli_ve_dev.jsonl", "test": "snli_ve_test.jsonl"}


class SnliVeJsonl:
    """A file for each split, and Flickr30k's images anywhere below the folder."""

    name = "SNLI-VE's JSON lines"
    looks_for = ", ".join(FILES.values())

    def recognises(self, root: Path) -> bool:
        """Return whether one of the files is there."""
        return bool(find_files(root, FILES))

    def read(self, root: Path, reading: Reading) -> RawDataset:
        """Return hypotheses, each with the image that takes the premise's place.

        Raises:
            InputError: a file is no text.
        """
        samples = partial(_samples, ImageFiles(root), reading.whole)
        paths = {split: path for split, path in find_files(root, FILES).items() if reading.wants(split)}
        hidden = unanswered(paths, reading, lambda split: any_labels(json_rows(paths[split]), _label))
        notes = describe_unanswered([paths.pop(split) for split in hidden])
        splits = {split: read_rows([path], json_rows(path), samples, reading) for split, path in paths.items()}
        return RawDataset(self.name, splits, SNLI_VE_LABELS, files=FILES, ids="pairID", notes=notes)


def _label(row: Row) -> Labels:
    return one_class(row.get("gold_label"), SNLI_VE_LABELS)


def _samples(images: ImageFiles, whole: bool, row: Row) -> list[Sample]:
    if row.get("gold_label") == NO_LABEL and not whole:
        return []
    labels, scores = read_labels(whole, partial(_label, row))
    name = next((name for name in FLICKR if name in row), FLICKR[0])
    image = image_of_flickr(images, field(row, name, object))
    return [Sample(text_cell(row, "sentence2"), None, image, labels, scores, id=row.get("pairID"))]
