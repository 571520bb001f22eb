"""DAS's search: a k-armed bandit over the layers (paper section 3.2, Algorithm 1).

The class holds the bandit alone and knows nothing of models, so that it can be stepped, saved, resumed, and checked
against traces of the public code. :func:`run_search` trains the adapters around it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compressor.encoding import Encoded
from compressor.progress import QUIET, Progress
from compressor.supernet import Supernet
from compressor.tasks.base import Task
from compressor.training import Optimiser, batch_of_step

Subset = tuple[int, ...]


class Search:
    """Gates over n candidates, of which k are to be skipped.

    Each gate starts at 0. A subset is drawn without replacement with probabilities p = sigmoid(gates). After an update
    the gate of each member i of each scored subset j has moved by (r_j - mean r) * p_i * (1 - p_i), where
    r_j = exp(-loss_j). The layers with the k highest gates are the redundant ones.

    Args:
        candidates: how many layers there are to choose from (n).
        skip: how many to skip (k), 1 <= k <= n.
        subsets: how many distinct subsets an update compares; fewer where fewer exist.
        every: training steps between updates.
        seed: of the draws.
    """

    def __init__(self, candidates: int, skip: int, *, subsets: int = 3, every: int = 10, seed: int = 0) -> None:
        if not 1 <= skip <= candidates:
            raise ValueError(f"cannot skip {skip} of {candidates} layers")
        self.skip, self.every = skip, every
        self.subsets = min(subsets, math.comb(candidates, skip))
        self.gates = torch.zeros(candidates)
        self.steps_since_update = 0
        self.generator = torch.Generator().manual_seed(seed)  # its own: nothing else disturbs the draws

    def sample(self) -> Subset:
        """Draw one subset of k candidates, sorted; also counts a training step."""
        self.steps_since_update += 1
        return self._draw()

    def _draw(self) -> Subset:
        return tuple(sorted(torch.multinomial(self.gates.sigmoid(), self.skip, generator=self.generator).tolist()))

    @property
    def due(self) -> bool:
        """Whether enough training steps have passed for an update."""
        return self.steps_since_update >= self.every

    def propose(self) -> list[Subset]:
        """Draw distinct subsets for the next update."""
        self.steps_since_update = 0
        proposed: list[Subset] = []
        while len(proposed) < self.subsets:
            drawn = self._draw()
            if drawn not in proposed:
                proposed.append(drawn)
        return proposed

    def update(self, subsets: Sequence[Subset], losses: Sequence[float]) -> list[float]:
        """Move the gates by what the subsets' losses say; returns the rewards."""
        rewards = [math.exp(-loss) for loss in losses]
        baseline = sum(rewards) / len(rewards)
        p = self.gates.sigmoid()
        for subset, reward in zip(subsets, rewards, strict=True):
            for i in subset:
                self.gates[i] += (reward - baseline) * p[i] * (1 - p[i])
        return rewards

    def best(self) -> Subset:
        """The k candidates with the highest gates; among equals, the later ones."""
        return tuple(sorted(torch.sort(self.gates, stable=True).indices[-self.skip :].tolist()))

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed search needs."""
        return {
            "gates": self.gates.clone(),
            "steps_since_update": self.steps_since_update,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken."""
        self.gates = state["gates"].clone()
        self.steps_since_update = state["steps_since_update"]
        self.generator.set_state(state["generator"])


@dataclass(frozen=True)
class SearchPlan:
    """How long the adapters are trained, and when the gates move.

    Attributes:
        steps: training steps altogether.
        warm_up: steps before the first update, with subsets drawn evenly.
        batch_size: samples of a training step.
        reward_batch: held-out samples each update scores its subsets on.
        seed: of the data's order.
    """

    steps: int
    warm_up: int
    batch_size: int
    reward_batch: int
    seed: int


def run_search(
    supernet: Supernet,
    search: Search,
    optimiser: Optimiser,
    task: Task,
    train: Encoded,
    held_out: Encoded,
    plan: SearchPlan,
    *,
    log: list[dict[str, Any]],
    after_step: Callable[[int], None] = lambda step: None,
    progress: Progress = QUIET,
) -> None:
    """Train the adapters under random skipping and let the bandit learn which layers are redundant.

    Rewards are measured in eval mode on held-out batches that rotate from update to update.

    Args:
        supernet: routes the candidates.
        search: the bandit; stepped in place.
        optimiser: over the adapters; ``optimiser.done`` says where a resumed search goes on.
        task: gives the loss.
        train: encoded training samples.
        held_out: encoded samples for rewards.
        plan: lengths.
        log: gets one entry for every scored subset: layers, loss, reward, gates after, seconds.
        after_step: called after each step with the number of steps done; saves the state, for instance.
        progress: told about the steps.
    """
    names, started = supernet.candidates, time.monotonic()
    first = optimiser.done
    for step in progress.track(
        range(first, plan.steps), f"Searching {search.skip} of {len(names)} layers", plan.steps - first
    ):
        subset = search.sample()
        batch = train.batch(batch_of_step(step, plan.batch_size, len(train), plan.seed))
        optimiser.step(task.loss(supernet.logits(batch, [names[i] for i in subset]), batch))
        if step >= plan.warm_up and search.due:
            rotation = len({entry["update"] for entry in log})
            rewarded = held_out.batch(batch_of_step(rotation, plan.reward_batch, len(held_out), plan.seed + 1))
            subsets = search.propose()
            losses = [_loss(supernet, task, rewarded, [names[i] for i in chosen]) for chosen in subsets]
            rewards = search.update(subsets, losses)
            log += [
                {
                    "update": rotation,
                    "step": step,
                    "layers": [names[i] for i in chosen],
                    "loss": loss,
                    "reward": reward,
                    "gates": dict(zip(names, search.gates.tolist(), strict=True)),
                    "seconds": round(time.monotonic() - started, 3),
                }
                for chosen, loss, reward in zip(subsets, losses, rewards, strict=True)
            ]
        after_step(step + 1)


def _loss(supernet: Supernet, task: Task, batch: dict[str, Tensor], skipped: Sequence[str]) -> float:
    with torch.inference_mode():
        return float(task.loss(supernet.logits(batch, skipped), batch))


def random_subset(candidates: int, skip: int, seed: int) -> Subset:
    """K of n candidates drawn evenly: the baseline of the paper's Table B."""
    return tuple(sorted(np.random.default_rng(seed).permutation(candidates)[:skip].tolist()))
