"""Training the adapters of the chosen layers while everything else stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from compressor.encoding import Encoded
from compressor.families import FAMILIES
from compressor.progress import QUIET, Progress
from compressor.steps import StepModel, split_at_candidates
from compressor.supernet import trained_in_transfer
from compressor.tasks.base import Task
from compressor.training import HEAD_FACTOR, PARALLEL_FACTOR, Optimiser, batch_of_step

DISTILLATION_SHARE = 0.5
MAX_HEAD_LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Recovery:
    """How a slim model is trained back.

    Attributes:
        steps: training steps.
        batch_size: samples of a step.
        learning_rate: peak rate of the skip adapters.
        seed: of the data's order.
        head: train the poolers and the head, too.
        transfer: train the parallel adapters of the kept layers and the head (``--adapt``).
    """

    steps: int
    batch_size: int
    learning_rate: float
    seed: int
    head: bool = False
    transfer: bool = False


def recovery_groups(slim: StepModel, recovery: Recovery) -> list[tuple[list[nn.Parameter], float]]:
    """What is trained, and how fast: skip adapters at the base rate, parallel adapters and head faster (paper's recipe)."""
    rate = recovery.learning_rate
    groups = [([p for name in slim.skipped for p in slim.blocks[name].parameters()], rate)]
    parallel, epilogue = trained_in_transfer(slim)
    if recovery.transfer:
        groups.append((parallel, min(PARALLEL_FACTOR * rate, MAX_HEAD_LEARNING_RATE)))
    if recovery.transfer or recovery.head:
        groups.append((epilogue, min(HEAD_FACTOR * rate, MAX_HEAD_LEARNING_RATE)))
    return groups


def freeze_all_but(model: StepModel, groups: list[tuple[list[nn.Parameter], float]]) -> None:
    """Let only the parameters of ``groups`` receive gradients; the model stays in eval mode, without dropout."""
    model.eval().requires_grad_(False)
    for parameters, _ in groups:
        for parameter in parameters:
            parameter.requires_grad_(True)


def encoder_of(
    slim: StepModel, teacher: StepModel | None, transfer: bool
) -> Callable[[dict[str, Tensor]], Mapping[str, Tensor]]:
    """What is computed once per sample: the streams in front of the first trained layer, and the teacher's logits."""
    trained = slim.skipped + (slim.layers if transfer else ())
    fixed, _ = split_at_candidates(slim.rounds, trained)
    names = FAMILIES[slim.family].inputs

    def encode(batch: dict[str, Tensor]) -> Mapping[str, Tensor]:
        inputs = {name: batch[name] for name in names}
        streams = slim.advance(slim.prologue(**inputs), fixed)
        rest = {name: value for name, value in batch.items() if name not in names}
        return {**streams, **rest, **({"teacher": teacher(**inputs)} if teacher is not None else {})}

    return encode


def recover(
    slim: StepModel,
    task: Task,
    train: Encoded,
    recovery: Recovery,
    optimiser: Optimiser,
    *,
    after_step: Callable[[int], None] = lambda step: None,
    progress: Progress = QUIET,
) -> None:
    """Train the slim model's adapters in place.

    Where the encoded samples carry the full model's logits, the loss is half the task's and half distillation.

    Args:
        slim: after surgery; everything but the recovery's groups is frozen.
        task: gives both losses.
        train: samples encoded by :func:`encoder_of`.
        recovery: the recipe.
        optimiser: over :func:`recovery_groups`; ``optimiser.done`` says where a resumed recovery goes on.
        after_step: called after each step with the number of steps done.
        progress: told about the steps.
    """
    freeze_all_but(slim, recovery_groups(slim, recovery))
    _, varying = split_at_candidates(slim.rounds, slim.skipped + (slim.layers if recovery.transfer else ()))
    steps = range(optimiser.done, recovery.steps)
    for step in progress.track(steps, f"Recovering {len(slim.skipped)} adapters", len(steps)):
        batch = train.batch(batch_of_step(step, recovery.batch_size, len(train), recovery.seed))
        logits = slim.epilogue(slim.advance(batch, varying))
        loss = task.loss(logits, batch)
        if "teacher" in batch:
            distilled = task.distillation(logits, batch["teacher"])
            loss = (1 - DISTILLATION_SHARE) * loss + DISTILLATION_SHARE * distilled
        optimiser.step(loss)
        after_step(step + 1)
