"""Ask/tell search strategies: their search space, trials, results and resumable state.

A strategy proposes trials, is told their results, and in the end chooses a subset of layers for each size. It knows
nothing of models. All it was told is its state: another strategy of the same kind and search space that is told the
same results asks for the same trials.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from compressor.search.result import rank_key

Subset = tuple[int, ...]
"""Indices of the skipped candidates, in ascending order."""
Choice = Mapping[int, Subset]
"""The chosen subset for each number of layers to skip."""


@dataclass(frozen=True)
class SearchSpace:
    """The search space of a strategy.

    Attributes:
        candidates: number of layers to choose from (n).
        sizes: numbers of layers to skip, or whose MACs parts are to save; choices for other sizes are welcome.
        seed: of everything drawn.
        influence: measures each candidate's block influence: 1 - mean cosine of its stream before and after.
        steps: training steps, for strategies that train.
        warm_up: training steps before the first trial is scored.
        every: training steps between trials.
        pools: candidates by kind, of which a lot takes equally many; none where it makes no difference between them.
        probed: what is chosen will be trained, so a probe tells more than a score.
        worth: of each candidate that is a part of a layer, the layers of mean MACs that it saves; none of whole layers.
    """

    candidates: int
    sizes: tuple[int, ...]
    seed: int
    influence: Callable[[], Sequence[float]]
    steps: int = 0
    warm_up: int = 0
    every: int = 1
    pools: tuple[tuple[int, ...], ...] = ()
    probed: bool = False
    worth: tuple[float, ...] = ()


@dataclass(frozen=True)
class Trial:
    """Work that a strategy asks for.

    Attributes:
        subsets: to be scored after the training; empty where only training is left.
        samples: number of held-out samples to score them on; None is all.
        rotation: selects the held-out samples; within rotation 0, fewer samples are always among more.
        training: the subset to skip in each training step.
        other_sizes: the subsets are of sizes that nobody asked for; their cost is counted apart.
        probe: tell what a linear probe reads of each, where there are samples enough to fit one.
    """

    subsets: tuple[Subset, ...] = ()
    samples: int | None = None
    rotation: int = 0
    training: tuple[Subset, ...] = ()
    other_sizes: bool = False
    probe: bool = False


@dataclass(frozen=True)
class Result:
    """Scores of the model without a subset of its layers, means over held-out samples.

    Attributes:
        subset: the skipped candidates.
        divergence: distillation loss less the teacher's own, 0 at best.
        loss: of the task.
        value: the task's score, in [0, 1].
        samples: number of held-out samples.
        readable: share of the full model's answers that a linear probe reads; None without one.
    """

    subset: Subset
    divergence: float
    loss: float
    value: float
    samples: int
    readable: float | None = None

    @property
    def rank_key(self) -> tuple[float, float]:
        """Sort key, as :func:`rank_key`."""
        return rank_key(self.value, self.divergence, self.readable)


class Strategy(ABC):
    """A search strategy.

    Subclasses implement :meth:`_propose`, :meth:`_observe` and :meth:`choice`.

    Attributes:
        description: in a few words, for help and reports.
        trains: its trials train the skip adapters; for the others adapters are fitted by least squares beforehand.
        any_size: it chooses for several numbers of layers in one search.
        history: the results of each trial so far.
        trained: training steps of the trials so far.
    """

    description: ClassVar[str]
    trains: ClassVar[bool] = False
    any_size: ClassVar[bool] = True

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.history: list[tuple[Result, ...]] = []
        self.trained = 0
        self._pending: Trial | None = None

    def ask(self) -> Trial | None:
        """Return the next trial, the same one until its results are told; None when the search is over."""
        if self._pending is None:
            self._pending = self._propose()
        return self._pending

    def tell(self, results: Sequence[Result]) -> None:
        """Take the results of the trial asked for, one for each of its subsets."""
        trial = self.ask()
        if trial is None:
            raise ValueError("the search is over")
        self.history.append(tuple(results))
        self.trained += len(trial.training)
        self._observe(trial, results)
        self._pending = None

    @abstractmethod
    def choice(self) -> Choice:
        """Return the chosen subset for each size; to be called when :meth:`ask` returns None."""

    def state_dict(self) -> list[list[dict[str, Any]]]:
        """Return the results of each trial so far, as plain values."""
        return [[asdict(result) for result in results] for results in self.history]

    def load_state_dict(self, state: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        """Replay :meth:`state_dict` of another strategy with the same search space into this fresh one."""
        for results in state:
            self.tell([Result(**{**result, "subset": tuple(result["subset"])}) for result in results])

    @abstractmethod
    def _propose(self) -> Trial | None:
        """Return the next trial; called once for each."""

    def _observe(self, trial: Trial, results: Sequence[Result]) -> None:  # noqa: B027  # some learn nothing
        """Learn from a trial's results."""


class WithFinalScores(Strategy):
    """Another strategy, and one last trial of its choices that were not scored on all held-out samples.

    Args:
        strategy: a fresh one; it is told every other result.
    """

    def __init__(self, strategy: Strategy) -> None:
        super().__init__(strategy.space)
        self.strategy = strategy
        self._scored: set[Subset] = set()

    def choice(self) -> Choice:
        """Return the choice of the wrapped strategy."""
        return self.strategy.choice()

    def _propose(self) -> Trial | None:
        trial = self.strategy.ask()
        if trial is not None:
            return trial
        missing = tuple(dict.fromkeys(subset for subset in self.choice().values() if subset not in self._scored))
        return Trial(missing, other_sizes=True, probe=self.space.probed) if missing else None

    def _observe(self, trial: Trial, results: Sequence[Result]) -> None:
        if trial.samples is None:
            self._scored.update(trial.subsets)
        if self.strategy.ask() is not None:
            self.strategy.tell(results)


def add_layer(subset: Subset, candidates: int) -> tuple[Subset, ...]:
    """Return every subset with one more of ``candidates`` layers."""
    return tuple(tuple(sorted((*subset, i))) for i in range(candidates) if i not in subset)


def remove_layer(subset: Subset) -> tuple[Subset, ...]:
    """Return every subset with one layer less."""
    return tuple(tuple(j for j in subset if j != i) for i in subset)
