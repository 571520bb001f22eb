"""GLUE's folders of TSV files, and sentences with their labels in the same form without a header."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from compressor.data.layouts.split_files import SPLITS
from compressor.data.reading.class_labels import class_finder, class_names, one_class
from compressor.data.reading.csv_files import csv_header, csv_rows
from compressor.data.reading.rows import (
    COUNTED,
    NO_LABEL,
    Labels,
    Placed,
    Row,
    any_labels,
    count_rows,
    describe_counted,
    describe_unanswered,
    read_labels,
    read_rows,
    text_cell,
    unanswered,
)
from compressor.data.reading.text_files import lines
from compressor.data.types import RawDataset, Reading, Sample
from compressor.errors import input_error

FILES = {
    "train": ("train.tsv",),
    "val": ("dev.tsv", "dev_matched.tsv"),
    "val mismatched": ("dev_mismatched.tsv",),
    "test": ("test.tsv", "test_matched.tsv"),
    "test mismatched": ("test_mismatched.tsv",),
}
IDS = (COUNTED, "id")  # QQP's
LOOKED_AT = 1000  # lines of a file that tell which data set it is
KNOWN_SHARE = 0.95  # of them have one of its labels; a third class would have more than the rest


@dataclass(frozen=True)
class _Dataset:
    """One data set of GLUE.

    Attributes:
        name: for messages and reports.
        texts: columns of the sentence, or of the two sentences.
        label: column of the label.
        values: the labels as the files write them, in the order of the classes.
        labels: names of the classes.
        marks: other columns that tell it from what looks like it.
        metrics: beside accuracy.
        header: names for the columns of files without a header.
    """

    name: str
    texts: tuple[str, ...]
    label: str
    values: tuple[str, ...]
    labels: tuple[str, ...]
    marks: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    header: tuple[str, ...] | None = None


ENTAILMENT = ("entailment", "not_entailment")
MNLI = ("entailment", "neutral", "contradiction")
BINARY = ("0", "1")
PAIR = ("sentence1", "sentence2")
DATASETS = (
    _Dataset(
        "GLUE's MRPC", ("#1 String", "#2 String"), "Quality", BINARY, ("not_equivalent", "equivalent"), metrics=("f1",)
    ),
    _Dataset(
        "GLUE's QQP",
        ("question1", "question2"),
        "is_duplicate",
        BINARY,
        ("not_duplicate", "duplicate"),
        metrics=("f1",),
    ),
    _Dataset("SNLI's TSV", PAIR, "gold_label", MNLI, MNLI, ("captionID",)),
    _Dataset("GLUE's MNLI", PAIR, "gold_label", MNLI, MNLI),
    _Dataset("GLUE's QNLI", ("question", "sentence"), "label", ENTAILMENT, ENTAILMENT),
    _Dataset("GLUE's RTE", PAIR, "label", ENTAILMENT, ENTAILMENT),
    _Dataset("GLUE's WNLI", PAIR, "label", BINARY, ("not_entailment", "entailment"), ("index",)),
    _Dataset("GLUE's SST-2", ("sentence",), "label", BINARY, ("negative", "positive")),
)
COLA = _Dataset(
    "GLUE's CoLA",
    ("sentence",),
    "label",
    BINARY,
    ("unacceptable", "acceptable"),
    metrics=("matthews",),
    header=("source", "label", "mark", "sentence"),
)
PLAIN = _Dataset("TSV of sentence and label", ("sentence",), "label", (), (), header=("sentence", "label"))
METRICS = {dataset.labels: dataset.metrics for dataset in (*DATASETS, COLA) if dataset.metrics}
"""Metrics of a data set by the names of its classes, which other forms of it keep."""
WRITTEN = {dataset.labels: dataset.values for dataset in (*DATASETS, COLA)}
"""What GLUE's files write for each class, by the names of the classes."""
REGRESSION = {*PAIR, "score"}


