"""VQA tables as METER's and ViLT's converters write them: one row per image, its questions in lists."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from compressor.data.images import ImageTransform, decode_image
from compressor.data.tables import fingerprint, read_table
from compressor.data.text import TextTransform
from compressor.errors import input_error

COLUMNS = ("image", "questions", "answers", "answer_labels", "answer_scores", "image_id", "question_id", "split")
ANSWERED = ("questions", "answers", "answer_labels", "answer_scores")
TRAIN = ("vqav2_train", "vqav2_trainable_val")
HELD_OUT = ("vqav2_rest_val", "vqav2_val")
TEST = ("vqav2_test",)
HELD_OUT_SHARE = 0.1
IMAGE_CACHE_BYTES = 1 << 30


@dataclass(frozen=True)
class Transforms:
    """What turns a question and an image into the model's inputs."""

    text: TextTransform
    image: ImageTransform

    def __call__(self, questions: Sequence[str], images: list[Image.Image]) -> dict[str, Tensor]:
        """``input_ids``, ``attention_mask`` (B, L) and ``pixel_values`` (B, 3, H, W)."""
        return {**self.text(questions), "pixel_values": self.image(images)}


class Split:
    """Questions of some tables, by number.

    Args:
        name: as reports call it.
        tables: (file, table) pairs.
        index: (n, 3) of table number, row, question in the row.
        transforms: of the model at hand.
        classes: outputs of the model's head.
    """

    def __init__(
        self, name: str, tables: list[tuple[Path, pa.Table]], index: np.ndarray, transforms: Transforms, classes: int
    ) -> None:
        self.name, self.tables, self.index = name, tables, index
        self.transforms, self.classes = transforms, classes
        self._pixels: dict[tuple[int, int], Tensor] = {}
        self._pixel_bytes = 0

    def __len__(self) -> int:
        return len(self.index)

    def describe(self) -> dict[str, Any]:
        """Which files, how many questions, and a fingerprint of the files."""
        return {
            "name": self.name,
            "files": [path.name for path, _ in self.tables],
            "questions": len(self),
            "fingerprint": "-".join(fingerprint(path) for path, _ in self.tables),
        }

    def batch(self, numbers: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """The model's inputs and ``targets`` (B, classes): soft scores, as in METER's VQA objective."""
        places = [tuple(int(value) for value in self.index[number]) for number in numbers]
        questions = [self._cell(table, "questions", row)[at] for table, row, at in places]
        inputs = self.transforms.text(questions)
        inputs["pixel_values"] = torch.stack([self._image(table, row) for table, row, _ in places])
        targets = torch.zeros(len(places), self.classes)
        for i, (table, row, at) in enumerate(places):
            labels = self._cell(table, "answer_labels", row)[at]
            targets[i, labels] = torch.tensor(self._cell(table, "answer_scores", row)[at], dtype=torch.float32)
        return {**inputs, "targets": targets}

    def question(self, number: int) -> tuple[str, bytes]:
        """Text and encoded image of one question."""
        table, row, at = (int(value) for value in self.index[number])
        return self._cell(table, "questions", row)[at], self._cell(table, "image", row)

    def asked(self) -> Iterator[tuple[str, list[int], list[float]]]:
        """Text, answer labels and their scores of every question, without its image."""
        columns = [
            [table.column(name).to_pylist() for name in ("questions", "answer_labels", "answer_scores")]
            for _, table in self.tables
        ]
        for table, row, at in self.index:
            question, labels, scores = (column[row][at] for column in columns[table])
            yield question, labels, scores

    def _cell(self, table: int, column: str, row: int) -> Any:
        return self.tables[table][1].column(column)[row].as_py()

    def _image(self, table: int, row: int) -> Tensor:
        cached = self._pixels.get((table, row))
        if cached is not None:
            return cached
        origin = f"the image in row {row} of {self.tables[table][0]}"
        pixels = self.transforms.image([decode_image(self._cell(table, "image", row), origin)])[0]
        if self._pixel_bytes < IMAGE_CACHE_BYTES:
            self._pixels[table, row] = pixels
            self._pixel_bytes += pixels.nbytes
        return pixels


@dataclass(frozen=True)
class VqaData:
    """Three disjoint sets of questions, and the answers' names.

    Attributes:
        train: adapters learn on it.
        held_out: subsets of layers are rewarded on it; never trained on, never reported.
        evaluation: scores in reports come from it.
        labels: name of each class; a class no table mentions is called ``<class 7>``.
    """

    train: Split
    held_out: Split
    evaluation: Split
    labels: tuple[str, ...]


def find_data(named: str | Path | None, recorded: str | None) -> Path:
    """The data folder: what was named, else ``$DAS_DATA``, else ``./data``, else the checkpoint's own data root.

    Raises:
        InputError: none of them is a folder; lists the places looked at.
    """
    candidates = (
        [("--data", str(named))]
        if named
        else [("$DAS_DATA", os.environ.get("DAS_DATA", "")), ("./data", "data"), ("the checkpoint", recorded or "")]
    )
    for _, place in candidates:
        if place and Path(place).is_dir():
            return Path(place)
    looked = "; ".join(f"{origin}: {place or 'not set'}" for origin, place in candidates)
    raise input_error(
        f"no data folder; looked at {looked}",
        "a folder with vqav2_*.arrow tables",
        "--data FOLDER (das demo writes one to demo/data)",
    )


def answer_count(root: Path) -> int:
    """Classes that a new head needs for the tables of a folder: one more than the highest label.

    Raises:
        InputError: a table is missing columns, damaged, or has rows that do not fit together.
    """
    tables = _open(root, (*TRAIN, *HELD_OUT, *TEST))
    rows = [row for path, table in tables for row in _checked_labels(path, table)]
    return 1 + max((label for row in rows for labels in row for label in labels), default=0)


def load_vqa(root: Path, transforms: Transforms, classes: int) -> VqaData:
    """Open the VQA tables of a folder.

    Training takes ``vqav2_train`` and ``vqav2_trainable_val``. Scores come from ``vqav2_test`` where it has answers,
    rewards then from ``vqav2_rest_val`` or ``vqav2_val``. Without answers in the test table (VQA v2's are not public)
    scores come from the validation table and the last tenth of the training images is held out for rewards.

    Raises:
        InputError: tables missing, damaged, of another task, or with labels that the head does not have.
    """
    held_out, test = _open(root, HELD_OUT)[:1], _open(root, TEST)
    # vqav2_val is trainable_val and rest_val together: whatever is held out is not trained on.
    train = _open(root, TRAIN if held_out and held_out[0][0].stem == HELD_OUT[0] else TRAIN[:1])
    train_index, held_index, test_index = (_index(tables, classes) for tables in (train, held_out, test))
    if not len(train_index) or not (len(held_index) or len(test_index)):
        there = ", ".join(sorted(path.name for path in root.glob("*.arrow"))) or "no arrow file"
        raise input_error(
            f"{root} holds {there}",
            "vqav2_train.arrow and vqav2_val.arrow (or vqav2_rest_val.arrow) with answers",
            "convert VQA v2 with METER's write_vqa.py, or give the right folder: --data",
        )

    def split(name: str, tables: list[tuple[Path, pa.Table]], index: np.ndarray) -> Split:
        if not len(index):
            raise input_error(
                f"{root} leaves no question for the split {name!r}",
                "tables with images enough to train on some and hold others out",
                "convert more images, or add vqav2_test.arrow with answers",
            )
        return Split(name, tables, index, transforms, classes)

    labels = _labels([*train, *held_out, *test], classes)
    if len(held_index) and len(test_index):
        parts = split("train", train, train_index), split("val", held_out, held_index), split("test", test, test_index)
        return VqaData(*parts, labels)
    scored = ("val", held_out, held_index) if len(held_index) else ("test", test, test_index)
    images = np.unique(train_index[:, :2], axis=0)
    table, row = images[-max(1, int(len(images) * HELD_OUT_SHARE))]
    kept_back = (train_index[:, 0] > table) | ((train_index[:, 0] == table) & (train_index[:, 1] >= row))
    return VqaData(
        split("train", train, train_index[~kept_back]),
        split("train, last tenth of the images", train, train_index[kept_back]),
        split(*scored),
        labels,
    )


def _open(root: Path, names: Sequence[str]) -> list[tuple[Path, pa.Table]]:
    paths = [root / f"{name}.arrow" for name in names]
    return [(path, read_table(path, COLUMNS)) for path in paths if path.exists()]


def _index(tables: list[tuple[Path, pa.Table]], classes: int) -> np.ndarray:
    """Every answered question as (number of its table, row, place in the row), (n, 3)."""
    entries = [
        (number, row, at)
        for number, (path, table) in enumerate(tables)
        for row, labels in enumerate(_checked_labels(path, table, classes))
        for at, found in enumerate(labels)
        if found
    ]
    return np.array(entries, dtype=np.int64).reshape(-1, 3)


def _checked_labels(path: Path, table: pa.Table, classes: int | None = None) -> list[list[list[int]]]:
    """The answer labels of every question of every row, once everything in the table fits together.

    METER's converter leaves both lists of a row empty when its answers are not public.
    """
    try:
        columns = [table.column(name).to_pylist() for name in ANSWERED]
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise input_error(f"{path} is damaged ({error})", "a readable table", "convert it again") from None
    for row, (questions, answers, labels, scores) in enumerate(zip(*columns, strict=True)):
        if problem := _problem(questions, answers, labels, scores, classes):
            raise input_error(
                f"{path}, row {row}: {problem}",
                "for each question a text, answer labels that the head has, and as many scores from 0 to 1",
                "give the --data folder of this checkpoint, or convert it again with METER's or ViLT's converter",
            )
    return [labels or [] for labels in columns[ANSWERED.index("answer_labels")]]


def _problem(questions: Any, answers: Any, labels: Any, scores: Any, classes: int | None) -> str:
    """What does not fit in a row of a table; nothing when all does."""
    if not _list_of(questions, str):
        return "questions is not a list of texts"
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
            if label < 0 or (classes is not None and label >= classes):
                head = "" if classes is None else f", the model's head has {classes} classes"
                return f"answer label {label}{head}"
        for score in of_scores:
            if not 0 <= score <= 1:  # false for NaN, too
                return f"answer score {score}"
    return ""


def _list_of(value: Any, *kinds: type) -> bool:
    return isinstance(value, list) and all(type(item) in kinds for item in value)


def _lists_of(value: Any, *kinds: type) -> bool:
    return isinstance(value, list) and all(_list_of(item, *kinds) for item in value)


def _labels(tables: list[tuple[Path, pa.Table]], classes: int) -> tuple[str, ...]:
    names: dict[int, str] = {}
    for _, table in tables:
        columns = (table.column(name).to_pylist() for name in ("answer_labels", "answers"))
        for labels, answers in zip(*columns, strict=True):
            for of_labels, of_answers in zip(labels or [], answers or [], strict=False):
                names.update(zip(of_labels, of_answers, strict=False))
    return tuple(names.get(number, f"<class {number}>") for number in range(classes))


def question_only_floor(train: Split, evaluation: Split) -> float:
    """Score of the best guesser that never sees an image: for each question, its likeliest answer in training."""
    votes: defaultdict[str, Counter[int]] = defaultdict(Counter)
    overall: Counter[int] = Counter()
    for question, labels, scores in train.asked():
        for label, score in zip(labels, scores, strict=True):
            votes[question][label] += score  # type: ignore[assignment]
            overall[label] += score  # type: ignore[assignment]
    anything = overall.most_common(1)[0][0]
    guesses = {question: found.most_common(1)[0][0] for question, found in votes.items()}
    total = 0.0
    for question, labels, scores in evaluation.asked():
        total += dict(zip(labels, scores, strict=True)).get(guesses.get(question, anything), 0.0)
    return total / len(evaluation)
