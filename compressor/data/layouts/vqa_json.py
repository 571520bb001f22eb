"""VQA v2 as visualqa.org gives it: questions and annotations in JSON, COCO's images in folders."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.json_files import json_list
from compressor.data.reading.rows import (
    Labels,
    Row,
    Unreadable,
    describe_unanswered,
    field,
    find_file,
    number_rows,
    read_labels,
    read_rows,
    text_cell,
)
from compressor.data.reading.vqa_answers import LEAST_COUNT, answer_classes, frequent_answers, soft_answers
from compressor.data.types import RawDataset, Reading, Sample
from compressor.errors import input_error

SPLITS = {"train": "train2014", "val": "val2014"}
HIDDEN = {"test": "test2015", "test-dev": "test-dev2015"}  # the answers are not public
QUESTIONS = "v2_OpenEnded_mscoco_{}_questions.json"
ANNOTATIONS = "v2_mscoco_{}_annotations.json"
FILES = tuple(name.format(part) for part in SPLITS.values() for name in (QUESTIONS, ANNOTATIONS))
HIDDEN_FILES = tuple(map(QUESTIONS.format, HIDDEN.values()))
NAMED = {split: QUESTIONS.format(part) for split, part in {**SPLITS, **HIDDEN}.items()}


class VqaJson:
    """All four files, or to score a model two of them, and COCO's images anywhere below the folder."""

    name = "VQA v2's JSON"
    looks_for = ", ".join(FILES)

    def recognises(self, root: Path) -> bool:
        """Return whether one of the four files is there, or questions without public answers."""
        return any(find_file(root, name) for name in (*FILES, *HIDDEN_FILES))

    def read(self, root: Path, reading: Reading) -> RawDataset:
        """Return questions with soft scores over the answers that were given at least 9 times in both splits.

        Where the annotations of one split are missing, the classes are the lines of answers.txt, else all answers.

        Raises:
            InputError: a file of a split that is wanted is missing or damaged, or no answer is that frequent.
        """
        paths = {name: path for name in (*FILES, *HIDDEN_FILES) if (path := find_file(root, name))}
        known = {**SPLITS, **HIDDEN} if reading.whole else SPLITS
        wanted = {split: part for split, part in known.items() if reading.wants(split)}
        kinds = (QUESTIONS,) if reading.whole else (QUESTIONS, ANNOTATIONS)
        needed = [kind.format(part) for part in wanted.values() for kind in kinds]
        if missing := [name for name in needed if name not in paths]:
            raise input_error(
                "data-file-missing",
                f"{root} lacks {', '.join(missing)}",
                f"{'questions' if reading.whole else 'questions and annotations'} of {' and '.join(wanted.values())}"
                + (": the answers' numbers follow from both" if len(wanted) > 1 else ""),
                "download them from visualqa.org, or give the folder that holds them: --data",
            )
        with reading.progress.stage("reading answers"):
            names = {split: ANNOTATIONS.format(part) for split, part in SPLITS.items()}
            annotations = {split: _annotations(paths[name]) for split, name in names.items() if name in paths}
        labels, numbered_here = _classes(root, annotations)
        classes = {answer: number for number, answer in enumerate(labels)}
        images = ImageFiles(root)
        splits = {}
        for split, part in wanted.items():
            files = [path for kind in (QUESTIONS, ANNOTATIONS) if (path := paths.get(kind.format(part)))]
            questions = json_list(files[0], "questions")
            annotated = {row["question_id"]: row for row in annotations.get(split, ())}
            samples = partial(_samples, part, annotated, classes, images, reading.whole)
            splits[split] = read_rows(files, number_rows(files[0], questions), samples, reading, len(questions))
        notes = () if reading.whole else describe_unanswered(paths[name] for name in HIDDEN_FILES if name in paths)
        return RawDataset(
            self.name, splits, labels, numbered_here=numbered_here, files=NAMED, ids="question_id", notes=notes
        )


def coco_name(part: str, image: int) -> str:
    """Return the file of an image of COCO; test-dev2015 asks about images of test2015."""
    return f"COCO_{part.replace('-dev', '')}_{image:012d}.jpg"


def _classes(root: Path, annotations: Mapping[str, Sequence[Row]]) -> tuple[tuple[str, ...], bool]:
    """Return the answers that are classes, and whether their numbers are no more than the order of this folder.

    Raises:
        InputError: no answer is frequent.
    """
    rows = list(chain(*annotations.values()))
    if len(annotations) < len(SPLITS):
        # Classes are in lower case, so no other answer can be one.
        return answer_classes(root, (answer for row in rows for answer in row["answers"] if answer == answer.lower()))
    labels = frequent_answers(row["multiple_choice_answer"] for row in rows)
    if not labels:
        raise input_error(
            "no-frequent-answer",
            f"no answer in {root} is given {LEAST_COUNT} times",
            "VQA v2's annotations",
            "download them again",
        )
    return labels, False


def _annotations(path: Path) -> list[dict[str, Any]]:
    """Return the complete annotations; a question is unreadable when its own is missing."""
    rows = json_list(path, "annotations", _compact)
    return [row for row in rows if isinstance(row, dict) and _complete(row)]


def _complete(row: dict[str, Any]) -> bool:
    answers = row.get("answers")
    texts = isinstance(answers, list) and all(isinstance(answer, str) for answer in answers)
    return texts and isinstance(row.get("multiple_choice_answer"), str) and isinstance(row.get("question_id"), int)


def _compact(node: dict[str, Any]) -> Any:
    """Return an annotator's answer as its text alone: there are millions of them."""
    answer = node.get("answer")
    return sys.intern(answer) if isinstance(answer, str) else node


def _labels(annotated: Mapping[Any, Row], classes: Mapping[str, int], number: int) -> Labels:
    if number not in annotated:
        raise Unreadable(f"no usable annotation of question {number}")
    return soft_answers(annotated[number]["answers"], classes)


def _samples(
    part: str,
    annotated: Mapping[Any, Row],
    classes: Mapping[str, int],
    images: ImageFiles,
    whole: bool,
    row: Row,
) -> list[Sample]:
    number = field(row, "question_id", int)
    labels, scores = read_labels(whole, partial(_labels, annotated, classes, number))
    question, image = text_cell(row, "question"), images.named(coco_name(part, field(row, "image_id", int)))

    def read_note(name: str) -> str:
        return sys.intern(str(annotated.get(number, {}).get(name) or ""))

    kinds = read_note("answer_type"), read_note("question_type")
    sample = Sample(question, None, (image,), labels, scores, *kinds, id=number)
    return [sample] if labels or whole else []
