"""TensorRT and TensorRT-RTX: execute an engine that was built from an ONNX file."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from compressor.errors import environment_problem, first_line
from exporters.runtimes.runtime import Artifact, Making, ModelSource, Probe, Runtime, Trial, version_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

    from compressor.families.family import Family
    from compressor.models.steps import StepModel
    from exporters.checks.audit import Audit
    from exporters.checks.divergence import Located
    from exporters.graph.inputs import Fixed
    from exporters.graph.precision import Precision
    from exporters.request import Request
    from exporters.runtimes.runner import Runner
    from exporters.runtimes.tensorrt_engine import Target


class TensorRT(Runtime):
    """An engine on the GPU that it was built for."""

    name = "tensorrt"
    aliases = ("trt",)
    title = "TensorRT"
    module = "torch"  # TensorRT itself comes with the engine: which of its packages, the engine's metadata says
    packages = ("tensorrt", "tensorrt-rtx")
    devices = ("cuda",)
    format = "trt"
    suffix = ".plan"
    names_fp32 = True
    standard_operators = True
    built_on_demand = False  # an engine may need options that only the user knows

    def check(self, device: str) -> None:
        """Look for a GPU and for a TensorRT that builds for it."""
        from exporters.runtimes.tensorrt_engine import find_target

        if device != "cuda":
            found = f"TensorRT runs on GPUs, and this is the {device}"
            raise environment_problem("tensorrt-without-gpu", found, "a GPU", "--device cuda, on a machine with one")
        find_target()

    def open(self, source: ModelSource, device: str, threads: int | None = None) -> Runner:
        """Return the engine in the file."""
        from exporters.runtimes.tensorrt_runner import TensorRTRunner

        assert source.file
        return TensorRTRunner(source.file)

    def ending(self) -> str:
        """Engines are named after the GPU they are for, or after TensorRT-RTX."""
        from exporters.runtimes.tensorrt_engine import find_target

        return f".{find_target().tag}{self.suffix}"

    def artifacts(self, request: Request) -> tuple[Artifact, ...]:
        """Return the graph, in int8 with calibrated scales, and the engine that is built from it."""
        from exporters.graph.artifacts import graph, rounded_graph
        from exporters.runtimes.tensorrt_engine import find_target

        target = find_target()
        source = graph(request.in_float if request.precision.quantised else request, reuse=True)
        graphs = [source, *([rounded_graph(request, calibrated=True)] if request.precision.quantised else [])]
        return *graphs, self._engine(request, graphs[-1].path, target)

    def _engine(self, request: Request, onnx: Path, target: Target) -> Artifact:
        from exporters.checks.audit import audit_sentences
        from exporters.graph.inputs import shape_ranges
        from exporters.runtimes.tensorrt_engine import build_engine

        def write(path: Path, in_float: Collection[str]) -> tuple[str, ...]:
            engine = build_engine(
                onnx,
                path,
                shape_ranges(request.model, request.samples, request.batch, request.fixed),
                target,
                request.progress,
                parameters=sum(parameter.numel() for parameter in request.model.parameters()),
                precision=request.precision.name,
                workspace=request.workspace,
            )
            return audit_sentences(engine.metadata.audit)

        return Artifact(
            request,
            request.folder / self.file_name(request.precision, request.fixed),
            self,
            write,
            runs_on=str(target),
            packages=("torch", target.package),
            batches=tuple(dict.fromkeys(request.batch)),
            unable="" if target.gpu else f"no GPU here: built ahead of time ({target}) and not run",
            graph=onnx,
        )

    def making(self, path: Path) -> Making:
        """As the engine's metadata says: TensorRT's version, shapes and workspace count, too."""
        from exporters.runtimes.tensorrt_engine import read_metadata

        built, form = read_metadata(path), super().making(path).options["attention"]
        batch = tuple(shape[0] for shape in next(iter(built.profile.values())))
        return Making(
            (built.package, built.version, tuple(sorted(built.profile.items())), built.workspace, form),
            {"batch": batch, "workspace": built.workspace, "attention": form},
        )

    def takes(self, path: Path, family: Family) -> tuple[tuple[int, ...], Fixed]:
        """As the profile in the engine's metadata has them."""
        from exporters.graph.inputs import Fixed
        from exporters.runtimes.tensorrt_engine import read_metadata

        shapes = read_metadata(path).profile[family.input_names[0]]
        axes = [tuple(dict.fromkeys(sizes)) for sizes in zip(*shapes, strict=True)]
        return axes[0], Fixed.of(family, [sizes[0] if len(sizes) == 1 else None for sizes in axes])

    def runs_on(self, path: Path, device: str) -> str:
        """Return an empty text: the record says what the engine is for."""
        return ""

    def locate(self, model: StepModel, path: Path, inputs: Mapping[str, Tensor], tolerance: float) -> Located:
        """Return nothing: an engine shows no values between its inputs and outputs."""
        from exporters.checks.divergence import Located

        reason = "TensorRT does not show it; das verify --onnx says whether the ONNX file of the engine is off, too"
        return Located(divergence=None, reason=reason)

    def audit(self, path: Path, precision: Precision, trial: Trial | None) -> Audit | None:
        """Of the engine where it ran and passed, else what was found when it was built."""
        from exporters.runtimes.tensorrt_engine import audit_plan, read_metadata

        return (audit_plan(path, precision.name) if trial else read_metadata(path)).audit

    def probe(self) -> Iterator[Probe]:
        """Which of both packages is installed, and whether it builds engines here."""
        from exporters.runtimes.tensorrt_engine import RTX, TENSORRT

        for package, module in (("tensorrt", TENSORRT), ("tensorrt-rtx", RTX)):
            try:
                loaded = importlib.import_module(module)
            except (ImportError, OSError) as error:  # libraries or driver missing show as either
                reason = f"installed, but: {error}" if version_of(package) else "not installed"
                yield Probe(package, False, reason, f"pip install 'das-toolkit[{package}]'")
                continue
            yield _builder(package, loaded)


def _builder(package: str, trt: Any) -> Probe:
    """Return whether the package can build engines here."""
    import torch

    from exporters.runtimes.tensorrt_engine import RTX, unsupported

    try:
        trt.Builder(trt.Logger(trt.Logger.ERROR))
    except Exception as error:  # TypeError from pybind11 where there is no driver
        found = f"{trt.__version__} loads and builds nothing: {first_line(error)}"
        fix = "a driver (nvidia-smi shows it), or pip install 'das-toolkit[tensorrt-rtx]', which needs none"
        return Probe(package, False, found, fix)
    if trt.__name__ == RTX and torch.cuda.is_available() and (reason := unsupported(trt)):
        return Probe(package, False, reason, "pip install 'das-toolkit[tensorrt]', which builds for this GPU")
    return Probe(package, True, f"{trt.__version__} loads and builds")


RUNTIME = TensorRT()
