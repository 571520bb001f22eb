"""The tables that METER's and ViLT's converters write: one row per image or pair, its texts in lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from compressor.data.arrow_files import read_table, table_rows
from compressor.data.reading.class_labels import nameless, one_class
from compressor.data.reading.image_refs import image_in_table
from compressor.data.reading.rows import (
    MOST_CLASSES,
    Labels,
    Row,
    Unreadable,
    any_labels,
    describe_unanswered,
    field,
    join,
    read_labels,
    read_rows,
    unanswered,
)
from compressor.data.reading.vqa_answers import listed_answers
from compressor.data.types import ImageRef, RawDataset, Reading, Records, Sample

NLVR2_LABELS = ("False", "True")
RETRIEVAL_LABELS = ("match",)
SNLI_VE_LABELS = ("contradiction", "neutral", "entailment")

Read = Callable[[bool, Row, tuple[ImageRef, ...]], list[Sample]]
"""From a row and its images to samples; those without a usable answer, too, where the split is read whole."""


@dataclass(frozen=True)
class ArrowTables:
    """Arrow tables per split and the function that converts a row to samples.

    Attributes:
        name: of the layout.
        splits: for each split its tables; those that are there are joined.
        marks: any of these tables means this layout.
        images: the columns of encoded images.
        texts: the column of texts.
        answers: the columns of answers.
        samples: a row and its images to samples.
        labels: name of each class.
        ids: the column of the ids of the texts, which a split read whole has; empty without any.
    """

    name: str
    splits: Mapping[str, tuple[str, ...]]
    marks: tuple[str, ...]
    images: tuple[str, ...]
    texts: str
    answers: tuple[str, ...]
    samples: Read
    labels: tuple[str, ...] = ()
    ids: str = ""

    @property
    def looks_for(self) -> str:
        """Names of the files."""
        return ", ".join(f"{name}.arrow" for names in self.splits.values() for name in names)

    def recognises(self, root: Path) -> bool:
        """Return whether a table is there that means this layout."""
        return any((root / f"{name}.arrow").exists() for name in self.marks)

    def read(self, root: Path, reading: Reading) -> RawDataset:
        """Return the samples of every table that is there.

        Raises:
            InputError: a table is damaged, empty, or of another task.
        """
        tables, notes = self.wanted(root, reading)
        splits = {split: self.read_split(paths, self.samples, reading) for split, paths in tables.items()}
        return RawDataset(self.name, splits, self.labels, files=self.files, ids=self.ids, notes=notes)

    def wanted(self, root: Path, reading: Reading) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
        """Return the tables of the splits that are wanted, and a sentence on each that has no answers."""
        tables = {split: paths for split, paths in self.tables(root).items() if reading.wants(split)}
        hidden = unanswered(tables, reading, lambda split: any(map(self._has_answers, tables[split])))
        return tables, describe_unanswered([path for split in hidden for path in tables.pop(split)])

    @property
    def files(self) -> dict[str, str]:
        """The first table of each split."""
        return {split: f"{names[0]}.arrow" for split, names in self.splits.items()}

    def tables(self, root: Path) -> dict[str, list[Path]]:
        """Return the tables that are there, by split."""
        paths = {split: [root / f"{name}.arrow" for name in names] for split, names in self.splits.items()}
        there = {split: [path for path in some if path.exists()] for split, some in paths.items()}
        return {split: some for split, some in there.items() if some}

    def read_split(self, paths: Sequence[Path], samples: Read, reading: Reading) -> Records:
        """Return the records of one split.

        Raises:
            InputError: a table is damaged, empty, or of another task.
        """
        return join([self._rows(path, samples, reading) for path in paths])

    def _rows(self, path: Path, samples: Read, reading: Reading) -> Records:
        table = read_table(path, (*self.images, self.texts, *(() if reading.whole else self.answers)))
        images = [table.column(name) for name in self.images]
        ids = self.ids if reading.whole else ""
        columns = [name for name in (self.texts, *self.answers, ids) if name in table.column_names]

        def number_rows() -> Iterator[tuple[str, tuple[int, Row]]]:
            for number, row in enumerate(table_rows(path, table, columns)):
                yield f"{path.name}, row {number}", (number, row)

        def read(numbered: tuple[int, Row]) -> list[Sample]:
            number, row = numbered
            origin = f"the image in row {number} of {path}"
            found = samples(reading.whole, row, tuple(image_in_table(column, number, origin) for column in images))
            return _with_ids(found, row[ids]) if ids in columns else found

        return read_rows([path], number_rows(), read, reading, table.num_rows)

    def _has_answers(self, path: Path) -> bool:
        """Return whether any text of a table has an answer, or its task needs none."""
        table = read_table(path, (*self.images, self.texts))
        columns = [name for name in (self.texts, *self.answers) if name in table.column_names]

        def labels(row: Row) -> Labels:
            return tuple(label for sample in self.samples(True, row, ()) for label in sample.labels), ()

        rows = ((path.name, row) for row in table_rows(path, table, columns))
        return not self.answers or any_labels(rows, labels)


def _with_ids(samples: Sequence[Sample], ids: Any) -> list[Sample]:
    if not isinstance(ids, list) or len(ids) != len(samples):
        raise Unreadable(f"{len(samples)} texts, and no list of as many ids")
    return [replace(sample, id=of_sample) for sample, of_sample in zip(samples, ids, strict=True)]


def _captions(whole: bool, row: Row, images: tuple[ImageRef, ...]) -> list[Sample]:
    captions = row["caption"]
    if not _list_of(captions, str) or not captions:
        raise Unreadable("caption is not a list of texts")
    return [Sample(caption, images=images) for caption in captions]


def _statements(whole: bool, row: Row, images: tuple[ImageRef, ...]) -> list[Sample]:
    questions = field(row, "questions", list)
    answers = _given(whole, row, "answers", len(questions))
    if not _list_of(questions, str):
        raise Unreadable("questions is not a list of texts")
    if len(questions) != len(answers):
        raise Unreadable(f"{len(questions)} questions, {len(answers)} answers")
    return [
        Sample(statement, None, images, *read_labels(whole, partial(one_class, answer, NLVR2_LABELS)))
        for statement, answer in zip(questions, answers, strict=True)
    ]


def _given(whole: bool, row: Row, name: str, texts: int) -> list[Any]:
    """Return the answers to the texts of a row; as many of nothing where there are none in a split read whole."""
    return [None] * texts if whole and not row.get(name) else field(row, name, list)


def _hypotheses(whole: bool, row: Row, images: tuple[ImageRef, ...]) -> list[Sample]:
    """Return the second of each pair of sentences; the image takes the place of the first, which describes it."""
    sentences = field(row, "sentences", list)
    labels = _given(whole, row, "labels", len(sentences))
    texts = [sentence[1] if isinstance(sentence, list) and len(sentence) == 2 else sentence for sentence in sentences]
    if not _list_of(texts, str):
        raise Unreadable("sentences is not a list of texts or of pairs of texts")
    if len(texts) != len(labels):
        raise Unreadable(f"{len(texts)} sentences, {len(labels)} labels")
    numbers = tuple(str(number) for number in range(len(SNLI_VE_LABELS)))
    return [
        Sample(hypothesis, None, images, *read_labels(whole, partial(one_class, label, numbers)))
        for hypothesis, label in zip(texts, labels, strict=True)
    ]


def _questions(names: dict[int, str], whole: bool, row: Row, images: tuple[ImageRef, ...]) -> list[Sample]:
    """Return questions with soft scores; ``names`` learns what the answers are called.

    METER's converter leaves both lists of a row empty when its answers are not public.
    """
    questions, (answers, labels, scores) = row[VQA_TEXTS], (row.get(name) for name in VQA_ANSWERS)
    if not _list_of(questions, str):
        raise Unreadable("questions is not a list of texts")
    if problem := _problem(questions, answers, labels, scores):
        if not whole:
            raise Unreadable(problem)
        answers = labels = scores = None
    for of_labels, of_answers in zip(labels or [], answers or [], strict=False):
        names.update(zip(of_labels, of_answers, strict=False))
    for label in (label for of_labels in labels or [] for label in of_labels):
        names.setdefault(label, nameless(label))
    empty: list[list[Any]] = [[] for _ in questions]
    return [
        Sample(question, images=images, labels=tuple(of_labels), scores=tuple(of_scores))
        for question, of_labels, of_scores in zip(questions, labels or empty, scores or empty, strict=True)
    ]


def _problem(questions: Any, answers: Any, labels: Any, scores: Any) -> str:
    """Return what does not fit in a row of a VQA table; nothing when all does."""
    if answers and not _lists_of(answers, str):
        return "answers is not a list of lists of texts"
    if not labels and not scores:
        return ""
    if not _lists_of(labels, int):
        return "answer_labels is not a list of lists of whole numbers"
    if not _lists_of(scores, int, float):
        return "answer_scores is not a list of lists of numbers"
    if not len(questions) == len(labels) == len(scores):
        return f"{len(questions)} questions, {len(labels)} lists of answer labels, {len(scores)} lists of answer scores"
    for of_labels, of_scores in zip(labels, scores, strict=True):
        if len(of_labels) != len(of_scores):
            return f"a question with {len(of_labels)} answer labels and {len(of_scores)} answer scores"
        for label in of_labels:
            if not 0 <= label < MOST_CLASSES:
                return f"answer label {label}"
        for score in of_scores:
            if not 0 <= score <= 1:  # false for NaN, too
                return f"answer score {score}"
    return ""


def _list_of(value: Any, *kinds: type) -> bool:
    return isinstance(value, list) and all(type(item) in kinds for item in value)


def _lists_of(value: Any, *kinds: type) -> bool:
    return isinstance(value, list) and all(_list_of(item, *kinds) for item in value)


class VqaTables(ArrowTables):
    """Tables of questions, which say what the answers are called."""

    def read(self, root: Path, reading: Reading) -> RawDataset:
        """Return questions with soft scores; an answer that no row spells out is called by its number.

        Raises:
            InputError: a table is damaged, empty, or of another task.
        """
        names = dict(enumerate(listed_answers(root)))  # of answers that no row may have
        tables, notes = self.wanted(root, reading)
        samples = partial(_questions, names)
        splits = {split: self.read_split(paths, samples, reading) for split, paths in tables.items()}
        others = (path for split, paths in self.tables(root).items() if split not in tables for path in paths)
        for path in filter(self._has_answers, others):
            _learn_names(names, path)
        labels = tuple(names.get(number, nameless(number)) for number in range(1 + max(names, default=-1)))
        return RawDataset(self.name, splits, labels, files=self.files, ids=self.ids, notes=notes)


def _learn_names(names: dict[int, str], path: Path) -> None:
    """Add what a table that is not read otherwise calls the answers."""
    columns = (VQA_TEXTS, *VQA_ANSWERS)
    for row in table_rows(path, read_table(path, columns), columns):
        with suppress(Unreadable):
            _questions(names, False, row, ())


VQA_TEXTS, VQA_ANSWERS = "questions", ("answers", "answer_labels", "answer_scores")
_IMAGE = ("image",)


def _vqa(train: tuple[str, ...], val: str, marks: tuple[str, ...]) -> VqaTables:
    splits = {"train": train, "val": (val,), "test": ("vqav2_test",), "test-dev": ("vqav2_test-dev",)}
    samples = partial(_questions, {})
    return VqaTables("METER's VQA tables", splits, marks, _IMAGE, VQA_TEXTS, VQA_ANSWERS, samples, ids="question_id")


def _retrieval(name: str, prefix: str, splits: Mapping[str, tuple[str, ...]]) -> ArrowTables:
    named = {split: tuple(f"{prefix}_caption_karpathy_{part}" for part in parts) for split, parts in splits.items()}
    marks = tuple(table for tables in named.values() for table in tables)
    return ArrowTables(f"METER's {name} tables", named, marks, _IMAGE, "caption", (), _captions, RETRIEVAL_LABELS)


# vqav2_val is trainable_val and rest_val together: what is held out is not trained on.
VQA = (
    _vqa(("vqav2_train", "vqav2_trainable_val"), "vqav2_rest_val", ("vqav2_rest_val",)),
    _vqa(("vqav2_train",), "vqav2_val", ("vqav2_train", "vqav2_val", "vqav2_test", "vqav2_test-dev")),
)
NLVR2 = ArrowTables(
    "METER's NLVR2 tables",
    {"train": ("nlvr2_train",), "val": ("nlvr2_dev",), "test": ("nlvr2_test1",)},
    ("nlvr2_train", "nlvr2_dev", "nlvr2_test1"),
    ("image_0", "image_1"),
    "questions",
    ("answers",),
    _statements,
    NLVR2_LABELS,
)
FLICKR30K = _retrieval("Flickr30k", "f30k", {"train": ("train",), "val": ("val",), "test": ("test",)})
COCO = _retrieval("COCO", "coco", {"train": ("train", "restval"), "val": ("val",), "test": ("test",)})
SNLI_VE = ArrowTables(
    "METER's SNLI-VE tables",
    {"train": ("snli_train",), "val": ("snli_dev",), "test": ("snli_test",)},
    ("snli_train", "snli_dev", "snli_test"),
    _IMAGE,
    "sentences",
    ("labels",),
    _hypotheses,
    SNLI_VE_LABELS,
)
