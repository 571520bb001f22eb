"""METER's optimiser and its schedule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from compressor.distributed import sum_gradients
from compressor.errors import CheckFailed, Problem

# METER's fine-tuning of VQA v2 (docs/architecture.md): 10 epochs over 658k questions in batches of 512.
PAPER_STEPS = 10 * 658_000 // 512
PAPER_LEARNING_RATE = 2.5e-5
PAPER_HIDDEN = 768
MAX_LEARNING_RATE = 3e-3
# Of a whole model at the paper's width: BERT's authors fine-tune at 2e-5 to 5e-5 (Devlin et al., NAACL 2019).
FULL_LEARNING_RATE = 3e-5
HEAD_FACTOR = 50
PARALLEL_FACTOR = POOLER_FACTOR = 5


def scale_learning_rate(hidden: int, steps: int, base: float = PAPER_LEARNING_RATE) -> float:
    """Return the paper's base learning rate, or another, scaled to another width and amount of training.

    Proportional to 1/width and to 1/sqrt(steps), so that the paper's own model and data give the paper's own 2.5e-5;
    never above 3e-3.
    """
    scaled = base * PAPER_HIDDEN / hidden * (PAPER_STEPS / max(1, steps)) ** 0.5
    return min(MAX_LEARNING_RATE, scaled)


def full_learning_rate(hidden: int) -> float:
    """Return the rate at which a whole model of this width is trained: 3e-5 at width 768, proportional to 1/width."""
    return min(MAX_LEARNING_RATE, FULL_LEARNING_RATE * PAPER_HIDDEN / hidden)


class Optimiser:
    """AdamW (betas 0.9, 0.98, weight decay 0.01 except on norms and biases), 10 % warm-up, then linear to zero.

    Args:
        groups: pairs of parameters and their learning rate at the peak.
        steps: length of the whole schedule.
    """

    def __init__(self, groups: Iterable[tuple[list[nn.Parameter], float]], steps: int) -> None:
        self.steps = steps
        options = []
        for parameters, rate in groups:
            decayed = [parameter for parameter in parameters if parameter.ndim > 1]
            plain = [parameter for parameter in parameters if parameter.ndim <= 1]
            options += [{"params": decayed, "lr": rate, "weight_decay": 0.01}] if decayed else []
            options += [{"params": plain, "lr": rate, "weight_decay": 0.0}] if plain else []
        self.adam = torch.optim.AdamW(options, betas=(0.9, 0.98), eps=1e-8)
        self.schedule = LambdaLR(self.adam, lambda done: learning_rate_factor(done + 1, steps))

    @property
    def done(self) -> int:
        """Number of steps done."""
        return self.schedule.last_epoch

    @property
    def peak(self) -> float:
        """Learning rate of the first group at the peak."""
        return float(self.adam.param_groups[0]["initial_lr"])

    def step(self, losses: Iterable[tuple[Tensor, float]], chosen: Iterable[str] = ()) -> None:
        """Take one step down the gradient of the weighted sum of ``losses``, clipped at norm 1.

        Args:
            losses: with their weights, which add up to 1 over all processes. Each loss is asked for when the one before
                has been gone backward through, and is then forgotten.
            chosen: layers that were chosen by a search, which need not be made again where a loss is no number.

        Raises:
            CheckFailed: a loss is NaN or infinite; nothing was trained.
        """
        self.adam.zero_grad(set_to_none=True)
        for loss, weight in losses:
            check_loss(loss, self, chosen)
            (weight * loss).backward()  # type: ignore[no-untyped-call]
        parameters = [p for group in self.adam.param_groups for p in group["params"]]
        sum_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        self.adam.step()
        self.schedule.step()

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return {"adam": self.adam.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken."""
        self.adam.load_state_dict(state["adam"])
        self.schedule.load_state_dict(state["schedule"])


def check_loss(loss: Tensor, optimiser: Optimiser, layers: Iterable[str] = ()) -> None:
    """Stop a training whose loss is NaN or infinite: no later step would bring it back.

    Args:
        loss: of the step that comes next.
        optimiser: says which step that is, and at what rate.
        layers: that were chosen by a search, which need not be made again.

    Raises:
        CheckFailed: names a lower rate.
    """
    if not loss.isfinite():
        lower, chosen = optimiser.peak / 10, ",".join(layers)
        raise CheckFailed(
            Problem(
                "training-diverged",
                f"the loss is {loss.item()} at training step {optimiser.done + 1} of {optimiser.steps}",
                "a loss that is a number",
                f"--learning-rate {lower:.1e}" + (f", and --layers {chosen} in place of a search" if chosen else ""),
            )
        )


def learning_rate_factor(step: int, steps: int) -> float:
    """Return the share of the peak rate at a step, from 1: up over the first 10 % of steps, then down to 0."""
    warm_up = max(1, steps // 10)
    return step / warm_up if step <= warm_up else max(0.0, (steps - step) / max(1, steps - warm_up))
