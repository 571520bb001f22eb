"""A tuning whose inputs are opened and checked: what is trained, for how long, and at what rates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from compressor.checkpoints.sizes import read_dims, sizes_that_fit
from compressor.costs.macs import count_macs
from compressor.costs.parts import without_adapters
from compressor.data.batches import TrainingOrder, steps_per_epoch
from compressor.distributed import from_main
from compressor.errors import Checks, input_error, usage_error
from compressor.files import TUNED_FILE
from compressor.jobs.job import Job
from compressor.jobs.open_inputs import Inputs, open_inputs
from compressor.jobs.prepare_job import prepare_job
from compressor.models.adapters import Adapter
from compressor.models.steps import Rounds, StepModel, split_at_candidates
from compressor.progress import QUIET, Progress
from compressor.saved_run.run_places import interrupted_folder, new_folder
from compressor.training.activation_cache import Encoder
from compressor.training.optimiser import full_learning_rate, scale_learning_rate
from compressor.training.recovery import (
    Groups,
    encode_in_front,
    freeze_all_but,
    head_groups,
    head_rate,
)
from compressor.tuning.apply_method import apply_method, count_updated, is_head
from compressor.tuning.lora import merge_lora
from compressor.tuning.methods import Method, find_method
from compressor.tuning.places import tuned_layers
from compressor.tuning.tune_settings import TuneSettings


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
