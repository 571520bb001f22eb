"""Files with named columns, one for each split: CSV, TSV, JSON, Parquet, and what ``datasets`` saves to disk."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from compressor.data.layouts.glue import METRICS, WRITTEN
from compressor.data.layouts.input_forms import IMAGES, Form, InputForm, bind, list_columns, name_columns
from compressor.data.layouts.label_columns import NOT_PUBLIC, Classes, present_labels
from compressor.data.layouts.split_files import TABLES, SplitFiles, expected_files, find_splits, kind_of
from compressor.data.reading.class_labels import class_number
from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.row_source import RowSource, concatenate
from compressor.data.reading.rows import (
    COUNTED,
    NO_LABELS,
    Labels,
    Placed,
    Row,
    Unreadable,
    count_rows,
    describe_counted,
    describe_unanswered,
    listed,
    read_labels,
    read_rows,
    text_cell,
    unanswered,
)
from compressor.data.types import ImageRef, RawDataset, Reading, Records, Sample
from compressor.errors import input_error, shorten

PRINTED_LIST = re.compile(r"\[\s*[\"']")


@dataclass(frozen=True)
class NamedColumns:
    """A task's data as files with named columns.

    Attributes:
        forms: the columns it may have; the first form whose columns are all there is taken.
        classes: the split that names them, its column of labels and the folder to the classes.
        ids: what the ids of samples are called, with the names that their column goes by.
    """

    forms: tuple[InputForm, ...]
    classes: Callable[[RowSource, str, Path], Classes]
    ids: Form = field(default_factory=dict)
    name: str = "named columns"

    @property
    def looks_for(self) -> str:
        """The files, and every name that a column may have."""
        files = "{train,val,test}.{csv,tsv,jsonl,json,parquet}, or a data set saved by Hugging Face's datasets"
        return f"{files}, with the columns {list_columns(self.forms)}"

    @property
    def unlabelled(self) -> tuple[InputForm, ...]:
        """The same columns without the label."""
        return tuple(_without_label(form) for form in self.forms)

    def named(self, columns: Mapping[str, str]) -> NamedColumns:
        """Return the same layout where the user has named some columns: by what they hold."""
        return replace(self, forms=name_columns(self.forms, columns))

    def recognises(self, root: Path) -> bool:
        """Return whether there is a split with the columns of a form.

        Raises:
            InputError: a file is damaged, a split is there twice, or several columns may be the text or the label.
        """
        return any(self._bind(self.open(files)) is not None for files in find_splits(root).values())

    def read(self, root: Path, reading: Reading) -> RawDataset:
        """Return the samples of every split; a test split without labels is left out.

        Raises:
            InputError: as :meth:`recognises`, or a split lacks a column of the others.
        """
        return self._read(find_splits(root), root, reading)

    def read_file(self, path: Path, reading: Reading) -> RawDataset:
        """Return the samples of a file alone, whatever it is called, as its split ``test``.

        Raises:
            InputError: as :meth:`read`, or it is no table with the columns of a form.
        """
        kind = kind_of(path)
        files = SplitFiles("test", kind, kind.patterns[0], (path,)) if kind else None
        source = self.open(files) if files else None
        if files is None or source is None or self._bind(source) is None:
            columns = f" and has the columns {', '.join(source.columns)}" if source else ""
            raise input_error(
                "file-not-of-task",
                f"{path} is a file alone{columns}",
                f"{', '.join(TABLES)} with the columns {list_columns(self.forms)}",
                "name the columns: --columns, or give the folder of a data set",
            )
        return self._read({"test": files}, path.parent, reading)

    def open(self, files: SplitFiles) -> RowSource:
        """Return the rows of a split.

        Raises:
            InputError: a file is damaged.
        """
        return files.open()

    def _read(self, found: Mapping[str, SplitFiles], root: Path, reading: Reading) -> RawDataset:
        sources = {split: self.open(files) for split, files in found.items()}
        wanted = {split: source for split, source in sources.items() if reading.wants(split)}
        form, columns = next(bound for source in (*wanted.values(), *sources.values()) if (bound := self._bind(source)))
        label = columns.get("label", "")
        hidden = unanswered(wanted, reading, lambda split: _has_labels(wanted[split], label))
        notes = describe_unanswered(file for split in hidden for file in wanted.pop(split).files)
        layout = " and ".join(dict.fromkeys(files.kind.name for files in found.values()))
        expected = expected_files(next(iter(found.values())))
        if not wanted:
            return RawDataset(layout, {}, (), files=expected, notes=notes)
        of_classes = _source_of_classes(sources, _labelled(sources, label) if reading.whole else wanted, label)
        for source in wanted.values():
            _check_class_names(source.class_names.get(label), of_classes.class_names.get(label), source)
        classes = self.classes(of_classes, label, root)
        splits = {}
        for split, source in wanted.items():
            ids, id_column = self._find_ids(source)
            if reading.whole and ids == COUNTED and not id_column:
                source, id_column = replace(source, rows=partial(_count, source)), COUNTED
                notes = (*notes, describe_counted(source.files[0]))
            images = partial(form.images, ImageFiles(root, source.files[0].parent))
            samples = partial(_samples, columns, classes.parse, images, id_column, reading.whole)
            splits[split] = _read_split(source, columns, id_column, samples, reading, form.some_absent)
        return RawDataset(
            layout,
            splits,
            classes.names,
            METRICS.get(classes.names, ()),
            classes.numbered_here,
            files=expected,
            ids=ids,
            written=WRITTEN.get(of_classes.class_names.get(label, ()), ()),
            notes=notes,
        )

    def _find_ids(self, source: RowSource) -> tuple[str, str]:
        """Return what the ids of a source are called, and their column; GLUE's numbers have one or none."""
        there = ((name, column) for name, columns in self.ids.items() for column in columns if column in source.columns)
        return next(there, (COUNTED if COUNTED in self.ids else "", ""))

    def _bind(self, source: RowSource) -> tuple[InputForm, dict[str, str]] | None:
        bound = ((form, bind(form.columns, source)) for form in self.forms)
        return next(((form, columns) for form, columns in bound if columns), None)


