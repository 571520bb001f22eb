"""ONNX Runtime: executes an ONNX file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.runtimes.runtime import Runtime, Source

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from compressor.models.steps import StepModel
    from exporters.checks.divergence import Located
    from exporters.graph.inputs import Fixed
    from exporters.graph.precision import Precision
    from exporters.request import Artifact, Request
    from exporters.runtimes.runner import Runner


class OnnxRuntime(Runtime):
    """ONNX Runtime on its CPU or CUDA provider, never silently on another one."""

    name = "onnxruntime"
    aliases = ("onnx", "ort")
    title = "ONNX Runtime"
    module = "onnxruntime"
    packages = ("onnxruntime", "onnxruntime-gpu")
    format = "onnx"
    suffix = ".onnx"
    by_default = True
    times_layers = True
    runs_split = True

    def check(self, device: str) -> None:
        """Run the smallest graph there is."""
        from exporters.runtimes.sessions import PROVIDERS, require_provider

        require_provider(PROVIDERS[device])

    def open(self, source: Source, device: str, threads: int | None = None) -> Runner:
        """A session of the file; of a split export two, with the vision tower's beside it."""
        from exporters.folder import REST
        from exporters.graph.vision_split import split_runner
        from exporters.runtimes.sessions import PROVIDERS, OnnxRunner

        assert source.file
        if source.file.name == REST:
            return split_runner(source.file.parent, PROVIDERS[device], threads)
        return OnnxRunner(source.file, PROVIDERS[device], threads)

    def refuses(self, precision: Precision, device: str) -> str:
        """Its CPU provider lacks kernels for some precisions."""
        without = device == "cpu" and not precision.on_cpu
        return f"ONNX Runtime has no {precision.name} kernels for CPUs" if without else ""

    def artifacts(self, request: Request) -> tuple[Artifact, ...]:
        """The graph; in int8 the one in fp32 before it, which it is made from."""
        from exporters.graph.artifacts import graph, rounded_graph

        if not request.precision.quantised:
            return (graph(request),)
        return graph(request.in_float, reuse=True), rounded_graph(request, calibrated=False)

    def takes(self, path: Path) -> tuple[tuple[int, ...], Fixed]:
        """As the inputs of the graph are declared."""
        from exporters.checks.validate import CHECKED_SIZES
        from exporters.graph.inputs import Fixed
        from exporters.graph.onnx import load_graph

        inputs = load_graph(path).graph.input
        (shape,) = (value.type.tensor_type.shape.dim for value in inputs if value.name == "input_ids")
        batch, length = (axis.dim_value or None for axis in shape)
        return (batch,) if batch else CHECKED_SIZES, Fixed(batch, length)

    def runs_on(self, path: Path, device: str) -> str:
        """Says of a split export that it is one."""
        from exporters.folder import REST

        return super().runs_on(path, device) + (", vision tower apart" if path.name == REST else "")

    def locate(self, model: StepModel, path: Path, inputs: Mapping[str, Tensor], tolerance: float) -> Located:
        """Compares the values of the graph with PyTorch's, module by module."""
        from exporters.checks.divergence import locate
        from exporters.folder import REST
        from exporters.graph.vision_split import locate_in_parts

        find = locate_in_parts if path.name == REST else locate
        return find(model, path, inputs, tolerance)


RUNTIME = OnnxRuntime()
