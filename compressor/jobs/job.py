"""A compression whose inputs have been opened and checked, as a value."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from compressor.checkpoints.build import Loaded
from compressor.costs.parts import without_adapters, without_idle
from compressor.data.batches import steps_per_epoch
from compressor.data.splits import TaskData
from compressor.families import FAMILIES
from compressor.models.layer_parts import layers_of
from compressor.models.plan import Plan
from compressor.models.steps import StepModel
from compressor.models.surgery import make_plan, remove_layers, stream_width
from compressor.saved_run.manifest import Source
from compressor.saved_run.run_folder import Run
from compressor.search.option_rules import ADAPTER, FULL, MERGED, TRAINED
from compressor.search.strategies import DEFAULT, STRATEGIES, TRANSFER
from compressor.settings import Choice, Settings
from compressor.tasks import TASKS
from compressor.tasks.task import Task, teacher_agreement
from compressor.token_merging.merge_layers import set_merging
from compressor.token_merging.merge_schedule import parse_share, schedule_merging
from compressor.training.optimiser import full_learning_rate, scale_learning_rate
from compressor.training.recovery import Recovery


@dataclass(frozen=True)
class Job:
    """A compression whose inputs have all been opened and checked; ``reference`` as in :class:`Inputs`."""

    settings: Settings
    loaded: Loaded
    data: TaskData
    tokenizer: Tokenizer | None
    data_root: Path
    candidates: tuple[str, ...]
    device: torch.device
    source: Source
    source_files: Mapping[str, Path]
    reference: Run | None = None

    @property
    def model(self) -> StepModel:
        """The full model."""
        return self.loaded.model

    @property
    def task(self) -> Task:
        """The model's task, judged by the data's labels or by the full model's answers."""
        return task_of(self.settings, self.model.task)

    @property
    def tokens_digest(self) -> str:
        """SHA-256 of the tokenizer; empty without one."""
        return hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest() if self.tokenizer else ""

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that candidates are, or are parts of."""
        return layers_of(self.candidates)

    @property
    def in_parts(self) -> bool:
        """True where candidates are parts of layers."""
        return self.layers != self.candidates

    @property
    def skip(self) -> int:
        """Number of layers to skip, or whose MACs parts are to save."""
        return self.settings.skip or len(self.layers)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of layers that may be skipped: the one asked for, or with a budget any."""
        return tuple(range(1, len(self.layers) + 1)) if self.settings.limits else (self.skip,)

    @property
    def strategy(self) -> str:
        """Name of the search strategy."""
        return self.settings.strategy or (TRANSFER if self.settings.adapt else DEFAULT)

    @property
    def searches(self) -> bool:
        """True where there is a search."""
        return self.settings.choice is Choice.SEARCH

    @property
    def asks_full(self) -> bool:
        """True where the full model says what the inputs' targets are."""
        return self.settings.calibration is not None or self.task.taught

    @property
    def plain(self) -> StepModel:
        """The full model that costs are compared with: without skip adapters, and with ``--adapt`` parallel ones."""
        return without_adapters(self.model) if self.settings.adapt else without_idle(self.model)

    @property
    def trains_while_searching(self) -> bool:
        """True where the search leaves trained adapters in the model."""
        return self.searches and STRATEGIES[self.strategy].trains

    @property
    def has_adapters(self) -> bool:
        """True where adapters stand in place of skipped layers."""
        return self.settings.replace == ADAPTER

    @property
    def merges(self) -> bool:
        """True where what skipped layers did is merged into the layers in front of them."""
        return self.settings.replace == MERGED and bool(self.candidates)

    def plan(self, layers: Sequence[str]) -> Plan:
        """Return the plan that skips ``layers``, with what is asked for in their place."""
        return make_plan(self.model, layers, self.has_adapters, self.settings.skip_width)

    def cut(self, plan: Plan, copy_kept: bool = True) -> StepModel:
        """Return the slim model of a plan, untrained: layers removed, and tokens merged where that is asked for."""
        return self.merge_tokens(remove_layers(self.model, plan, copy_kept))

    def merge_tokens(self, model: StepModel) -> StepModel:
        """Return a model of the same weights that merges tokens; the model itself where that is not asked for.

        Raises:
            UsageError: the vision layers that are left cannot save so much.
        """
        if self.settings.merge_tokens is None:
            return model
        share = parse_share(self.settings.merge_tokens)
        dims = schedule_merging(FAMILIES[model.family], model.dims, model.task, model.skipped, share)
        return set_merging(model, dims.merged_tokens)

    @property
    def fits_adapters(self) -> bool:
        """True where the recovery begins with adapters that are fitted by least squares."""
        fits = self.has_adapters and self.settings.recover != "none" and not self.settings.adapt
        return fits and bool(self.candidates)

    @property
    def trains_in_recovery(self) -> bool:
        """True where the recovery trains: that of adapters needs some, or a head to train."""
        s = self.settings
        return s.recover == FULL or (s.recover in TRAINED and (bool(self.candidates) or s.adapt or s.train_head))

    @property
    def search_steps(self) -> int:
        """Training steps of the search."""
        return self._steps(self.settings.search_epochs)

    @property
    def warm_up_steps(self) -> int:
        """Steps of the search before the gates move: the first epoch, at most a third."""
        return min(self._steps(1), self.search_steps // 3)

    @property
    def recovery(self) -> Recovery:
        """The recipe of the recovery."""
        steps = self._steps(self.settings.recover_epochs)
        s = self.settings
        full = s.recover == FULL
        rate = s.learning_rate or full_learning_rate(self._width) if full else self.learning_rate(steps)
        return Recovery(steps, s.batch_size, rate, s.seed, s.train_head, s.adapt, full)

    def sample(self) -> dict[str, Tensor]:
        """Return the first evaluation sample, (1, ...) by name, on the job's device: costs are those of this one.

        Its text has the full length, whatever it says.
        """
        inputs = self.data.evaluation.inputs([0], full_length=True)
        return {name: value.to(self.device) for name, value in inputs.items()}

    def learning_rate(self, steps: int) -> float:
        """Return the peak rate of the skip adapters over a training of ``steps``."""
        if self.settings.learning_rate is not None:
            return self.settings.learning_rate
        return scale_learning_rate(self._width, steps)

    @property
    def _width(self) -> int:
        """Width of the streams that are trained on."""
        return stream_width(self.model, self.layers[0]) if self.candidates else int(self.model.dims.hidden)

    def _steps(self, epochs: float) -> int:
        return round(epochs * steps_per_epoch(self.settings.batch_size, len(self.data.train)))


def task_of(settings: Settings, name: str) -> Task:
    """Return a task, judged by the full model's answers where they stand for labels (``calibration``)."""
    return TASKS[name] if settings.calibration is None else teacher_agreement(TASKS[name])
