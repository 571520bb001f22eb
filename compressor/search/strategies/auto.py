"""The default strategy: every subset on few samples, the better ones on more, the best few on all (docs/search.md).

Sizes that nobody asked for are reached from the choice by one layer at a time, so that every budget has an answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from compressor.search.strategies.strategy import (
    Choice,
    Result,
    SearchSpace,
    Strategy,
    Subset,
    Trial,
    add_layer,
    remove_layer,
)

MOST = 1000  # subsets of one size that are all tried; where there are more, a beam of them is grown
BEAM, BEAM_SAMPLES = 16, 32
NEIGHBOUR_SAMPLES = 128


def _by_divergence(result: Result) -> float:
    return result.divergence


def _by_rank(result: Result) -> tuple[float, float]:
    return result.rank_key


class Rung(NamedTuple):
    """A round of successive halving: held-out samples (None: all), survivors of each size, and how they are ranked.

    Half of the subsets of a size survive, but no fewer than ``least`` and no more than ``most``. With ``probe`` what is
    readable ranks them where the choice will be trained, else the score does.
    """

    samples: int | None
    least: int
    most: int
    key: Callable[[Result], Any]
    probe: bool = False


# On few samples the divergence from the full model tells more than the score; on very few, which half is the worse.
RUNGS = (
    Rung(8, 96, MOST, _by_divergence),
    Rung(32, 24, 96, _by_divergence),
    Rung(128, 1, 24, _by_rank, probe=True),
    Rung(512, 1, 6, _by_rank, probe=True),
    Rung(None, 1, 1, _by_rank, probe=True),
)


class Auto(Strategy):
    """Successive halving over all subsets of each size asked for, or over those of a beam where there are too many."""

    description = "every subset on a few samples, the better ones on more, the best on all"

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(space)
        n, sizes = space.candidates, space.sizes
        self._live: dict[int, list[Subset]] = {
            size: list(combinations(range(n), size)) for size in sizes if math.comb(n, size) <= MOST
        }
        self._beam_sizes = [size for size in sizes if size not in self._live]
        self._beam: list[Subset] = [()]
        self._rungs = list(RUNGS)
        self._chosen: dict[int, Subset] = {}
        outwards = (*range(min(sizes) - 1, 0, -1), *range(min(sizes), n + 1))
        self._other_sizes = [size for size in outwards if size not in sizes]

    def choice(self) -> Choice:
        """Return the best subset of each size."""
        return self._chosen

    @property
    def _grows(self) -> bool:
        return len(self._beam[0]) < max(self._beam_sizes, default=0)

    def _propose(self) -> Trial | None:
        if self._grows:
            grown = dict.fromkeys(more for subset in self._beam for more in add_layer(subset, self.space.candidates))
            return Trial(tuple(grown), BEAM_SAMPLES)
        if self._rungs:
            rung, live = self._rungs[0], tuple(subset for subsets in self._live.values() for subset in subsets)
            return Trial(live, rung.samples, probe=rung.probe and self.space.probed)
        if self._other_sizes:
            neighbours = self._neighbours(self._other_sizes[0])
            return Trial(neighbours, NEIGHBOUR_SAMPLES, other_sizes=True, probe=self.space.probed)
        return None

    def _observe(self, trial: Trial, results: Sequence[Result]) -> None:
        if self._grows:
            self._keep_beam(results)
        elif self._rungs:
            self._live = _survivors(results, self._rungs.pop(0))
            if not self._rungs:
                self._chosen = {size: subsets[0] for size, subsets in self._live.items()}
        else:
            key = _by_rank if self.space.probed else _by_divergence
            self._chosen[self._other_sizes.pop(0)] = min(results, key=key).subset

    def _keep_beam(self, results: Sequence[Result]) -> None:
        """Go on from the best subsets; all of a size asked for enter the successive halving."""
        subsets = [result.subset for result in sorted(results, key=_by_divergence)]
        self._beam = subsets[:BEAM]
        if len(subsets[0]) in self._beam_sizes:
            self._live[len(subsets[0])] = subsets

    def _neighbours(self, size: int) -> tuple[Subset, ...]:
        """Return the subsets of ``size`` layers one layer away from the choice of the next size."""
        if size < min(self.space.sizes):
            return remove_layer(self._chosen[size + 1])
        return add_layer(self._chosen[size - 1], self.space.candidates)


def _survivors(results: Iterable[Result], rung: Rung) -> dict[int, list[Subset]]:
    """Return the best subsets of each size, best first."""
    ranked: dict[int, list[Subset]] = {}
    for result in sorted(results, key=rung.key):
        ranked.setdefault(len(result.subset), []).append(result.subset)
    return {size: subsets[: _count_survivors(len(subsets), rung)] for size, subsets in ranked.items()}


def _count_survivors(subsets: int, rung: Rung) -> int:
    return min(max(math.ceil(subsets / 2), rung.least), rung.most)
