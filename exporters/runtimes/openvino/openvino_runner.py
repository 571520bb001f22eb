"""OpenVINO's compiled models, the only place where one is made, and the runner on top of them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor

from compressor.errors import DasError, environment_problem, input_error, one_line
from exporters.runtimes.runner import Bound, Runner, refused

DEVICE = "CPU"
COMPUTES_IN = ["das", "computes_in"]  # where a file says what its floating-point operations are computed in
FP32, BF16 = "f32", "bf16"
SETTINGS: Mapping[str, Any] = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    # A thread that is bound to a core waits for whatever else runs on it, and the other threads wait for that one.
    "ENABLE_CPU_PINNING": False,
    "CACHE_DIR": "",  # nothing is kept on the disk
}


class OpenVINORunner(Runner):
    """OpenVINO on the CPU, computing in the precision that the file names.

    Args:
        path: a file of das for OpenVINO, or an ONNX file, which is computed in float32.
        threads: of the CPU, by default as many as PyTorch's.
        profiled: whether it counts what each operation takes.
    """

    def __init__(self, path: Path, threads: int | None = None, profiled: bool = False) -> None:
        self.path, self.threads, self.profiled = path, threads, profiled
        self.name = f"OpenVINO, {DEVICE}"
        self.compiled: Any = None
        self.request: Any = None  # of the inputs that were bound last

    def open(self) -> None:
        """Compile the model.

        Raises:
            InputError: no such file, or one that OpenVINO cannot compile.
            EnvironmentProblem: OpenVINO is missing, or this CPU has no products in the file's precision.
        """
        import_openvino()
        if not self.path.is_file():
            raise input_error("export-missing", f"no file {self.path}", "an exported file", "das export --to openvino")
        with self._refusals():
            self.compiled = compile_file(self.path, self.threads, self.profiled)
        self.input_names = tuple(port.any_name for port in self.compiled.inputs)
        self.output_names = tuple(port.any_name for port in self.compiled.outputs)

    def close(self) -> None:
        """Let the model go."""
        self.compiled = self.request = None

    def bind(self, inputs: Mapping[str, Tensor]) -> Bound:
        """(B, ...) by name, read where they are.

        Raises:
            InputError: an input is missing, or of a shape or type that the model does not take.
        """
        openvino = import_openvino()
        given = {name: x.cpu().contiguous().numpy() for name, x in self.select(inputs).items()}
        self._require_alike(given)
        request = self.request = self.compiled.create_infer_request()
        with self._refusals():
            for name, value in given.items():
                request.set_tensor(name, openvino.Tensor(value, shared_memory=True))

        def execute() -> None:
            assert given  # OpenVINO holds addresses only: the arrays must live as long as the calls
            with self._refusals():
                request.infer(share_outputs=True)

        def outputs() -> dict[str, Tensor]:
            values = [request.get_output_tensor(number).data for number in range(len(self.output_names))]
            return {name: torch.from_numpy(value.copy()) for name, value in zip(self.output_names, values, strict=True)}

        return Bound(execute, outputs)

    def _require_alike(self, given: Mapping[str, Any]) -> None:
        """Hold that ids and masks of texts have one shape, which OpenVINO does not check.

        Raises:
            Refused: they differ.
        """
        texts = [port.any_name for port in self.compiled.inputs if port.partial_shape.is_dynamic]
        shapes = {name: given[name].shape for name in texts if given[name].ndim == 2}
        if len(set(shapes.values())) > 1:
            found = ", ".join(f"{name} of shape {shape}" for name, shape in shapes.items())
            raise refused("shapes-differ", found, "one shape (B, L) for all of a text", "pad and cut them together")

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except DasError:
            raise
        except Exception as error:  # OpenVINO's exceptions share no base class
            raise refused(
                "runtime-refused",
                f"OpenVINO cannot run {self.path} ({one_line(error)})",
                "a file that OpenVINO reads, and inputs that fit it",
                "das export --to openvino again",
            ) from error


def import_openvino() -> Any:
    """Return the openvino module.

    Raises:
        EnvironmentProblem: it is not installed.
    """
    return _import("openvino-missing", "openvino")


def import_nncf() -> Any:
    """Return the nncf module, which writes int8 for OpenVINO.

    Raises:
        EnvironmentProblem: it is not installed.
    """
    return _import("nncf-missing", "nncf")


def _import(code: str, name: str) -> Any:
    """Import one of Intel's packages. Each reports its use to its makers, unless it cannot import what does that."""
    telemetry = "openvino_telemetry"
    known = sys.modules.get(telemetry)
    sys.modules[telemetry] = cast(ModuleType, None)  # importing it is an ImportError now
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # libraries that do not load show as either
        raise environment_problem(
            code, f"{name} cannot be imported ({error})", name, "pip install 'das-toolkit[openvino]'"
        ) from None
    finally:
        del sys.modules[telemetry]
        if known:
            sys.modules[telemetry] = known


