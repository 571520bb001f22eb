"""What a family of models declares about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor

from compressor.architectures.architecture import Pool
from compressor.costs.layer_macs import ModelMacs
from compressor.data.text import NoTexts, TextTransform
from compressor.data.types import ImageTransform, Transforms
from compressor.families.key_mapping import Format, State
from compressor.models.layer_parts import Parts, layer_of, part_of
from compressor.models.readout import Readout
from compressor.models.steps import Rounds, StepModel
from compressor.tasks import TASKS
from compressor.tasks.task import OutputKind

CHANNELS = 3
TOLERANCES: Mapping[str, float] = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 1e-1, "int8": 3e-1}


Modality = Literal["text", "image"]


@dataclass(frozen=True)
class Input:
    """One input of a model.

    Attributes:
        name: as the prologue calls it.
        modality: what it is made of.
        axes: name of every axis. ``batch`` comes first; ``length`` counts tokens, ``height`` and ``width`` pixels. The
            axis ``images`` is left out where a sample has one image.
        dtype: of its values.
        mask: it tells what is no padding, 1 from 0.
        meaning: of its values, as exported files tell those who use them; '' says nothing.
    """

    name: str
    modality: Modality
    axes: tuple[str, ...]
    dtype: torch.dtype = torch.int64
    mask: bool = False
    meaning: str = ""

    def axes_of(self, ndim: int) -> tuple[str, ...]:
        """Return the names of the axes of a tensor of this input that has ``ndim`` of them."""
        return self.axes if ndim == len(self.axes) else tuple(axis for axis in self.axes if axis != "images")


INPUT_IDS = Input("input_ids", "text", ("batch", "length"), meaning="tokens, as tokenizer.json numbers them")
ATTENTION_MASK = Input("attention_mask", "text", ("batch", "length"), mask=True, meaning="1 at tokens, 0 at padding")
TOKEN_TYPE_IDS = Input(
    "token_type_ids",
    "text",
    ("batch", "length"),
    meaning="0 in the first text, 1 in the second, as tokenizer.json says",
)
PIXEL_VALUES = Input(
    "pixel_values",
    "image",
    ("batch", "images", "channels", "height", "width"),
    torch.float32,
    meaning="pixels of RGB images, resized and normalised as das.image says",
)
PIXEL_MASK = Input(
    "pixel_mask", "image", ("batch", "images", "height", "width"), mask=True, meaning="1 at pixels, 0 at padding"
)


@dataclass(frozen=True)
class Output:
    """One output of a model.

    Attributes:
        name: of the output in exported graphs.
        axes: name of every axis.
        kind: ``classes`` are compared with each other, a ``score`` with those of other samples; an ``embedding`` is a
            vector that others are compared with.
    """

    name: str
    axes: tuple[str, ...]
    kind: OutputKind


LOGITS = Output("logits", ("batch", "classes"), "classes")
MATCH = Output("logits", ("batch", "classes"), "score")
TAGS = Output("logits", ("batch", "length", "classes"), "tags")
EMBEDDING = Output("sentence_embedding", ("batch", "classes"), "embedding")


@dataclass(frozen=True)
class Head:
    """What a task puts on top of the pooled sample.

    Attributes:
        images: images of one sample; each is a pass of its own, and their pooled outputs are joined for the head.
        classes: outputs, where the task fixes them; None when they are as many as the data has answers.
        outputs: what the epilogue returns.
    """

    images: int = 1
    classes: int | None = None
    outputs: tuple[Output, ...] = (LOGITS,)


def no_preparation(ours: State, dims: Any, state: State, task: str | None) -> State:
    """Return ``ours`` unchanged: the default ``prepare``."""
    return ours


def square_image(dims: Any) -> tuple[int, int]:
    """Return height and width of an image of ``dims.image_size`` pixels on either side."""
    return dims.image_size, dims.image_size


@dataclass(frozen=True)
class Family:
    """Everything the rest of das needs to know about one kind of model.

    Its dims are a frozen pydantic model with at least ``hidden`` (width of the head's streams), ``classes``, ``images``
    (of a sample), ``text_length`` and ``longest_text`` (0 where no text is read) and ``parallel_width`` (0 without
    parallel adapters); where texts are read ``text_vocabulary``, ``text_types`` (of tokens) and ``text_padding`` (id of
    the padding token; None where nothing says it), and where images are read ``image_size`` and ``patch`` in pixels,
    and ``side_step`` where sides need be no multiples of the patch. Its defaults are the published model.

    Attributes:
        name: as users type it.
        formats: how checkpoints are written; das writes the first one.
        pools: the skippable layers by kind, in report order.
        scopes: named sets of pools the search may touch; the first is the default.
        inputs: the model's inputs in order.
        streams: for each modality ("text", "image") the streams that the prologue, or a layer that merges tokens, makes
            of it alone.
        readout: dims and task to the streams that the epilogue reads, and which of their tokens.
        outputs: what a model returns, by the kind of output that a task asks for.
        secondary: tasks whose heads come along with another's: of a checkpoint that has both, the other is meant unless
            the user names one.
        dims_type: the pydantic class of the dims.
        rounds: the ordered steps of a model of these dims.
        build: a randomly initialised full model of these dims; its epilogue's last module is called ``head``.
        image_transform: of these dims: what turns an image into pixels; None for families that read text only.
        example_image: of these dims: height and width of a usual image in pixels.
        formula: dims, task, and rows and columns of an image's patches to the MACs of one sample; None where nobody has
            worked it out.
        prepare: last changes to our tensors before loading (positions at another image size, a head made of another's).
        parallel_fraction: bottleneck of the parallel adapters over the hidden size, as in the paper.
        absorbers: by pool, the path in the block of a layer of the linear map whose output it adds to its stream last,
            with nothing behind it. What skipped layers did can be merged into it. Pools whose layers end in a norm, as
            BERT's, are left out.
        parts: of layers that may be skipped in part, by pool (docs/half-layers.md).
        merging: the pool of layers that can merge tokens of images, which are square then: the dims say in
            ``merged_tokens`` how many each of them merges, none where it is empty (docs/token-merging.md). Empty where
            no layer can.
        unmasked: whether the prologue takes None for the mask of texts, where none of them is padded: attention without
            a mask has faster kernels on GPUs.
        tolerances: largest allowed |difference| of logits between runtimes, by precision; below fp32 in units of the
            largest logit, where that is above 1.

    """

    name: str
    formats: tuple[Format, ...]
    pools: tuple[Pool, ...]
    scopes: Mapping[str, tuple[str, ...]]
    inputs: tuple[Input, ...]
    streams: Mapping[str, tuple[str, ...]]
    readout: Callable[[Any, str], Mapping[str, Readout]]
    dims_type: type
    rounds: Callable[[Any], Rounds]
    build: Callable[[Any, str], StepModel]
    outputs: Mapping[OutputKind, tuple[Output, ...]] = field(default_factory=lambda: {"classes": (LOGITS,)})
    secondary: tuple[str, ...] = ()
    image_transform: Callable[[Any], ImageTransform] | None = None
    example_image: Callable[[Any], tuple[int, int]] = square_image
    formula: Callable[[Any, str, tuple[int, int]], ModelMacs] | None = None
    prepare: Callable[[State, Any, State, str | None], State] = no_preparation
    parallel_fraction: float = 1 / 8
    absorbers: Mapping[str, str] = field(default_factory=dict)
    parts: Parts = field(default_factory=dict)
    merging: str = ""
    unmasked: bool = False
    tolerances: Mapping[str, float] = field(default_factory=lambda: TOLERANCES)

    @property
    def heads(self) -> dict[str, Head]:
        """The heads a model can be built with, by task.

        They are those of every task that asks for an output and images it has, and that a format has keys for.
        """
        tasks = [task for task in TASKS.values() if task.output in self.outputs]
        tasks = [task for task in tasks if any(format.prefix(task.name) for format in self.formats)]
        reads = bool(self.names_of("text")), bool(self.names_of("image"))
        tasks = [task for task in tasks if (task.texts, task.images > 0) == reads]
        return {task.name: Head(task.images, task.classes, self.outputs[task.output]) for task in tasks}

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs in order."""
        return tuple(entry.name for entry in self.inputs)

    def names_of(self, modality: Modality) -> tuple[str, ...]:
        """Return the names of the inputs of ``modality`` in order; none where the family does not read it."""
        return tuple(entry.name for entry in self.inputs if entry.modality == modality)

    def mask_of(self, modality: Modality) -> str | None:
        """Return the name of the input that masks padding of ``modality``; None where nothing is padded."""
        return next((entry.name for entry in self.inputs if entry.modality == modality and entry.mask), None)

    @property
    def masks_texts(self) -> bool:
        """True where an input tells the tokens of a text from its padding; else padding is read, too."""
        return self.mask_of("text") is not None

    @property
    def any_shape(self) -> bool:
        """True where images may have any height and width in whole patches; else they are square."""
        return self.mask_of("image") is not None

    def without_idle_mask(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
        """Return the inputs of a batch, with None for the mask of texts where it masks nothing and may be left out."""
        given: dict[str, Tensor | None] = dict(inputs)
        mask = self.mask_of("text") if self.unmasked else None
        if mask is not None and mask in inputs and bool(inputs[mask].all()):
            given[mask] = None
        return given

    def sizes_of(self, modality: Modality, inputs: Mapping[str, Tensor]) -> dict[str, int]:
        """Return the size of every axis of a batch's inputs of ``modality``, by its name; none without such inputs."""
        sizes: dict[str, int] = {}
        for entry in self.inputs:
            if entry.modality == modality and entry.name in inputs:
                x = inputs[entry.name]
                sizes |= dict(zip(entry.axes_of(x.ndim), x.shape, strict=True))
        return sizes

    def cut(self, inputs: Mapping[str, Tensor], **sizes: int) -> dict[str, Tensor]:
        """Return ``inputs`` with these axes cut behind their first ``sizes`` entries: ``cut(inputs, length=9)``."""
        axes = {entry.name: entry.axes_of(inputs[entry.name].ndim) for entry in self.inputs if entry.name in inputs}
        shorter = dict(inputs)
        for axis, size in sizes.items():
            for name in axes:
                if axis in axes[name]:
                    shorter[name] = shorter[name].narrow(axes[name].index(axis), 0, size)
        return shorter

    def example_inputs(self, dims: Any) -> dict[str, Tensor]:
        """Return one sample at the sizes of ``dims``: token 0 everywhere, black images, nothing masked."""
        height, width = self.example_image(dims) if self.names_of("image") else (0, 0)
        sizes = {"batch": 1, "length": dims.text_length, "images": dims.images, "channels": CHANNELS}
        sizes |= {"height": height, "width": width}

        def example(entry: Input) -> Tensor:
            axes = entry.axes_of(len(entry.axes) if dims.images > 1 else 0)
            return torch.full([sizes[axis] for axis in axes], int(entry.mask), dtype=entry.dtype)

        return {entry.name: example(entry) for entry in self.inputs}

    def outputs_of(self, task: str) -> tuple[Output, ...]:
        """Return what a model with the head of ``task`` returns, in order; without a head, what its head would read."""
        return self.heads.get(task, Head()).outputs

    def pool(self, name: str) -> Pool:
        """Return the pool called ``name``."""
        return next(pool for pool in self.pools if pool.name == name)

    def pool_of(self, name: str) -> Pool:
        """Return the pool that a layer, or a part of one, belongs to by its name."""
        prefix = layer_of(name).rstrip("0123456789")
        return next(pool for pool in self.pools if pool.prefix == prefix)

    def transforms(self, dims: Any, tokenizer: Tokenizer | None) -> Transforms:
        """Return what turns texts and images into the inputs of a model of these dims; no ``tokenizer`` without texts.

        Raises:
            InputError: a tokenizer of another model.
        """
        image = self.image_transform(dims) if self.image_transform else None
        if tokenizer is None:
            return Transforms(NoTexts(), image)
        text = TextTransform(
            tokenizer, dims.text_length, dims.text_vocabulary, self.names_of("text"), dims.text_types, dims.text_padding
        )
        return Transforms(text, image, getattr(dims, "prompts", {}))

    def layer_order(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``names`` of layers and parts in report order: pool by pool, then by number, parts as they run."""

        def rank(name: str) -> tuple[int, int, int]:
            pool = self.pool_of(name)
            order = ["", *(part.name for part in self.parts.get(pool.name, ()))]
            return self.pools.index(pool), int(layer_of(name).removeprefix(pool.prefix)), order.index(part_of(name))

        return tuple(sorted(names, key=rank))
