"""VizWiz as its authors give it: questions with ten answers each in a JSON list, images in folders."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.readers import first_row, json_rows
from compressor.data.reading.rows import Row, Unreadable, field, find_files, read_rows, text_cell
from compressor.data.reading.vqa_answers import answer_classes, soft_answers
from compressor.data.types import RawDataset, Reading, Sample

FILES = {"train": "train.json", "val": "val.json"}  # the answers of test.json are not public
FIELDS = {"image", "question", "answers", "answerable"}


class VizWizJson:
    """A file for each split, and the images anywhere below the folder."""

    name = "VizWiz's JSON"
    looks_for = f"{', '.join(FILES.values())} with {', '.join(sorted(FIELDS))}"

    def recognises(self, root: Path) -> bool:
        """Return whether the first row of one of the files is a question of VizWiz."""
        return any(set(first_row(json_rows(path))) >= FIELDS for path in find_files(root, FILES).values())

    def read(self, root: Path, reading: Reading) -> RawDataset:
        """Return questions with soft scores; the classes are those of answers.txt, else every answer.

        Raises:
            InputError: a file is damaged.
        """
        paths = {split: path for split, path in find_files(root, FILES).items() if reading.wants(split)}
        rows = {split: list(json_rows(path)) for split, path in paths.items()}
        naming = rows.get("train") or [row for some in rows.values() for row in some]
        answered = (row for _, row in naming if not isinstance(row, Unreadable))
        names, numbered_here = answer_classes(root, (answer for row in answered for answer in _answers(row)))
        classes = {answer: number for number, answer in enumerate(names)}
        samples = partial(_samples, classes, ImageFiles(root))
        splits = {
            split: read_rows([path], rows[split], samples, reading, len(rows[split])) for split, path in paths.items()
        }
        return RawDataset(self.name, splits, names, numbered_here=numbered_here, files=FILES)


def _answers(row: Row) -> list[str]:
    """Return the annotators' answers as they wrote them; none where the row has no such list."""
    given = row.get("answers")
    answers = [one.get("answer") for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    return [answer for answer in answers if isinstance(answer, str)]


def _samples(classes: Mapping[str, int], images: ImageFiles, row: Row) -> list[Sample]:
    answers = _answers(row)
    if not answers:
        raise Unreadable("no answers")
    question, image = text_cell(row, "question"), images.named(field(row, "image", str))
    labels, scores = soft_answers(answers, classes)
    kind = str(row.get("answer_type") or "")
    return [Sample(question, None, (image,), labels, scores, kind)] if labels else []
