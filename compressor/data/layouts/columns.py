"""Files with named columns, one for each split: CSV, TSV, JSON, Parquet, and what ``datasets`` saves to disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from compressor.data.layouts.glue import METRICS
from compressor.data.layouts.input_forms import IMAGES, Form, InputForm, bind
from compressor.data.layouts.label_columns import Classes, Labels, present_labels
from compressor.data.reading.class_labels import class_number, shorten
from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.readers import RowSource, concatenate, text_source
from compressor.data.reading.rows import Row, read_rows, text_cell
from compressor.data.reading.tables import arrow_source, parquet_source
from compressor.data.types import RawDataset, Reading, Records, Sample
from compressor.errors import input_error

SPLITS = {
    "train": ("train",),
    "val": ("val", "valid", "validation", "dev", "validation_matched", "dev_matched"),
    "val mismatched": ("validation_mismatched", "dev_mismatched"),
    "test": ("test",),
}
NOT_PUBLIC = -1  # how test files write their labels


@dataclass(frozen=True)
class _FileKind:
    """Paths of the files of a split called ``{}`` and their reader."""

    name: str
    patterns: tuple[str, ...]
    open: Callable[[Sequence[Path]], RowSource]

    @property
    def files(self) -> dict[str, str]:
        """Names of each split's files by the first pattern."""
        return {split: self.patterns[0].format(names[0]) for split, names in SPLITS.items()}

    def find(self, root: Path) -> dict[str, list[Path]]:
        """Return the files of each split that is there."""
        paths = {split: self._find_split(root, names) for split, names in SPLITS.items()}
        return {split: files for split, files in paths.items() if files}

    def _find_split(self, root: Path, names: Sequence[str]) -> list[Path]:
        files = (sorted(root.glob(pattern.format(name))) for name in names for pattern in self.patterns)
        return next((paths for paths in files if paths), [])


FILE_KINDS = (
    _FileKind("Hugging Face data set", ("{}/data-*.arrow",), arrow_source),
    _FileKind("Parquet", ("{}.parquet", "{}-*.parquet", "data/{}.parquet", "data/{}-*.parquet"), parquet_source),
    _FileKind("CSV", ("{}.csv",), text_source),
    _FileKind("TSV", ("{}.tsv",), text_source),
    _FileKind("JSON", ("{}.jsonl", "{}.json"), text_source),
)


@dataclass(frozen=True)
class NamedColumns:
    """A task's data as files with named columns.

    Attributes:
        forms: the columns it may have; the first form whose columns are all there is taken.
        classes: the split that names them, the training split where there is one, and its column to the classes.
    """

    forms: tuple[Form, ...]
    classes: Callable[[RowSource, str], Classes]
    name: str = "named columns"

    @property
    def looks_for(self) -> str:
        """The files, and the columns by their first names."""
        columns = "; or ".join(", ".join(names[0] for names in form.values()) for form in self.forms)
        files = "{train,val,test}.{csv,tsv,jsonl,json,parquet}, or a data set saved by Hugging Face's datasets"
        return f"{files}, with the columns {columns}"

    @property
    def unlabelled(self) -> tuple[InputForm, ...]:
        """The same columns without the label."""
        forms = ({role: names for role, names in form.items() if role != "label"} for form in self.forms)
        return tuple(InputForm(form) for form in forms)

    def recognises(self, root: Path) -> bool:
        """Return whether there is a split with the columns of a form."""
        kind, paths = _find_files(root)
        return any(self._bind(kind.open(files)) is not None for files in paths.values())

    def read(self, root: Path, reading: Reading) -> RawDataset:
        """Return the samples of every split; a test split without labels is left out.

        Raises:
            InputError: a file is damaged, or a split lacks a column of the others.
        """
        kind, paths = _find_files(root)
        sources = {split: kind.open(files) for split, files in paths.items()}
        wanted = {split: source for split, source in sources.items() if reading.wants(split)}
        columns = next(bound for source in (*wanted.values(), *sources.values()) if (bound := self._bind(source)))
        label = columns.get("label", "")
        read = {split: source for split, source in wanted.items() if split != "test" or _has_labels(source, label)}
        if not read:
            return RawDataset(kind.name, {}, (), files=kind.files)
        of_classes = _source_of_classes(sources, read, label)
        for source in read.values():
            _check_class_names(source.class_names.get(label), of_classes.class_names.get(label), source)
        classes = self.classes(of_classes, label)
        samples = partial(_samples, columns, classes.parse, ImageFiles(root))
        splits = {split: _read_split(source, columns, samples, reading) for split, source in read.items()}
        metrics = METRICS.get(classes.names, ())
        here = classes.numbered_here
        return RawDataset(kind.name, splits, classes.names, metrics, here, files=kind.files)

    def _bind(self, source: RowSource) -> dict[str, str] | None:
        return next((bound for form in self.forms if (bound := bind(form, source))), None)


def _find_files(root: Path) -> tuple[_FileKind, dict[str, list[Path]]]:
    """Return the files of each split, of the first kind that has any."""
    found = ((kind, kind.find(root)) for kind in FILE_KINDS)
    return next(((kind, paths) for kind, paths in found if paths), (FILE_KINDS[0], {}))


def _source_of_classes(sources: Mapping[str, RowSource], read: Mapping[str, RowSource], label: str) -> RowSource:
    """Return the training split, which has every class; where it has no labels or is not there, what is read."""
    train = sources.get("train")
    return train if train is not None and label in ("", *train.columns) else concatenate([*read.values()])


def _read_split(
    source: RowSource, columns: Mapping[str, str], samples: Callable[[Row], list[Sample]], reading: Reading
) -> Records:
    missing = [name for name in columns.values() if name not in source.columns]
    if missing:
        raise input_error(
            "column-missing",
            f"{source.files[0]} has no column {', '.join(missing)} (it has: {', '.join(source.columns)})",
            "the columns of the other splits",
            "give every split the same columns",
        )
    names = list(dict.fromkeys(columns.values()))
    return read_rows(source.files, source.rows(names), samples, reading, source.total)


def _check_class_names(names: Sequence[str] | None, expected: Sequence[str] | None, source: RowSource) -> None:
    """Refuse a split whose numbers of classes mean others than those of the training split."""
    if names and expected and names != expected:
        raise input_error(
            "classes-differ",
            f"{source.files[0]} calls its classes {shorten(names)}",
            f"those of the training split: {shorten(expected)}",
            "give every split the same ClassLabel, and save the data set again",
        )


def _has_labels(source: RowSource, column: str) -> bool:
    """Return whether any row of a split says what is right."""
    if column not in source.columns:
        return not column
    return any(class_number(label) != NOT_PUBLIC for label in present_labels(source, column))


def _samples(
    columns: Mapping[str, str], parse: Callable[[object], Labels], files: ImageFiles, row: Row
) -> list[Sample]:
    """Return the samples of one row: one, or one for each caption; none when no answer is in the vocabulary."""
    labels, scores = parse(row.get(columns["label"])) if "label" in columns else ((), ())
    images = tuple(files.of(row.get(columns[role])) for role in IMAGES if role in columns)
    second = text_cell(row, columns["second"]) if "second" in columns else None
    name = columns["text"]
    cell = row.get(name)
    texts = [text_cell({name: caption}, name) for caption in (cell if isinstance(cell, list) and cell else [cell])]
    if "label" in columns and not labels:
        return []
    return [Sample(caption, second, images, labels, scores) for caption in texts]
