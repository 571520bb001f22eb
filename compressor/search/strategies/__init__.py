"""Search strategies by name, in one explicit registry."""

from __future__ import annotations

from compressor.search.strategies.auto import Auto
from compressor.search.strategies.auto_parts import AutoParts
from compressor.search.strategies.das_bandit import DasBandit
from compressor.search.strategies.reference_strategies import BlockInfluence, Exhaustive, Greedy, RandomOrder
from compressor.search.strategies.strategy import SearchSpace, Strategy

DEFAULT, TRANSFER = "auto", "das"
STRATEGIES: dict[str, type[Strategy]] = {
    "auto": Auto,
    "das": DasBandit,
    "greedy": Greedy,
    "exhaustive": Exhaustive,
    "influence": BlockInfluence,
    "random": RandomOrder,
}
"""Every strategy by the name users type; the first is the default."""


def make_strategy(name: str, space: SearchSpace) -> Strategy:
    """Return a fresh strategy of the name; of parts of layers the default one has another way."""
    return AutoParts(space) if space.worth else STRATEGIES[name](space)
