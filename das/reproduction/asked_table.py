"""What is asked of ``das reproduce``, checked as far as that is cheap, and the folder that it works in."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from compressor.checkpoints.recognise import Recognised, choose_task, recognise
from compressor.checkpoints.sizes import sizes_that_fit
from compressor.errors import Checks, Problem, UsageError, input_error, shorten, usage_error
from compressor.files import read_settings, write_json
from compressor.jobs.open_inputs import Inputs, open_inputs
from compressor.models.steps import StepModel, steps_of
from compressor.saved_run.run_places import ROOT
from compressor.settings import Settings, make_settings, read_options
from compressor.tuning.lora import check_peft
from compressor.tuning.methods import METHODS
from compressor.tuning.places import tuned_layers
from compressor.tuning.tune_settings import TuneSettings
from profiles.paper.table_rows import Attempt, Subject, TableRow, choose_rows, list_rows

IDENTITY = "reproduction.json"
MOST_NAMES = 3  # of files that a folder holds, in a message
_DEFAULTS = Settings(checkpoint="").model_dump(mode="json")


@dataclass(frozen=True)
class AskedTable:
    """What is asked for.

    Attributes:
        table: as users type it.
        checkpoint: to run it on.
        task: None takes the checkpoint's only head, or the family's only task.
        seeds: runs of each row.
        rows: names of those that are run; None for all.
        out: folder of all runs; None is ``runs/<table>-<checkpoint>``.
        seconds: how long all models are timed together.
        options: of ``das compress``, for every row.
    """

    table: str
    checkpoint: Path
    task: str | None = None
    seeds: int = 3
    rows: tuple[str, ...] | None = None
    out: Path | None = None
    seconds: float = 20.0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OpenedTable:
    """The same with what was found out about it.

    Attributes:
        asked: as it was.
        subject: the checkpoint's model.
        rows: all of the table.
        chosen: those that are run.
        settings: of a row that begins with the checkpoint: what the data is read with.
        inputs: of these settings.
        folder: of all runs.
    """

    asked: AskedTable
    subject: Subject
    rows: tuple[TableRow, ...]
    chosen: tuple[TableRow, ...]
    settings: Settings
    inputs: Inputs
    folder: Path

    def attempts(self, row: TableRow) -> tuple[Attempt, ...]:
        """Return the runs of a row."""
        return tuple(Attempt(row, seed, draw) for seed in range(self.asked.seeds) for draw in range(row.draws))


def open_table(asked: AskedTable) -> OpenedTable:
    """Check everything that is cheap to check; what is wrong is reported together.

    Raises:
        UsageError: no such table, row or number of seeds, among all other problems.
        InputError: checkpoint, tokenizer, data or folder unusable.
        EnvironmentProblem: peft is not there, and a row needs it.
    """
    checks, folder = Checks(), asked.out or ROOT / f"{asked.table}-{asked.checkpoint.stem}"
    with checks:
        _check_numbers(asked)
    with checks:
        check_folder(folder)
    with checks:
        found = recognise(asked.checkpoint)
        subject = describe_subject(found, choose_task(found, asked.task, adapt=True))
        rows = list_rows(asked.table, subject)
        with checks:
            chosen = choose_rows(rows, asked.rows)
            _check_possible(chosen)
            if any(row.tunes and METHODS[row.method].rank for row in chosen):
                check_peft()
        with checks:
            settings = base_settings(asked, subject, rows)
            inputs = open_inputs(settings)
    checks.raise_found()
    return OpenedTable(asked, subject, rows, chosen, settings, inputs, folder)


def describe_subject(found: Recognised, task: str) -> Subject:
    """Return what the tables need to know of a checkpoint."""
    family = found.family
    with sizes_that_fit(found):
        dims = found.format.read_dims(found.state, found.checkpoint.config, task)
        layers = Counter(step.pool for step in steps_of(family.rounds(dims)) if step.pool)
        with torch.device("meta"):
            outline = family.build(dims, task)
    scopes = {scope: {pool: layers[pool] for pool in pools} for scope, pools in family.scopes.items()}
    return Subject(family.name, task, scopes, dims.hidden, found.has_head(task), _list_placeless(outline))


def _list_placeless(outline: StepModel) -> dict[str, str]:
    """Return why methods of tuning have no place in a model's layers, by method."""
    reasons = {}
    for method in METHODS.values():
        try:
            tuned_layers(outline, method) if method.adds else None
        except UsageError as error:
            reasons[method.name] = error.problems[0].found
    return reasons


