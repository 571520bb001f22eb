"""The result of a search and its log, as a run folder keeps them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import NonNegativeInt, PositiveInt, model_validator

from compressor.models.layer_parts import layers_of, part_of
from compressor.values import Value

SLACK = 0.06  # of a layer, that parts worth one may save less: they have more adapters than it


def rank_key(value: float, divergence: float, readable: float | None = None) -> tuple[float, float]:
    """Return a key that sorts by what is readable where that was measured, else by score; equals by divergence."""
    return -(value if readable is None else readable), divergence


class LogEntry(Value):
    """A subset that the search scored: one line of search.jsonl.

    Attributes:
        proposal: index of the trial that asked for it.
        trained: training steps of that trial; subsets of such trials are only comparable with each other.
        layers: the skipped layers.
        divergence: distillation loss less the teacher's own, 0 at best; as ``loss`` and ``value`` a mean over samples.
        loss: of the task.
        reward: exp(-loss).
        value: the task's score, in [0, 1].
        samples: number of held-out samples.
        readable: share of the full model's answers that a linear probe reads
            (:func:`compressor.search.linear_probe.probe_answers`); None where there was no probe.
        seconds: since the search was started or resumed.
        gates: of strategy das: the gate of each candidate after the trial's update; None without gates.
    """

    proposal: int
    trained: int
    layers: tuple[str, ...]
    divergence: float
    loss: float
    reward: float
    value: float
    samples: int
    readable: float | None = None
    seconds: float
    gates: Mapping[str, float] | None = None

    @property
    def rank_key(self) -> tuple[float, float]:
        """Sort key, as :func:`rank_key`."""
        return rank_key(self.value, self.divergence, self.readable)


class Point(Value):
    """A subset of layers scored on all held-out samples, with the search's adapters; means as those of an entry."""

    layers: tuple[str, ...]
    value: float
    loss: float
    divergence: float
    readable: float | None = None

    @property
    def rank_key(self) -> tuple[float, float]:
        """Sort key, as :func:`rank_key`."""
        return rank_key(self.value, self.divergence, self.readable)


class SearchResult(Value):
    """The result of a search: enough to answer any budget without searching again.

    Attributes:
        strategy: its name.
        sizes: how many layers it was asked to skip.
        metric: of the values.
        samples: held-out samples of the points.
        full: the model without any layer skipped, on the same samples.
        points: every subset scored on all of them; the choice for each size is the best of that size.
        chosen: the search's choice for each number of layers.
        forwards: what was run, in forward passes of the full model on one sample, by kind of work.
        macs: of the full model, one sample.
        macs_saved, parameters_saved: by skipping each candidate, its adapter counted in.
        parameters: of the full model.
        macs_beside, parameters_beside: of the parallel adapters that ``--adapt`` adds to the full model's.
        explained: by the adapter of each candidate fitted by itself: the share of variance of what the layer adds to
            its stream; empty where adapters were trained.
    """

    strategy: str
    sizes: tuple[int, ...]
    metric: str
    samples: PositiveInt
    full: Point
    points: tuple[Point, ...]
    chosen: Mapping[int, tuple[str, ...]]
    forwards: Mapping[str, float]
    macs: PositiveInt
    macs_saved: Mapping[str, int]
    parameters: PositiveInt
    parameters_saved: Mapping[str, int]
    explained: Mapping[str, float] = {}
    macs_beside: NonNegativeInt = 0
    parameters_beside: NonNegativeInt = 0

    @model_validator(mode="after")
    def _of_one_search(self) -> SearchResult:
        """Return it where every layer is a candidate, and every choice is among the points."""
        candidates, subsets = set(self.macs_saved), {frozenset(point.layers) for point in self.points}
        if self.parameters_saved.keys() != candidates or not self.explained.keys() <= candidates:
            raise ValueError("its savings are of different layers")
        if not frozenset().union(*subsets) <= candidates or not subsets.issuperset(
            map(frozenset, self.chosen.values())
        ):
            raise ValueError("its points are not of its candidates, or its choices not among its points")
        return self

    def count_skipped(self, layers: Collection[str]) -> int:
        """Return how many layers go, or of parts of layers, how many layers of mean MACs they save."""
        if not any(map(part_of, layers)):
            return len(layers)
        layer = sum(self.macs_saved.values()) / len(layers_of(self.macs_saved))
        return int(sum(self.macs_saved[name] for name in layers) / layer + SLACK)

    def point(self, layers: Collection[str]) -> Point:
        """Return the point of these layers."""
        return next(point for point in self.points if set(point.layers) == set(layers))
