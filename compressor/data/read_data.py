"""Find the folder of a task's data and read it, whatever its layout."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from compressor.data.layouts.columns import NamedColumns, tell_columns
from compressor.data.layouts.input_forms import STANDARD
from compressor.data.types import Layout, RawDataset, Reading
from compressor.errors import InputError, input_error, shorten, usage_error
from compressor.progress import QUIET, Progress
from compressor.tasks import TASKS

SHOWN = 6  # names of files in a message
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")  # of JSON documents, few are data


def find_data(named: str | Path | None, recorded: str | None) -> Path:
    """Return the data folder: what was named, else ``$DAS_DATA``, else ``./data``, else the checkpoint's data root.

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
    if named and Path(named).is_file():
        raise input_error(
            "data-not-a-folder",
            f"--data {named} is a file",
            "the folder that it lies in, with files called as docs/data.md says",
            f"--data {Path(named).parent}",
        )
    raise input_error(
        "data-folder-missing",
        f"no data folder; looked at {looked}",
        "a folder with the task's data (docs/data.md shows the layouts)",
        "--data FOLDER (das demo writes one to demo/data)",
    )


def read_data(
    root: Path,
    task: str,
    progress: Progress = QUIET,
    reading: Reading | None = None,
    columns: Mapping[str, str] = STANDARD,
) -> RawDataset:
    """Return the data of a task in a folder, read in the first of the task's layouts that the folder has.

    Args:
        root: the folder.
        task: a key of ``TASKS``.
        progress: told of the rows.
        reading: which splits, and what is known of them; None reads everything and checks every image.
        columns: the names that some have in files of named columns, by what they hold; such files alone are read then.

    Raises:
        InputError: the folder has none of the layouts, or a file of the layout cannot be used as a whole.
    """
    layouts = layouts_of(task, columns)
    for layout in layouts:
        if layout.recognises(root):
            return layout.read(root, reading or Reading(progress))
    others = [other for other in TASKS if other != task and _holds(root, other)]
    names = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
    told = tell_columns(root)
    shown = shorten(names, SHOWN) or "nothing"
    held = f"data for {' or '.join(others)}" if others else f"{shown}, and no data for {task}"
    expected = "; or ".join(f"{layout.name} ({layout.looks_for})" for layout in layouts)
    raise input_error(
        "data-not-of-task",
        f"{root} holds {held}{f'; {told}' if told else ''}",
        expected,
        f"{_advise(names, others, told, layouts)}give the folder of the data: --data (see docs/data.md)",
    )


def layouts_of(task: str, columns: Mapping[str, str]) -> Sequence[Layout]:
    """Return how a task's data may lie on disk; with ``columns`` those layouts that have named ones, under these names.

    Raises:
        UsageError: the task has no such columns.
    """
    layouts = TASKS[task].layouts
    if not columns:
        return layouts
    named = [layout.named(columns) for layout in layouts if isinstance(layout, NamedColumns)]
    if not any(layout.forms for layout in named):
        roles = ", ".join(dict.fromkeys(role for form in _list_roles(layouts) for role in form))
        raise usage_error(
            "columns-not-of-task",
            f"--columns for {', '.join(columns)} of {task}",
            f"what a sample has: {roles}" if roles else f"none: columns of {task} have the names of docs/data.md",
            _columns_option(layouts) or "leave --columns out",
        )
    return named


def _list_roles(layouts: Sequence[Layout]) -> list[tuple[str, ...]]:
    """Return what the named columns of a task hold, in each of their forms; none where it reads no such files."""
    return [tuple(form.columns) for layout in layouts if isinstance(layout, NamedColumns) for form in layout.forms]


def _columns_option(layouts: Sequence[Layout]) -> str:
    """Return how columns of other names are named; nothing where they cannot be."""
    forms = _list_roles(layouts)
    if not forms:
        return ""
    usual = next((form for form in forms if "second" not in form), forms[0])
    pairs = " (second=COLUMN, too, for pairs)" * any("second" in form for form in forms if "second" not in usual)
    return f"--columns {','.join(f'{role}=COLUMN' for role in usual)}{pairs}"


def _advise(names: Sequence[str], others: Sequence[str], columns: str, layouts: Sequence[Layout]) -> str:
    """Return what makes data of files that are there; nothing where none of them could be."""
    if others:
        return f"--task {others[0]}, or "
    if columns:
        option = _columns_option(layouts)
        return f"rename the columns to these, {f'name them as {option}, ' * bool(option)}or "
    table = next((name for name in names if Path(name).suffix in TABLES), None)
    return f"name {table} after its split, as test{Path(table).suffix}, or " if table else ""


def _holds(root: Path, task: str) -> bool:
    try:
        return any(layout.recognises(root) for layout in TASKS[task].layouts)
    except InputError:
        return False
