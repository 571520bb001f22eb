"""The vision tower apart from the rest, so that many questions on one image pay for it once.

A model is cut where a step first reads both modalities
(:func:`compressor.models.steps.split_where_modalities_meet`). What is
before it on the side of the image is one graph, everything else the other; the image's streams pass between them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compressor.errors import input_error, usage_error
from compressor.families import FAMILIES
from compressor.families.family import Modality
from compressor.models.steps import Rounds, StepModel, Streams, split_where_modalities_meet, steps_of
from exporters.checks.divergence import Located, locate
from exporters.folder import REST, VISION
from exporters.graph.attention import AttentionForm
from exporters.graph.onnx import TRACED_ROWS, save, trace
from exporters.runtimes.runner import Bound, Runner
from exporters.runtimes.sessions import OnnxRunner


def check_splittable(family: str, rounds: Rounds) -> None:
    """Refuse a model that has nothing to put apart.

    Raises:
        UsageError: it reads no image or no text, or the image meets the text before any layer.
    """
    missing = [modality for modality in ("image", "text") if modality not in FAMILIES[family].streams]
    if missing or not _cut(family, rounds)[0]:
        reason = f"it reads no {missing[0]}" if missing else "the image meets the text before any layer"
        raise usage_error(
            "nothing-to-split",
            f"nothing to split in {family}: {reason}",
            "a model whose image passes layers of its own before it meets the text",
            "leave --split and --questions-per-image out",
        )


def vision_part(model: StepModel) -> StepModel:
    """Image inputs to the streams where the image meets the text, a tuple in the order of :func:`image_streams`.

    Each stream is (B * images of a sample, N, D). The weights are the model's own.

    Raises:
        UsageError: as :func:`check_splittable`.
    """
    check_splittable(model.family, model.rounds)
    vision, _ = _cut(model.family, model.rounds)
    return make_part(model, _OneModality(model, "image"), vision, _Pick(image_streams(model)))


def rest(model: StepModel) -> StepModel:
    """Text inputs and what :func:`vision_part` returns, by the names of the streams, to logits (B, classes).

    The weights are the model's own.

    Raises:
        UsageError: as :func:`check_splittable`.
    """
    check_splittable(model.family, model.rounds)
    _, rounds = _cut(model.family, model.rounds)
    return make_part(model, _OneModality(model, "text"), rounds, model.epilogue)


@torch.no_grad()
def image_streams(model: StepModel) -> tuple[str, ...]:
    """Return the names of the streams that the image becomes."""
    vision, _ = _cut(model.family, model.rounds)
    streams = {*model.prologue(**_empty_sample(model)), *(name for step in steps_of(vision) for name in step.writes)}
    return tuple(name for name in FAMILIES[model.family].streams["image"] if name in streams)


def _cut(family: str, rounds: Rounds) -> tuple[Rounds, Rounds]:
    """Return the steps of the image before it meets the text, and all others, in order."""
    streams = FAMILIES[family].streams
    early, late = split_where_modalities_meet(rounds, streams)
    image = streams.get("image", ())
    vision = [tuple(step for step in round_ if step.stream in image) for round_ in early]
    text = [tuple(step for step in round_ if step.stream not in image) for round_ in early]
    return tuple(filter(None, vision)), (*filter(None, text), *late)


def make_part(model: StepModel, prologue: nn.Module, rounds: Rounds, epilogue: nn.Module) -> StepModel:
    """Return some steps of a model between these; the weights are the model's own."""
    blocks = {step.name: model.blocks[step.name] for step in steps_of(rounds)}
    return StepModel(model.family, model.task, model.dims, prologue, rounds, blocks, epilogue).eval()


def _empty_sample(model: StepModel) -> dict[str, Tensor]:
    device = next(model.parameters()).device
    return {name: value.to(device) for name, value in FAMILIES[model.family].example_inputs(model.dims).items()}


