"""Recovery training: of the adapters of the chosen layers while all else stays frozen, or of all that is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from compressor.data.batches import TrainingOrder
from compressor.data.splits import Split
from compressor.data.types import Batch
from compressor.distributed import share
from compressor.families import FAMILIES
from compressor.families.key_mapping import HEAD
from compressor.models.steps import Rounds, StepModel, split_at_candidates, steps_of
from compressor.models.supernet import parallel_adapters
from compressor.progress import QUIET, Progress
from compressor.tasks.task import Task
from compressor.training.activation_cache import ANSWER, Encoded, Encoder
from compressor.training.loss_in_parts import LossInParts, kept_per_byte
from compressor.training.optimiser import (
    HEAD_FACTOR,
    MAX_LEARNING_RATE,
    PARALLEL_FACTOR,
    POOLER_FACTOR,
    Optimiser,
)

DISTILLATION_SHARE = 0.5
SKIP_ADAPTERS, PARALLEL_ADAPTERS, ADAPTER_NORMS = "skip adapters", "parallel adapters", "LayerNorms of the adapters"
LAYERS, EMBEDDINGS = "layers", "embeddings"


@dataclass(frozen=True)
class Recovery:
    """Settings of recovery training.

    Attributes:
        steps: training steps.
        batch_size: samples of a step.
        learning_rate: peak rate of the skip adapters, or of all with ``full``.
        seed: of the data's order.
        head: train the poolers and the head, too.
        transfer: train the parallel adapters of the kept layers and the head (``--adapt``).
        full: train every parameter.
    """

    steps: int
    batch_size: int
    learning_rate: float
    seed: int
    head: bool = False
    transfer: bool = False
    full: bool = False

    def order(self, split: Split) -> TrainingOrder:
        """Return the order in which a split is trained on."""
        return split.training_order(self.batch_size, self.seed)


Groups = list[tuple[list[nn.Parameter], float]]


def transfer_groups(model: StepModel, rate: float) -> Groups:
    """Return what ``--adapt`` trains besides skip adapters: parallel adapters at 5 times the rate, poolers and head."""
    parallel = [parameter for parameters in parallel_adapters(model).values() for parameter in parameters]
    return [(parallel, min(PARALLEL_FACTOR * rate, MAX_LEARNING_RATE)), *head_groups(model, rate)]


def head_groups(model: StepModel, rate: float) -> Groups:
    """Return the head at 50 times the rate, the poolers in front of it at 5 times (METER's recipe)."""
    named = dict(model.epilogue.named_parameters())
    poolers = [named[name] for name in named if "pooler" in name.partition(".")[0]]
    head = [named[name] for name in named if name.startswith("head.")]
    return [(poolers, min(POOLER_FACTOR * rate, MAX_LEARNING_RATE)), (head, head_rate(rate))]


def head_rate(rate: float) -> float:
    """Return the head's peak rate, of a base rate."""
    return min(HEAD_FACTOR * rate, MAX_LEARNING_RATE)


def recovery_groups(slim: StepModel, recovery: Recovery) -> Groups:
    """Return the trained parameters with their peak learning rates."""
    if recovery.full:
        return [(list(slim.parameters()), recovery.learning_rate)]
    groups = [([p for name in slim.skipped for p in slim.blocks[name].parameters()], recovery.learning_rate)]
    if recovery.transfer:
        return groups + transfer_groups(slim, recovery.learning_rate)
    return groups + (head_groups(slim, recovery.learning_rate) if recovery.head else [])


def count_updated_parameters(slim: StepModel, groups: Groups) -> dict[str, int]:
    """Count the parameters of ``groups`` by what they belong to.

    Papers count the projections of the adapters alone; their LayerNorms, the poolers and the head are named apart.
    """
    trained = {id(parameter) for parameters, _ in groups for parameter in parameters}
    skipped = tuple(f"blocks.{name}." for name in slim.skipped)
    counts: dict[str, int] = {}
    for name, parameter in slim.named_parameters():
        if id(parameter) in trained:
            part = _part(name, name.startswith(skipped))
            counts[part] = counts.get(part, 0) + parameter.numel()
    return counts


def _part(name: str, skipped: bool) -> str:
    if name.startswith("epilogue."):
        return "head" if name.startswith(HEAD) else "poolers"
    if "adapter_layer_norm_before" in name:
        return ADAPTER_NORMS
    if ".down_proj." in name or ".up_proj." in name:
        return SKIP_ADAPTERS if skipped else PARALLEL_ADAPTERS
    return EMBEDDINGS if name.startswith("prologue.") else LAYERS


def freeze_all_but(model: StepModel, groups: Groups) -> None:
    """Let only the parameters of ``groups`` receive gradients; the model stays in eval mode, without dropout."""
    model.eval().requires_grad_(False)
    for parameters, _ in groups:
        for parameter in parameters:
            parameter.requires_grad_(True)


def trained_parameters(model: StepModel) -> dict[str, Tensor]:
    """Return the parameters that receive gradients, by name."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def trained_steps(slim: StepModel, recovery: Recovery) -> tuple[str, ...]:
    """Return the steps with parameters in training: nothing behind the first of them can be computed beforehand."""
    return slim.skipped + (tuple(parallel_adapters(slim)) if recovery.transfer else ())


def rounds_behind(slim: StepModel, recovery: Recovery) -> Rounds | None:
    """Return the rounds behind what :func:`encoder_of` encodes; None where that is nothing: all is trained."""
    return None if recovery.full else split_at_candidates(slim.rounds, trained_steps(slim, recovery))[1]


def encoder_of(slim: StepModel, teacher: StepModel | None, recovery: Recovery) -> Encoder:
    """Return an encoder to the streams in front of the first trained step, and the teacher's logits.

    What both models begin with runs once: steps that merge tokens in the slim model alone are not that. The teacher has
    all steps, so no more of it is fixed than of the slim model. Where all is trained the batch stays what it is.
    """
    names = FAMILIES[slim.family].input_names

    def answer(batch: dict[str, Tensor]) -> Mapping[str, Tensor]:
        return {**batch, **({ANSWER: teacher(**{name: batch[name] for name in names})} if teacher else {})}

    if recovery.full:
        return answer
    trained = trained_steps(slim, recovery)
    fixed, _ = split_at_candidates(slim.rounds, trained)
    own_way = {step.name for step in {*steps_of(teacher.rounds)} - {*steps_of(slim.rounds)}} if teacher else set()
    shared, others = split_at_candidates(teacher.rounds, {*trained, *own_way}) if teacher else ((), ())
    done = {step.name for step in steps_of(shared)}
    own = tuple(tuple(step for step in round_ if step.name not in done) for round_ in fixed)

    def encode(batch: dict[str, Tensor]) -> Mapping[str, Tensor]:
        streams = slim.advance(slim.prologue(**{name: batch[name] for name in names}), shared)
        answer = {ANSWER: teacher.epilogue(teacher.advance(streams, others))} if teacher else {}
        rest = {name: value for name, value in batch.items() if name not in names}
        return {**slim.advance(streams, own), **rest, **answer}

    return encode


def encode_in_front(model: StepModel, fixed: Rounds | None) -> Encoder:
    """Return an encoder to the streams behind the ``fixed`` rounds; the batch stays what it is where that is None."""
    names = FAMILIES[model.family].input_names

    def encode(batch: dict[str, Tensor]) -> Mapping[str, Tensor]:
        rest = {name: value for name, value in batch.items() if name not in names}
        return {**model.advance(model.prologue(**{name: batch[name] for name in names}), fixed or ()), **rest}

    return dict if fixed is None else encode


def recovery_logits(slim: StepModel, varying: Rounds | None, batch: dict[str, Tensor]) -> Tensor:
    """Return the logits of an encoded batch, (B, ...), through the rounds of :func:`rounds_behind`."""
    if varying is None:
        return slim(**{name: batch[name] for name in FAMILIES[slim.family].input_names})
    return slim.epilogue(slim.advance(batch, varying))


def recovery_loss(slim: StepModel, task: Task, varying: Rounds | None, batch: dict[str, Tensor]) -> Tensor:
    """Return :func:`mixed_loss` of :func:`recovery_logits`, a scalar."""
    return mixed_loss(task, recovery_logits(slim, varying, batch), batch)


def mixed_loss(task: Task, logits: Tensor, batch: Batch) -> Tensor:
    """Return a task's loss, a scalar; half of it and half distillation where the batch has the full model's answers."""
    loss = task.loss(logits, batch)
    if ANSWER in batch:
        distilled = task.distillation(logits, batch[ANSWER], batch)
        loss = (1 - DISTILLATION_SHARE) * loss + DISTILLATION_SHARE * distilled
    return loss


class Training:
    """Training of some parameters of a model in place; :meth:`state_dict` describes it between any two steps.

    Where the encoded samples carry the full model's logits, the loss is half the task's and half distillation.

    Args:
        model: everything but the groups is frozen.
        task: gives both losses.
        train: encoded samples.
        groups: the trained parameters with their peak learning rates.
        varying: the rounds behind what is encoded; None where that is nothing.
        steps: how many.
        order: which samples each step has.
        label: what the progress calls it.
    """

    def __init__(
        self,
        model: StepModel,
        task: Task,
        train: Encoded,
        groups: Groups,
        varying: Rounds | None,
        steps: int,
        order: TrainingOrder,
        label: str,
    ) -> None:
        self.model, self.task, self.train, self.varying = model, task, train, varying
        self.steps, self.order, self.label = steps, order, label
        freeze_all_but(model, groups)
        self.optimiser = Optimiser(groups, steps)

    def run(self, after_step: AfterStep = lambda step, training: None, progress: Progress = QUIET) -> None:
        """Train to the last step.

        Args:
            after_step: called with the number of steps done and this training after each step.
            progress: told about the steps.

        Raises:
            CheckFailed: the loss is NaN or infinite.
            Interrupted: as ``after_step`` does.
        """
        steps = range(self.optimiser.done, self.steps)
        forward, loss = partial(recovery_logits, self.model, self.varying), partial(mixed_loss, self.task)
        longest = self.train.batch(self.order.longest(self.steps))
        in_parts = LossInParts(forward, loss, self.task.terms, kept_per_byte(self.model, forward, longest))
        with progress.bar(self.label, len(steps)) as bar:
            for step in steps:
                numbers = self.order.batch(step)
                mine = share(numbers)
                losses = in_parts.of(self.train.batch(mine), len(mine) / len(numbers))
                self.optimiser.step(losses, self.model.skipped)
                bar.advance()
                after_step(step + 1, self)

    def state_dict(self) -> dict[str, Any]:
        """Return the trained parameters and the optimiser's state."""
        return {"parameters": trained_parameters(self.model), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken."""
        self.model.load_state_dict(state["parameters"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])


class RecoveryTraining(Training):
    """Training of a slim model after surgery, of adapters or all, by the recipe of a recovery.

    ``train`` holds samples encoded by :func:`encoder_of`.
    """

    def __init__(self, slim: StepModel, task: Task, train: Encoded, recovery: Recovery, order: TrainingOrder) -> None:
        what = "all weights" if recovery.full else "adapters and head" if recovery.transfer else "adapters"
        groups, varying = recovery_groups(slim, recovery), rounds_behind(slim, recovery)
        super().__init__(slim, task, train, groups, varying, recovery.steps, order, f"Recovering {what}")


AfterStep = Callable[[int, Training], None]
