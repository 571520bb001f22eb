"""A tuning: adapt a pre-trained checkpoint by a method, evaluate it as a compression does, save what was trained."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compressor.checkpoints.sizes import read_dims, sizes_that_fit
from compressor.compression import identify
from compressor.costs.macs import count_macs
from compressor.costs.parts import without_adapters
from compressor.data.batches import TrainingOrder, steps_per_epoch
from compressor.device import use_fast_products
from compressor.distributed import from_main, is_main, world_size
from compressor.errors import CheckFailed, Checks, UsageError, input_error, usage_error
from compressor.evaluation.evaluate_job import evaluate_splits
from compressor.families import FAMILIES
from compressor.files import TUNED_FILE
from compressor.jobs.job import Job
from compressor.jobs.open_inputs import Inputs, open_inputs
from compressor.jobs.prepare_job import prepare_job
from compressor.models.adapters import Adapter
from compressor.models.steps import Rounds, StepModel, split_at_candidates
from compressor.progress import QUIET, Progress, Stages
from compressor.saved_run.manifest import versions
from compressor.saved_run.resume import RunCheckpoint, Stage, check_same
from compressor.saved_run.run_places import interrupted_folder, new_folder
from compressor.search.select_layers import encode_split
from compressor.settings import PLACES
from compressor.training.activation_cache import Encoder
from compressor.training.expected_time import LONG, Expected, evaluation_seconds, training_seconds
from compressor.training.optimiser import full_learning_rate, scale_learning_rate
from compressor.training.recovery import (
    Groups,
    Training,
    encode_in_front,
    freeze_all_but,
    head_groups,
    head_rate,
    recovery_loss,
)
from compressor.tuning.apply_method import apply_method, count_updated, is_head
from compressor.tuning.lora import merge_lora, peft_version
from compressor.tuning.methods import Method, find_method
from compressor.tuning.places import tuned_layers
from compressor.tuning.tune_settings import TuneSettings
from compressor.tuning.tuned import Tuned, open_tuned, save_tuned


@dataclass(frozen=True)
class Tuning:
    """A tuning whose inputs have been opened and checked.

    Attributes:
        settings: what is asked for.
        method: the method.
        job: the same as a compression, for its data.
        model: what is trained, with all that the method adds.
        names: of the parameters that the method trains, poolers and head apart.
        plain_macs: of one sample of the model without what the method adds.
    """

    settings: TuneSettings
    method: Method
    job: Job
    model: StepModel
    names: tuple[str, ...]
    plain_macs: int

    @property
    def steps(self) -> int:
        """Training steps."""
        epochs = self.method.epochs if self.settings.epochs is None else self.settings.epochs
        return round(epochs * steps_per_epoch(self.settings.batch_size, len(self.job.data.train)))

    @property
    def learning_rate(self) -> float:
        """Peak of what the method trains: its own rate scaled as the paper's is, full tuning's to the width alone."""
        width = self.model.dims.hidden
        if self.settings.learning_rate is not None:
            return self.settings.learning_rate
        if self.method.trunk == "all":
            return full_learning_rate(width)
        return scale_learning_rate(width, self.steps, self.method.learning_rate)

    @property
    def head_learning_rate(self) -> float:
        """Peak rate of the head."""
        return head_rate(self._base_rate)

    @property
    def _base_rate(self) -> float:
        return scale_learning_rate(self.model.dims.hidden, self.steps)

    @property
    def groups(self) -> Groups:
        """The trained parameters with their peak rates; poolers and head have those of ``--adapt``, with any method."""
        own = [self.model.get_parameter(name) for name in self.names]
        return [(own, self.learning_rate), *head_groups(self.model, self._base_rate)]

    @property
    def trained(self) -> tuple[str, ...]:
        """Names of all parameters that are trained, poolers' and head's included."""
        return (*self.names, *(name for name, _ in self.model.named_parameters() if is_head(name)))

    @property
    def fixed(self) -> Rounds | None:
        """The rounds in front of the first trained step, which run once for each sample; None where all are trained."""
        if any(name.startswith("prologue.") for name in self.names):
            return None
        return split_at_candidates(self.model.rounds, self._trained_steps)[0]

    @property
    def varying(self) -> Rounds | None:
        """The other rounds; None where they are all."""
        return None if self.fixed is None else split_at_candidates(self.model.rounds, self._trained_steps)[1]

    @property
    def encode(self) -> Encoder:
        """Return what the training reads of a batch."""
        return encode_in_front(self.model, self.fixed)

    @property
    def updated_parameters(self) -> dict[str, int]:
        """How many parameters are trained, by what they are."""
        return count_updated(self.model, self.names, self.method)

    def merge(self) -> int:
        """Merge what can be merged into plain weights, in place; return the MACs of one sample afterwards."""
        merge_lora(self.model)
        return count_macs(self.model, self.job.sample()).total

    @property
    def _trained_steps(self) -> set[str]:
        return {name.split(".")[1] for name in self.names if name.startswith("blocks.")}


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


def open_tuning(settings: TuneSettings, resume: bool = False) -> Inputs:
    """Check everything about a tuning that is cheap to check; what is wrong is reported together.

    Raises:
        UsageError: impossible options, or a method without a place in the family's layers, among all other problems.
        InputError: checkpoint, tokenizer or folders unusable.
        EnvironmentProblem: the device or peft is not there, or the folder cannot be written.
    """

    def find_folder(task: str | None) -> Path:
        return from_main(lambda: tuned_folder(settings, task, resume))

    checks = Checks()
    with checks:
        settings.check()
    with checks:
        inputs = open_inputs(settings.adaptation, find_folder)
        with checks:
            _check_places(inputs, find_method(settings.method))
    checks.raise_found()
    return inputs


def _check_places(inputs: Inputs, method: Method) -> None:
    """Refuse a method without a place in the layers of the checkpoint's family, before any table or weight is read."""
    source = inputs.checkpoint
    if method.adds:
        with sizes_that_fit(source), torch.device("meta"):
            outline = source.family.build(read_dims(source, inputs.task)[0], inputs.task)
        tuned_layers(outline, method)