def compile_file(path: Path, threads: int | None = None, profiled: bool = False) -> Any:
    """Return the compiled model of a file, in the precision that it names and with das's settings.

    Raises:
        EnvironmentProblem: OpenVINO is missing, or this CPU has no products in that precision.
        InputError: OpenVINO computes in another precision than it was told to.
    """
    model = read_model(path)
    asked = model.get_rt_info(COMPUTES_IN).astype(str) if model.has_rt_info(COMPUTES_IN) else FP32
    if asked == BF16 and not has_bf16():
        raise environment_problem(
            "precision-not-here",
            f"{path.name} computes in bfloat16, which this CPU has no products for",
            "a CPU with avx512_bf16 or AMX",
            "--precision fp32, or int8",
        )
    compiled = compile_model(model, threads, {"INFERENCE_PRECISION_HINT": asked, "PERF_COUNT": profiled})
    used = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if used != asked:
        raise refused(
            "precision-not-used", f"OpenVINO would compute {path.name} in {used}", asked, "das export --precision fp32"
        )
    return compiled


def compile_model(model: Any, threads: int | None, settings: Mapping[str, Any]) -> Any:
    """Return a model compiled with das's settings and these; CPU ``threads`` are by default as many as PyTorch's."""
    own = {**SETTINGS, "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(), **settings}
    return import_openvino().Core().compile_model(model, DEVICE, own)


def describe_settings() -> str:
    """Return what every model is compiled with, by OpenVINO's names, and the threads that it has where nobody says."""
    settings = {**SETTINGS, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def product(side: int, threads: int) -> Any:
    """Return a request that multiplies a float32 square of ``side`` by a constant one when it is called on it."""
    import numpy as np

    openvino = import_openvino()
    from openvino import opset13

    square = np.random.default_rng(0).random((side, side), dtype=np.float32)
    given = opset13.parameter([side, side], np.float32)
    model = openvino.Model([opset13.matmul(given, opset13.constant(square), False, False)], [given])
    request = compile_model(model, threads, {"INFERENCE_PRECISION_HINT": FP32}).create_infer_request()
    request.set_input_tensor(openvino.Tensor(square))
    return request


def read_model(path: Path) -> Any:
    """Return the model in a file of das for OpenVINO, or in an ONNX file.

    Raises:
        EnvironmentProblem: OpenVINO is missing.
        InputError: the file cannot be read.
    """
    core = import_openvino().Core()
    try:
        return core.read_model(path)
    except Exception as error:  # OpenVINO's exceptions share no base class
        raise refused(
            "export-unreadable",
            f"OpenVINO cannot read {path} ({one_line(error)})",
            "an exported file, its weights beside it",
            "das export --to openvino again",
        ) from error


def has_bf16() -> bool:
    """Return whether OpenVINO has products of bfloat16 on this CPU.

    Raises:
        EnvironmentProblem: OpenVINO is missing.
    """
    return "BF16" in import_openvino().Core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
