"""Times of single layers as values. Read without PyTorch."""

from __future__ import annotations

from compressor.values import Value

OVERHEAD = "overhead"


class LayerTime(Value):
    """A layer, a skip adapter in its place, or the prologue, bridges or head: milliseconds and MACs of one call.

    ``pool`` is that of the layer, or the part of the model as in ``macs_by_pool``: prologue, bridges, skip-adapters,
    head. Two entries are no part of the model: "shared" are kernels that several layers read from, and the one in the
    pool "overhead" is what a call takes beyond all others; it is negative where layers are slower while being watched.
    ``bytes`` are weights and the streams read and written, each once.
    """

    name: str
    pool: str
    ms: float
    macs: int
    bytes: int = 0


class LayerTimes(Value):
    """One model in one runtime, layer by layer; ``whole_ms`` is what a call takes by itself.

    All are medians of calls in turns: of the whole model, and of the same with every layer watched. The entries, with
    the overhead, sum to ``whole_ms``.
    """

    runtime: str
    which: str
    whole_ms: float
    layers: tuple[LayerTime, ...]

    @property
    def seen_ms(self) -> float:
        """Sum of all entries but the overhead."""
        return sum(layer.ms for layer in self.layers if layer.pool != OVERHEAD)

    @property
    def macs(self) -> int:
        """Return the MACs of the whole model."""
        return sum(layer.macs for layer in self.layers)
