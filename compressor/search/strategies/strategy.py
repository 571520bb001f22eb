"""What a search strategy is: it proposes subsets of layers, observes how good they are, and in the end chooses.

A strategy is a generator: it yields a :class:`Proposal`, is sent the :class:`Outcome` of each proposed subset, and
returns a :data:`Choice`. It knows nothing of models. All it has seen is its state: :class:`Course` steps it, and
brings a new one to the same place by sending it the same outcomes again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Subset = tuple[int, ...]
"""Numbers of the skipped candidates, in order."""


@dataclass(frozen=True)
class Proposal:
    """What to do next.

    Attributes:
        subsets: to be scored; none where only training is left.
        samples: how many held-out samples to score them on; None is all.
        rotation: which held-out samples; of the first rotation, fewer are always among more.
        training: the subset to skip in each of the training steps that come first.
        aside: for sizes that nobody asked for; counted apart.
    """

    subsets: tuple[Subset, ...] = ()
    samples: int | None = None
    rotation: int = 0
    training: tuple[Subset, ...] = ()
    aside: bool = False


@dataclass(frozen=True)
class Outcome:
    """How good the model is without a subset of its layers.

    Attributes:
        subset: the skipped candidates.
        divergence: from the full model's answers, 0 at best: the distillation loss less the teacher's own.
        loss: of the task.
        value: the task's score, in [0, 1].
        samples: held-out samples that these are means of.
    """

    subset: Subset
    divergence: float
    loss: float
    value: float
    samples: int

    @property
    def badness(self) -> tuple[float, float]:
        """Sorts by the task's score, best first, and among equals by the divergence."""
        return badness(self.value, self.divergence)


def badness(value: float, divergence: float) -> tuple[float, float]:
    """Sorts by score, best first, and among equals by the divergence."""
    return -value, divergence


Choice = Mapping[int, Subset]
"""The subset that was found for each size."""
Strategy = Generator[Proposal, Sequence[Outcome], Choice]


@dataclass(frozen=True)
class Question:
    """What a strategy is asked.

    Attributes:
        candidates: how many layers there are to choose from (n).
        sizes: how many of them are to be skipped; choices for other sizes are welcome.
        seed: of everything drawn.
        influence: for each candidate how much its layer changes its stream: 1 - mean cosine of before and after.
        steps: training steps, for strategies that train.
        warm_up: steps before the first proposal is scored.
        every: steps between proposals.
    """

    candidates: int
    sizes: tuple[int, ...]
    seed: int
    influence: Callable[[], Sequence[float]]
    steps: int = 0
    warm_up: int = 0
    every: int = 1


class Course:
    """A strategy under way: proposes, observes, and has a state.

    Attributes:
        proposal: what to do next; None when the strategy has chosen.
        choice: what it has chosen; None before.
        seen: the outcomes of each proposal so far.
        trained: training steps of the proposals so far.
    """

    def __init__(self, strategy: Strategy) -> None:
        """Start ``strategy``, a generator that nobody has stepped yet."""
        self.strategy = strategy
        self.proposal: Proposal | None = None
        self.choice: Choice | None = None
        self.seen: list[tuple[Outcome, ...]] = []
        self.trained = 0
        self._advance(None)

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Tell the strategy what its last proposal came to, and let it propose again."""
        self.seen.append(tuple(outcomes))
        self.trained += len(self.proposal.training) if self.proposal else 0
        self._advance(outcomes)

    def replay(self, seen: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        """Come to where another course of the same strategy took :meth:`state_dict`."""
        for outcomes in seen:
            self.observe([Outcome(**{**entry, "subset": tuple(entry["subset"])}) for entry in outcomes])

    def state_dict(self) -> list[list[dict[str, Any]]]:
        """Everything a resumed search needs."""
        return [[asdict(outcome) for outcome in outcomes] for outcomes in self.seen]

    def _advance(self, outcomes: Sequence[Outcome] | None) -> None:
        try:
            self.proposal = next(self.strategy) if outcomes is None else self.strategy.send(outcomes)
        except StopIteration as finished:
            self.proposal, self.choice = None, finished.value


def with_all_scored(strategy: Strategy) -> Strategy:
    """The same strategy, which in the end has every subset of its choice scored on all held-out samples."""
    known: set[Subset] = set()
    outcomes: Sequence[Outcome] | None = None
    while True:
        try:
            proposal = next(strategy) if outcomes is None else strategy.send(outcomes)
        except StopIteration as finished:
            choice: Choice = finished.value
            break
        outcomes = yield proposal
        if proposal.samples is None:
            known.update(proposal.subsets)
    missing = tuple(dict.fromkeys(subset for subset in choice.values() if subset not in known))
    if missing:
        yield Proposal(missing, aside=True)
    return choice


def larger(subset: Subset, candidates: int) -> tuple[Subset, ...]:
    """Every subset of one layer more."""
    return tuple(tuple(sorted((*subset, i))) for i in range(candidates) if i not in subset)


def smaller(subset: Subset, candidates: int) -> tuple[Subset, ...]:
    """Every subset of one layer less."""
    return tuple(tuple(j for j in subset if j != i) for i in subset)
