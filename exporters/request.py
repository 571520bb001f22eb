"""What a runtime makes the files of an export from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from compressor.evaluation.reference import Reference
from compressor.families import FAMILIES
from compressor.models.steps import StepModel
from compressor.progress import QUIET, Progress
from exporters.graph.attention import FORMS, AttentionForm
from exporters.graph.inputs import VARYING, Fixed
from exporters.graph.precision import PRECISIONS, Precision
from exporters.usage import Usage


@dataclass(frozen=True)
class Request:
    """The input of a runtime that makes files.

    Attributes:
        model: full or slim, in eval mode.
        samples: real inputs, (N, ...) by name, of the text length that the export takes.
        folder: of the exports.
        reference: many real samples for the certificates; None compares on ``samples`` alone.
        usage: written into ONNX files; None leaves it out.
        precision, opset, form, fixed: of the graph; opset None is the exporter's choice.
        batch: smallest, usual and largest batch that is to be taken.
        workspace: bytes a layer may use for itself while it runs; None sets no limit.
        apart: whether weights of ONNX files lie beside them whatever their size, so that many can read the graph.
        device: that the files are made for and compared on, "cpu" or "cuda".
        progress: told about each stage.
        known: what the model answered in comparisons so far, which those of further files need not ask again.
    """

    model: StepModel
    samples: Mapping[str, Tensor]
    folder: Path
    reference: Reference | None = None
    usage: Usage | None = None
    precision: Precision = PRECISIONS["fp32"]
    opset: int | None = None
    form: AttentionForm = FORMS["composed"]
    fixed: Fixed = VARYING
    batch: tuple[int, int, int] = (1, 8, 32)
    workspace: int | None = None
    apart: bool = False
    device: str = "cpu"
    progress: Progress = QUIET
    known: dict[str, Tensor] = field(default_factory=dict)

    @property
    def in_float(self) -> Request:
        """The same in fp32: what a quantised export is made from."""
        return replace(self, precision=PRECISIONS["fp32"])

    @property
    def tolerance(self) -> float:
        """Largest difference of logits that passes, of the model's family in this precision."""
        return FAMILIES[self.model.family].tolerances[self.precision.name]