def base_settings(asked: AskedTable, subject: Subject, rows: tuple[TableRow, ...]) -> Settings:
    """Return the settings of the first run that begins with the checkpoint; its data and model serve all others."""
    possible = (row for row in rows if not (row.tunes or row.start or row.missing))
    options = next((row.options for row in possible), {"adapt": True, "skip": 0})
    return make_settings(**asked.options, **options, checkpoint=asked.checkpoint, task=subject.task)


def row_settings(asked: AskedTable, task: str, attempt: Attempt, checkpoint: Path, out: Path) -> Settings:
    """Return the settings of one run of ``das compress``."""
    own = {"checkpoint": checkpoint, "task": task, "seed": attempt.lot, "out": out}
    return make_settings(**asked.options, **attempt.row.options, **own)


def tune_settings(opened: OpenedTable, attempt: Attempt) -> TuneSettings:
    """Return the settings of one run of ``das tune``: of the options those that it has, and as many epochs."""
    options = dict(opened.asked.options)
    epochs = {"epochs": options["recover_epochs"]} if "recover_epochs" in options else {}
    own = {name: value for name, value in options.items() if name in TuneSettings.model_fields}
    return read_options(
        TuneSettings,
        "das.tune",
        checkpoint=opened.asked.checkpoint,
        method=attempt.row.method,
        task=opened.subject.task,
        seed=attempt.lot,
        out=opened.folder / attempt.folder,
        **own,
        **epochs,
    )


def _check_numbers(asked: AskedTable) -> None:
    problems = []
    if asked.seeds < 1:
        problems.append(Problem("seeds-too-few", f"--seeds {asked.seeds}", "at least 1 run of each row", "--seeds 3"))
    if not 0 < asked.seconds < math.inf:
        found = f"--seconds {asked.seconds:g}"
        problems.append(Problem("setting-not-positive", found, "more than 0", "--seconds 20"))
    if problems:
        raise UsageError(*problems)


def _check_possible(chosen: tuple[TableRow, ...]) -> None:
    """Refuse rows of which none can be run."""
    if all(row.missing for row in chosen):
        found = "; ".join(f"{row.name}: {row.missing}" for row in chosen)
        raise usage_error("no-row-possible", found, "a row that the model can have", "another table, or a deeper model")


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but runs of a table.

    Raises:
        InputError: it does, or is a file.
    """
    if not folder.exists() or (folder / IDENTITY).is_file():
        return
    held = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else ["no folder"]
    if held:
        raise input_error(
            "reproduction-folder-taken",
            f"{folder} holds something else: {shorten(held, MOST_NAMES)}",
            "a new or an empty folder, or that of the same command",
            "give another --out",
        )


def keep_identity(folder: Path, identity: Mapping[str, Any]) -> None:
    """Write down what the runs of a folder have in common; where that is written, hold that it is the same.

    Raises:
        InputError: it is another, or cannot be read.
        EnvironmentProblem: it cannot be written.
    """
    check_identity(folder, identity)
    if not (folder / IDENTITY).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / IDENTITY, identity)


def check_identity(folder: Path, identity: Mapping[str, Any]) -> None:
    """Hold that what the runs of a folder have in common, where that is written, is the same.

    Raises:
        InputError: it is another, or cannot be read.
    """
    path = folder / IDENTITY
    if not path.exists():
        return
    try:
        earlier = read_settings(path)
    except (OSError, ValueError) as error:
        raise input_error(
            "reproduction-unreadable", f"{path} cannot be read ({error})", "as das wrote it", "give another --out"
        ) from None
    # What was left out is the same as its default, typed.
    before, now = ({**_DEFAULTS, **given} for given in (earlier, json.loads(json.dumps(identity))))
    if changed := [name for name in {**before, **now} if before.get(name) != now.get(name)]:
        raise input_error(
            "reproduction-differs",
            f"the runs in {folder} were made with other settings ({', '.join(changed)})",
            "the same for all rows of a table",
            "the command as it was, or another --out",
        )
