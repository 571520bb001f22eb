"""GQA as its authors give it: balanced questions in JSON by their number, images in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.json_files import json_objects
from compressor.data.reading.rows import (
    NO_LABELS,
    Labels,
    Row,
    Unreadable,
    field,
    find_files,
    read_labels,
    read_rows,
    text_cell,
)
from compressor.data.reading.vqa_answers import answer_classes
from compressor.data.types import ImageRef, RawDataset, Reading, Sample

# The answers to test_balanced_questions.json are not public: papers report testdev. The server wants all questions.
FILES = {
    "train": "train_balanced_questions.json",
    "val": "val_balanced_questions.json",
    "test": "testdev_balanced_questions.json",
    "submission": "submission_all_questions.json",
}
ID = "questionId"  # the key of a question
KEPT = ("question", "answer", "imageId")  # programs and scene graphs are most of a file


class GqaJson:
    """The balanced questions of each split, and the images anywhere below the folder."""

    name = "GQA's JSON"
    looks_for = ", ".join(FILES.values())

    def recognises(self, root: Path) -> bool:
        """Return whether one of the files is there."""
        return bool(find_files(root, FILES))

    def read(self, root: Path, reading: Reading) -> RawDataset:
        """Return questions with one answer each; the classes are those of answers.txt, else every answer.

        Raises:
            InputError: a file is damaged.
        """
        paths = {split: path for split, path in find_files(root, FILES).items() if reading.wants(split)}
        rows = {split: question_rows(path) for split, path in paths.items()}
        naming = rows.get("train") or [row for some in rows.values() for row in some]
        answers = (row.get("answer") for _, row in naming if not isinstance(row, Unreadable))
        names, numbered_here = answer_classes(root, (answer for answer in answers if isinstance(answer, str)))
        classes = {answer: number for number, answer in enumerate(names)}
        samples = partial(_samples, classes, ImageFiles(root), reading.whole)
        splits = {
            split: read_rows([path], rows[split], samples, reading, len(rows[split])) for split, path in paths.items()
        }
        return RawDataset(self.name, splits, names, numbered_here=numbered_here, files=FILES, ids=ID)


def question_rows(path: Path) -> list[tuple[str, Any]]:
    """Return the questions of a file with their places.

    Raises:
        InputError: it is no JSON, or has no questions.
    """
    return json_objects(path, "question", ID, _compact)


def image_of_gqa(files: ImageFiles, cell: Any) -> tuple[ImageRef, ...]:
    """Return the image with this number."""
    return (files.named(f"{cell}.jpg"),)


def _compact(node: dict[str, Any]) -> dict[str, Any]:
    return {name: node[name] for name in KEPT if name in node} if "imageId" in node else node


def _label(classes: Mapping[str, int], row: Row) -> Labels:
    answer = text_cell(row, "answer")
    return ((classes[answer],), (1.0,)) if answer in classes else NO_LABELS


def _samples(classes: Mapping[str, int], images: ImageFiles, whole: bool, row: Row) -> list[Sample]:
    question, (labels, scores) = text_cell(row, "question"), read_labels(whole, partial(_label, classes, row))
    image = image_of_gqa(images, field(row, "imageId", str))
    return [Sample(question, None, image, labels, scores, id=row[ID])] if labels or whole else []
