"""Images in one folder for each class, as torchvision's ImageFolder and ``imagefolder`` of ``datasets`` read them."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from compressor.data.image_folders.image_files import is_image_name
from compressor.data.layouts.split_files import SPLITS
from compressor.data.reading.class_labels import class_names, class_of
from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.rows import read_rows
from compressor.data.types import RawDataset, Reading, Sample
from compressor.errors import input_error, shorten

FOLDERS = ("", "data", "images")  # of the data, in which its splits may lie
OF_A_SPLIT = re.compile(
    r"(train|training|trainval|val|valid|validation|dev|test|testing)([\W\d_].*)?", re.IGNORECASE
)  # a folder of such a name, train2017 say, is of no class


class ClassFolders:
    """``train/cat/1.png``: a folder for each split, and in it one for each class.

    Folders of classes without a split above them are data to score a model on: ``test``.
    """

    name = "folders of images by class"
    looks_for = "train/CLASS/IMAGE, val/CLASS/IMAGE, test/CLASS/IMAGE; or CLASS/IMAGE of two classes or more, to score"

    def recognises(self, root: Path) -> bool:
        """Return whether some split has a folder with an image in it."""
        return bool(_find_splits(root))

    def read(self, root: Path, reading: Reading) -> RawDataset:
        """Return the images of every split.

        Raises:
            InputError: a folder of a class has folders in it, or a split is there twice.
        """
        splits = _find_splits(root)
        folders = {split: _class_folders(folder) for split, folder in splits.items()}
        found = {folder.name for split in folders.values() for folder in split}
        labels = class_names(found)
        by_number = all(name.isdecimal() for name in labels) and sorted(found) == sorted(found, key=int)
        images, others = ImageFiles(root), []
        records = {}
        for split in filter(reading.wants, splits):
            files = [path for folder in folders[split] for path in _files_in(folder)]
            rows = [(str(path.relative_to(root)), path) for path in files if is_image_name(path)]
            others += [path for path in files if not is_image_name(path)]
            samples = partial(_samples, root, images, labels)
            records[split] = read_rows([splits[split]], rows, samples, reading, len(rows))
        notes = (f"{len(others):,} files that are no images by their names: {shorten([path.name for path in others])}",)
        return RawDataset(
            self.name,
            records,
            labels,
            numbered_here=not by_number,
            files={split: f"{names[0]}/CLASS/IMAGE" for split, names in SPLITS.items()},
            notes=notes * bool(others),
        )


def _samples(root: Path, images: ImageFiles, labels: tuple[str, ...], path: Path) -> list[Sample]:
    image = images.at(str(path.relative_to(root)))
    return [Sample("", images=(image,), labels=(class_of(path.parent.name, labels),), scores=(1.0,))]


def _find_splits(root: Path) -> dict[str, Path]:
    """Return the folder of each split; of classes without any, in which nothing is called as a split is, ``test``.

    Raises:
        InputError: a split is there twice.
    """
    named: dict[str, Path] = {}
    for split, names in SPLITS.items():
        places = [root / place / name for place in FOLDERS for name in names if _class_folders(root / place / name)]
        if len(places) > 1:
            there = " and ".join(str(folder.relative_to(root)) for folder in places)
            raise input_error(
                "split-ambiguous",
                f"{there} in {root} are each the split {split!r}",
                "one folder of each split",
                "remove all but one, or give a folder that has one: --data",
            )
        if places:
            named[split] = places[0]
    classes = _class_folders(root)
    whole = len(classes) > 1 and not any(OF_A_SPLIT.fullmatch(folder.name) for folder in classes)
    return named or ({"test": root} if whole else {})


def _class_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder that have an image in them; none where it is not there."""
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    classes = (entry for entry in inside if entry.is_dir() and not entry.name.startswith("."))
    return [entry for entry in classes if any(map(is_image_name, entry.iterdir()))]


def _files_in(folder: Path) -> list[Path]:
    """Return the files of a class, by name.

    Raises:
        InputError: there are folders, too: is the class of what lies in them the inner or the outer one?
    """
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    if inner := [entry.name for entry in entries if entry.is_dir()]:
        raise input_error(
            "class-folder-nested",
            f"{folder} has images and the folder {inner[0]}",
            "a folder for each class, with images alone",
            "move the folder beside the others, or its images out of it",
        )
    return entries
