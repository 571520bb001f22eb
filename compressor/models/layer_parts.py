"""Layers in parts: attention and feed-forward as steps of their own, each of which may be skipped by itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from compressor.models.rounds import Round, Rounds, Step, steps_of

if TYPE_CHECKING:
    from torch import nn

ATTENTION, CROSS_ATTENTION, FEED_FORWARD = "attention", "cross-attention", "feed-forward"
BETWEEN = "-"  # the name of a layer and that of its part: FL3-cross-attention


@dataclass(frozen=True)
class LayerPart:
    """A part of the layers of a pool, as a family declares it; a layer is its parts one after the other.

    Attributes:
        name: behind the layer's name.
        reads: which of the layer's streams it reads, by their places; first the one that the layer writes.
        take: the module of a whole layer to that of the part, which has the same weights.
    """

    name: str
    reads: tuple[int, ...]
    take: Callable[[nn.Module], nn.Module]


Parts = Mapping[str, tuple[LayerPart, ...]]
"""The parts of a family's layers, by pool; pools whose layers stay whole are left out."""


def layer_of(name: str) -> str:
    """Return the layer that ``name``, of a layer or of a part, belongs to."""
    return name.partition(BETWEEN)[0]


def part_of(name: str) -> str:
    """Return the name of the part behind its layer's; '' for a whole layer."""
    return name.partition(BETWEEN)[2]


def layers_of(names: Collection[str]) -> tuple[str, ...]:
    """Return the layers that ``names``, of layers or parts, belong to, each once, in order."""
    return tuple(dict.fromkeys(map(layer_of, names)))


def parts_of_layers(rounds: Rounds, parts: Parts) -> dict[str, tuple[str, ...]]:
    """Return the names of the parts of every whole layer that has any."""
    return {
        step.name: tuple(f"{step.name}{BETWEEN}{part.name}" for part in parts[str(step.pool)])
        for step in steps_of(rounds)
        if step.pool in parts and not part_of(step.name)
    }


def split_rounds(rounds: Rounds, layers: Collection[str], parts: Parts) -> Rounds:
    """Return the rounds with ``layers`` in parts, one after the other."""
    split: list[Round] = []
    for round_ in rounds:
        split += _split_round(round_, layers, parts) if any(step.name in layers for step in round_) else (round_,)
    return tuple(split)


def _split_round(round_: Round, layers: Collection[str], parts: Parts) -> list[Round]:
    """Return what becomes of a round; layers that ran at once still read the streams as they were before it."""
    written = tuple(step.stream for step in round_)
    before = {name: f"{name}_before" for name in written} if len(round_) > 1 else {}
    split: list[Round] = [(Step(f"before_{round_[0].name}", written, tuple(before.values()), light=True),)] * bool(
        before
    )
    for step in round_:
        reads = tuple(name if name == step.stream else before.get(name, name) for name in step.reads)
        whole = replace(step, reads=reads)
        if step.name not in layers:
            split.append((whole,))
            continue
        for part in parts[str(step.pool)]:
            name, streams = f"{step.name}{BETWEEN}{part.name}", tuple(reads[place] for place in part.reads)
            split.append((replace(whole, name=name, reads=streams),))
    return split
