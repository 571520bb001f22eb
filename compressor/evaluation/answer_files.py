"""Files of answers, in the form in which the server or the leaderboard of a data set takes them."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch

from compressor.data.reading.class_labels import is_given, is_nameless
from compressor.data.splits import WholeData
from compressor.errors import input_error, shorten, usage_error
from compressor.evaluation.evaluate import Evaluation, evaluate
from compressor.files import cannot_write
from compressor.models.steps import StepModel
from compressor.progress import QUIET, Progress
from compressor.tasks.task import Task

Id = int | str


@dataclass(frozen=True)
class AnswerFormat:
    """How the answers of a data set are written.

    Attributes:
        form: what the file is, in words.
        use: what to do with it, in words.
        write: what an id and an answer are called, and all of them, to the text of the file.
        answer: what an answer is called.
        counted: ids are whole numbers, not texts.
    """

    form: str
    use: str
    write: Callable[[tuple[str, str], Sequence[tuple[Id, str]]], str]
    answer: str = "prediction"
    counted: bool = False


def _write_json(names: tuple[str, str], answers: Sequence[tuple[Id, str]]) -> str:
    return json.dumps([dict(zip(names, row, strict=True)) for row in answers], ensure_ascii=False)


def _write_lines(names: tuple[str, str], answers: Sequence[tuple[Id, str]]) -> str:
    return "".join(f"{json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False)}\n" for row in answers)


def _write_tsv(names: tuple[str, str], answers: Sequence[tuple[Id, str]]) -> str:
    return _write_cells([names, *answers], "\t")


def _write_csv(names: tuple[str, str], answers: Sequence[tuple[Id, str]]) -> str:
    return _write_cells(answers, ",")


def _write_cells(rows: Sequence[tuple[Id, str]], delimiter: str) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue()


FORMATS = {
    "question_id": AnswerFormat(
        "a JSON list", "upload it to the VQA challenge on EvalAI", _write_json, "answer", counted=True
    ),
    "questionId": AnswerFormat("a JSON list", "upload it to the GQA challenge on EvalAI", _write_json),
    "image": AnswerFormat("a JSON list", "upload it to the VizWiz challenge on EvalAI", _write_json, "answer"),
    "identifier": AnswerFormat(
        "CSV without a header", "give it to the evaluation script in NLVR2's repository", _write_csv
    ),
    "pairID": AnswerFormat("JSON lines", "there is no server: compare it with the labels", _write_lines),
    "index": AnswerFormat(
        "TSV", "upload it to gluebenchmark.com, zipped with its other tasks", _write_tsv, counted=True
    ),
}
"""The formats, by what a data set calls the ids of its samples."""


def check_destination(path: Path) -> None:
    """Hold that a new file can be written.

    Raises:
        InputError: there is one already.
        EnvironmentProblem: the folder takes none.
    """
    if path.exists():
        raise input_error("file-exists", f"{path} is there", "the name of a new file", "remove it, or another --to")
    try:
        TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise cannot_write(path.parent, error, "--to FILE in a folder that can be written") from None


def check_written(data: WholeData, task: Task) -> tuple[AnswerFormat, list[Id]]:
    """Return how answers to a split are written, and the id of each sample.

    Raises:
        UsageError: the task is scored by ranking, or its answers are no classes: no file of answers is for it.
        InputError: the samples have no ids, or none of their own, or some answers have no name.
    """
    if task.ranked:
        found, expected = f"{task.name}, whose captions and images are ranked", "a task whose samples are answered"
        raise usage_error("task-without-answers", found, expected, "das eval, which scores the ranking")
    if task.measure is not None:
        found, expected = f"{task.name}, whose {task.samples} have no one class each", "a task that gives one class"
        raise usage_error("task-without-classes", found, expected, "das eval scores them, das predict prints answers")
    what = f"{data.every.name} ({data.layout})"
    if not data.ids or all(sample.id is None for sample in data.every.samples):
        raise input_error(
            "ids-missing",
            f"the {task.samples} of {what} have no ids",
            f"what a test server calls them: {data.ids or ', '.join(FORMATS)}",
            "give the data set's own files: --data (docs/data.md has the ids of each layout)",
        )
    if nameless := [name for name in data.written if is_nameless(name)]:
        raise input_error(
            "answers-without-names",
            f"{len(nameless):,} of {len(data.written):,} answers have no name, as {nameless[0]}",
            "the text of each answer that the model can give",
            "add the data set's training and validation files, or answers.txt (docs/data.md)",
        )
    form = FORMATS[data.ids]
    ids = [_read_id(sample.id, form) for sample in data.every.samples]
    faults = [str(sample.id) for sample, id in zip(data.every.samples, ids, strict=True) if id is None]
    if faults:
        raise input_error(
            "ids-unusable",
            f"{len(faults):,} {task.samples} of {what} have no usable {data.ids}: {shorten(faults, 3)}",
            "a whole number" if form.counted else "a text",
            "repair these rows",
        )
    if twice := [str(id) for id, count in Counter(ids).items() if count > 1]:
        raise input_error(
            "ids-twice",
            f"{len(twice):,} times {data.ids} is there twice in {what}: {shorten(twice, 3)}",
            f"a {data.ids} of its own for each of the {task.samples}",
            "remove the rows that are there twice",
        )
    return form, [id for id in ids if id is not None]


def _read_id(value: Any, form: AnswerFormat) -> Id | None:
    """Return an id as a server takes it; None where it is none."""
    text = str(value).strip()
    if not is_given(value) or not text or isinstance(value, bool | list | dict):
        return None
    if not form.counted:
        return text
    whole = text.removesuffix(".0") if isinstance(value, float) else text
    return int(whole) if whole.isascii() and whole.isdecimal() else None


def answer_split(
    model: StepModel,
    data: WholeData,
    task: Task,
    *,
    batch_size: int = 64,
    progress: Progress = QUIET,
) -> tuple[list[str], Evaluation | None]:
    """Return a model's answers to every sample of a split, in order, and what they are worth where it has answers.

    Each sample is answered once: those that are scored in one evaluation, and then the others.

    Raises:
        InputError: the model answers with NaN or infinity.
    """
    known = torch.tensor([data.scored is not None and bool(sample.labels) for sample in data.every.samples])
    numbers, evaluation = torch.zeros(len(known), dtype=torch.long), None
    label = f"Answering {data.every.name}"
    if data.scored is not None:
        evaluation = evaluate(
            model, data.scored, task, metrics=data.metrics, batch_size=batch_size, progress=progress, label=label
        )
        numbers[known] = evaluation.answers
    if not known.all():
        rest = data.every.subset((~known).nonzero().flatten().tolist())
        numbers[~known] = evaluate(model, rest, task, batch_size=batch_size, progress=progress, label=label).answers
    return [data.written[number] for number in numbers.tolist()], evaluation
