"""Inputs without answers: the rows of every file in a folder that has columns of texts and images.

Columns of answers are not even read, so a labelled data set serves as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from compressor.data.layouts.columns import FORMS, IMAGE, IMAGES, Form, bind
from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.readers import (
    Source,
    json_list,
    parquet_source,
    stream_source,
    table_source,
    text_source,
)
from compressor.data.reading.rows import FOLDERS, Row, join, numbered, read_rows, text
from compressor.data.types import ImageRef, RawDataset, Sample
from compressor.errors import input_error
from compressor.progress import QUIET, Progress

INPUTS = "inputs"
COCO_NAME = "file name in COCO"
SHOWN = 4  # files in a message


def _given(pictures: ImageFiles, cell: Any) -> tuple[ImageRef, ...]:
    """An image, or the path of one."""
    return (pictures.of(cell),)


def _named(pictures: ImageFiles, cell: Any) -> tuple[ImageRef, ...]:
    """VQA v2: the name of an image file, wherever it lies."""
    return (pictures.named(cell),)


def _numbered(pictures: ImageFiles, cell: Any) -> tuple[ImageRef, ...]:
    """SNLI-VE: the number of an image of Flickr30k."""
    return (pictures.named(f"{cell}.jpg"),)


def _pair(pictures: ImageFiles, cell: Any) -> tuple[ImageRef, ...]:
    """NLVR2: the identifier of a statement, which ends in the statement's number."""
    pair = str(cell).rpartition("-")[0]
    return tuple(pictures.named(f"{pair}-img{side}.png") for side in (0, 1))


@dataclass(frozen=True)
class _Inputs:
    """Columns that samples may be made of, and which images a cell of a column of images means."""

    columns: Form
    pictures: Callable[[ImageFiles, Any], tuple[ImageRef, ...]] = _given


def _without_answers(task: str) -> tuple[_Inputs, ...]:
    """The named columns of the task, all but the label."""
    forms = ({role: names for role, names in form.items() if role != "label"} for form in FORMS[task])
    return tuple(_Inputs(form) for form in forms)


INPUT_FORMS: Mapping[str, tuple[_Inputs, ...]] = {
    "vqa": (
        _Inputs({"text": ("question",), "image": (COCO_NAME,)}, _named),
        *_without_answers("vqa"),
        _Inputs({"text": ("questions",), "image": IMAGE}),
    ),
    "nlvr2": (
        *_without_answers("nlvr2"),
        _Inputs({"text": ("questions",), "image": ("image_0",), "right image": ("image_1",)}),
        _Inputs({"text": ("sentence",), "image": ("identifier",)}, _pair),
    ),
    "snli-ve": (
        *_without_answers("snli-ve"),
        _Inputs({"text": ("sentences",), "image": IMAGE}),
        _Inputs({"text": ("sentence2",), "image": ("Flickr30K_ID",)}, _numbered),
    ),
    "text-classification": (
        *_without_answers("text-classification"),
        _Inputs({"text": ("#1 String",), "second": ("#2 String",)}),
    ),
}
"""What the inputs of a task look like: named columns, and those of the data sets; the first that a file has."""


def _questions_source(paths: Sequence[Path]) -> Source:
    """VQA v2's questions; the name of the file says which of COCO's images they ask about."""
    (path,) = paths
    part = path.name.removesuffix("_questions.json").rpartition("_")[2].replace("-dev", "")  # a part of test2015

    def with_name(node: dict[str, Any]) -> dict[str, Any]:
        number = node.get("image_id")
        return {**node, COCO_NAME: f"COCO_{part}_{number:012d}.jpg"} if isinstance(number, int) else node

    rows = json_list(path, "questions", with_name)
    return Source((path,), ("question", COCO_NAME), lambda columns: numbered(path, rows), total=len(rows))


KINDS: tuple[tuple[tuple[str, ...], Callable[[Sequence[Path]], Source]], ...] = (
    (("*OpenEnded*_questions.json",), _questions_source),
    (("data-*.arrow", "*/data-*.arrow"), stream_source),
    (("*.arrow",), table_source),
    (("*.parquet",), parquet_source),
    (("*.csv", "*.tsv", "*.jsonl", "*.json"), text_source),
)
"""Files that may hold inputs. Those of the first kind with any that fit are read: kinds are forms of the same data."""


def read_inputs(root: Path, task: str, progress: Progress = QUIET) -> RawDataset:
    """The inputs of a task in a folder, whatever its splits are called and whether or not they have answers.

    Args:
        root: the folder.
        task: a key of ``INPUT_FORMS``.
        progress: told of the rows.

    Returns:
        One split, ``inputs``, of samples without labels; an input that is there several times comes once.

    Raises:
        InputError: no file has the columns, or one is damaged.
    """
    pictures, seen = ImageFiles(root), []
    for patterns, opened in KINDS:
        sources = [opened([path]) for path in _files(root, patterns)]
        parts = [
            read_rows(source.files, source.rows(list(columns.values())), samples, progress, source.total)
            for source in sources
            for columns, samples in _fitting(task, source, pictures)
        ]
        if parts:
            rows = join(parts)
            once = replace(rows, samples=tuple(dict.fromkeys(rows.samples)))
            return RawDataset("inputs without answers", {INPUTS: once}, ())
        seen += sources
    held = [f"{source.files[0].name} (columns: {', '.join(source.columns) or 'none'})" for source in seen]
    shown = "; ".join(held[:SHOWN]) + (f"; and {len(held) - SHOWN} more files" if len(held) > SHOWN else "")
    forms = "; or ".join(", ".join(names[0] for names in form.columns.values()) for form in _without_answers(task))
    raise input_error(
        "no-inputs-for-task",
        f"{root} holds no inputs for {task}: {shown or 'no table, and no CSV, TSV or JSON file'}",
        f"a file with the columns {forms}",
        "rename the columns, or give another folder: --calibration (see docs/data.md)",
    )


def _files(root: Path, patterns: Sequence[str]) -> list[Path]:
    return sorted({path for folder in FOLDERS for pattern in patterns for path in (root / folder).glob(pattern)})


def _fitting(
    task: str, source: Source, pictures: ImageFiles
) -> Sequence[tuple[Mapping[str, str], Callable[[Row], list[Sample]]]]:
    """The columns of a source that inputs of the task are made of, and what makes them; none where it has none."""
    bound = ((form, bind(form.columns, source)) for form in INPUT_FORMS[task])
    return [(columns, partial(_samples, columns, form.pictures, pictures)) for form, columns in bound if columns][:1]


def _samples(
    columns: Mapping[str, str],
    pictures_of: Callable[[ImageFiles, Any], tuple[ImageRef, ...]],
    pictures: ImageFiles,
    row: Row,
) -> list[Sample]:
    """The inputs in a row: one, or one for each text of a list."""
    cells = [row.get(columns[role]) for role in IMAGES if role in columns]
    images = tuple(picture for cell in cells for picture in pictures_of(pictures, cell))
    second, name = text(row, columns["second"]) if "second" in columns else None, columns["text"]
    given = row.get(name)
    texts = [_last(one) for one in given] if isinstance(given, list) and given else [given]
    return [Sample(text({name: one}, name), second, images) for one in texts]


def _last(given: Any) -> Any:
    """A text, or the second of a pair: in METER's SNLI-VE tables the image takes the first one's place."""
    return given[1] if isinstance(given, list) and len(given) == 2 else given
