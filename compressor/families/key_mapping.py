"""Checkpoint keys against our parameter names, in both directions, and why some keys are read by nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]
HEAD = "epilogue.head."  # where every family keeps the head
# Of an embedder: what a checkpoint's configuration calls the settings of its modules, and what their keys start with.
SENTENCE_MODULES, MODULE_KEYS = "sentence_modules", "modules."


@dataclass(frozen=True)
class Leftover:
    """Checkpoint keys that are read by nothing, and why."""

    pattern: str
    reason: str


@dataclass(frozen=True)
class TensorPart:
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
    splits: tuple[tuple[str, tuple[TensorPart, ...]], ...] = ()

    def to_ours(self, state: Mapping[str, Tensor]) -> tuple[State, dict[str, str]]:
        """Rename and split; return our tensors, and for each of our names the checkpoint key it came from.

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
        """Return checkpoint tensors, the inverse of :meth:`to_ours`, for writing a checkpoint in the public format."""
        state: State = {}
        merged: dict[str, dict[int, Tensor]] = {}
        for name, tensor in ours.items():
            places = [
                (source.format(i=number), part.start)
                for source, parts in self.splits
                for part in parts
                if (number := _match(part.target, name, whole=True)) is not None
            ]
            for key, start in places:
                merged.setdefault(key, {})[start] = tensor
            for source, target in self.renames if not places else ():
                if (number := _match(target, name)) is not None:
                    state[source.format(i=number) + name[len(target.format(i=number)) :]] = tensor
                    break
        return state | {key: torch.cat([parts[start] for start in sorted(parts)]) for key, parts in merged.items()}

    def checkpoint_name(self, name: str) -> str:
        """Return the checkpoint key that our parameter ``name`` is read from."""
        for source, parts in self.splits:
            for part in parts:
                if (number := _match(part.target, name, whole=True)) is not None:
                    return source.format(i=number)
        for source, target in self.renames:
            if (number := _match(target, name)) is not None:
                return source.format(i=number) + name[len(target.format(i=number)) :]
        return name


def _match(template: str, key: str, whole: bool = False) -> str | None:
    """Return the layer number of ``key`` ('' without one) when it starts with, or is, ``template``; else None."""
    pattern = re.escape(template).replace(r"\{i\}", r"(\d+)")
    match = re.fullmatch(pattern, key) if whole else re.match(pattern, key)
    return None if match is None else (match[1] if match.groups() else "")


def _rows(key: str, tensor: Tensor, part: TensorPart) -> Tensor:
    if tensor.ndim == 0 or (part.of and len(tensor) % part.of):
        raise ValueError(f"{key} {tuple(tensor.shape)} does not split into {part.of or 'rows'} parts")
    unit = len(tensor) // part.of if part.of else 1
    return tensor[part.start * unit : None if part.stop is None else part.stop * unit].clone()


def any_head_fits(state: Mapping[str, Tensor], task: str) -> bool:
    """Return True: the default ``head_fits``."""
    return True


@dataclass(frozen=True)
class Unbuilt:
    """A relative of a format that das knows by its keys and does not compute, and what to tell who has one.

    ``what`` goes behind "FILE is", ``signature`` are keys that every such checkpoint has, ``model_type`` is that of its
    config.json, where it has one, and ``architecture`` the class there, where others of that type are built.
    """

    code: str
    signature: tuple[str, ...]
    what: str
    expected: str
    fix: str
    model_type: str = ""
    architecture: str = ""


class Unsupported(ValueError):
    """A setting of a sound checkpoint that makes another network than das computes."""


