"""The list of steps that a model is, apart from its modules: it is read without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Step:
    """One place in the network: reads some streams, rewrites one or several.

    A block returns one tensor for each of ``writes``, in order, and the tensor itself where there is one. The first is
    the step's own stream: a skip adapter works on it, and leaves the others as they were.

    ``pool`` names the pool of skippable layers it belongs to; None for steps that always stay (projections between
    encoders). A stream in ``reads`` that the prologue never made is passed as None (METER has no image mask).
    ``skipped`` is True once surgery has put a skip adapter here. A ``light`` step only moves rows about: doing it again
    is cheaper than keeping what it returns.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    pool: str | None = None
    skipped: bool = False
    light: bool = False

    @property
    def stream(self) -> str:
        """The step's own stream, (B, N, D)."""
        return self.writes[0]

    def as_skipped(self) -> Step:
        """Return the same place with a skip adapter in it: it reads and writes the step's own stream alone."""
        return replace(self, reads=(self.stream,), writes=(self.stream,), skipped=True)

    def named(self, output: Tensor | tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Return what the block returned as streams, by name."""
        tensors = output if isinstance(output, tuple) else (output,)
        return dict(zip(self.writes, tensors, strict=True))


Round = tuple[Step, ...]
"""Steps that all read the streams as they were before the round."""

Rounds = tuple[Round, ...]


def steps_of(rounds: Rounds) -> tuple[Step, ...]:
    """Return all steps of all rounds in order."""
    return tuple(step for round_ in rounds for step in round_)
