"""One way to run a model, whatever executes it."""

from __future__ import annotations

import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from compressor.errors import DasError, InputError, Problem, environment_problem, input_error
from compressor.families import FAMILIES
from compressor.models.steps import StepModel
from exporters.graph.onnx import OUTPUT

DEVICES: Mapping[str, str] = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda"}
"""Where ONNX Runtime's execution providers read and write."""
PROVIDERS = {device: provider for provider, device in DEVICES.items()}
OPTIONS: Mapping[str, Mapping[str, str]] = {"CUDAExecutionProvider": {"use_tf32": "0"}}  # fp32 means fp32


class Refused(InputError):
    """A runtime does not take a file, or these inputs, or gives no numbers for them: an export that does it failed."""


def refused(found: str, expected: str, fix: str) -> Refused:
    """A :class:`Refused` with a single problem."""
    return Refused(Problem(found, expected, fix))


@dataclass(frozen=True)
class Bound:
    """Inputs where a runtime reads them. Each call executes the model once and moves nothing.

    PyTorch returns from a call on a GPU before the GPU is done; the other runtimes wait for it.

    Attributes:
        execute: runs the model once.
        outputs: what the last call left, by name; of ONNX Runtime on the CPU, of the others on their device.
    """

    execute: Callable[[], None]
    outputs: Callable[[], dict[str, Tensor]]

    def __call__(self) -> None:
        """Execute the model once."""
        self.execute()

    def fetch(self) -> dict[str, Tensor]:
        """The outputs of the last call by name, float32 on the CPU."""
        return {name: value.float().cpu() for name, value in self.outputs().items()}