class _OneModality(nn.Module):
    """The streams of one modality from its inputs; streams of the other that are given pass through.

    The model's prologue makes both: in place of the other inputs it reads an empty sample, and nothing reads what
    becomes of that, so tracing drops it.
    """

    def __init__(self, model: StepModel, modality: Modality) -> None:
        super().__init__()
        family = FAMILIES[model.family]
        self.prologue, self.streams = model.prologue, family.streams[modality]
        self.inputs = family.names_of(modality)
        for name, value in _empty_sample(model).items():
            if name not in self.inputs:
                self.register_buffer(name, value, persistent=False)

    def forward(self, **tensors: Tensor) -> Streams:
        inputs = {name: tensors.pop(name) for name in self.inputs}
        streams = self.prologue(**inputs, **dict(self.named_buffers(recurse=False)))
        return {name: streams[name] for name in self.streams if name in streams} | tensors


class _Pick(nn.Module):
    """Some streams as a tuple, in place of an epilogue."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names

    def forward(self, streams: Streams) -> tuple[Tensor, ...]:
        return tuple(streams[name] for name in self.names)


class SplitRunner(Runner):
    """Vision tower and rest as one runner of B texts and as many images, or fewer: each image has B / images texts.

    Every different image of a batch goes through the vision tower once. :meth:`run` remembers the streams of the last
    images, told by their content, so that further questions on them cost the rest alone.
    """

    def __init__(self, vision: Runner, rest: Runner) -> None:
        self.vision, self.rest = vision, rest
        self.name = f"{rest.name}, vision tower apart"
        self._opened = ExitStack()
        self._images: tuple[bytes, ...] = ()
        self._streams: dict[str, Tensor] = {}

    def open(self) -> None:
        """Open both; what they raise is raised."""
        with ExitStack() as stack:
            for part in (self.vision, self.rest):
                stack.enter_context(part)
            self._opened = stack.pop_all()
        texts = (name for name in self.rest.input_names if name not in self.vision.output_names)
        self.input_names = (*texts, *self.vision.input_names)
        self.output_names = self.rest.output_names

    def close(self) -> None:
        """Close both and forget the last images."""
        self._opened.close()
        self._images, self._streams = (), {}

    def bind(self, inputs: Mapping[str, Tensor]) -> Bound:
        """Each call runs both parts, whatever images came before: the vision tower on each different image once.

        The streams between them go by way of the CPU, so on a GPU neither part is a CUDA graph.

        Raises:
            InputError: the texts cannot be shared out among the images.
        """
        batch = ImageBatch.of(inputs, self.vision.input_names)
        vision = self.vision.bind_once(batch.images)
        last: list[Bound] = []

        def execute() -> None:
            vision()
            last[:] = [self.rest.bind_once(self.read_by_rest(batch, vision.outputs()))]
            last[0]()

        return Bound(execute, lambda: self.join(batch, vision.outputs(), last[0].outputs()))

    def outputs(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run once, the vision tower only where the images are not those of the last call.

        Raises:
            InputError: the texts cannot be shared out among the images.
        """
        batch = ImageBatch.of(inputs, self.vision.input_names)
        if batch.contents != self._images:
            self._streams, self._images = self.vision.outputs(batch.images), batch.contents
        return self.join(batch, self._streams, self.rest.outputs(self.read_by_rest(batch, self._streams)))

    def read_by_rest(self, batch: ImageBatch, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the inputs of the rest: the texts, and the streams of the image of each."""
        return batch.with_streams(streams)

    def join(self, batch: ImageBatch, streams: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the outputs, by name, where the rest has returned these."""
        return dict(found)


@dataclass(frozen=True)
class ImageBatch:
    """A batch with each of its images once.

    Attributes:
        texts: text inputs, (B, L) by name.
        images: image inputs of the different images, (I, ...) by name.
        contents: a digest of each of these, I.
        image_of: for each text the number of its image, (B,).
    """

    texts: dict[str, Tensor]
    images: dict[str, Tensor]
    contents: tuple[bytes, ...]
    image_of: Tensor

    @classmethod
    def of(cls, inputs: Mapping[str, Tensor], of_images: Collection[str]) -> ImageBatch:
        """Return a batch of inputs by name, of which some are ``of_images``.

        Raises:
            InputError: the texts cannot be shared out among the images.
        """
        images, texts = _separate(inputs, of_images)
        image_count, text_count = (len(next(iter(side.values()))) for side in (images, texts))
        if text_count % image_count:
            raise input_error(
                "texts-do-not-divide",
                f"{text_count} texts on {image_count} images",
                "as many texts on each image",
                "one image, or one each",
            )
        digests = [_digest([x[row] for x in images.values()]) for row in range(image_count)]
        contents = tuple(dict.fromkeys(digests))
        first = [digests.index(digest) for digest in contents]
        numbers = torch.tensor([contents.index(digest) for digest in digests])
        one_each = {name: x[first] for name, x in images.items()}
        return cls(texts, one_each, contents, numbers.repeat_interleave(text_count // image_count))

    def with_streams(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the texts, and for each the streams, (I * images of a sample, N, D), of its image."""
        by_image = {name: x.unflatten(0, (len(self.contents), -1)) for name, x in streams.items()}
        return self.texts | {name: x[self.image_of.to(x.device)].flatten(0, 1) for name, x in by_image.items()}


def _separate(inputs: Mapping[str, Tensor], of_images: Collection[str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the inputs ``of_images``, and the others."""
    images = {name: x for name, x in inputs.items() if name in of_images}
    return images, {name: x for name, x in inputs.items() if name not in of_images}


def _digest(tensors: Sequence[Tensor]) -> bytes:
    return hashlib.sha256(b"".join(x.contiguous().numpy().tobytes() for x in tensors)).digest()


def split_runner(folder: Path, provider: str = "CPUExecutionProvider", threads: int | None = None) -> SplitRunner:
    """Return the split export in ``folder``, in ONNX Runtime."""
    return SplitRunner(OnnxRunner(folder / VISION, provider, threads), OnnxRunner(folder / REST, provider, threads))


def write_split(
    model: StepModel, samples: Mapping[str, Tensor], vision_path: Path, rest_path: Path, form: AttentionForm
) -> None:
    """Write the two graphs, weights above 1 GiB beside each.

    Batch and text length are dynamic. In the rest, every text comes with the streams of its image.

    Args:
        model: full or slim, in eval mode.
        samples: real inputs, (N, ...) by name; the text at the length it is padded to.
        vision_path: file of the vision tower.
        rest_path: file of everything else.
        form: how attention is written.

    Raises:
        UsageError: as :func:`check_splittable`.
    """
    parts, names = (vision_part(model), rest(model)), FAMILIES[model.family].input_names
    rows = {name: samples[name][torch.arange(TRACED_ROWS) % len(samples[name])] for name in names}
    images, texts = _separate(rows, FAMILIES[model.family].names_of("image"))
    passed_on = image_streams(model)
    with torch.no_grad():
        streams = dict(zip(passed_on, parts[0](**images), strict=True))
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    all_images = batch if model.dims.images == 1 else model.dims.images * batch
    axes: dict[str, dict[int, Any]] = {name: {0: batch, 1: length} for name in texts}
    axes |= {name: {0: batch} for name in images} | {name: {0: all_images} for name in streams}
    logits = tuple(output.name for output in FAMILIES[model.family].outputs_of(model.task))
    for part, inputs, outputs, path in (
        (parts[0], images, passed_on, vision_path),
        (parts[1], texts | streams, logits, rest_path),
    ):
        program = trace(part, inputs, outputs, axes, opset=form.opset, form=form)
        save(program, part, path)


@torch.inference_mode()
def locate_in_parts(model: StepModel, path: Path, inputs: Mapping[str, Tensor], tolerance: float) -> Located:
    """As :func:`exporters.checks.divergence.locate`: first in the vision tower beside ``path``, then in the rest."""
    tower = vision_part(model)
    images, texts = _separate(inputs, FAMILIES[model.family].names_of("image"))
    located = locate(tower, path.with_name(VISION), images, tolerance)
    if located.divergence:
        return located
    device = next(model.parameters()).device
    streams = tower(**{name: x.to(device) for name, x in images.items()})
    return locate(rest(model), path, texts | dict(zip(image_streams(model), streams, strict=True)), tolerance)