def no_remarks(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return nothing: the default ``remarks``."""
    return ()


def nothing_beside(dims: Any) -> dict[str, dict[str, Any]]:
    """Return no file: the default ``write_beside``."""
    return {}


def as_they_are(ours: State, dims: Any) -> State:
    """Return ``ours`` unchanged: the default ``fit_state``."""
    return ours


def keeps_any(dims: Any, layers: Sequence[int]) -> bool:
    """Return True: the default ``keeps``."""
    return True


def read_logits(answered: Any) -> Tensor:
    """Return the logits: the default ``read_output``."""
    return answered.logits  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Library:
    """How models of a format are written so that the library's own class reads them.

    Attributes:
        write_config: dims to what config.json says of a full model of these dims, without labels and the like.
        write_beside: dims to the files that ``read_beside`` reads them of: what is in each, by name.
        fit_state: our tensors and dims to tensors that answer the same under that config.json.
        count_layers: dims, and the numbers of the layers that are left, over all pools in order, to what config.json
            counts of them; None where all are of one list, which it counts as ``num_hidden_layers``.
        read_output: what the library's model returns to what das's returns, (B, ...).
        keeps: dims, and the numbers of the layers that are left, to whether the library's class can be these alone,
            numbered anew; where a place in it is of a kind that others are not, it may not.
        places: whether adapters can stand in place of layers of the library's class: each layer has a place of its
            own, in one list.
    """

    write_config: Callable[[Any], Mapping[str, Any]]
    write_beside: Callable[[Any], Mapping[str, Mapping[str, Any]]] = nothing_beside
    fit_state: Callable[[State, Any], State] = as_they_are
    count_layers: Callable[[Any, Sequence[int]], Mapping[str, Any]] | None = None
    read_output: Callable[[Any], Tensor] = read_logits
    keeps: Callable[[Any, Sequence[int]], bool] = keeps_any
    places: bool = True


@dataclass(frozen=True)
class Format:
    """One way in which checkpoints of a family are written.

    Attributes:
        name: for messages ("METER's public code", "Hugging Face").
        signature: keys that every such checkpoint has, and no other format's.
        keys: checkpoint names against ours, heads left out.
        heads: for tasks that the format names, the prefix of the head's keys; the others' is ``other_heads``.
        read_dims: checkpoint tensors, configuration and task (None without a head) to the family's dims.
        model_type: of a Hugging Face folder's config.json; None for files that come without one.
        architectures: for tasks whose prefix several heads share, the config.json architecture that means this one.
        other_heads: prefix of the heads of all other tasks; ``{task}`` stands for the task. Empty: it has none.
        other_architecture: the config.json architecture that they need.
        leftovers: keys that are known to be of no use here, with the reason.
        heads_by_name: heads of tasks that no model can be built for, by task: they are named and left out.
        base_prefix: put before every key of a checkpoint that has none starting with it (a bare Hugging Face backbone).
        remarks: checkpoint tensors and configuration to sentences that the user should see.
        unbuilt: relatives that are refused by name.
        read_beside: dims, and the folder or a file in it, to dims with what other files there say, and notes on it.
        head_fits: checkpoint tensors and task to whether a head of a shared prefix can be of this task; asked where the
            checkpoint names no architecture.
        library: how models are written for the library's class; None where it has none.
    """

    name: str
    signature: tuple[str, ...]
    keys: KeyTable
    heads: Mapping[str, str]
    read_dims: Callable[[State, Mapping[str, Any], str | None], Any]
    model_type: str | None = None
    architectures: Mapping[str, str] = field(default_factory=dict)
    other_heads: str = ""
    other_architecture: str | None = None
    leftovers: tuple[Leftover, ...] = ()
    heads_by_name: Mapping[str, str] = field(default_factory=dict)
    base_prefix: str = ""
    remarks: Callable[[State, Mapping[str, Any]], tuple[str, ...]] = no_remarks
    unbuilt: tuple[Unbuilt, ...] = ()
    read_beside: Callable[[Any, Path], tuple[Any, tuple[str, ...]]] | None = None
    head_fits: Callable[[State, str], bool] = any_head_fits
    library: Library | None = None

    def table(self, task: str | None) -> KeyTable:
        """Return the keys of a checkpoint with the head of ``task``; for None those of a head have no place."""
        prefix = self.prefix(task) if task else ""
        if not task:
            return replace(self.keys, renames=tuple(pair for pair in self.keys.renames if not pair[1].startswith(HEAD)))
        return replace(self.keys, renames=(*self.keys.renames, (prefix, HEAD))) if prefix else self.keys

    def prefix(self, task: str) -> str:
        """Return the prefix of the keys of the head of ``task``; empty when the format has none."""
        return self.heads.get(task, self.other_heads.format(task=task.replace("-", "_")))

    def architecture(self, task: str) -> str | None:
        """Return the config.json architecture that a head of ``task`` needs, if any."""
        return self.architectures.get(task, None if task in self.heads else self.other_architecture)
