"""A tuning: adapt a pre-trained checkpoint by a method, evaluate it as a compression does, save what was trained."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compressor.compression import identify
from compressor.device import use_fast_products
from compressor.distributed import from_main, is_main, world_size
from compressor.errors import CheckFailed, UsageError
from compressor.evaluation.evaluate_job import evaluate_splits
from compressor.families import FAMILIES
from compressor.files import TUNED_FILE
from compressor.progress import QUIET, Progress, Stages
from compressor.saved_run.manifest import versions
from compressor.saved_run.resume import RunCheckpoint, Stage, check_same
from compressor.search.select_layers import encode_split
from compressor.settings import PLACES
from compressor.training.expected_time import LONG, Expected, evaluation_seconds, training_seconds
from compressor.training.recovery import (
    Training,
    recovery_loss,
)
from compressor.tuning.lora import peft_version
from compressor.tuning.prepare_tuning import Tuning, open_tuning, prepare_tuning, training_order
from compressor.tuning.tune_settings import TuneSettings
from compressor.tuning.tuned import Tuned, open_tuned, save_tuned


def tune(settings: TuneSettings, progress: Progress = QUIET, *, command: str = "", resume: bool = False) -> Tuned:
    """Adapt a checkpoint by a method, and save what was trained; or open it, where it was killed when it was complete.

    Args:
        settings: what is asked for.
        progress: told about every stage.
        command: the command line, for the record.
        resume: go on with an interrupted tuning of the same settings; it ends where an uninterrupted one would.

    Raises:
        DasError: as :func:`open_tuning` and :func:`prepare_tuning`, and when the folder cannot be written.
        CheckFailed: the loss is NaN or infinite; nothing is kept.
        Interrupted: on Ctrl-C or SIGTERM; the state is saved.
    """
    inputs = open_tuning(settings, resume)
    folder = inputs.folder
    assert folder
    if tuned := from_main(lambda: _open_finished(folder, settings)):
        return tuned
    tuning = prepare_tuning(settings, progress, inputs)
    for note in tuning.job.loaded.notes:
        progress.say(note)
    if progress is not QUIET and not resume and world_size() == 1:
        with progress.stage("Timing a few batches"), use_fast_products(tuning.model):
            expected = expect_tuning_time(tuning)
        if expected.total >= LONG:
            progress.say(expected.describe())
    identity = {**identify(tuning.job), **settings.model_dump(exclude=PLACES)}
    checkpoint = RunCheckpoint(folder if is_main() else None, identity)
    checkpoint.load() if resume else checkpoint.reserve()
    try:
        with checkpoint.save_on_interrupt(), use_fast_products(tuning.model):
            tuned = _tune(tuning, folder, checkpoint, command, progress)
    except (CheckFailed, UsageError):
        checkpoint.remove()
        raise
    checkpoint.remove()
    return tuned


def expect_tuning_time(tuning: Tuning) -> Expected:
    """Time a few batches, and return how long a tuning is expected to take; nothing is changed."""
    job, model = tuning.job, tuning.model
    loss = partial(recovery_loss, model, job.task, tuning.varying)
    with torch.random.fork_rng():
        encoding, step = training_seconds(
            job.data.train, job.device, tuning.settings.batch_size, tuning.encode, tuning.encode, loss
        )
        order = training_order(tuning)
        seconds = {
            "encoding": encoding * len(order.samples(tuning.steps)),
            f"training ({tuning.steps:,} steps)": step * tuning.steps,
            **evaluation_seconds(job, model, "score"),
        }
    model.zero_grad(set_to_none=True)
    return Expected(seconds=seconds, cheaper={})


def _tune(tuning: Tuning, folder: Path, checkpoint: RunCheckpoint, command: str, progress: Progress) -> Tuned:
    job, model, stages = tuning.job, tuning.model, Stages(checkpoint.state.seconds)
    with stages.timed("train"):
        trained = _train(tuning, checkpoint, progress)
    updated, macs = tuning.updated_parameters, tuning.merge()
    with stages.timed("evaluate"):
        score, *others = (entry.score for entry in evaluate_splits(job, model, "tuned", progress))
    tuned = Tuned(
        folder=str(folder.absolute()),
        family=model.family,
        task=model.task,
        dims=model.dims.model_dump(),
        source=job.source,
        settings=tuning.settings,
        steps=tuning.steps,
        learning_rate=tuning.learning_rate,
        head_learning_rate=tuning.head_learning_rate,
        score=score,
        apart=dict(zip((split.name for split in job.data.extra), others, strict=True)),
        floor=job.task.baseline.score(job.data.train, job.data.evaluation),
        updated_parameters=updated,
        macs=macs,
        additional_macs=macs - tuning.plain_macs,
        seconds=stages.seconds,
        data=tuple(split.describe() for split in job.data.splits),
        data_root=str(job.data_root.resolve()),
        device=str(job.device),
        versions={**versions(), **peft_version(tuning.method.rank > 0), **FAMILIES.package_of(model.family)},
        command=command,
    )
    with progress.stage("Saving what was trained"):
        from_main(lambda: save_tuned(tuned, trained))
    return tuned


def _train(tuning: Tuning, checkpoint: RunCheckpoint, progress: Progress) -> dict[str, Tensor]:
    """Train the model in place; return what was trained, on the CPU."""
    job, label = tuning.job, "Encoding the training data once"
    with progress.stage("Tokenising the training data"):
        order = training_order(tuning)
    numbers = order.samples(tuning.steps)
    train = encode_split(job, job.data.train, tuning.encode, checkpoint, progress, label, numbers=numbers)
    doing = f"Training by {tuning.method.title}"
    training = Training(tuning.model, job.task, train, tuning.groups, tuning.varying, tuning.steps, order, doing)
    with checkpoint.running(Stage.TUNE, training):
        training.run(checkpoint.after_step, progress)
    return {name: tuning.model.get_parameter(name).detach().cpu().clone() for name in tuning.trained}


def _open_finished(folder: Path, settings: TuneSettings) -> Tuned | None:
    """Return what lies in ``folder``, where it was killed after it was complete; None where it is still to be made.

    Raises:
        InputError: it was made with other settings.
    """
    if not (folder / TUNED_FILE).exists():
        return None
    tuned = open_tuned(folder)
    values: dict[str, Any] = settings.model_dump(mode="json", exclude=PLACES)
    check_same(folder, values, tuned.settings.model_dump(mode="json"))
    RunCheckpoint(folder, {}).remove()
    return tuned
