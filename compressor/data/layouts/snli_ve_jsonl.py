"""SNLI-VE as its repository gives it: hypotheses in JSON lines, Flickr30k's images in a folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from compressor.data.layouts.arrow_tables import SNLI_VE_LABELS
from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.readers import json_rows
from compressor.data.reading.rows import Row, class_of, field, find_file, read_rows, text
from compressor.data.types import Layout, RawDataset, Sample
from compressor.progress import Progress

NAME = "SNLI-VE's JSON lines"
FILES = {"train": "snli_ve_train.jsonl", "val": "snli_ve_dev.jsonl", "test": "snli_ve_test.jsonl"}


def recognises(root: Path) -> bool:
    """Whether one of the files is there."""
    return any(find_file(root, name) for name in FILES.values())


def read(root: Path, progress: Progress) -> RawDataset:
    """Hypotheses, each with the image that takes the premise's place.

    Raises:
        InputError: a file is no text.
    """
    samples = partial(_samples, ImageFiles(root))
    found = {split: find_file(root, name) for split, name in FILES.items()}
    splits = {
        split: read_rows([path], json_rows(path), samples, progress)
        for split, path in found.items()
        if path is not None
    }
    return RawDataset(NAME, splits, SNLI_VE_LABELS)


def _samples(pictures: ImageFiles, row: Row) -> list[Sample]:
    label = class_of(text(row, "gold_label"), SNLI_VE_LABELS)
    picture = pictures.named(f"{field(row, 'Flickr30K_ID', object)}.jpg")
    return [Sample(text(row, "sentence2"), images=(picture,), labels=(label,), scores=(1.0,))]


LAYOUT = Layout(NAME, ", ".join(FILES.values()), recognises, read)
