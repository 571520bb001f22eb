"""What a search leaves behind."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from compressor.search.strategies.strategy import badness
from compressor.values import Value


class Point(Value):
    """A subset of layers scored on all held-out samples, with the adapters that the search had."""

    layers: tuple[str, ...]
    value: float
    loss: float
    divergence: float

    @property
    def badness(self) -> tuple[float, float]:
        """Sorts by the task's score, best first, and among equals by the divergence."""
        return badness(self.value, self.divergence)


class SearchRecord(Value):
    """What a search leaves behind: enough to answer any budget without searching again.

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
        explained: by the adapter of each candidate fitted by itself: the share of variance of what the layer adds to
            its stream; empty where adapters were trained.
    """

    strategy: str
    sizes: tuple[int, ...]
    metric: str
    samples: int
    full: Point
    points: tuple[Point, ...]
    chosen: Mapping[int, tuple[str, ...]]
    forwards: Mapping[str, float]
    macs: int
    macs_saved: Mapping[str, int]
    parameters: int
    parameters_saved: Mapping[str, int]
    explained: Mapping[str, float] = {}

    def point(self, layers: Collection[str]) -> Point:
        """The point of these layers."""
        return next(point for point in self.points if set(point.layers) == set(layers))
