"""Files with named columns, one for each split: CSV, TSV, JSON, Parquet, and what ``datasets`` saves to disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from compressor.data.layouts.arrow_tables import NLVR2_LABELS, RETRIEVAL_LABELS, SNLI_VE_LABELS
from compressor.data.layouts.glue import METRICS
from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.readers import Source, lines, parquet_source, stream_source, text_source
from compressor.data.reading.rows import Row, Unreadable, class_names, read_rows, text
from compressor.data.reading.vqa_answers import soft_answers
from compressor.data.types import Layout, RawDataset, Records, Sample
from compressor.errors import input_error
from compressor.progress import Progress

SPLITS = {
    "train": ("train",),
    "val": ("val", "valid", "validation", "dev", "validation_matched", "dev_matched"),
    "val mismatched": ("validation_mismatched", "dev_mismatched"),
    "test": ("test",),
}
MISSING = (None, "", "-")
NOT_PUBLIC = (-1, "-1")  # how test files write their labels
ANSWERS_FILE = "answers.txt"
ANNOTATORS = 10  # of a question of VQA v2: as many answers mean soft scores

Answers = Callable[[Any], tuple[tuple[int, ...], tuple[float, ...]]]
"""A cell to class numbers and how right each is; raises Unreadable where it means no class."""
Form = Mapping[str, tuple[str, ...]]
"""The columns of a task by what they hold, each with the names it goes by."""
IMAGES = ("image", "right image")  # what columns of images hold


@dataclass(frozen=True)
class _Kind:
    """Where the files of a split called ``{}`` lie, and what reads them."""

    name: str
    patterns: tuple[str, ...]
    open: Callable[[Sequence[Path]], Source]


KINDS = (
    _Kind("Hugging Face data set", ("{}/data-*.arrow",), stream_source),
    _Kind("Parquet", ("{}.parquet", "{}-*.parquet", "data/{}.parquet", "data/{}-*.parquet"), parquet_source),
    _Kind("CSV", ("{}.csv",), text_source),
    _Kind("TSV", ("{}.tsv",), text_source),
    _Kind("JSON", ("{}.jsonl", "{}.json"), text_source),
)


@dataclass(frozen=True)
class _Columns:
    """A task's data as files with named columns.

    Attributes:
        forms: the columns it may have; the first form whose columns are all there is taken.
        answers: the training split and its column of labels to the names of the classes, and what a cell means.
        numbered: whether the numbers of the classes are given, not just the order in which they were found.
    """

    forms: tuple[Form, ...]
    answers: Callable[[Source, str], tuple[tuple[str, ...], Answers]]
    numbered: Callable[[Source, str, tuple[str, ...]], bool] = lambda source, column, labels: True

    def layout(self) -> Layout:
        """As a layout."""
        columns = "; or ".join(", ".join(names[0] for names in form.values()) for form in self.forms)
        files = "{train,val,test}.{csv,tsv,jsonl,json,parquet}, or a data set saved by Hugging Face's datasets"
        return Layout("named columns", f"{files}, with the columns {columns}", self._recognises, self._read)

    def _recognises(self, root: Path) -> bool:
        kind, paths = _files(root)
        return "train" in paths and self._bind(kind.open(paths["train"])) is not None

    def _bind(self, source: Source) -> dict[str, str] | None:
        """The column for each thing the task needs."""
        return next((bound for form in self.forms if (bound := bind(form, source))), None)

    def _read(self, root: Path, progress: Progress) -> RawDataset:
        kind, paths = _files(root)
        sources = {split: kind.open(found) for split, found in paths.items()}
        columns = self._bind(sources["train"])
        assert columns is not None, "read before it was recognised"
        labels, answers = self.answers(sources["train"], columns.get("label", ""))
        samples = partial(_samples, columns, answers, ImageFiles(root))
        splits = {
            split: _read_split(source, columns, samples, progress)
            for split, source in sources.items()
            if split != "test" or _has_answers(source, columns)
        }
        numbered = self.numbered(sources["train"], columns.get("label", ""), labels)
        return RawDataset(kind.name, splits, labels, METRICS.get(labels, ()), not numbered)


def bind(form: Form, source: Source) -> dict[str, str] | None:
    """The column that a source has for each thing in a form; None where it lacks one."""
    bound = {role: next((n for n in names if n in source.columns), "") for role, names in form.items()}
    return bound if all(bound.values()) else None


def _files(root: Path) -> tuple[_Kind, dict[str, list[Path]]]:
    """The files of each split, of the first kind that there is any training split of."""
    for kind in KINDS:
        paths = {split: _of_split(root, kind, names) for split, names in SPLITS.items()}
        if paths["train"]:
            return kind, {split: found for split, found in paths.items() if found}
    return KINDS[0], {}


def _of_split(root: Path, kind: _Kind, names: Sequence[str]) -> list[Path]:
    found = (sorted(root.glob(pattern.format(name))) for name in names for pattern in kind.patterns)
    return next((paths for paths in found if paths), [])


def _read_split(
    source: Source, columns: Mapping[str, str], samples: Callable[[Row], list[Sample]], progress: Progress
) -> Records:
    missing = [name for name in columns.values() if name not in source.columns]
    if missing:
        raise input_error(
            f"{source.files[0]} has no column {', '.join(missing)} (it has: {', '.join(source.columns)})",
            "the columns of the training split",
            "give every split the same columns",
        )
    wanted = list(dict.fromkeys(columns.values()))
    return read_rows(source.files, source.rows(wanted), samples, progress, source.total)


def _has_answers(source: Source, columns: Mapping[str, str]) -> bool:
    """Whether any row of a split says what is right."""
    column = columns.get("label")
    if column is None or column not in source.columns:
        return column is None
    return any(value not in NOT_PUBLIC for value in _values(source, column))


def _values(source: Source, column: str) -> Iterator[Any]:
    """The labels of a split that are given."""
    rows = (row for _, row in source.rows([column]) if not isinstance(row, Unreadable))
    return (row[column] for row in rows if row.get(column) not in MISSING)


def _samples(columns: Mapping[str, str], answers: Answers, pictures: ImageFiles, row: Row) -> list[Sample]:
    """The samples of one row: one, or one for each caption; none when no answer is in the vocabulary."""
    labels, scores = answers(row.get(columns["label"])) if "label" in columns else ((), ())
    images = tuple(pictures.of(row.get(columns[role])) for role in IMAGES if role in columns)
    second = text(row, columns["second"]) if "second" in columns else None
    name = columns["text"]
    given = row.get(name)
    texts = [text({name: one}, name) for one in (given if isinstance(given, list) and given else [given])]
    if "label" in columns and not labels:
        return []
    return [Sample(one, second, images, labels, scores) for one in texts]


def _vocabulary(train: Source, column: str) -> tuple[tuple[str, ...], Answers]:
    """VQA: the lines of answers.txt; else the answers of the training split in first-seen order."""
    listed = _answers_file(train)
    labels = (
        tuple(line.strip() for line in lines(listed) if line.strip())
        if listed.is_file()
        else tuple(dict.fromkeys(answer for value in _values(train, column) for answer in _given(value)))
    )
    return labels, partial(_soft, {answer: number for number, answer in enumerate(labels)})


def _answers_file(train: Source) -> Path:
    return train.files[0].parent / ANSWERS_FILE


def _has_answers_file(train: Source, column: str, labels: tuple[str, ...]) -> bool:
    return _answers_file(train).is_file()


def _has_numbers(train: Source, column: str, labels: tuple[str, ...]) -> bool:
    return bool(train.class_names.get(column)) or all(label.isdecimal() for label in labels)


def _soft(classes: Mapping[str, int], value: Any) -> tuple[tuple[int, ...], tuple[float, ...]]:
    given = _given(value)
    if not given:
        raise Unreadable("no answer")
    if isinstance(value, list) and len(value) == ANNOTATORS:
        return soft_answers(given, classes)
    labels = tuple(classes[answer] for answer in dict.fromkeys(given) if answer in classes)
    return labels, (1.0,) * len(labels)


def _given(value: Any) -> list[str]:
    """The answers of a cell: one, a list of them, or a list of VQA v2's annotations."""
    listed = value if isinstance(value, list) else [value]
    answers = (item.get("answer") if isinstance(item, dict) else item for item in listed)
    return [str(answer) for answer in answers if answer not in MISSING]


