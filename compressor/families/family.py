"""What a family of models declares about itself, and the two-way tables of its checkpoint keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from compressor.data.text import INPUTS, TextTransform
from compressor.data.types import ImageTransform, Transforms
from compressor.models.steps import Rounds, StepModel

State = dict[str, Tensor]
TOLERANCES: Mapping[str, float] = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 1e-1, "int8": 3e-1}
HEAD = "epilogue.head."  # where every family keeps the head


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
class Head:
    """What a task puts on top of the pooled sample.

    Attributes:
        images: images of one sample; each is a pass of its own, and their pooled outputs are joined for the head.
        classes: outputs, where the task fixes them; None when they are as many as the data has answers.
    """

    images: int = 1
    classes: int | None = None


@dataclass(frozen=True)
class Format:
    """One way in which checkpoints of a family are written.

    Attributes:
        name: for messages ("METER's public code", "Hugging Face").
        signature: keys that every such checkpoint has, and no other format's.
        keys: checkpoint names against ours, heads left out.
        heads: for each task, the prefix of its head's keys.
        read_dims: checkpoint tensors, configuration and task (None without a head) to the family's dims.
        model_type: of a Hugging Face folder's config.json; None for files that come without one.
        architectures: for tasks whose prefix several heads share, the config.json architecture that means this one.
        leftovers: keys that are known to be of no use here, with the reason.
        heads_by_name: heads of tasks that no model can be built for, by task: they are named and left out.
        base_prefix: put before every key of a checkpoint that has none starting with it (a bare Hugging Face backbone).
    """

    name: str
    signature: tuple[str, ...]
    keys: KeyTable
    heads: Mapping[str, str]
    read_dims: Callable[[State, Mapping[str, Any], str | None], Any]
    model_type: str | None = None
    architectures: Mapping[str, str] = field(default_factory=dict)
    leftovers: tuple[Leftover, ...] = ()
    heads_by_name: Mapping[str, str] = field(default_factory=dict)
    base_prefix: str = ""

    def table(self, task: str | None) -> KeyTable:
        """The keys of a checkpoint with the head of ``task``."""
        if task is None or task not in self.heads:
            return self.keys
        return replace(self.keys, renames=(*self.keys.renames, (self.heads[task], HEAD)))


def for_another_task(ours: State, state: State, task: str | None, types: str, count: int, matching: str) -> State:
    """What METER's and ViLT's public code changes when a pre-trained checkpoint is fine-tuned for another task.

    The second image's type starts as the first one's, and the ranking head as the "matches" row of the matching head.

    Args:
        ours: tensors under our names.
        state: under the checkpoint's.
        task: that the model is built for.
        types: our name of the images' types, (n, hidden).
        count: of types that the model has.
        matching: prefix of the matching head in the checkpoint.
    """
    ours = dict(ours)
    if types in ours:
        ours[types] = torch.cat([ours[types], ours[types][-1:].expand(count - len(ours[types]), -1)])
    if task == "irtr" and f"{HEAD}weight" not in ours and f"{matching}weight" in state:
        ours |= {HEAD + kind: state[matching + kind][1:] for kind in ("weight", "bias")}
    return ours


def text_and_images(dims: Any, height: int, width: int) -> dict[str, Tensor]:
    """One sample of a text, token 0 everywhere and nothing masked, and of as many black images as belong to it."""
    images = (1,) if dims.images == 1 else (1, dims.images)
    return {
        "input_ids": torch.zeros(1, dims.text_length, dtype=torch.long),
        "attention_mask": torch.ones(1, dims.text_length, dtype=torch.long),
        "pixel_values": torch.zeros(*images, 3, height, width),
    }


def same(ours: State, dims: Any, state: State, task: str | None) -> State:
    """No last changes: the ``prepare`` of a family that needs none."""
    return ours


@dataclass(frozen=True)
class Family:
    """Everything the rest of das needs to know about one kind of model.

    Its dims are a frozen pydantic model with at least ``hidden`` (width of the head's streams), ``classes``, ``images``
    (of a sample), ``text_length``, ``longest_text``, ``text_vocabulary``, ``parallel_width`` (0 without parallel
    adapters) and, where images are read, ``image_size`` and ``patch`` in pixels. Its defaults are the published model.

    Attributes:
        name: as users type it.
        formats: how checkpoints are written; das writes the first one.
        pools: the skippable layers by kind, in report order.
        scopes: named sets of pools the search may touch; the first is the default.
        inputs: names of the model's inputs in order.
        streams: for each modality ("text", "image") the streams that the prologue makes of it alone.
        pooled: the streams that the epilogue reads, token 0 of each and nothing else.
        heads: the heads a model can be built with, by task.
        dims_type: the pydantic class of the dims.
        rounds: the ordered steps of a model of these dims.
        build: a randomly initialised full model of these dims; its epilogue's last module is called ``head``.
        example_inputs: one sample of the inputs at the sizes of the dims: nothing masked, a black image.
        image_transform: of these dims: what turns an image into pixels; None for families that read text only.
        prepare: last changes to our tensors before loading (positions at another image size, a head made of another's).
        parallel_fraction: bottleneck of the parallel adapters over the hidden size, as in the paper.
        tolerances: largest allowed |difference| of logits between runtimes, by precision; below fp32 in units of the
            largest logit, where that is above 1.

    """

    name: str
    formats: tuple[Format, ...]
    pools: tuple[Pool, ...]
    scopes: Mapping[str, tuple[str, ...]]
    inputs: tuple[str, ...]
    streams: Mapping[str, tuple[str, ...]]
    pooled: tuple[str, ...]
    heads: Mapping[str, Head]
    dims_type: type
    rounds: Callable[[Any], Rounds]
    build: Callable[[Any, str], StepModel]
    example_inputs: Callable[[Any], dict[str, Tensor]]
    image_transform: Callable[[Any], ImageTransform] | None = None
    prepare: Callable[[State, Any, State, str | None], State] = same
    parallel_fraction: float = 1 / 8
    tolerances: Mapping[str, float] = field(default_factory=lambda: TOLERANCES)

    def pool(self, name: str) -> Pool:
        """The pool called ``name``."""
        return next(pool for pool in self.pools if pool.name == name)

    def transforms(self, dims: Any, tokenizer: Tokenizer) -> Transforms:
        """What turns texts and images into the inputs of a model of these dims.

        Raises:
            InputError: a tokenizer of another model.
        """
        names = tuple(name for name in self.inputs if name in INPUTS)
        text = TextTransform(tokenizer, dims.text_length, dims.text_vocabulary, names)
        return Transforms(text, self.image_transform(dims) if self.image_transform else None)

    def layer_order(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """``names`` in report order: pool by pool, then by number."""
        prefixes = [pool.prefix for pool in self.pools]

        def rank(name: str) -> tuple[int, int]:
            prefix = name.rstrip("0123456789")
            return prefixes.index(prefix), int(name[len(prefix) :])

        return tuple(sorted(names, key=rank))