def prepare_tuning(settings: TuneSettings, progress: Progress = QUIET, inputs: Inputs | None = None) -> Tuning:
    """Open and check everything a tuning needs, before any long work.

    Raises:
        UsageError: impossible options, or no step to train.
        InputError: checkpoint, tokenizer or data unusable; a checkpoint that is adapted already.
        EnvironmentProblem: the device or peft is not there.
    """
    job = prepare_job(settings.adaptation, progress, inputs or open_tuning(settings))
    if any(isinstance(module, Adapter) and not module.idle for module in job.model.modules()):
        raise input_error(
            "checkpoint-has-adapters",
            f"{settings.checkpoint} brings trained adapters along",
            "a checkpoint that is only pre-trained",
            "give the one that it was adapted from",
        )
    model, method = without_adapters(job.model), find_method(settings.method)
    plain_macs = count_macs(model, job.sample()).total
    tuning = Tuning(settings, method, job, model, apply_method(model, method), plain_macs)
    if not tuning.steps:
        raise usage_error(
            "tuning-too-short",
            f"--epochs {settings.epochs:g} of {len(job.data.train):,} samples is no step",
            "a training of some steps",
            "--epochs 1, or a smaller --batch-size",
        )
    freeze_all_but(model, tuning.groups)
    return tuning


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


def training_order(tuning: Tuning) -> TrainingOrder:
    """Return the order of the samples: that of a recovery with the same seed and batch size."""
    return tuning.job.data.train.training_order(tuning.settings.batch_size, tuning.settings.seed)


def tuned_folder(settings: TuneSettings, task: str | None, resume: bool = False) -> Path:
    """Return where the tuning will lie: ``--out``, or ``runs/`` and its name, with a number where that is taken.

    Raises:
        InputError: it exists already, or there is nothing to resume.
        EnvironmentProblem: it cannot be written.
    """
    stem = "-".join(part for part in (Path(settings.checkpoint).stem, task, settings.method) if part)
    return interrupted_folder(settings.out, stem, TUNED_FILE) if resume else new_folder(settings.out, stem)


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
