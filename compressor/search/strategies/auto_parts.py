"""``auto`` for parts of layers, which save unlike amounts: one part after the other, by what is lost for what is saved.

There are too many subsets of parts to try them all: a METER's 12 fusion layers have 36. So a beam of subsets grows by
one part at a time. Of those that may come next, the few are tried that cost least when they were tried last, in front
of a smaller subset: what a part costs grows with what is skipped already (lazy greedy; Minoux, 1978).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from compressor.search.result import SLACK
from compressor.search.strategies.strategy import Choice, Result, SearchSpace, Strategy, Subset, Trial

BEAM, TRIED = 6, 8  # subsets that grow, and parts that each is grown by
FEW = 96  # held-out samples that they are compared on
FINALISTS = 4  # of those that save 1/2, 1, 3/2 ... layers, compared on all samples: the front of a budget


@dataclass(frozen=True)
class Grown:
    """A subset of parts that may grow.

    Attributes:
        subset: of the candidates.
        loss: without them.
        last: by candidate that may come next, what it cost for each layer that it saved when it was tried last.
    """

    subset: Subset
    loss: float
    last: Mapping[int, float]


class AutoParts(Strategy):
    """A beam of subsets of parts, grown until they are worth the most layers asked for; the best few on all samples."""

    description = "parts of layers one after the other, the best subsets on all samples"

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(space)
        self._beam = [Grown((), 0.0, dict.fromkeys(range(space.candidates), 0.0))]
        self._seen: dict[Subset, float] = {}
        self._chosen: dict[int, Subset] = {}

    def choice(self) -> Choice:
        """Return the best subset that saves as much as each number of layers, up to the largest asked for."""
        return self._chosen

    def _propose(self) -> Trial | None:
        if self._beam:
            grown = dict.fromkeys(chain.from_iterable(map(self._grow, self._beam)))
            return Trial(tuple(grown), FEW, probe=self.space.probed)
        if not self._chosen:
            steps = [half / 2 for half in range(1, 2 * max(self.space.sizes) + 1)]
            finalists = dict.fromkeys(chain.from_iterable(map(self._finalists, steps)))
            return Trial(tuple(finalists), probe=self.space.probed)
        return None

    def _observe(self, trial: Trial, results: Sequence[Result]) -> None:
        if self._beam:
            losses = {result.subset: _loss(result) for result in results}
            self._seen |= losses
            grown = {
                entry.subset: entry for entry in chain.from_iterable(self._entries(one, losses) for one in self._beam)
            }
            going = [entry for entry in grown.values() if not self._saves(entry.subset, max(self.space.sizes))]
            self._beam = sorted(going, key=lambda entry: (entry.loss / self._worth(entry.subset), entry.subset))[:BEAM]
        else:
            ranked = sorted(results, key=lambda result: result.rank_key)
            for size in range(1, max(self.space.sizes) + 1):
                self._chosen[size] = next(one.subset for one in ranked if self._saves(one.subset, size))

    def _grow(self, entry: Grown) -> list[Subset]:
        """Return the subset with one part more, of those that cost least when they were tried last."""
        # All of them where none was tried yet.
        most = TRIED if entry.subset else len(entry.last)
        cheapest = sorted(entry.last, key=lambda part: (entry.last[part], part))[:most]
        return [_with(entry.subset, part) for part in cheapest]

    def _entries(self, entry: Grown, losses: Mapping[Subset, float]) -> list[Grown]:
        """Return the subsets that a subset was grown to, which know what parts cost now."""
        tried = {part: subset for part in entry.last if (subset := _with(entry.subset, part)) in losses}
        worth = self.space.worth
        last = {**entry.last, **{part: (losses[subset] - entry.loss) / worth[part] for part, subset in tried.items()}}
        return [
            Grown(subset, losses[subset], {other: cost for other, cost in last.items() if other != part})
            for part, subset in tried.items()
        ]

    def _finalists(self, layers: float) -> list[Subset]:
        """Return the best subsets, on few samples, that save as much as so many layers."""
        enough = [subset for subset in self._seen if self._saves(subset, layers)]
        return sorted(enough, key=lambda subset: (self._seen[subset], subset))[:FINALISTS]

    def _worth(self, subset: Subset) -> float:
        return sum(self.space.worth[part] for part in subset)

    def _saves(self, subset: Subset, layers: float) -> bool:
        return self._worth(subset) >= layers - SLACK


def _loss(result: Result) -> float:
    return result.divergence if result.readable is None else 1 - result.readable


def _with(subset: Subset, part: int) -> Subset:
    return tuple(sorted((*subset, part)))
