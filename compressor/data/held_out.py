"""The samples that layers are chosen on, where the user names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from compressor.data.arrow_files import fingerprint
from compressor.data.labels import align_labels
from compressor.data.layouts.columns import NamedColumns
from compressor.data.read_data import layouts_of, read_data
from compressor.data.types import SCORED, RawDataset, Reading, Records
from compressor.errors import input_error, usage_error
from compressor.tasks import TASKS

HELD_OUT = "held out"  # the split that they become
_FIX = "--holdout FILE, FOLDER or SPLIT of other samples"


def add_held_out(
    dataset: RawDataset, named: str, task: str, reading: Reading, columns: Mapping[str, str]
) -> RawDataset:
    """Return the data set with a split ``HELD_OUT``: one of its own, or what a file or a folder has to be scored on.

    Args:
        dataset: of the training; its classes are those of the held-out samples, too.
        named: a split, a file of named columns, or a folder in a layout of the task.
        task: a key of ``TASKS``.
        reading: of the file or folder.
        columns: as in :func:`read_data`.

    Raises:
        UsageError: they are what the scores come from, or what is trained on.
        InputError: nothing there, or it cannot be used as a whole.
    """
    splits = dict(dataset.splits)
    if named in splits:
        held_out = splits.pop(named)
        if named == "train" or not splits.keys() & {"val", "test"}:
            raise usage_error(
                "held-out-needed-elsewhere",
                f"--holdout {named}, of the splits {', '.join(dataset.splits)}",
                "samples beside those that are trained on and those that scores come from",
                f"{_FIX}, or add a test split beside val",
            )
        return replace(dataset, splits={**splits, HELD_OUT: held_out})
    held_out = _read_elsewhere(dataset, named, task, replace(reading, splits=SCORED), columns)
    scored = {fingerprint(file) for name in SCORED if name in splits for file in splits[name].files}
    if scored & {fingerprint(file) for file in held_out.files}:
        found = f"--holdout {named}, a file that scores come from"
        raise usage_error("held-out-needed-elsewhere", found, "samples beside those", _FIX)
    return replace(dataset, splits={**splits, HELD_OUT: held_out})


def _read_elsewhere(
    dataset: RawDataset, named: str, task: str, reading: Reading, columns: Mapping[str, str]
) -> Records:
    """Return the samples of a file, or those that a model would be scored on in a folder."""
    path = Path(named)
    tables = [layout for layout in layouts_of(task, columns) if isinstance(layout, NamedColumns)]
    if path.is_dir():
        other = read_data(path, task, reading=reading, columns=columns)
    elif path.is_file() and tables:
        other = tables[0].read_file(path, reading)
    else:
        raise input_error(
            "held-out-missing",
            f"--holdout {named} is no file or folder, and no split of the data ({', '.join(dataset.splits)})",
            "samples with answers that the checkpoint was not trained on",
            _FIX,
        )
    splits = align_labels(other, dataset.labels, TASKS[task]).splits
    return next((splits[name] for name in SCORED if name in splits), Records((path,), ()))
