"""Open the data that a run or a checkpoint is evaluated on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.find_tokenizer import find_tokenizer
from compressor.checkpoints.recognise import choose_task, recognise
from compressor.checkpoints.sizes import check_sizes
from compressor.data.labels import align_labels
from compressor.data.layouts.input_forms import STANDARD
from compressor.data.read_data import find_data, layouts_of, read_data
from compressor.data.roles import make_scored, make_split, make_whole
from compressor.data.splits import ScoredData, Split, WholeData, note_cut
from compressor.data.types import SCORED, RawDataset, Reading, Transforms
from compressor.device import limit_threads
from compressor.errors import Checks, input_error, usage_error
from compressor.models.steps import StepModel
from compressor.saved_run.run_folder import Run, is_run, open_run
from compressor.tasks import TASKS, check_task
from compressor.tasks.task import Task


def open_data(run: Run, data: str | None = None, columns: Mapping[str, str] = STANDARD) -> ScoredData:
    """Return the data that a run is scored on: what is named, else its own, else as :func:`find_data`.

    Images of files that have not changed since the run was made are not checked again.

    Raises:
        InputError: not there, unusable, or the run was made without answers.
    """
    root, dataset = _read_run(run, data, columns, Reading(splits=SCORED))
    return make_scored(dataset, root, TASKS[run.manifest.task], run.transforms(), run.manifest.dims["classes"])


def _read_run(run: Run, data: str | None, columns: Mapping[str, str], reading: Reading) -> tuple[Path, RawDataset]:
    """Return the folder of the data that a run is given, and what is in it, in the run's classes.

    Of a run's own data the split is left out that the layers were chosen on, unless it is read whole.
    """
    root, task, settings = _find_root(run, data, reading.whole), TASKS[run.manifest.task], run.manifest.settings
    known = replace(reading, checked=checked_rows(run))
    read = read_data(root, task.name, reading=known, columns=_columns_in(run, root, data, columns))
    dataset = align_labels(read, run.labels(), task)
    if data is None and not reading.whole:
        own = {name: records for name, records in dataset.splits.items() if name != settings.holdout}
        dataset = replace(dataset, splits=own)
    return root, dataset


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


def _find_root(run: Run, data: str | None, whole: bool = False) -> Path:
    own = run.manifest.data_root
    if data is None and not run.manifest.labelled and not whole:
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
        UsageError: an impossible task or text length, or options that a run decides.
        InputError: subject, tokenizer or data unusable.
    """
    opened = _open(subject, task, data, tokenizer, text_length, checks, columns, Reading(splits=SCORED))
    scored = make_scored(*opened.parts)
    return opened.model, scored, (*opened.notes, *note_cut(scored.evaluation, opened.longest))


def open_whole(
    subject: Path,
    split: str,
    task: str | None,
    data: str | None,
    tokenizer: str | None,
    text_length: int | None = None,
    checks: Checks | None = None,
    columns: Mapping[str, str] = STANDARD,
) -> tuple[StepModel, WholeData, tuple[str, ...]]:
    """Open a checkpoint or a run folder, and every row of a split, as :func:`open_for_evaluation`.

    Raises:
        UsageError: an impossible task or text length, or options that a run decides.
        InputError: subject, tokenizer, data or split unusable.
    """
    reading = Reading(splits={split}, whole=True)
    opened = _open(subject, task, data, tokenizer, text_length, checks, columns, reading)
    return opened.model, make_whole(split, *opened.parts), opened.notes


def _check_options(run: Run, task: str | None, tokenizer: str | None, text_length: int | None) -> None:
    """Refuse options of a checkpoint that a run decides otherwise."""
    own, length = run.manifest.task, run.dims.text_length
    others = {"--task": task not in (None, own), "--tokenizer": tokenizer is not None}
    others |= {"--text-length": text_length not in (None, length)}
    if given := " and ".join(option for option, is_other in others.items() if is_other):
        found, expected = (
            f"{given} for {run.path}, a run",
            f"what it has: {own}, {length} tokens, a tokenizer of its own",
        )
        raise usage_error("option-for-a-run", found, expected, f"drop {given}, or give the checkpoint")


@dataclass(frozen=True)
class _Opened:
    """A model, and data with classes numbered as the model's.

    ``longest`` are the tokens that it could read of a text; 0 where it was said how many it reads.
    """

    model: StepModel
    dataset: RawDataset
    root: Path
    transforms: Transforms
    model_notes: tuple[str, ...] = ()
    longest: int = 0

    @property
    def parts(self) -> tuple[RawDataset, Path, Task, Transforms, int]:
        """What splits are made of."""
        return self.dataset, self.root, TASKS[self.model.task], self.transforms, self.model.dims.classes

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user is to know of both."""
        return (*self.model_notes, *self.dataset.notes)


def _open(
    subject: Path,
    task: str | None,
    data: str | None,
    tokenizer: str | None,
    text_length: int | None,
    checks: Checks | None,
    columns: Mapping[str, str],
    reading: Reading,
) -> _Opened:
    checks = checks or Checks()
    if is_run(subject):
        with checks:
            run = open_run(subject)
            with checks:
                _check_options(run, task, tokenizer, text_length)
            _find_root(run, data, reading.whole)
        checks.raise_found()
        model = run.load_slim()
        root, dataset = _read_run(run, data, columns, reading)
        limit_threads(model)
        return _Opened(model, dataset, root, run.transforms())
    with checks:
        checkpoint = recognise(subject)
        config = checkpoint.checkpoint.config
        with checks:
            task = choose_task(checkpoint, task)
            check_task(task)
            check_sizes(checkpoint, task, None, text_length)
        with checks:
            path, reads_text = checkpoint.checkpoint.path, bool(checkpoint.family.names_of("text"))
            words = find_tokenizer(tokenizer, path, config.get("tokenizer"), reads_text)
        with checks:
            root = find_data(data, str(config.get("data_root") or ""))
    checks.raise_found()
    assert task
    loaded = load_checkpoint(checkpoint, task, text_length=text_length, longest=words.longest)
    most = min(loaded.model.dims.longest_text, words.longest or loaded.model.dims.longest_text)
    if text_length is None and not checkpoint.family.names_of("image"):
        loaded.model.dims = loaded.model.dims.model_copy(update={"text_length": most})
    transforms = checkpoint.family.transforms(loaded.model.dims, words.tokenizer)
    dataset = align_labels(read_data(root, task, reading=reading, columns=columns), checkpoint.labels, TASKS[task])
    limit_threads(loaded.model)
    longest = most if text_length is None else 0
    notes = (*loaded.notes, *words.notes, *transforms.text.notes)
    return _Opened(loaded.model, dataset, root, transforms, notes, longest)