class Runner(ABC):
    """A context manager: what it runs is loaded on entry and let go on exit.

    Attributes:
        name: what executes the model and where, for people to read.
        input_names: what the model reads, known once it is open.
        output_names: what it returns, known once it is open.

    """

    name: str
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def open(self) -> None:
        """Load the model; checks that can fail fail here."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what was loaded."""

    @abstractmethod
    def bind(self, inputs: Mapping[str, Tensor]) -> Bound:
        """Put inputs, (B, ...) by name, where the runtime reads them, so that calls can be timed by themselves."""

    def outputs(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run once: inputs, (B, ...) by name, to outputs by name, float32 on the CPU."""
        bound = self.bind(inputs)
        bound()
        return bound.fetch()

    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the logits, (B, classes) float32 on the CPU, of the model's inputs (CPU tensors by name)."""
        return self.outputs(inputs)[OUTPUT]

    def _read(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of the inputs that the graph declares: tracing drops what nothing reads."""
        missing = [name for name in self.input_names if name not in inputs]
        if missing:
            raise input_error(
                f"no {', '.join(missing)} among the inputs ({', '.join(inputs)})",
                f"what {self.name} reads: {', '.join(self.input_names)}",
                "give every input of the model",
            )
        return {name: inputs[name] for name in self.input_names}


class TorchRunner(Runner):
    """PyTorch; moves the model to ``device`` ("cpu", "cuda"). With ``compiled``, as torch.compile makes it."""

    output_names = (OUTPUT,)

    def __init__(self, model: StepModel, device: str | torch.device, compiled: bool = False) -> None:
        self.model, self.device, self.compiled = model, torch.device(device), compiled
        self.called: Callable[..., Tensor] = torch.compile(model) if compiled else model
        self.name = f"{'torch.compile' if compiled else 'PyTorch'} on {self.device.type}"

    @property
    def input_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """The inputs of the model's family."""
        return FAMILIES[self.model.family].inputs

    def open(self) -> None:
        """Put the model on the device, in eval mode.

        Raises:
            EnvironmentProblem: there is no such device, or no compiler for torch.compile.
        """
        if self.device.type == "cuda":
            _require_cuda(self.name)
        if self.compiled:
            require_compiler()
        self.model.to(self.device).eval()

    def close(self) -> None:
        """The model stays: it is the caller's."""

    def bind(self, inputs: Mapping[str, Tensor]) -> Bound:
        """(B, ...) by name, put on the device. A compiled model is compiled for inputs of this shape here.

        Raises:
            EnvironmentProblem: torch.compile fails.
        """
        given = {name: value.to(self.device) for name, value in inputs.items()}
        left: dict[str, Tensor] = {}

        @torch.inference_mode()
        def execute() -> None:
            left[OUTPUT] = self.called(**given)

        if self.compiled:
            with _compiling():
                execute()
        return Bound(execute, lambda: left)


class OnnxRunner(Runner):
    """ONNX Runtime with exactly the execution provider that was asked for."""

    def __init__(self, path: Path, provider: str = "CPUExecutionProvider", threads: int | None = None) -> None:
        self.path, self.provider, self.threads = path, provider, threads
        self.name = f"ONNX Runtime, {provider}"
        self.session: Any = None

    def open(self) -> None:
        """Create the session.

        Raises:
            InputError: no such file, or one that ONNX Runtime cannot load.
            EnvironmentProblem: ONNX Runtime is missing, or would run on another provider.
        """
        import_onnxruntime()
        if not self.path.is_file():
            raise input_error(f"no file {self.path}", "an exported ONNX file", "das export --onnx")
        with self._refusals():
            self.session = open_session(self.path, self.provider, self.threads)
        self.input_names = tuple(entry.name for entry in self.session.get_inputs())
        self.output_names = tuple(entry.name for entry in self.session.get_outputs())

    def close(self) -> None:
        """Let the session go."""
        self.session = None

    def bind(self, inputs: Mapping[str, Tensor]) -> Bound:
        """(B, ...) by name, put on the provider's device.

        Raises:
            InputError: an input is missing. Shapes that the graph does not take are found by the first call.
        """
        device, binding = DEVICES[self.provider], self.session.io_binding()
        given = {name: x.to(device).contiguous() for name, x in self._read(inputs).items()}
        with self._refusals():
            for name, value in given.items():
                binding.bind_input(name, device, 0, _numpy_type(value), tuple(value.shape), value.data_ptr())
            for name in self.output_names:
                binding.bind_output(name, device)
        if device == "cuda":
            torch.cuda.synchronize()  # ONNX Runtime's stream does not wait for PyTorch's copies

        def execute() -> None:
            assert given  # the binding holds addresses only: the tensors must live as long as the calls
            with self._refusals():
                self.session.run_with_iobinding(binding)

        def outputs() -> dict[str, Tensor]:
            return dict(zip(self.output_names, map(torch.from_numpy, binding.copy_outputs_to_cpu()), strict=True))

        return Bound(execute, outputs)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except DasError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise refused(
                f"ONNX Runtime cannot run {self.path} ({str(error).splitlines()[0]})",
                "an ONNX file and inputs that fit it",
                "das export --onnx again, perhaps with another --opset",
            ) from error


class TensorRTRunner(Runner):
    """A TensorRT or TensorRT-RTX engine, on the GPU it was built for."""

    def __init__(self, plan: Path) -> None:
        self.plan = plan
        self.name = f"TensorRT, {plan.name}"
        self.engine: Any = None
        self.context: Any = None
        self.stream: Any = None

    def open(self) -> None:
        """Deserialise the engine.

        Raises:
            InputError: the plan or its passport is missing.
            EnvironmentProblem: no GPU, another GPU, or the package that built the engine is missing.
        """
        from exporters.runtimes.tensorrt_engine import load_engine

        _require_cuda(f"running {self.plan}")
        self.engine, trt = load_engine(self.plan)
        self.context = self.engine.create_execution_context()
        self.stream = torch.cuda.Stream()
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        types = {
            trt.DataType.FLOAT: torch.float32,
            trt.DataType.HALF: torch.float16,
            trt.DataType.BF16: torch.bfloat16,
            trt.DataType.INT32: torch.int32,
            trt.DataType.INT64: torch.int64,
            trt.DataType.BOOL: torch.bool,
        }
        self.dtypes = {name: types[self.engine.get_tensor_dtype(name)] for name in names}
        is_input = {name: self.engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
        self.input_names = tuple(name for name in names if is_input[name])
        self.output_names = tuple(name for name in names if not is_input[name])

    def close(self) -> None:
        """Let the engine and its memory go."""
        self.context = self.engine = self.stream = None

    def bind(self, inputs: Mapping[str, Tensor]) -> Bound:
        """(B, ...) by name, put on the GPU, with memory for the outputs beside them.

        Raises:
            InputError: an input is missing, or its shape is outside the engine's profile.
        """
        given = {name: x.to("cuda", self.dtypes[name]).contiguous() for name, x in self._read(inputs).items()}
        self._set_shapes(given)
        shapes = {name: tuple(self.context.get_tensor_shape(name)) for name in self.output_names}
        left = {name: torch.empty(shapes[name], dtype=self.dtypes[name], device="cuda") for name in self.output_names}
        torch.cuda.synchronize()  # the engine's stream does not wait for these copies

        def execute() -> None:
            self._set_shapes(given)  # the context is shared by all that is bound
            for name, value in (*given.items(), *left.items()):
                self.context.set_tensor_address(name, value.data_ptr())
            # Not the default stream: TensorRT would synchronise the device around every call.
            if not self.context.execute_async_v3(self.stream.cuda_stream):
                raise RuntimeError(f"TensorRT could not execute {self.plan}")
            self.stream.synchronize()

        return Bound(execute, lambda: left)

    def _set_shapes(self, given: Mapping[str, Tensor]) -> None:
        for name, value in given.items():
            if not self.context.set_input_shape(name, tuple(value.shape)):
                raise refused(
                    f"{name} of shape {tuple(value.shape)}",
                    f"a shape inside the profile of {self.plan.name}",
                    "das export --trt --batch MIN:OPT:MAX",
                )


def import_onnxruntime() -> Any:
    """The onnxruntime module.

    Raises:
        EnvironmentProblem: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise environment_problem(
            f"ONNX Runtime cannot be imported ({error})", "ONNX Runtime", "pip install 'das-toolkit[cpu]'"
        ) from None
    return onnxruntime


def session_options(threads: int | None = None) -> Any:
    """Options of every ONNX Runtime session of das: CPU ``threads``, PyTorch's number by default, and no remarks.

    Threads stop spinning when a call ends: of two models that are timed in turns, the one at rest would otherwise take
    a core from the other for the first milliseconds of its turn. A model that runs alone is no slower for it.
    """
    options = import_onnxruntime().SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def open_session(model: Path | bytes, provider: str, threads: int | None = None) -> Any:
    """An ONNX Runtime session of ``model`` that runs on exactly ``provider``.

    Raises:
        EnvironmentProblem: ONNX Runtime is missing, or would run on another provider.
    """
    onnxruntime = import_onnxruntime()
    options = session_options(threads)
    available = onnxruntime.get_available_providers()
    chosen = [(provider, dict(OPTIONS.get(provider, {})))]
    session = onnxruntime.InferenceSession(model, options, providers=chosen) if provider in available else None
    # A provider whose libraries do not load is replaced by the CPU without an exception; only this tells.
    used = session.get_providers()[0] if session else f"none ({', '.join(available)} are available)"
    if used != provider:
        raise environment_problem(
            f"ONNX Runtime {onnxruntime.__version__} would use {used}",
            provider,
            "das doctor shows what is missing; for a GPU: pip install 'das-toolkit[gpu]'",
        )
    return session


def require_compiler() -> None:
    """Look for what torch.compile calls.

    Raises:
        EnvironmentProblem: there is no C++ compiler.
    """
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if not shutil.which(compiler):
        raise _no_compiler(f"no C++ compiler {compiler}")


def require_provider(provider: str) -> None:
    """Try ``provider`` on the smallest graph there is.

    Raises:
        EnvironmentProblem: as :func:`open_session`.
    """
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", [x], [y])
    # Old versions, which every ONNX Runtime reads.
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    open_session(model.SerializeToString(), provider)


@contextmanager
def _compiling() -> Iterator[None]:
    from torch._dynamo.exc import TorchDynamoException  # takes seconds to import

    try:
        yield
    except TorchDynamoException as error:
        raise _no_compiler(f"torch.compile fails here ({str(error).splitlines()[0]})") from error


def _no_compiler(found: str) -> DasError:
    fix = "apt-get install g++ python3-dev, or set CXX to the compiler that is here"
    return environment_problem(found, "a C++ compiler that torch.compile can use", fix)


def _numpy_type(value: Tensor) -> np.dtype[Any]:
    return torch.empty(0, dtype=value.dtype).numpy().dtype


def _require_cuda(purpose: str) -> None:
    if not torch.cuda.is_available():
        raise environment_problem("no CUDA device", f"a GPU, for {purpose}", "use another runtime, or a GPU machine")
