"""From inputs that are checked to a job: data and model are read."""

from __future__ import annotations

from dataclasses import replace

import torch

from compressor.checkpoints.build import Loaded, load_checkpoint
from compressor.checkpoints.read import checkpoint_sha256
from compressor.checkpoints.recognise import Recognised
from compressor.checkpoints.sizes import Transfer, has_own_head
from compressor.checkpoints.sources.source_files import find_source_files
from compressor.data.held_out import add_held_out
from compressor.data.labels import align_labels, check_new_head
from compressor.data.read_data import read_data
from compressor.data.read_unlabelled import read_unlabelled
from compressor.data.roles import make_splits, make_unlabelled_splits
from compressor.data.splits import TaskData, describe_dropped, fit_text_length, note_cut
from compressor.data.types import RawDataset, Reading
from compressor.device import limit_threads
from compressor.evaluation.reference_run import check_reference
from compressor.jobs.check_work import check_work
from compressor.jobs.job import Job, task_of
from compressor.jobs.open_inputs import Inputs, open_inputs
from compressor.progress import QUIET, Progress
from compressor.saved_run.manifest import Source
from compressor.saved_run.run_folder import open_run
from compressor.settings import Settings
from compressor.tasks import TASKS


def prepare_job(settings: Settings, progress: Progress = QUIET, inputs: Inputs | None = None) -> Job:
    """Open and check everything a compression needs, cheapest first, before any long work.

    Args:
        settings: what is asked for.
        progress: told about the rows that are read.
        inputs: of these settings, where they are open already.

    Raises:
        UsageError: impossible options.
        InputError: checkpoint, tokenizer or data unusable.
        EnvironmentProblem: the device is not there.
    """
    inputs = inputs or open_inputs(settings)
    checkpoint, task, words, root = inputs.checkpoint, inputs.task, inputs.words, inputs.root
    torch.manual_seed(settings.seed)  # fresh heads and adapters are drawn from here
    dataset = _read_dataset(settings, inputs, progress)
    classes = checkpoint.family.heads[task].classes or len(dataset.labels)
    transfer = Transfer(classes, settings.parallel_width) if settings.adapt else None
    loaded = load_checkpoint(
        checkpoint,
        task,
        settings.image_size,
        transfer=transfer,
        text_length=settings.text_length,
        longest=words.longest,
    )
    transforms = checkpoint.family.transforms(loaded.model.dims, words.tokenizer)
    for note in (*words.notes, *transforms.text.notes, *dataset.notes):
        progress.say(note)
    make = make_splits if settings.calibration is None else make_unlabelled_splits
    data = make(dataset, root, task_of(settings, task), transforms, loaded.model.dims.classes)
    _tell_left_out(data, progress)
    if settings.text_length is None:
        _fit_length(loaded, data, inputs, progress)
    data.evaluation.batch([0])  # a damaged image or a wrong tokenizer shows here, not after the search
    source = Source(
        path=str(checkpoint.checkpoint.path.absolute()),  # a link keeps its name: files of a cache have none
        sha256=_checkpoint_digest(settings, checkpoint),
        image_size=getattr(loaded.model.dims, "image_size", None),
        transfer_classes=transfer.classes if transfer else None,
    )
    if inputs.reference:
        check_reference(inputs.reference, source, loaded.model.dims, data.labels, data.splits)
    loaded.model.to(inputs.device)
    limit_threads(loaded.model)
    files = find_source_files(checkpoint.checkpoint.path, words.folder)
    job = Job(
        settings, loaded, data, words.tokenizer, root, inputs.candidates, inputs.device, source, files, inputs.reference
    )
    check_work(job)
    return job


def _read_dataset(settings: Settings, inputs: Inputs, progress: Progress) -> RawDataset:
    """Return the content of the data's folder and of what is held out, with classes as the checkpoint numbers them."""
    checkpoint, root, task = inputs.checkpoint, inputs.root, TASKS[inputs.task]
    if settings.calibration is None:
        dataset = read_data(root, task.name, progress, columns=settings.columns)
        own_head = has_own_head(checkpoint, task.name, len(dataset.labels), settings.adapt)
        if not own_head:
            check_new_head(dataset, task)
        dataset = align_labels(dataset, checkpoint.labels if own_head else (), task, own_head)
    else:
        dataset = replace(read_unlabelled(root, task, progress, settings.columns), labels=checkpoint.labels)
    if settings.holdout is None:
        return dataset
    return add_held_out(dataset, settings.holdout, task.name, Reading(progress), settings.columns)


def _tell_left_out(data: TaskData, progress: Progress) -> None:
    """Say what of each split is not read, and why."""
    for split in data.splits:
        if bad := split.records.unreadable:
            progress.say(f"{split.name}: {len(bad)} rows left out, the first is {bad[0]}")
        if dropped := split.records.dropped:
            progress.say(f"{split.name}: {describe_dropped(dropped, len(split), split.left_out)}")


def _fit_length(loaded: Loaded, data: TaskData, inputs: Inputs, progress: Progress) -> None:
    """Let a model of texts alone read as many tokens as the data have; say so where texts are cut."""
    dims = loaded.model.dims
    most = min(dims.longest_text, inputs.words.longest or dims.longest_text)
    if not inputs.checkpoint.family.names_of("image"):
        fitted = fit_text_length((data.evaluation, data.held_out), (data.train,), most)
        loaded.model.dims = dims.model_copy(update={"text_length": fitted})
    for note in note_cut(data.evaluation, most):
        progress.say(f"note: {note}")


def _checkpoint_digest(settings: Settings, checkpoint: Recognised) -> str:
    """Return the checkpoint's SHA-256; that of an earlier run was compared when its settings were taken over."""
    if settings.from_run:
        return open_run(settings.from_run).manifest.source.sha256
    return checkpoint_sha256(checkpoint.checkpoint.path)
