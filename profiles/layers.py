"""What each layer takes in a runtime."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class LayerTime(BaseModel):
    """A layer, a skip adapter in its place, or the prologue, bridges or head: milliseconds and MACs of one call."""

    model_config = ConfigDict(frozen=True)

    name: str
    pool: str
    ms: float
    macs: int


class LayerTimes(BaseModel):
    """One model in one runtime, layer by layer; ``whole_ms`` is what a call takes by itself."""

    model_config = ConfigDict(frozen=True)

    runtime: str
    which: str
    whole_ms: float
    layers: tuple[LayerTime, ...]
