"""What an export is asked for, and the files that a runtime answers with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from compressor.evaluation.reference import Reference
from compressor.families import FAMILIES
from compressor.models.steps import StepModel
from compressor.progress import QUIET, Progress
from exporters.folder import ExportsFolder
from exporters.graph.attention import FORMS, AttentionForm
from exporters.graph.inputs import VARYING, Fixed
from exporters.graph.precision import PRECISIONS, Precision
from exporters.runtimes.runtime import Runtime


@dataclass(frozen=True)
class Request:
    """What a runtime makes its files from.

    Attributes:
        model: full or slim, in eval mode.
        samples: real inputs, (N, ...) by name, of the text length that the export takes.
        folder: of the exports.
        reference: many real samples for the certificates; None compares on ``samples`` alone.
        precision, opset, form, fixed: of the graph; opset None is the exporter's choice.
        batch: smallest, usual and largest batch that is to be taken.
        workspace: bytes a layer may use for itself while it runs; None sets no limit.
        progress: told about each stage.
    """

    model: StepModel
    samples: Mapping[str, Tensor]
    folder: ExportsFolder
    reference: Reference | None = None
    precision: Precision = PRECISIONS["fp32"]
    opset: int | None = None
    form: AttentionForm = FORMS["composed"]
    fixed: Fixed = VARYING
    batch: tuple[int, int, int] = (1, 8, 32)
    workspace: int | None = None
    progress: Progress = QUIET

    @property
    def in_float(self) -> Request:
        """The same in fp32: what a quantised export is made from."""
        return replace(self, precision=PRECISIONS["fp32"])

    @property
    def tolerance(self) -> float:
        """Largest difference of logits that passes, of the model's family in this precision."""
        return FAMILIES[self.model.family].tolerances[self.precision.name]


@dataclass(frozen=True)
class Artifact:
    """A file that a runtime needs, still to be written; it is called done when it answers as the model does.

    Attributes:
        request: what it is made from.
        path: of the file.
        runtime: what executes it for the comparison.
        write: writes it, and files that belong to it beside it, to a path. Modules of the model that are to stay in
            float are given to it, too; it returns remarks for the user.
        runs_on: what the comparison is made in, for people: "ONNX Runtime, CPU".
        packages: distributions whose versions the record names.
        batches: sizes it is tried with, the largest last.
        unable: why it cannot be executed here; empty where it can.
        graph: the ONNX file whose opset is reported; None where there is none.
        companions: names of files beside it that are part of it and are not named after it.
        reuse: whether a file that is there, and is what is asked for, need not be made anew.
        sensitivities: of a quantised file, what rounding does to each layer, by module; the worst ones stay in float
            where the file fails otherwise.
    """

    request: Request
    path: Path
    runtime: Runtime
    write: Callable[[Path, Collection[str]], tuple[str, ...]]
    runs_on: str
    packages: tuple[str, ...]
    batches: tuple[int, ...]
    unable: str = ""
    graph: Path | None = None
    companions: tuple[str, ...] = ()
    reuse: bool = False
    sensitivities: Callable[[], Mapping[str, float]] | None = None
