"""Open the data that a run or a checkpoint is evaluated on."""

from __future__ import annotations

from pathlib import Path

from compressor.checkpoints.build import choose_task, load_checkpoint, recognise
from compressor.data.labels import align_labels
from compressor.data.read import find_data, read_data
from compressor.data.roles import make_splits
from compressor.data.splits import TaskData
from compressor.data.text import find_tokenizer
from compressor.device import limit_threads
from compressor.errors import input_error
from compressor.models.steps import StepModel
from compressor.run_folder import LATEST, MANIFEST, ROOT, Run, open_run
from compressor.tasks import TASKS, check_task


def open_data(run: Run, data: str | None = None) -> TaskData:
    """The data of a run: what is named, else where it was when the run was made, else as :func:`find_data` looks.

    Raises:
        InputError: not there, unusable, or the run was made without answers.
    """
    task, own = TASKS[run.manifest.task], run.manifest.data_root
    if data is None and run.manifest.settings.get("calibration"):
        raise input_error(
            "run-without-answers", f"{run.path} was compressed without answers", "data with answers", "--data FOLDER"
        )
    root = find_data(data or (own if Path(own).is_dir() else None), own)
    found = align_labels(read_data(root, task.name), run.labels(), task)
    return make_splits(found, root, task, run.transforms(), run.manifest.dims["classes"])


def open_for_evaluation(
    subject: Path, task: str | None, data: str | None, tokenizer: str | None, text_length: int | None = None
) -> tuple[StepModel, TaskData, tuple[str, ...]]:
    """A checkpoint or a run folder, the data it is to be scored on, and notes for the user.

    Raises:
        InputError: subject, tokenizer or data unusable.
    """
    if (subject / MANIFEST).exists() or subject == ROOT / LATEST:
        run = open_run(subject)
        model = run.load_slim()
        found = open_data(run, data)
        limit_threads(model)
        return model, found, ()
    checkpoint = recognise(subject)
    task = choose_task(checkpoint, task)
    check_task(task)
    loaded = load_checkpoint(checkpoint, task, text_length=text_length)
    words = find_tokenizer(tokenizer, checkpoint.checkpoint.path, checkpoint.checkpoint.config.get("tokenizer"))
    transforms = checkpoint.family.transforms(loaded.model.dims, words)
    root = find_data(data, str(checkpoint.checkpoint.config.get("data_root") or ""))
    read = align_labels(read_data(root, task), checkpoint.labels, TASKS[task])
    limit_threads(loaded.model)
    return loaded.model, make_splits(read, root, TASKS[task], transforms, loaded.model.dims.classes), loaded.notes
