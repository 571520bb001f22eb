"""Find the folder of a task's data and read it, whatever its layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from compressor.data.layouts.columns import tell_columns
from compressor.data.types import RawDataset, Reading
from compressor.errors import InputError, input_error, shorten
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


def read_data(root: Path, task: str, progress: Progress = QUIET, reading: Reading | None = None) -> RawDataset:
    """Return the data of a task in a folder, read in the first of the task's layouts that the folder has.

    Args:
        root: the folder.
        task: a key of ``TASKS``.
        progress: told of the rows.
        reading: which splits, and what is known of them; None reads everything and checks every image.

    Raises:
        InputError: the folder has none of the layouts, or a file of the layout cannot be used as a whole.
    """
    for layout in TASKS[task].layouts:
        if layout.recognises(root):
            return layout.read(root, reading or Reading(progress))
    others = [other for other in TASKS if other != task and _holds(root, other)]
    names = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
    columns = tell_columns(root)
    shown = shorten(names, SHOWN) or "nothing"
    held = f"data for {' or '.join(others)}" if others else f"{shown}, and no data for {task}"
    expected = "; or ".join(f"{layout.name} ({layout.looks_for})" for layout in TASKS[task].layouts)
    raise input_error(
        "data-not-of-task",
        f"{root} holds {held}{f'; {columns}' if columns else ''}",
        expected,
        f"{_advise(names, others, columns)}give the folder of the data: --data (see docs/data.md)",
    )


def _advise(names: Sequence[str], others: Sequence[str], columns: str) -> str:
    """Return what makes data of files that are there; nothing where none of them could be."""
    if others:
        return f"--task {others[0]}, or "
    if columns:
        return "rename the columns to these, or "
    table = next((name for name in names if Path(name).suffix in TABLES), None)
    return f"name {table} after its split, as test{Path(table).suffix}, or " if table else ""


def _holds(root: Path, task: str) -> bool:
    try:
        return any(layout.recognises(root) for layout in TASKS[task].layouts)
    except InputError:
        return False
