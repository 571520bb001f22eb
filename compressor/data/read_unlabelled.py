"""Unlabelled inputs: the rows of every file in a folder that has columns of texts and images.

Columns of labels are not even read, so a labelled data set serves as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from compressor.data.image_folders.image_files import image_source
from compressor.data.layouts.gqa_json import question_rows
from compressor.data.layouts.input_forms import (
    COCO_NAME,
    IMAGES,
    STANDARD,
    InputForm,
    bind,
    image_in_cell,
    list_columns,
    name_columns,
)
from compressor.data.layouts.vqa_json import coco_name
from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.json_files import json_list
from compressor.data.reading.row_source import RowSource, lines_source, text_source
from compressor.data.reading.rows import FOLDERS, Row, join, number_rows, read_rows, text_cell, titled_text
from compressor.data.reading.tables import arrow_source, parquet_source
from compressor.data.texts.embedded_split import EmbeddedSplit
from compressor.data.texts.scored_pairs import take_apart
from compressor.data.types import RawDataset, Reading, Sample
from compressor.errors import input_error, shorten
from compressor.progress import QUIET, Progress
from compressor.tasks.task import Task

INPUTS = "inputs"


def _questions_source(paths: Sequence[Path]) -> RowSource:
    """Return VQA v2's questions; the name of the file says which of COCO's images they ask about."""
    (path,) = paths
    part = path.name.removesuffix("_questions.json").rpartition("_")[2]

    def with_name(node: dict[str, Any]) -> dict[str, Any]:
        number = node.get("image_id")
        return {**node, COCO_NAME: coco_name(part, number)} if isinstance(number, int) else node

    rows = json_list(path, "questions", with_name)
    return RowSource((path,), ("question", COCO_NAME), lambda columns: number_rows(path, rows), total=len(rows))


def _gqa_source(paths: Sequence[Path]) -> RowSource:
    """Return GQA's questions."""
    (path,) = paths
    rows = question_rows(path)
    return RowSource((path,), ("question", "imageId"), lambda columns: rows, total=len(rows))


FILE_KINDS: tuple[tuple[tuple[str, ...], Callable[[Sequence[Path]], RowSource]], ...] = (
    (("*OpenEnded*_questions.json",), _questions_source),
    (("*_balanced_questions.json", "*_all_questions.json"), _gqa_source),
    (("data-*.arrow", "*/data-*.arrow"), arrow_source),
    (("*.arrow",), arrow_source),
    (("*.parquet",), parquet_source),
    (("*.csv", "*.tsv", "*.jsonl", "*.json"), text_source),
    (("*.txt",), lines_source),
)
"""Files that may hold inputs. Those of the first kind with any that fit are read: kinds are forms of the same data."""


def read_unlabelled(
    root: Path, task: Task, progress: Progress = QUIET, columns: Mapping[str, str] = STANDARD
) -> RawDataset:
    """Return the inputs of a task in a folder, whatever its splits are called and whether or not they have answers.

    Args:
        root: the folder.
        task: one that has unlabelled forms.
        progress: told of the rows.
        columns: the names that some have in these files, by what they hold.

    Returns:
        One split, ``inputs``, of samples without labels; an input that is there several times comes once. Where texts
        are embedded, each text of a pair is an input.

    Raises:
        InputError: no file has the columns, or one is damaged.
    """
    named = {role: name for role, name in columns.items() if role != "label"}
    forms = name_columns(task.unlabelled, named) if named else task.unlabelled
    images, seen = ImageFiles(root), []
    for sources in _sources_by_kind(root, task):
        parts = [
            read_rows(
                source.files,
                source.rows(list(bound.values())),
                partial(samples_in_row, bound, form, images),
                Reading(progress),
                source.total,
                form.some_absent,
            )
            for source in sources
            for form, bound in _bind_form(forms, source)
        ]
        if parts:
            rows = join(parts)
            texts = issubclass(task.split, EmbeddedSplit)
            once = take_apart(rows) if texts else replace(rows, samples=tuple(dict.fromkeys(rows.samples)))
            return RawDataset("inputs without answers", {INPUTS: once}, ())
        seen += sources
    held = [f"{source.files[0].name} (columns: {', '.join(source.columns) or 'none'})" for source in seen]
    shown = shorten(held, between="; ")
    plain = [form for form in forms if form.images is image_in_cell]
    raise input_error(
        "no-inputs-for-task",
        f"{root} holds no inputs for {task.name}: {shown or 'no table, and no CSV, TSV or JSON file'}",
        f"a file with the columns {list_columns(plain)}",
        "rename the columns, or give another folder: --calibration (see docs/data.md)",
    )


def _sources_by_kind(root: Path, task: Task) -> Iterator[list[RowSource]]:
    """Yield the files that may hold inputs, those of one kind together; images alone are inputs where no text is."""
    for patterns, open_source in FILE_KINDS:
        yield [open_source([path]) for path in _files(root, patterns)]
    if not task.texts:
        yield [image_source(root)]


def _files(root: Path, patterns: Sequence[str]) -> list[Path]:
    return sorted({path for folder in FOLDERS for pattern in patterns for path in (root / folder).glob(pattern)})


def _bind_form(forms: Sequence[InputForm], source: RowSource) -> Sequence[tuple[InputForm, Mapping[str, str]]]:
    """Return the first of the forms that a source has, and its columns in it; none without a form."""
    bound = ((form, bind(form.columns, source)) for form in forms)
    return [(form, columns) for form, columns in bound if columns][:1]


def samples_in_row(
    columns: Mapping[str, str],
    form: InputForm,
    files: ImageFiles,
    row: Row,
) -> list[Sample]:
    """Return the inputs in a row: one, or one for each text of a list.

    Raises:
        Unreadable: a text or an image is not there.
    """
    cells = [row.get(columns[role]) for role in IMAGES if role in columns]
    images = tuple(image for cell in cells for image in form.images(files, cell))
    if "text" not in columns:
        return [Sample("", None, images)]
    second, name = text_cell(row, columns["second"]) if "second" in columns else None, columns["text"]
    if "title" in columns:
        return [Sample(titled_text(row, columns["title"], name), second, images)]
    cell = row.get(name)
    texts = [_last(one) for one in cell] if isinstance(cell, list) and cell else [cell]
    return [Sample(text_cell({name: one}, name), second, images) for one in texts]


def _last(cell: Any) -> Any:
    """Return a text, or the second of a pair: in METER's SNLI-VE tables the image takes the first one's place."""
    return cell[1] if isinstance(cell, list) and len(cell) == 2 else cell
