"""The files of each split, by their names: CSV, TSV, JSON, Parquet, and what ``datasets`` saves to disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from compressor.data.reading.readers import RowSource, text_source
from compressor.data.reading.tables import arrow_source, parquet_source
from compressor.errors import input_error

SPLITS = {
    "train": ("train",),
    "val": ("val", "valid", "validation", "dev", "validation_matched", "dev_matched"),
    "val mismatched": ("validation_mismatched", "dev_mismatched"),
    "test": ("test",),
}
"""What the files of each split may be called."""
FOLDERS = ("", "data/", "default/", "plain_text/")  # where data sets on the Hugging Face Hub have their files


@dataclass(frozen=True)
class FileKind:
    """A kind of files: the paths of those of a split called ``{}``, and their reader."""

    name: str
    patterns: tuple[str, ...]
    open: Callable[[Sequence[Path]], RowSource]


SAVED = ("data-*.arrow", "dataset.arrow")  # by versions of datasets from 2.8 on, and before
ARROW = FileKind("Hugging Face data set", tuple(f"{{}}/{name}" for name in SAVED), arrow_source)
FILE_KINDS = (
    ARROW,
    FileKind("Parquet", ("{}.parquet", "{}-*.parquet", "{}/*.parquet"), parquet_source),
    FileKind("CSV", ("{}.csv", "{}/metadata.csv"), text_source),
    FileKind("TSV", ("{}.tsv",), text_source),
    FileKind("JSON", ("{}.jsonl", "{}.json", "{}/metadata.jsonl"), text_source),
)


@dataclass(frozen=True)
class SplitFiles:
    """The files of one split, and the pattern that they were found by."""

    kind: FileKind
    pattern: str
    paths: tuple[Path, ...]

    def open(self) -> RowSource:
        """Return the rows.

        Raises:
            InputError: a file is damaged.
        """
        return self.kind.open(self.paths)


def find_splits(root: Path) -> dict[str, SplitFiles]:
    """Return the files of the splits that are there.

    A data set that ``datasets`` saved without splits, straight into the folder, is one to score a model on: ``test``.

    Raises:
        InputError: a split is there twice.
    """
    found = {split: several for split, names in SPLITS.items() if (several := _find(root, names))}
    for split, several in found.items():
        if len(several) > 1:
            named = (str(files.paths[0].relative_to(root)) for files in several)
            raise input_error(
                "split-ambiguous",
                f"{' and '.join(named)} in {root} are each the split {split!r}",
                "one form of each split",
                "remove all but one, or give a folder that has one: --data",
            )
    if not found and (paths := tuple(path for name in SAVED for path in sorted(root.glob(name)))):
        return {"test": SplitFiles(ARROW, ARROW.patterns[0], paths)}
    return {split: several[0] for split, several in found.items()}


def expected_files(files: SplitFiles) -> dict[str, str]:
    """Return what the files of each split would be called, were they like these."""
    return {split: files.pattern.format(names[0]) for split, names in SPLITS.items()}


def _find(root: Path, names: Sequence[str]) -> list[SplitFiles]:
    """Return the files of a split in every form in which it is there."""
    patterns = [
        (kind, folder + pattern, tuple(sorted(root.glob(folder + pattern.format(name)))))
        for name in names
        for folder in FOLDERS
        for kind in FILE_KINDS
        for pattern in kind.patterns
    ]
    return [SplitFiles(*some) for some in patterns if some[-1]]
