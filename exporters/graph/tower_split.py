"""Two towers as two graphs, ``text.onnx`` and ``vision.onnx``: each makes the vectors of its side, of length 1.

A gallery is embedded by the one, a query by the other, and neither needs what the other reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compressor.families import FAMILIES
from compressor.families.family import Modality
from compressor.models.steps import Rounds, StepModel, Streams, split_where_modalities_meet
from exporters.checks.divergence import Located, locate
from exporters.folder import TEXT, VISION
from exporters.graph.attention import AttentionForm
from exporters.graph.onnx import TRACED_ROWS, save, trace
from exporters.graph.vision_split import ImageBatch, SplitRunner, make_part
from exporters.runtimes.sessions import OnnxRunner

VECTORS: Mapping[Modality, str] = {"text": "text_embeds", "image": "image_embeds"}
FILES: Mapping[Modality, str] = {"text": TEXT, "image": VISION}


def never_meet(family: str, rounds: Rounds) -> bool:
    """Return whether a model reads texts and images, and no step of it both."""
    streams = FAMILIES[family].streams
    return {*VECTORS} <= streams.keys() and not split_where_modalities_meet(rounds, streams)[1]


def tower(model: StepModel, modality: Modality) -> StepModel:
    """Return one tower of a model: its inputs to its vectors, (B, width). The weights are the model's own."""
    streams = FAMILIES[model.family].streams[modality]
    own = [tuple(step for step in round_ if step.stream in streams) for round_ in model.rounds]
    return make_part(model, model.prologue, tuple(filter(None, own)), _OneVector(model.epilogue))


class _OneVector(nn.Module):
    """The one vector that a model makes of the streams that are there."""

    def __init__(self, epilogue: nn.Module) -> None:
        super().__init__()
        self.epilogue = epilogue

    def forward(self, streams: Streams) -> Tensor:
        """Return (B, width)."""
        return self.epilogue(streams)[:, 0]


class TowersRunner(SplitRunner):
    """Both graphs as one runner, which returns the vectors of texts and images, (B, 2, width)."""

    def __init__(self, vision: OnnxRunner, text: OnnxRunner, output: str) -> None:
        super().__init__(vision, text)
        self.name, self.output = f"{text.name}, towers apart", output

    def open(self) -> None:
        """Open both; what they raise is raised."""
        super().open()
        self.output_names = (self.output,)

    def read_by_rest(self, batch: ImageBatch, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the texts."""
        return batch.texts

    def join(self, batch: ImageBatch, streams: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the vectors of each text and of its image."""
        texts, images = found[VECTORS["text"]], batch.with_streams(streams)[VECTORS["image"]]
        return {self.output: torch.stack([texts, images.to(texts.device)], dim=1)}


def towers_runner(folder: Path, provider: str = "CPUExecutionProvider", threads: int | None = None) -> TowersRunner:
    """Return the two graphs in ``folder``, in ONNX Runtime."""
    vision, text = (OnnxRunner(folder / name, provider, threads) for name in (VISION, TEXT))
    return TowersRunner(vision, text, "embeds")


def write_towers(model: StepModel, samples: Mapping[str, Tensor], folder: Path, form: AttentionForm) -> None:
    """Write both graphs into ``folder``, weights above 1 GiB beside each.

    The batch is dynamic and, where padding is masked, the length of texts.

    Args:
        model: full or slim, in eval mode.
        samples: real inputs, (N, ...) by name; the text at the length it is padded to.
        folder: gets ``text.onnx`` and ``vision.onnx``.
        form: how attention is written.
    """
    family, batch, length = FAMILIES[model.family], torch.export.Dim("batch"), torch.export.Dim("length")
    varying: dict[str, Any] = {"batch": batch} | ({"length": length} if family.masks_texts else {})
    for modality, file in FILES.items():
        names, part = family.names_of(modality), tower(model, modality)
        rows = {name: samples[name][torch.arange(TRACED_ROWS) % len(samples[name])] for name in names}
        axes = {
            entry.name: {
                number: varying[axis]
                for number, axis in enumerate(entry.axes_of(rows[entry.name].ndim))
                if axis in varying
            }
            for entry in family.inputs
            if entry.name in names
        }
        program = trace(part, rows, (VECTORS[modality],), axes, opset=form.opset, form=form)
        save(program, part, folder / file)


def locate_in_towers(model: StepModel, path: Path, inputs: Mapping[str, Tensor], tolerance: float) -> Located:
    """As :func:`exporters.checks.divergence.locate`: first in the vision tower beside ``path``, then in the texts'."""
    family, found = FAMILIES[model.family], Located(divergence=None)
    for modality in ("image", "text"):
        given = {name: inputs[name] for name in family.names_of(modality)}
        found = locate(tower(model, modality), path.with_name(FILES[modality]), given, tolerance)
        if found.divergence:
            break
    return found
