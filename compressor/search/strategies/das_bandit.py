"""DAS's search: a k-armed bandit over the layers (paper section 3.2, Algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch

from compressor.search.strategies.strategy import Proposal, Question, Strategy, Subset

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
        """One subset of k candidates, sorted."""
        return tuple(sorted(torch.multinomial(self.gates.sigmoid(), self.skip, generator=self.generator).tolist()))

    def propose(self) -> list[Subset]:
        """Draw distinct subsets for the next update."""
        proposed: list[Subset] = []
        while len(proposed) < self.subsets:
            drawn = self.draw()
            if drawn not in proposed:
                proposed.append(drawn)
        return proposed

    def update(self, subsets: Sequence[Subset], losses: Sequence[float]) -> list[float]:
        """Move the gates by what the subsets' losses say; returns the rewards."""
        rewards = [reward(loss) for loss in losses]
        baseline = sum(rewards) / len(rewards)
        p = self.gates.sigmoid()
        for subset, value in zip(subsets, rewards, strict=True):
            for i in subset:
                self.gates[i] += (value - baseline) * p[i] * (1 - p[i])
        return rewards

    def best(self, skip: int | None = None) -> Subset:
        """The k candidates (or ``skip``) with the highest gates; among equals, the later ones."""
        return tuple(sorted(torch.sort(self.gates, stable=True).indices[-(skip or self.skip) :].tolist()))


def reward(loss: float) -> float:
    """What a subset is worth to the bandit: exp(-loss)."""
    return math.exp(-loss)


def das(question: Question) -> Strategy:
    """The paper's loop: train the adapters while subsets are drawn; now and then score a few and move the gates.

    Gates found for k layers also order the layers for every other number of them.
    """
    (skip,) = question.sizes
    bandit = Bandit(question.candidates, skip, seed=question.seed)
    first = max(question.warm_up + 1, question.every)  # the first update comes after this many steps
    lengths = [first, *[question.every] * ((question.steps - first) // question.every)]
    for rotation, length in enumerate(lengths):
        training = tuple(bandit.draw() for _ in range(length))
        outcomes = yield Proposal(tuple(bandit.propose()), REWARD_SAMPLES, rotation, training)
        bandit.update([outcome.subset for outcome in outcomes], [outcome.loss for outcome in outcomes])
    rest = question.steps - sum(lengths)
    if rest:
        yield Proposal(training=tuple(bandit.draw() for _ in range(rest)))
    return {size: bandit.best(size) for size in range(1, question.candidates + 1)}


def add_gates(log: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Write the gates after each update into the entries of its subsets."""
    bandit, number = Bandit(len(names), 1), {name: i for i, name in enumerate(names)}
    for _, found in groupby((entry for entry in log if entry["trained"]), key=lambda entry: entry["proposal"]):
        entries = list(found)
        subsets = [tuple(number[name] for name in entry["layers"]) for entry in entries]
        bandit.update(subsets, [entry["loss"] for entry in entries])
        for entry in entries:
            entry["gates"] = dict(zip(names, bandit.gates.tolist(), strict=True))
