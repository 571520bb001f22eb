"""How layers are chosen: strategies by name, in one explicit registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from compressor.search.strategies.auto import auto
from compressor.search.strategies.das_bandit import das
from compressor.search.strategies.simple import exhaustive, greedy, influence, random
from compressor.search.strategies.strategy import Question, Strategy


@dataclass(frozen=True)
class Kind:
    """A strategy as users choose it.

    Attributes:
        start: a question to the strategy under way.
        what: in a few words, for help and reports.
        trains: its proposals train the skip adapters; the others' adapters are fitted in closed form beforehand.
        sizes: it answers for several numbers of layers at once.
    """

    start: Callable[[Question], Strategy]
    what: str
    trains: bool = False
    sizes: bool = True


DEFAULT, TRANSFER = "auto", "das"
STRATEGIES: dict[str, Kind] = {
    "auto": Kind(auto, "every subset on a few samples, the better ones on more, the best on all"),
    "das": Kind(das, "the paper's bandit, around the training of the adapters", trains=True, sizes=False),
    "greedy": Kind(greedy, "one layer after the other, forward and backward"),
    "exhaustive": Kind(exhaustive, "every subset on all held-out samples"),
    "influence": Kind(influence, "the layers that change their streams least (ShortGPT)"),
    "random": Kind(random, "layers drawn by lot (the paper's Table B)"),
}
"""Every strategy by the name users type; the first is the default."""
