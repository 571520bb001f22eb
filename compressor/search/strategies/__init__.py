"""Search strategies by name, in one explicit registry."""

from __future__ import annotations

from compressor.search.strategies.auto import Auto
from compressor.search.strategies.das_bandit import DasBandit
from compressor.search.strategies.reference_strategies import BlockInfluence, Exhaustive, Greedy, RandomOrder
from compressor.search.strategies.strategy import Strategy

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
