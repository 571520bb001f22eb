"""ONNX Runtime: executes an ONNX file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.runtimes.runtime import Artifact, ModelSource, Probe, Runtime, Trial, Watched, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import ExitStack
    from pathlib import Path

    from torch import Tensor, nn

    from compressor.families.family import Family
    from compressor.models.steps import StepModel
    from exporters.checks.audit import Audit
    from exporters.checks.divergence import Located
    from exporters.graph.inputs import Fixed
    from exporters.graph.precision import Precision
    from exporters.request import Request
    from exporters.runtimes.runner import Runner

ELSEWHERE = ("AzureExecutionProvider",)  # providers that run nothing on this machine


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
    between = "between kernels"

    def check(self, device: str) -> None:
        """Run the smallest graph there is."""
        from exporters.runtimes.sessions import PROVIDERS, require_provider

        require_provider(PROVIDERS[device])

    def open(self, source: ModelSource, device: str, threads: int | None = None) -> Runner:
        """Return a session of the file; of a split export two, with the vision tower's beside it."""
        from exporters.folder import TEXT, is_split
        from exporters.graph.tower_split import towers_runner
        from exporters.graph.vision_split import split_runner
        from exporters.runtimes.sessions import PROVIDERS, OnnxRunner

        assert source.file
        if is_split(source.file):
            open_parts = towers_runner if source.file.name == TEXT else split_runner
            return open_parts(source.file.parent, PROVIDERS[device], threads)
        return OnnxRunner(source.file, PROVIDERS[device], threads)

    def attention_on(self, device: str) -> str:
        """Its CUDA provider runs attention that is written out at half the speed of one operator."""
        return "fused" if device == "cuda" else self.attention

    def refuses(self, precision: Precision, device: str) -> str:
        """Its CPU provider lacks kernels for some precisions."""
        without = device == "cpu" and not precision.on_cpu
        return f"ONNX Runtime has no {precision.name} kernels for CPUs" if without else ""

    def artifacts(self, request: Request) -> tuple[Artifact, ...]:
        """Return the graph; in int8 the one in fp32 before it, which it is made from."""
        from exporters.graph.artifacts import graph, rounded_graph

        if not request.precision.quantised:
            return (graph(request),)
        return graph(request.in_float, reuse=True), rounded_graph(request, calibrated=False)

    def takes(self, path: Path, family: Family) -> tuple[tuple[int, ...], Fixed]:
        """As the inputs of the graph are declared."""
        from exporters.checks.validate import CHECKED_SIZES
        from exporters.graph.inputs import Fixed
        from exporters.graph.onnx import load_graph

        inputs = load_graph(path).graph.input
        (shape,) = (value.type.tensor_type.shape.dim for value in inputs if value.name == family.input_names[0])
        fixed = Fixed.of(family, [axis.dim_value or None for axis in shape])
        return (fixed.batch,) if fixed.batch else CHECKED_SIZES, fixed

    def runs_on(self, path: Path, device: str) -> str:
        """Says of a split export that it is one."""
        from exporters.folder import is_split

        return super().runs_on(path, device) + (", vision tower apart" if is_split(path) else "")

    def locate(self, model: StepModel, path: Path, inputs: Mapping[str, Tensor], tolerance: float) -> Located:
        """Compares the values of the graph with PyTorch's, module by module."""
        from exporters.checks.divergence import locate
        from exporters.folder import REST, TEXT
        from exporters.graph.tower_split import locate_in_towers
        from exporters.graph.vision_split import locate_in_parts

        find = {REST: locate_in_parts, TEXT: locate_in_towers}.get(path.name, locate)
        return find(model, path, inputs, tolerance)

    def audit(self, path: Path, precision: Precision, trial: Trial | None) -> Audit | None:
        """Of the kernels of one call; not in fp32, which nothing is wider than, and not of a graph for TensorRT."""
        from exporters.checks.session_audit import audit_session
        from exporters.folder import QDQ, count_bytes
        from exporters.runtimes.sessions import PROVIDERS

        if trial is None or precision.name == "fp32" or QDQ in path.name:
            return None
        return audit_session(path, precision.name, trial, PROVIDERS[trial.device], count_bytes(path))

    def hides_layers(self, device: str) -> str:
        """Its profiler sees kernels on the CPU."""
        if device == "cpu":
            return ""
        return "on a GPU the profiler of ONNX Runtime sees when a kernel is started, not what it takes"

    def write_part(self, module: nn.Module, path: Path, inputs: Mapping[str, Tensor]) -> Path:
        """Trace it; a layer at these sizes alone."""
        from compressor.models.steps import StepModel
        from exporters.graph.onnx import export_onnx, export_part

        if isinstance(module, StepModel):
            export_onnx(module, path, inputs)
        else:
            export_part(module, inputs, path)
        return path

    def watch(
        self, source: ModelSource, inputs: Mapping[str, Tensor], device: str, threads: int, stack: ExitStack
    ) -> Watched:
        """Time layers by their kernels, with the runtime's own profiler."""
        from compressor.costs.parts import HEAD
        from exporters.runtimes.ort_profiler import KernelRunner
        from exporters.runtimes.sessions import OnnxRunner

        assert source.file
        alone = stack.enter_context(OnnxRunner(source.file, threads=threads))
        watched = stack.enter_context(KernelRunner(source.file, threads=threads))

        def taken(whole_ms: float) -> dict[str, list[float]]:
            times, names = watched.part_times(whole_ms), {"epilogue": HEAD}
            return {names.get(part, part.removeprefix("blocks.")): ms for part, ms in times.items()}

        return Watched(alone.bind(inputs), watched.bind(inputs), taken)

    def product(self, side: int, device: str, threads: int) -> Callable[[], object]:
        """Of a random square and a constant one, on the CPU."""
        import torch

        from exporters.runtimes.sessions import CPU, open_session, product

        session, feeds = open_session(product(side), CPU, threads), {"a": torch.rand(side, side).numpy()}
        return lambda: session.run(None, feeds)

    def probe(self) -> Iterator[Probe]:
        """Which build is installed, and whether its providers run a graph."""
        import torch

        cpu, gpu = version_of("onnxruntime"), version_of("onnxruntime-gpu")
        if cpu and gpu:  # both own the folder onnxruntime/; the CPU one wins, silently
            fix = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'das-toolkit[gpu]'"
            yield Probe(name="onnxruntime", ok=False, found=f"{cpu} and onnxruntime-gpu {gpu} over each other", fix=fix)
            return
        if not cpu and not gpu:
            yield Probe(name="onnxruntime", ok=False, found="not installed", fix="pip install 'das-toolkit[cpu]'")
            return
        try:
            import onnxruntime
        except (ImportError, OSError) as error:
            fix = f"pip install --force-reinstall 'das-toolkit[{'gpu' if gpu else 'cpu'}]'"
            yield Probe(name="onnxruntime", ok=False, found=f"installed, but: {error}", fix=fix)
            return
        yield Probe(name="onnxruntime", ok=True, found=f"{'GPU' if gpu else 'CPU'} build {gpu or cpu}")
        yield from cuda_conflict(torch.version.cuda, getattr(onnxruntime, "cuda_version", None))
        yield from (probe_provider(name) for name in onnxruntime.get_available_providers() if name not in ELSEWHERE)