def _count(source: RowSource, names: Sequence[str]) -> Placed:
    return count_rows(source.rows([name for name in names if name != COUNTED]))


def tell_columns(root: Path) -> str:
    """Return which columns the first split in a folder has; nothing where there is none."""
    sources = (files.open() for files in find_splits(root).values())
    return next((f"{source.files[0].name} has the columns {', '.join(source.columns)}" for source in sources), "")


def _without_label(form: InputForm) -> InputForm:
    return replace(form, columns={role: names for role, names in form.columns.items() if role != "label"})


def _source_of_classes(sources: Mapping[str, RowSource], read: Mapping[str, RowSource], label: str) -> RowSource:
    """Return the training split, which has every class; where it has no labels or is not there, what is read."""
    train = sources.get("train")
    return train if train is not None and label in ("", *train.columns) else concatenate([*read.values()])


def _labelled(sources: Mapping[str, RowSource], label: str) -> dict[str, RowSource]:
    """Return the splits that have labels; where none has, those that have the column."""
    there = {split: source for split, source in sources.items() if label in ("", *source.columns)}
    return {split: source for split, source in there.items() if _has_labels(source, label)} or there


def _read_split(
    source: RowSource,
    columns: Mapping[str, str],
    id_column: str,
    samples: Callable[[Row], list[Sample]],
    reading: Reading,
    some_absent: bool,
) -> Records:
    lacking = {role: name for role, name in columns.items() if name not in source.columns}
    missing = [name for role, name in lacking.items() if role != "label" or not reading.whole]
    if missing:
        raise input_error(
            "column-missing",
            f"{source.files[0]} has no column {', '.join(missing)} (it has: {', '.join(source.columns)})",
            "the columns of the other splits",
            "give every split the same columns",
        )
    ids = [id_column] * bool(reading.whole and id_column)
    names = [name for name in dict.fromkeys((*columns.values(), *ids)) if name not in lacking.values()]
    return read_rows(source.files, source.rows(names), samples, reading, source.total, some_absent)


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
    columns: Mapping[str, str],
    parse: Callable[[object], Labels],
    images_in: Callable[[object], tuple[ImageRef, ...]],
    id_column: str,
    whole: bool,
    row: Row,
) -> list[Sample]:
    """Return the samples of one row: one, or one for each caption; none when no answer is in the vocabulary."""
    labelled = "label" in columns
    labels, scores = read_labels(whole, lambda: parse(row.get(columns["label"]))) if labelled else NO_LABELS
    images = tuple(image for role in IMAGES if role in columns for image in images_in(row.get(columns[role])))
    second = text_cell(row, columns["second"], whole) if "second" in columns else None
    if "text" not in columns:
        return [Sample("", None, images, labels, scores, id=row.get(id_column))] if labels or whole else []
    name = columns["text"]
    cells = [row.get(name)] if labelled else _captions(row.get(name))
    texts = [text_cell({name: text}, name, whole) for text in cells]
    if labelled and not labels and not whole:
        return []
    return [Sample(text, second, images, labels, scores, id=row.get(id_column)) for text in texts]


def _captions(cell: object) -> list[object]:
    """Return what should be the captions in a cell: it alone, or all of a list, which may have Karpathy's form.

    Raises:
        Unreadable: it looks like a list, and is none.
    """
    given = cell.get("raw") if isinstance(cell, dict) else listed(cell) if _is_printed_list(cell) else cell
    if given is None and cell is not None:
        raise Unreadable("a list of captions that is no JSON")
    several = given if isinstance(given, list) and given else [given]
    return [caption.get("raw") if isinstance(caption, dict) else caption for caption in several]


def _is_printed_list(cell: object) -> bool:
    """Return whether a cell is a text that begins as a list of texts does, and not as a caption in brackets."""
    return isinstance(cell, str) and PRINTED_LIST.match(cell) is not None
