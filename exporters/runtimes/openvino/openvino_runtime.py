"""OpenVINO: executes a file of its own that was made from an ONNX file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compressor.errors import environment_problem
from exporters.runtimes.runtime import Artifact, ModelSource, Probe, Runtime, Trial, Watched, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from contextlib import ExitStack
    from pathlib import Path

    from torch import Tensor, nn

    from compressor.families.family import Family
    from exporters.checks.audit import Audit
    from exporters.graph.inputs import Fixed
    from exporters.graph.precision import Precision
    from exporters.request import Request
    from exporters.runtimes.runner import Runner


class OpenVINO(Runtime):
    """OpenVINO on the CPU."""

    name = "openvino"
    aliases = ("ov",)
    title = "OpenVINO"
    module = "openvino"
    packages = ("openvino", "nncf")
    devices = ("cpu",)
    format = "openvino"
    suffix = ".ov.xml"
    times_layers = True
    between = "between kernels"

    def check(self, device: str) -> None:
        """Import it."""
        from exporters.runtimes.openvino.openvino_runner import import_openvino

        if device != "cpu":
            found = f"OpenVINO runs on CPUs here, and this is the {device}"
            raise environment_problem("openvino-on-cpu", found, "the CPU", "--device cpu")
        import_openvino()

    def open(self, source: ModelSource, device: str, threads: int | None = None) -> Runner:
        """Return the model in the file."""
        from exporters.runtimes.openvino.openvino_runner import OpenVINORunner

        assert source.file
        return OpenVINORunner(source.file, threads)

    def refuses(self, precision: Precision, device: str) -> str:
        """Without products of bfloat16 OpenVINO computes in float32, or emulates them."""
        from exporters.runtimes.openvino.openvino_runner import has_bf16

        if precision.name == "bf16" and not has_bf16():
            return "this CPU has no products of bfloat16 (avx512_bf16, AMX)"
        return ""

    def artifacts(self, request: Request) -> tuple[Artifact, ...]:
        """Return the graph in fp32, and the file that is made from it.

        The graph is a step on the way: it is compared on a few samples, and the file on all.
        """
        from dataclasses import replace

        from exporters.graph.artifacts import graph
        from exporters.runtimes.openvino.openvino_runner import import_nncf, import_openvino

        import_openvino()
        if request.precision.quantised:
            import_nncf()
        source = graph(replace(request.in_float, reference=None), reuse=True)
        return source, self._file(request, source.path)

    def _file(self, request: Request, onnx: Path) -> Artifact:
        from dataclasses import replace
        from functools import partial

        from exporters.graph.sensitivity import sensitivities
        from exporters.runtimes.openvino.openvino_ir import calibration_batches, write_float, write_int8

        def write(path: Path, in_float: Collection[str]) -> tuple[str, ...]:
            if not request.precision.quantised:
                halved, computes_in, note = STORED[request.precision.name]
                with request.progress.stage("converting to OpenVINO"):
                    write_float(onnx, path, computes_in, halved)
                return (note,) if note else ()
            remark = f", {len(in_float)} layers left in float" if in_float else ""
            with request.progress.stage(f"rounding to int8{remark}"):
                batches = calibration_batches(request.model, request.samples, request.fixed)
                write_int8(onnx, path, batches, in_float)
            return ()

        artifact = self.artifact(request, write)
        measure = partial(sensitivities, request.model, request.samples, False, request.progress)
        return replace(
            artifact,
            unable=self.refuses(request.precision, self.devices[0]),
            graph=onnx,
            companions=(artifact.path.with_suffix(".bin").name,),
            sensitivities=measure if request.precision.quantised else None,
        )

    def takes(self, path: Path, family: Family) -> tuple[tuple[int, ...], Fixed]:
        """As the inputs of the model are declared."""
        from exporters.checks.validate import CHECKED_SIZES
        from exporters.graph.inputs import Fixed
        from exporters.runtimes.openvino.openvino_runner import read_model

        first = family.input_names[0]
        (shape,) = (port.partial_shape for port in read_model(path).inputs if port.any_name == first)
        fixed = Fixed.of(family, [axis.get_length() if axis.is_static else None for axis in shape])
        return (fixed.batch,) if fixed.batch else CHECKED_SIZES, fixed

    def runs_on(self, path: Path, device: str) -> str:
        """Names the settings as well: the record of an export keeps them."""
        from exporters.runtimes.openvino.openvino_runner import describe_settings

        return f"{super().runs_on(path, device)} ({describe_settings()})"

    def hides_layers(self, device: str) -> str:
        """It runs on CPUs alone."""
        return "" if device == "cpu" else "OpenVINO runs on CPUs here"

    def write_part(self, module: nn.Module, path: Path, inputs: Mapping[str, Tensor]) -> Path | None:
        """Trace it to an ONNX file, which OpenVINO reads as it is; a layer at these sizes alone."""
        from exporters.runtimes import find_runtime

        return find_runtime("onnxruntime").write_part(module, path.with_name(f"{path.name}.onnx"), inputs)

    def watch(
        self, source: ModelSource, inputs: Mapping[str, Tensor], device: str, threads: int, stack: ExitStack
    ) -> Watched:
        """Time layers by their kernels, with the runtime's own profiler."""
        from compressor.costs.parts import HEAD
        from exporters.runtimes.openvino.openvino_profiler import ProfiledRunner
        from exporters.runtimes.openvino.openvino_runner import OpenVINORunner

        assert source.file
        alone = stack.enter_context(OpenVINORunner(source.file, threads))
        watched = stack.enter_context(ProfiledRunner(source.file, threads))

        def taken(whole_ms: float) -> dict[str, list[float]]:
            times, names = watched.part_times(whole_ms), {"epilogue": HEAD}
            return {names.get(part, part.removeprefix("blocks.")): ms for part, ms in times.items()}

        return Watched(alone.bind(inputs), watched.bind(inputs), taken)

    def product(self, side: int, device: str, threads: int) -> Callable[[], object]:
        """Of a random square and a constant one, on the CPU."""
        from exporters.runtimes.openvino.openvino_runner import product

        return product(side, threads).infer

    def audit(self, path: Path, precision: Precision, trial: Trial | None) -> Audit | None:
        """Of the kernels of one call; not in fp32, which nothing is wider than."""
        from exporters.folder import count_bytes
        from exporters.runtimes.openvino.openvino_audit import audit_compiled

        if trial is None or precision.name == "fp32":
            return None
        return audit_compiled(path, precision.name, trial, count_bytes(path))

    def probe(self) -> Iterator[Probe]:
        """Which versions are installed, and what the CPU computes in."""
        from compressor.errors import DasError
        from exporters.runtimes.openvino.openvino_runner import has_bf16

        try:
            bf16 = has_bf16()
        except DasError as error:
            problem = error.problems[0]
            yield Probe("openvino", False, problem.found if version_of("openvino") else "not installed", problem.fix)
            return
        yield Probe("openvino", True, f"{version_of('openvino')}, fp32{', bf16' * bf16} and int8 on the CPU")
        if not version_of("nncf"):
            yield Probe("nncf", False, "not installed: no int8", "pip install 'das-toolkit[openvino]'")


STORED: Mapping[str, tuple[bool, str, str]] = {
    "fp32": (False, "f32", ""),
    "fp16": (True, "f32", "weights are stored in fp16, and computed with in float32"),
    "bf16": (True, "bf16", "weights are stored in fp16, and computed with in bfloat16"),
}
"""Of each precision whether weights are stored in fp16, what OpenVINO computes in, and what users are told."""


RUNTIME = OpenVINO()
