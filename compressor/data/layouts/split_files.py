"""The files of each split, by their names: CSV, TSV, JSON, Parquet, and what ``datasets`` saves to disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from compressor.data.reading.row_source import RowSource, text_source
from compressor.data.reading.rows import Row, Unreadable
from compressor.data.reading.tables import arrow_source, parquet_source
from compressor.errors import input_error

SPLITS = {
    "train": ("train",),
    "val": ("val", "valid", "validation", "dev", "validation_matched", "dev_matched"),
    "val mismatched": ("validation_mismatched", "dev_mismatched"),
    "test": ("test", "test_matched"),
    "test mismatched": ("test_mismatched",),
    "test-dev": ("test-dev", "testdev", "test_dev"),
}
"""What the files of each split may be called."""
COLUMN = "split"  # that may say of each row which split it belongs to
SAID = {name: split for split, names in SPLITS.items() for name in (split, *names)} | {"restval": "train"}
"""What it may say; the last is that of COCO's captions."""
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
TABLES = {Path(pattern).suffix: kind for kind in FILE_KINDS if kind is not ARROW for pattern in kind.patterns}
"""The kind of a file alone, by its suffix in lower case."""


@dataclass(frozen=True)
class SplitFiles:
    """The files of one split.

    Attributes:
        split: its name, a key of ``SPLITS``.
        kind, pattern: what they were found by.
        paths: of the files.
        shared: the other splits are in them, too: a column says which rows belong to which.
    """

    split: str
    kind: FileKind
    pattern: str
    paths: tuple[Path, ...]
    shared: bool = False

    def open(self) -> RowSource:
        """Return the rows; those that the column ``split`` gives to another split cannot be used.

        Raises:
            InputError: a file is damaged.
        """
        source = self.kind.open(self.paths)
        column = _find_column(source)
        if not column:
            return source
        rows = partial(_rows_of, source, column, self.split, self.shared)
        return replace(source, rows=rows, total=None if self.shared else source.total)


def kind_of(path: Path) -> FileKind | None:
    """Return the kind of a file alone; None where it is no table by its name."""
    return TABLES.get(path.suffix.lower())


def find_splits(root: Path) -> dict[str, SplitFiles]:
    """Return the files of the splits that are there.

    A data set that ``datasets`` saved without splits, straight into the folder, is one to score a model on: ``test``.
    Files of one split alone, and a file alone in the folder, are taken apart by their column ``split``.

    Raises:
        InputError: a split is there twice, or the column says something else of a row.
    """
    found = {split: several for split, names in SPLITS.items() if (several := _find(root, split, names))}
    for split, several in found.items():
        if len(several) > 1:
            there = (str(files.paths[0].relative_to(root)) for files in several)
            raise input_error(
                "split-ambiguous",
                f"{' and '.join(there)} in {root} are each the split {split!r}",
                "one form of each split",
                "remove all but one, or give a folder that has one: --data",
            )
    named = {split: several[0] for split, several in found.items()}
    if not named and (paths := tuple(path for name in SAVED for path in sorted(root.glob(name)))):
        named = {"test": SplitFiles("test", ARROW, ARROW.patterns[0], paths)}
    alone = [*named.values()] or _find_any(root)
    return (_take_apart(alone[0]) if len(alone) == 1 else {}) or named


def expected_files(files: SplitFiles) -> dict[str, str]:
    """Return what the files of each split would be called, were they like these."""
    return {split: files.pattern.format(names[0]) for split, names in SPLITS.items()}


def _find_any(root: Path) -> list[SplitFiles]:
    """Return the files that may hold a data set, whatever they are called."""
    found = (
        (kind, path)
        for folder in FOLDERS
        for kind in FILE_KINDS
        if kind is not ARROW
        for path in sorted(root.glob(folder + kind.patterns[0].format("*")))
    )
    return [SplitFiles("", kind, kind.patterns[0], (path,)) for kind, path in found]


def _take_apart(files: SplitFiles) -> dict[str, SplitFiles]:
    """Return the splits that the column ``split`` of files gives their rows to; none without one that names any.

    Raises:
        InputError: it names some, and says something else of a row.
    """
    source = files.kind.open(files.paths)
    column = _find_column(source)
    rows = (row for _, row in source.rows([column]) if not isinstance(row, Unreadable)) if column else ()
    said = {str(row.get(column)): _named_split(row, column) for row in rows}
    if any(said.values()) and (other := next((cell for cell, split in said.items() if not split), None)) is not None:
        raise input_error(
            "split-unknown",
            f"the column {column} of {source.files[0]} says {other!r} of a row",
            f"one of {', '.join(SAID)}",
            "name the split of each row, or write a file for each split",
        )
    return {split: replace(files, split=split, shared=True) for split in SPLITS if split in said.values()}


def _find_column(source: RowSource) -> str:
    return next((column for column in source.columns if column.lower() == COLUMN), "")


def _named_split(row: Row, column: str) -> str | None:
    return SAID.get(str(row.get(column)).strip().lower())


def _rows_of(
    source: RowSource, column: str, split: str, shared: bool, names: Sequence[str]
) -> Iterator[tuple[str, Any]]:
    """Return the rows of a split; of those that belong to another one, that they do, unless they are read there."""
    for place, row in source.rows([*names, column] if column not in names else names):
        said = None if isinstance(row, Unreadable) else _named_split(row, column)
        if said in (None, split):
            yield place, row
        elif not shared:
            yield place, Unreadable(f"its {column} is {row[column]}, in a file of the split {split}")


def _find(root: Path, split: str, names: Sequence[str]) -> list[SplitFiles]:
    """Return the files of a split in every form in which it is there."""
    patterns = [
        (kind, folder + pattern, tuple(sorted(root.glob(folder + pattern.format(name)))))
        for name in names
        for folder in FOLDERS
        for kind in FILE_KINDS
        for pattern in kind.patterns
    ]
    return [SplitFiles(split, *some) for some in patterns if some[-1]]