def _known(
    labels: tuple[str, ...], written: Mapping[str, int], train: Source, column: str
) -> tuple[tuple[str, ...], Answers]:
    """A task with classes of its own; numbers mean what the file's names of its classes say."""
    names = enumerate(train.class_names.get(column, ()))
    numbers = {str(number): written[name.lower()] for number, name in names if name.lower() in written}
    return labels, partial(_one, labels, {**written, **numbers})


def _free(train: Source, column: str) -> tuple[tuple[str, ...], Answers]:
    """The classes that the training split has."""
    names = train.class_names.get(column, ())
    labels = names or class_names(_values(train, column))
    numbers = {str(number): number for number in range(len(names))}
    return labels, partial(_one, labels, {label.lower(): number for number, label in enumerate(labels)} | numbers)


def _one(labels: tuple[str, ...], numbers: Mapping[str, int], value: Any) -> tuple[tuple[int, ...], tuple[float, ...]]:
    number = numbers.get(str(value).lower())
    if number is None:
        raise Unreadable(f"label {str(value)[:40]!r} is none of {', '.join(labels)}")
    return (number,), (1.0,)


def _nothing(train: Source, column: str) -> tuple[tuple[str, ...], Answers]:
    """Retrieval: no label is needed to know that a caption belongs to its image."""
    return RETRIEVAL_LABELS, lambda value: ((), ())


