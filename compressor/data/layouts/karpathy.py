"""Captions in Karpathy's splits: one JSON document for all splits of Flickr30k or COCO, images in folders."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from compressor.data.layouts.arrow_tables import RETRIEVAL_LABELS
from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.json_files import json_list
from compressor.data.reading.rows import NoImage, Row, Unreadable, field, find_file, number_rows, read_rows, text_cell
from compressor.data.types import ImageRef, RawDataset, Reading, Sample
from compressor.errors import input_error

FILES = ("dataset_flickr30k.json", "dataset_coco.json", "dataset.json")
SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}


class KarpathyJson:
    """One of the files, and the images anywhere below the folder."""

    name = "Karpathy's JSON"
    looks_for = " or ".join(FILES)

    def recognises(self, root: Path) -> bool:
        """Return whether one of the files is there."""
        return any(find_file(root, name) for name in FILES)

    def read(self, root: Path, reading: Reading) -> RawDataset:
        """Return one sample for each caption; ``restval`` is trained on.

        Raises:
            InputError: the file is damaged, or there are several and their images do not tell which is meant.
        """
        images = ImageFiles(root)
        path, listed = _choose(root, images)
        samples = partial(_samples, images)
        by_split: dict[str, list[tuple[str, Row]]] = {}
        for place, row in number_rows(path, listed):
            split = SPLITS.get(str(row.get("split")), "train") if isinstance(row, dict) else "train"
            by_split.setdefault(split, []).append((place, row))
        splits = {
            split: read_rows([path], rows, samples, reading, len(rows))
            for split, rows in by_split.items()
            if reading.wants(split)
        }
        files = {split: f'images of the split "{split}" to {path.name}' for split in SPLITS.values()}
        return RawDataset(self.name, splits, RETRIEVAL_LABELS, files=files)


def _choose(root: Path, images: ImageFiles) -> tuple[Path, list[Any]]:
    """Return the file and its rows; of several, which one archive has together, the one whose images are there."""
    there = [(path, json_list(path, "images")) for name in FILES if (path := find_file(root, name))]
    chosen = [(path, rows) for path, rows in there if any(_is_there(images, row) for row in rows)]
    if len(there) > 1 and len(chosen) != 1:
        raise input_error(
            "several-data-sets",
            f"{root} holds {' and '.join(path.name for path, _ in there)}, with images of {len(chosen)} of them",
            "one data set, or the images of one",
            "move the files of the others elsewhere, or add the images",
        )
    return (chosen or there)[0]


def _is_there(images: ImageFiles, row: Any) -> bool:
    try:
        return isinstance(row, dict) and bool(_find_image(images, row))
    except Unreadable:
        return False


def _samples(images: ImageFiles, row: Row) -> list[Sample]:
    if text_cell(row, "split") not in SPLITS:
        raise Unreadable(f"split {row['split']!r} is none of {', '.join(SPLITS)}")
    sentences = field(row, "sentences", list)
    if not sentences or not all(isinstance(sentence, dict) for sentence in sentences):
        raise Unreadable("no captions")
    captions = [text_cell(sentence, "raw") for sentence in sentences]
    image = _find_image(images, row)
    return [Sample(caption, images=(image,)) for caption in captions]


def _find_image(images: ImageFiles, row: Row) -> ImageRef:
    """Return the image in the folder that the row names (COCO), else wherever it lies.

    Raises:
        Unreadable: there is none, or several elsewhere.
    """
    name, folder = text_cell(row, "filename"), row.get("filepath")
    if isinstance(folder, str) and folder:
        with suppress(NoImage):
            return images.at(f"{folder}/{name}")
    return images.named(name)
