"""What a family of models declares about itself, and the two-way table of its checkpoint keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from compressor.steps import Rounds, StepModel

State = dict[str, Tensor]


@dataclass(frozen=True)
class Pool:
    """An ordered set of skippable layers of one kind.

    ``skip_fraction`` sizes the skip adapter: its bottleneck as a fraction of the width of the layer's stream.
    """

    name: str
    prefix: str
    skip_fraction: float


@dataclass(frozen=True)
class Leftover:
    """Checkpoint keys that are read by nothing, and why."""

    pattern: str
    reason: str


@dataclass(frozen=True)
class Part:
    """Some rows of a checkpoint tensor: ``target`` gets rows [start, stop) in units of ``1/of`` of the rows.

    ``of`` 0 counts single rows; ``stop`` None means up to the end.
    """

    target: str
    start: int
    stop: int | None
    of: int = 0


@dataclass(frozen=True)
class KeyTable:
    """Checkpoint key prefixes against ours; ``{i}`` stands for a layer number. Works in both directions.

    ``renames`` maps a prefix to a prefix; ``splits`` maps one tensor to several parts of its rows.
    """

    renames: tuple[tuple[str, str], ...]
    splits: tuple[tuple[str, tuple[Part, ...]], ...] = ()

    def to_ours(self, state: Mapping[str, Tensor]) -> tuple[State, dict[str, str]]:
        """Rename and split. Returns our tensors, and for each of our names the checkpoint key it came from.

        Raises:
            ValueError: a tensor that does not split into its parts.
        """
        ours: State = {}
        origin: dict[str, str] = {}
        for key, tensor in state.items():
            for name, value in self._ours(key, tensor):
                ours[name], origin[name] = value, key
        return ours, origin

    def _ours(self, key: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
        for source, parts in self.splits:
            if (number := _match(source, key, whole=True)) is not None:
                return [(part.target.format(i=number), _rows(key, tensor, part)) for part in parts]
        for source, target in self.renames:
            if (number := _match(source, key)) is not None:
                return [(target.format(i=number) + key[len(source.format(i=number)) :], tensor)]
        return []

    def to_checkpoint(self, ours: Mapping[str, Tensor]) -> State:
        """The inverse of :meth:`to_ours`, for writing a checkpoint in the public format."""
        state: State = {}
        merged: dict[str, dict[int, Tensor]] = {}
        for name, tensor in ours.items():
            for source, parts in self.splits:
                for part in parts:
                    if (number := _match(part.target, name, whole=True)) is not None:
                        merged.setdefault(source.format(i=number), {})[part.start] = tensor
            for source, target in self.renames:
                if (number := _match(target, name)) is not None:
                    state[source.format(i=number) + name[len(target.format(i=number)) :]] = tensor
                    break
        return state | {key: torch.cat([parts[start] for start in sorted(parts)]) for key, parts in merged.items()}

    def checkpoint_name(self, name: str) -> str:
        """The checkpoint key that our parameter ``name`` is read from."""
        for source, parts in self.splits:
            for part in parts:
                if (number := _match(part.target, name, whole=True)) is not None:
                    return source.format(i=number)
        for source, target in self.renames:
            if (number := _match(target, name)) is not None:
                return source.format(i=number) + name[len(target.format(i=number)) :]
        return name


def _match(template: str, key: str, whole: bool = False) -> str | None:
    """The layer number of ``key`` ('' without one) when it starts with, or is, ``template``; else None."""
    pattern = re.escape(template).replace(r"\{i\}", r"(\d+)")
    match = re.fullmatch(pattern, key) if whole else re.match(pattern, key)
    return None if match is None else (match[1] if match.groups() else "")


def _rows(key: str, tensor: Tensor, part: Part) -> Tensor:
    if tensor.ndim == 0 or (part.of and len(tensor) % part.of):
        raise ValueError(f"{key} {tuple(tensor.shape)} does not split into {part.of or 'rows'} parts")
    unit = len(tensor) // part.of if part.of else 1
    return tensor[part.start * unit : None if part.stop is None else part.stop * unit].clone()


@dataclass(frozen=True)
class Family:
    """Everything the rest of das needs to know about one kind of model.

    Attributes:
        name: as users type it.
        signature: keys that every checkpoint of the family has, and nobody else's.
        keys: checkpoint names against ours.
        leftovers: keys that are known to be of no use here, with the reason.
        pools: the skippable layers by kind, in report order.
        scopes: named sets of pools the search may touch; the first is the default.
        inputs: names of the model's inputs in order.
        heads: for each task that das can compress, the prefix of its head in the checkpoint.
        other_heads: the same for tasks that das only knows by name.
        read_dims: checkpoint tensors, hyper-parameters and a head's prefix (None without a head) to the family's dims.
        dims_type: the pydantic class of the dims.
        prepare: last changes to our tensors before loading (position embeddings to another image size).
        rounds: the ordered steps of a model of these dims.
        build: a randomly initialised full model of these dims; its epilogue's last module is called ``head``.
        tolerances: largest allowed |difference| of logits between runtimes, by precision.

    """

    name: str
    signature: tuple[str, ...]
    keys: KeyTable
    leftovers: tuple[Leftover, ...]
    pools: tuple[Pool, ...]
    scopes: Mapping[str, tuple[str, ...]]
    inputs: tuple[str, ...]
    heads: dict[str, str]
    other_heads: dict[str, str]
    dims_type: type
    read_dims: Callable[..., Any]
    prepare: Callable[[State, Any], State]
    rounds: Callable[[Any], Rounds]
    build: Callable[[Any, str], StepModel]
    tolerances: Mapping[str, float] = field(default_factory=lambda: {"fp32": 1e-4})

    def pool(self, name: str) -> Pool:
        """The pool called ``name``."""
        return next(pool for pool in self.pools if pool.name == name)

    def layer_order(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """``names`` in report order: pool by pool, then by number."""
        prefixes = [pool.prefix for pool in self.pools]

        def rank(name: str) -> tuple[int, int]:
            prefix = name.rstrip("0123456789")
            return prefixes.index(prefix), int(name[len(prefix) :])

        return tuple(sorted(names, key=rank))