def cuda_conflict(torch_cuda: str | None, wanted: str | None) -> Iterator[Probe]:
    """PyTorch and ONNX Runtime built for different major versions of CUDA, whose libraries do not do for each other.

    Args:
        torch_cuda: what PyTorch was built for, None for a CPU build.
        wanted: what onnxruntime-gpu was built for, None or empty for a CPU build.
    """
    if not torch_cuda or not wanted or torch_cuda.split(".")[0] == wanted.split(".")[0]:
        return
    found = f"PyTorch brings CUDA {torch_cuda}, onnxruntime-gpu needs CUDA {wanted.split('.')[0]}"
    fix = f"pip install 'onnxruntime-gpu[cuda,cudnn]', or a PyTorch for CUDA {wanted.split('.')[0]}"
    yield Probe(name="CUDA libraries", ok=False, found=found, fix=fix)


def probe_provider(name: str) -> Probe:
    """Run the smallest sum there is: a provider whose libraries are missing is listed all the same."""
    from compressor.errors import DasError, first_line
    from exporters.runtimes.sessions import doubles

    try:
        works = doubles(name)
    except DasError as error:
        problem = error.problems[0]
        return Probe(name=name, ok=False, found=f"listed, but {problem.found}", fix=problem.fix)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        return Probe(
            name=name,
            ok=False,
            found=f"listed, but {first_line(error)}",
            fix="pip install 'das-toolkit[gpu]', nvidia-smi",
        )
    found = "ran a graph" if works else "ran a graph and gave a wrong answer"
    return Probe(name=name, ok=works, found=found, fix=None if works else "pip install --force-reinstall onnxruntime")


RUNTIME = OnnxRuntime()
