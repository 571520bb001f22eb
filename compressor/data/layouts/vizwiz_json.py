"""VizWiz as its authors give it: questions with ten answers each in a JSON list, images in folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.json_files import first_row, json_rows
from compressor.data.reading.rows import (
    Labels,
    Placed,
    Row,
    Unreadable,
    describe_unanswered,
    field,
    find_files,
    read_labels,
    read_rows,
    text_cell,
    unanswered,
)
from compressor.data.reading.vqa_answers import answer_classes, soft_answers
from compressor.data.types import RawDataset, Reading, Sample

FILES = {"train": "train.json", "val": "val.json", "test": "test.json"}  # the last one's answers are not public
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
        hidden = unanswered(paths, reading, lambda split: any(map(_answers, _objects(json_rows(paths[split])))))
        notes = describe_unanswered([paths.pop(split) for split in hidden])
        rows = {split: list(json_rows(path)) for split, path in paths.items()}
        naming = rows.get("train") or [row for some in rows.values() for row in some]
        names, numbered_here = answer_classes(root, (answer for row in _objects(naming) for answer in _answers(row)))
        classes = {answer: number for number, answer in enumerate(names)}
        samples = partial(_samples, classes, ImageFiles(root), reading.whole)
        splits = {
            split: read_rows([path], rows[split], samples, reading, len(rows[split])) for split, path in paths.items()
        }
        return RawDataset(self.name, splits, names, numbered_here=numbered_here, files=FILES, ids="image", notes=notes)


def _objects(rows: Placed) -> Iterator[Row]:
    """Return the rows that are any."""
    return (row for _, row in rows if not isinstance(row, Unreadable))


def _answers(row: Row) -> list[str]:
    """Return the annotators' answers as they wrote them; none where the row has no such list."""
    given = row.get("answers")
    answers = [one.get("answer") for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    return [answer for answer in answers if isinstance(answer, str)]


def _labels(classes: Mapping[str, int], row: Row) -> Labels:
    answers = _answers(row)
    if not answers:
        raise Unreadable("no answers")
    return soft_answers(answers, classes)


def _samples(classes: Mapping[str, int], images: ImageFiles, whole: bool, row: Row) -> list[Sample]:
    labels, scores = read_labels(whole, partial(_labels, classes, row))
    question, image = text_cell(row, "question"), field(row, "image", str)
    kind = str(row.get("answer_type") or "")
    sample = Sample(question, None, (images.named(image),), labels, scores, kind, id=image)
    return [sample] if labels or whole else []
