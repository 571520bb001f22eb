"""DAS's search: a k-armed bandit over the layers (paper section 3.2, Algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import torch

from compressor.search.result import LogEntry
from compressor.search.strategies.strategy import Choice, Result, SearchSpace, Strategy, Subset, Trial

REWARD_SAMPLES = 64  # one batch, as in the public code; here held out, and another one for each update


class Bandit:
    """Gates over n candidates, of which k are to be skipped.

    Each gate starts at 0. A subset is drawn without replacement with probabilities p = sigmoid(gates). After an update
    the gate of each member i of each scored subset j has moved by (r_j - mean r) * p_i * (1 - p_i), where
    r_j = exp(-loss_j). The layers with the k highest gates are the redundant ones.

    Args:
        candidates: how many layers there are to choose from (n).
        skip: how many to skip (k), 1 <= k <= n.
        subsets: how many distinct subsets an update compares; fewer where fewer exist.
        seed: of the draws.
    """

    def __init__(self, candidates: int, skip: int, *, subsets: int = 3, seed: int = 0) -> None:
        if not 1 <= skip <= candidates:
            raise ValueError(f"cannot skip {skip} of {candidates} layers")
        self.skip = skip
        self.subsets = min(subsets, math.comb(candidates, skip))
        self.gates = torch.zeros(candidates)
        self.generator = torch.Generator().manual_seed(seed)  # its own: nothing else disturbs the draws

    def draw(self) -> Subset:
        """Draw a subset of k candidates, sorted."""
        return tuple(sorted(torch.multinomial(self.gates.sigmoid(), self.skip, generator=self.generator).tolist()))

    def propose(self) -> list[Subset]:
        """Draw distinct subsets for the next update."""
        proposed: list[Subset] = []
        while len(proposed) < self.subsets:
            subset = self.draw()
            if subset not in proposed:
                proposed.append(subset)
        return proposed

    def update(self, subsets: Sequence[Subset], losses: Sequence[float]) -> list[float]:
        """Move the gates by the losses of the subsets; return the rewards."""
        rewards = [reward(loss) for loss in losses]
        baseline = sum(rewards) / len(rewards)
        p = self.gates.sigmoid()
        for subset, value in zip(subsets, rewards, strict=True):
            for i in subset:
                self.gates[i] += (value - baseline) * p[i] * (1 - p[i])
        return rewards

    def best(self, skip: int | None = None) -> Subset:
        """Return the k candidates (or ``skip``) with the highest gates; among equals, the later ones."""
        return tuple(sorted(torch.sort(self.gates, stable=True).indices[-(skip or self.skip) :].tolist()))


def reward(loss: float) -> float:
    """Return the bandit's reward of a subset, exp(-loss), in (0, 1]."""
    return math.exp(-loss)


class DasBandit(Strategy):
    """The paper's loop: train the adapters on drawn subsets; now and then score a few and move the gates.

    Gates found for k layers also order the layers for every other number of them.
    """

    description = "the paper's bandit, around the training of the adapters"
    trains = True
    any_size = False

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(space)
        (skip,) = space.sizes
        self.bandit = Bandit(space.candidates, skip, seed=space.seed)
        first = max(space.warm_up + 1, space.every)  # the first update comes after this many steps
        self._updates = [first, *[space.every] * ((space.steps - first) // space.every)]

    def choice(self) -> Choice:
        """Return the layers with the highest gates for each size."""
        return {size: self.bandit.best(size) for size in range(1, self.space.candidates + 1)}

    def _propose(self) -> Trial | None:
        rotation = len(self.history)
        if rotation < len(self._updates):
            training = self._draw(self._updates[rotation])
            return Trial(tuple(self.bandit.propose()), REWARD_SAMPLES, rotation, training)
        remaining = self.space.steps - self.trained
        return Trial(training=self._draw(remaining)) if remaining > 0 else None

    def _observe(self, trial: Trial, results: Sequence[Result]) -> None:
        if results:
            self.bandit.update([result.subset for result in results], [result.loss for result in results])

    def _draw(self, steps: int) -> tuple[Subset, ...]:
        """Draw the subset of each training step."""
        return tuple(self.bandit.draw() for _ in range(steps))


def add_gates(log: Sequence[LogEntry], names: Sequence[str]) -> list[LogEntry]:
    """Return the log with the gates after each update in the entries of its subsets."""
    bandit, index = Bandit(len(names), 1), {name: i for i, name in enumerate(names)}
    gates: dict[int, dict[str, float]] = {}
    for proposal, group in groupby((entry for entry in log if entry.trained), key=lambda entry: entry.proposal):
        entries = list(group)
        subsets = [tuple(index[name] for name in entry.layers) for entry in entries]
        bandit.update(subsets, [entry.loss for entry in entries])
        gates[proposal] = dict(zip(names, bandit.gates.tolist(), strict=True))
    return [entry.model_copy(update={"gates": gates[entry.proposal]}) if entry.trained else entry for entry in log]
