"""Open the data that a run or a checkpoint is evaluated on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.find_tokenizer import find_tokenizer
from compressor.checkpoints.recognise import choose_task, recognise
from compressor.checkpoints.sizes import check_sizes
from compressor.data.labels import align_labels
from compressor.data.layouts.input_forms import STANDARD
from compressor.data.read_data import find_data, layouts_of, read_data
from compressor.data.roles import make_scored, make_split
from compressor.data.splits import ScoredData, Split
from compressor.data.types import SCORED, Reading
from compressor.device import limit_threads
from compressor.errors import Checks, input_error
from compressor.models.steps import StepModel
from compressor.run_folder import Run, is_run, open_run
from compressor.tasks import TASKS, check_task


def open_data(run: Run, data: str | None = None, columns: Mapping[str, str] = STANDARD) -> ScoredData:
    """Return the data that a run is scored on: what is named, else its own, else as :func:`find_data`.

    Images of files that have not changed since the run was made are not checked again.

    Raises:
        InputError: not there, unusable, or the run was made without answers.
    """
    root, task = _find_root(run, data), TASKS[run.manifest.task]
    reading = Reading(splits=SCORED, checked=checked_rows(run))
    read = read_data(root, task.name, reading=reading, columns=_columns_in(run, root, data, columns))
    dataset = align_labels(read, run.labels(), task)
    if data is None:  # the layers were chosen on it
        own = {name: records for name, records in dataset.splits.items() if name != run.manifest.settings.holdout}
        dataset = replace(dataset, splits=own)
    return make_scored(dataset, root, task, run.transforms(), run.manifest.dims["classes"])


def open_evaluation(run: Run, data: str | None = None) -> Split:
    """Return the evaluation split of a run's data; of the run's own data nothing else is read, and no image decoded.

    Raises:
        InputError: as :func:`open_data`.
    """
    if data is not None:
        return open_data(run, data).evaluation
    root, task, name = _find_root(run, data), TASKS[run.manifest.task], run.manifest.evaluation_split
    reading = Reading(splits={name}, checked=checked_rows(run))
    read = read_data(root, task.name, reading=reading, columns=run.manifest.settings.columns)
    dataset = align_labels(read, run.labels(), task)
    return make_split(name, dataset, task, run.transforms(), run.manifest.dims["classes"])


def _columns_in(run: Run, root: Path, data: str | None, named: Mapping[str, str]) -> Mapping[str, str]:
    """Return the names of columns in the data at ``root``: as named, else as in the run's own where they are so."""
    own = run.manifest.settings.columns
    alike = data is None or any(layout.recognises(root) for layout in layouts_of(run.manifest.task, own))
    return named or (own if alike else STANDARD)


def checked_rows(run: Run) -> dict[str, list[str]]:
    """Return the rows that the compression found unreadable, by fingerprint of the file (:class:`Reading`)."""
    rows: dict[str, list[str]] = {}
    for part in run.manifest.data:
        for digest in part["fingerprint"].split("-"):
            rows.setdefault(digest, []).extend(part["unreadable"])
    return rows


def _find_root(run: Run, data: str | None) -> Path:
    own = run.manifest.data_root
    if data is None and not run.manifest.labelled:
        raise input_error(
            "run-without-answers", f"{run.path} was compressed without answers", "data with answers", "--data FOLDER"
        )
    return find_data(data or (own if Path(own).is_dir() else None), own)


def open_for_evaluation(
    subject: Path,
    task: str | None,
    data: str | None,
    tokenizer: str | None,
    text_length: int | None = None,
    checks: Checks | None = None,
    columns: Mapping[str, str] = STANDARD,
) -> tuple[StepModel, ScoredData, tuple[str, ...]]:
    """Open a checkpoint or a run folder and the data it is to be scored on; also return notes for the user.

    Splits to train on need not be there. What ``checks`` found already is reported with what is wrong here.

    Raises:
        InputError: subject, tokenizer or data unusable.
    """
    checks = checks or Checks()
    if is_run(subject):
        with checks:
            run = open_run(subject)
            _find_root(run, data)
        checks.raise_found()
        model = run.load_slim()
        found = open_data(run, data, columns)
        limit_threads(model)
        return model, found, ()
    with checks:
        checkpoint = recognise(subject)
        config = checkpoint.checkpoint.config
        with checks:
            task = choose_task(checkpoint, task)
            check_task(task)
            check_sizes(checkpoint, task, None, text_length)
        with checks:
            words = find_tokenizer(tokenizer, checkpoint.checkpoint.path, config.get("tokenizer"))
        with checks:
            root = find_data(data, str(config.get("data_root") or ""))
    checks.raise_found()
    assert task
    loaded = load_checkpoint(checkpoint, task, text_length=text_length, longest=words.longest)
    transforms = checkpoint.family.transforms(loaded.model.dims, words.tokenizer)
    dataset = read_data(root, task, reading=Reading(splits=SCORED), columns=columns)
    read = align_labels(dataset, checkpoint.labels, TASKS[task])
    limit_threads(loaded.model)
    notes = (*loaded.notes, *words.notes, *transforms.text.notes)
    return loaded.model, make_scored(read, root, TASKS[task], transforms, loaded.model.dims.classes), notes