class GlueTsv:
    """``train.tsv``, ``dev.tsv`` and ``test.tsv``; columns and labels tell which data set it is."""

    name = "GLUE's TSV"
    looks_for = "train.tsv and dev.tsv with GLUE's columns, or of sentence and label without a header"

    def recognises(self, root: Path) -> bool:
        """Return whether a file is that of a data set of GLUE, or two columns without a header.

        GLUE's validation split is ``dev``: files that call it otherwise only have columns of the same names.
        """
        if any((root / f"{name}.tsv").is_file() for name in SPLITS["val"] if f"{name}.tsv" not in FILES["val"]):
            return False
        return _find_dataset(root) is not None or _is_regression(root)

    def read(self, root: Path, reading: Reading) -> RawDataset:
        """Return sentences, or pairs of sentences, with one class each; a split without labels is left out.

        Raises:
            InputError: a file is no text or has other columns, or the data set is STS-B.
        """
        dataset = _find_dataset(root)
        if dataset is None:
            raise input_error(
                "labels-not-classes",
                f"{root} holds STS-B, whose labels are scores from 0 to 5",
                "classes, of a task that chooses one",
                "--task regression",
            )
        if dataset is PLAIN:
            names = class_names(cells[1] for cells in _cells(_paths(root)[0]) if len(cells) == 2)
            dataset = replace(dataset, values=names, labels=names)
        label_of = partial(_label, dataset)
        numbers = all(name.isdecimal() for name in dataset.values)
        numbered_here = dataset.header == PLAIN.header and not numbers
        paths = {
            split: path
            for split, names in FILES.items()
            if reading.wants(split) and (path := next((root / name for name in names if (root / name).is_file()), None))
        }
        hidden = unanswered(paths, reading, lambda split: any_labels(_rows(paths[split], dataset), label_of))
        notes = describe_unanswered([paths.pop(split) for split in hidden])
        splits = {}
        for split, path in paths.items():
            rows, id_name = _rows(path, dataset), next((name for name in IDS if name in csv_header(path)), "")
            if reading.whole and not id_name:
                rows, id_name, notes = count_rows(rows), COUNTED, (*notes, describe_counted(path))
            splits[split] = read_rows([path], rows, partial(_samples, dataset, id_name, reading.whole), reading)
        return RawDataset(
            dataset.name,
            splits,
            dataset.labels,
            dataset.metrics,
            numbered_here,
            numbers,
            files={split: names[0] for split, names in FILES.items()},
            ids=COUNTED,
            written=dataset.values,
            notes=notes,
        )


def _rows(path: Path, dataset: _Dataset) -> Placed:
    """Return the rows of a file; CoLA's test file has a header that its others lack."""
    has_header = {COUNTED, *dataset.texts} <= {*csv_header(path)}
    return csv_rows(path, None if has_header else dataset.header)


def _label(dataset: _Dataset, row: Row) -> Labels:
    return one_class(row.get(dataset.label), dataset.values)


def _samples(dataset: _Dataset, id_name: str, whole: bool, row: Row) -> list[Sample]:
    if row.get(dataset.label) == NO_LABEL and not whole:
        return []
    texts = [text_cell(row, name, whole) for name in dataset.texts]
    labels, scores = read_labels(whole, partial(_label, dataset, row))
    return [Sample(texts[0], texts[1] if len(texts) > 1 else None, (), labels, scores, id=row.get(id_name))]


def _paths(root: Path) -> list[Path]:
    """Return the files that are there."""
    return [root / name for names in FILES.values() for name in names if (root / name).is_file()]


def _find_dataset(root: Path) -> _Dataset | None:
    """Return the data set that the first of the files belongs to."""
    first, *rows = [row for path in _paths(root)[:1] for row in islice(_cells(path), LOOKED_AT)] or [[]]
    for dataset in DATASETS:
        if {*dataset.texts, dataset.label, *dataset.marks} <= set(first):
            at = first.index(dataset.label)
            find, labels = class_finder(dataset.values), [cells[at] for cells in rows if len(cells) == len(first)]
            matches = [label == NO_LABEL or find(label) is not None for label in labels]
            if sum(matches) > KNOWN_SHARE * len(matches):
                return dataset
    if len(first) == len(COLA.header or ()) and class_finder(BINARY)(first[1]) is not None:
        return COLA
    # The first line is no header when its label comes again.
    if len(first) == 2 and any(cells[1:] == first[1:] for cells in rows):
        return PLAIN
    return None


def _is_regression(root: Path) -> bool:
    return any(set(next(_cells(path), [])) >= REGRESSION for path in _paths(root)[:1])


def _cells(path: Path) -> Iterator[list[str]]:
    """Return the cells of the lines of a file."""
    return (line.rstrip("\n").split("\t") for line in lines(path))
