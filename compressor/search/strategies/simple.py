"""The baselines: layers drawn by lot, the least influential ones, one layer after the other, and every subset."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from compressor.search.strategies.strategy import Choice, Outcome, Proposal, Question, Strategy, Subset, larger, smaller


def random(question: Question) -> Strategy:
    """Layers in an order drawn evenly: the baseline of the paper's Table B."""
    order = np.random.default_rng(question.seed).permutation(question.candidates).tolist()
    return _first(order)
    yield  # a strategy that proposes nothing


def influence(question: Question) -> Strategy:
    """The layers that change their streams least: ShortGPT's block influence (arXiv 2403.03853)."""
    values = question.influence()
    return _first(sorted(range(question.candidates), key=lambda i: values[i]))
    yield


def _first(order: list[int]) -> Choice:
    return {size: tuple(sorted(order[:size])) for size in range(1, len(order) + 1)}


def greedy(question: Question) -> Strategy:
    """One layer after the other, forward from the full model and backward from one without any candidate.

    Of both ways the better subset of each size is taken.
    """
    everything: Subset = tuple(range(question.candidates))
    found: dict[int, list[Outcome]] = {}
    for step, start, end in ((larger, (), len(everything)), (smaller, everything, 1)):
        subset: Subset = start
        while len(subset) != end:
            best = min((yield Proposal(step(subset, question.candidates))), key=lambda outcome: outcome.badness)
            subset = best.subset
            found.setdefault(len(subset), []).append(best)
    return {size: min(outcomes, key=lambda outcome: outcome.badness).subset for size, outcomes in found.items()}


def exhaustive(question: Question) -> Strategy:
    """Every subset of the sizes asked for, on every held-out sample: the optimum, at its price."""
    subsets = tuple(subset for size in question.sizes for subset in combinations(range(question.candidates), size))
    outcomes = yield Proposal(subsets)
    best: dict[int, Outcome] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.badness):
        best.setdefault(len(outcome.subset), outcome)
    return {size: outcome.subset for size, outcome in best.items()}
