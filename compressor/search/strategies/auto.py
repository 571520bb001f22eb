"""The default: every subset on a few samples, the better ones on more, the best few on all (docs/search.md says why).

Sizes that nobody asked for are reached from the choice by one layer at a time, so that every budget has an answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from compressor.search.strategies.strategy import Outcome, Proposal, Question, Strategy, Subset, larger, smaller

MOST = 1000  # subsets of one size that are all tried; where there are more, a beam of them is grown
BEAM = 16
SIEVE = ((32, 96), (128, 24), (512, 6))  # held-out samples, and subsets of a size that stay: so many or half of them
NEIGHBOUR_SAMPLES = 128

Live = dict[int, list[Subset]]


def auto(question: Question) -> Strategy:
    """Successive halving over all subsets of each size asked for, or over those of a beam where there are too many.

    The first sieve goes by the divergence from the full model, which tells more on few samples; the later ones by the
    score itself.
    """
    n, sizes = question.candidates, question.sizes
    live: Live = {size: list(combinations(range(n), size)) for size in sizes if math.comb(n, size) <= MOST}
    if len(live) < len(sizes):
        live |= yield from _grown(n, [size for size in sizes if size not in live])
    for number, (samples, keep) in enumerate(SIEVE):
        outcomes = yield Proposal(_flat(live), samples)
        live = _kept(outcomes, keep, _divergence if number == 0 else _badness)
    live = _kept((yield Proposal(_flat(live))), 1, _badness)
    chosen = {size: subsets[0] for size, subsets in live.items()}
    others = [size for size in (*range(min(sizes) - 1, 0, -1), *range(min(sizes), n + 1)) if size not in sizes]
    for size in others:
        near = chosen[size + 1] if size < min(sizes) else chosen[size - 1]
        tried = smaller(near, n) if size < len(near) else larger(near, n)
        outcomes = yield Proposal(tried, NEIGHBOUR_SAMPLES, aside=True)
        chosen[size] = min(outcomes, key=_divergence).subset
    return chosen


def _grown(candidates: int, sizes: Sequence[int]) -> Generator[Proposal, Sequence[Outcome], Live]:
    """The best subsets of ``sizes``, each grown by one layer from the best of the size before."""
    beam: list[Subset] = [()]
    live: Live = {}
    for size in range(1, max(sizes) + 1):
        tried = dict.fromkeys(more for subset in beam for more in larger(subset, candidates))
        outcomes = sorted((yield Proposal(tuple(tried), SIEVE[0][0])), key=_divergence)
        beam = [outcome.subset for outcome in outcomes[:BEAM]]
        if size in sizes:
            live[size] = [outcome.subset for outcome in outcomes]
    return live


def _divergence(outcome: Outcome) -> float:
    return outcome.divergence


def _badness(outcome: Outcome) -> tuple[float, float]:
    return outcome.badness


def _kept(outcomes: Iterable[Outcome], keep: int, badness: Callable[[Outcome], Any]) -> Live:
    """The best subsets of each size, best first: ``keep`` of them, at most half."""
    live: Live = {}
    for outcome in sorted(outcomes, key=badness):
        live.setdefault(len(outcome.subset), []).append(outcome.subset)
    return {size: subsets[: min(keep, math.ceil(len(subsets) / 2))] for size, subsets in live.items()}


def _flat(live: Mapping[int, Sequence[Subset]]) -> tuple[Subset, ...]:
    return tuple(subset for subsets in live.values() for subset in subsets)