IMAGE = ("image", "image_path", "file_name", "filename")
LABEL = ("label", "labels", "gold_label")
PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text1", "text2"),
)
TRUTH = {"false": 0, "true": 1, "0": 0, "1": 1}

FORMS: Mapping[str, tuple[Form, ...]] = {
    "vqa": ({"text": ("question",), "label": ("answers", "answer", "multiple_choice_answer"), "image": IMAGE},),
    "nlvr2": (
        {
            "text": ("sentence", "statement", "caption", "text", "question"),
            "label": ("label", "answer"),
            "image": ("image_0", "left_image", "image_left", "image1"),
            "right image": ("image_1", "right_image", "image_right", "image2"),
        },
    ),
    "irtr": ({"text": ("caption", "captions", "sentence", "sentences", "text"), "image": IMAGE},),
    "snli-ve": ({"text": ("hypothesis", "sentence2", "sentence", "text"), "label": LABEL, "image": IMAGE},),
    "text-classification": (
        *({"text": (first,), "second": (second,), "label": LABEL} for first, second in PAIRS),
        {"text": ("sentence", "text"), "label": LABEL},
    ),
}
"""The columns of each task."""

VQA = _Columns(FORMS["vqa"], _vocabulary, _has_answers_file).layout()
NLVR2 = _Columns(FORMS["nlvr2"], partial(_known, NLVR2_LABELS, TRUTH)).layout()
RETRIEVAL = _Columns(FORMS["irtr"], _nothing).layout()
SNLI_VE = _Columns(
    FORMS["snli-ve"], partial(_known, SNLI_VE_LABELS, {name: number for number, name in enumerate(SNLI_VE_LABELS)})
).layout()
TEXT_CLASSIFICATION = _Columns(FORMS["text-classification"], _free, _has_numbers).layout()
