"""Reference strategies: random, block influence, greedy and exhaustive search."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations, zip_longest

import numpy as np

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


class _Ordered(Strategy):
    """Choose the first layers of a fixed order, without any trial."""

    order: Sequence[int]

    def choice(self) -> Choice:
        """Return the first layers of the order for each size."""
        return {size: tuple(sorted(self.order[:size])) for size in range(1, len(self.order) + 1)}

    def _propose(self) -> Trial | None:
        return None


class RandomOrder(_Ordered):
    """Layers in an order drawn uniformly: the baseline of the paper's Table B.

    With pools each is ordered by itself, and they take turns: so many layers of each are a uniform draw of them.
    """

    description = "layers drawn by lot (the paper's Table B)"

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(space)
        rng, pools = np.random.default_rng(space.seed), space.pools or (tuple(range(space.candidates)),)
        turns = zip_longest(*(rng.permutation(pool).tolist() for pool in pools))
        self.order = [layer for layer in chain.from_iterable(turns) if layer is not None]


class BlockInfluence(_Ordered):
    """The layers that change their streams least: ShortGPT's block influence (arXiv 2403.03853)."""

    description = "the layers that change their streams least (ShortGPT)"

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(space)
        influence = space.influence()
        self.order = sorted(range(space.candidates), key=lambda i: influence[i])


class Greedy(Strategy):
    """One layer at a time, forward from the full model, then backward from the model without any candidate.

    For each size the better subset of the two directions is chosen.
    """

    description = "one layer after the other, forward and backward"

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(space)
        self._forward: Subset = ()
        self._backward: Subset = tuple(range(space.candidates))
        self._best: dict[int, Result] = {}

    def choice(self) -> Choice:
        """Return the better subset of each size."""
        return {size: result.subset for size, result in self._best.items()}

    @property
    def _goes_forward(self) -> bool:
        return len(self._forward) < self.space.candidates

    def _propose(self) -> Trial | None:
        if self._goes_forward:
            return Trial(add_layer(self._forward, self.space.candidates))
        return Trial(remove_layer(self._backward)) if len(self._backward) > 1 else None

    def _observe(self, trial: Trial, results: Sequence[Result]) -> None:
        best = min(results, key=lambda result: result.rank_key)
        if self._goes_forward:
            self._forward = best.subset
        else:
            self._backward = best.subset
        size = len(best.subset)
        self._best[size] = min(self._best.get(size, best), best, key=lambda result: result.rank_key)


class Exhaustive(Strategy):
    """Every subset of the sizes asked for, on every held-out sample: the optimum, at its price."""

    description = "every subset on all held-out samples"

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(space)
        self._best: dict[int, Subset] = {}

    def choice(self) -> Choice:
        """Return the best subset of each size."""
        return self._best

    def _propose(self) -> Trial | None:
        if self.history:
            return None
        n = self.space.candidates
        return Trial(tuple(subset for size in self.space.sizes for subset in combinations(range(n), size)))

    def _observe(self, trial: Trial, results: Sequence[Result]) -> None:
        for result in sorted(results, key=lambda result: result.rank_key):
            self._best.setdefault(len(result.subset), result.subset)
