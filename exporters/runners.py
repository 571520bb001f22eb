"""One way to run a model, whatever executes it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from compressor.errors import DasError, environment_problem, input_error
from compressor.steps import StepModel


class Runner(ABC):
    """A context manager: what it runs is loaded on entry and let go on exit.

    Attributes:
        name: what executes the model and where, for people to read.

    """

    name: str

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
    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the logits, (B, classes) float32 on the CPU, of the model's inputs (CPU tensors by name)."""


class TorchRunner(Runner):
    """PyTorch; moves the model to ``device`` ("cpu", "cuda")."""

    def __init__(self, model: StepModel, device: str | torch.device) -> None:
        self.model, self.device = model, torch.device(device)
        self.name = f"PyTorch on {self.device.type}"

    def open(self) -> None:
        """Put the model on the device, in eval mode.

        Raises:
            EnvironmentProblem: there is no such device.
        """
        if self.device.type == "cuda":
            _require_cuda("PyTorch on cuda")
        self.model.to(self.device).eval()

    def close(self) -> None:
        """The model stays: it is the caller's."""

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(B, ...) by name -> (B, classes)."""
        return self.model(**{name: value.to(self.device) for name, value in inputs.items()}).float().cpu()


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

    def close(self) -> None:
        """Let the session go."""
        self.session = None

    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(B, ...) by name -> (B, classes).

        Raises:
            InputError: the graph does not take these inputs.
        """
        feeds = {name: value.contiguous().numpy() for name, value in inputs.items()}
        with self._refusals():
            return torch.from_numpy(self.session.run(None, feeds)[0]).float()

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except DasError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise input_error(
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
        from exporters.tensorrt import load_engine

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
        self.inputs = [name for name in names if is_input[name]]
        (self.output,) = (name for name in names if not is_input[name])

    def close(self) -> None:
        """Let the engine and its memory go."""
        self.context = self.engine = self.stream = None

    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(B, ...) by name -> (B, classes).

        Raises:
            InputError: a shape outside the engine's profile.
        """
        # Not the default stream: TensorRT would synchronise the device around every call.
        with torch.cuda.stream(self.stream):
            given = {name: inputs[name].to("cuda", self.dtypes[name]).contiguous() for name in self.inputs}
            for name, value in given.items():
                if not self.context.set_input_shape(name, tuple(value.shape)):
                    raise input_error(
                        f"{name} of shape {tuple(value.shape)}",
                        f"a shape inside the profile of {self.plan.name}",
                        "das export --trt --batch MIN:OPT:MAX",
                    )
                self.context.set_tensor_address(name, value.data_ptr())
            shape = tuple(self.context.get_tensor_shape(self.output))
            logits = torch.empty(shape, dtype=self.dtypes[self.output], device="cuda")
            self.context.set_tensor_address(self.output, logits.data_ptr())
            if not self.context.execute_async_v3(self.stream.cuda_stream):
                raise RuntimeError(f"TensorRT could not execute {self.plan}")
            self.stream.synchronize()
        return logits.float().cpu()


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


def open_session(model: Path | bytes, provider: str, threads: int | None = None) -> Any:
    """An ONNX Runtime session of ``model`` that runs on exactly ``provider``.

    Raises:
        EnvironmentProblem: ONNX Runtime is missing, or would run on another provider.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = threads or 0  # 0: its own choice
    available = onnxruntime.get_available_providers()
    session = onnxruntime.InferenceSession(model, options, providers=[provider]) if provider in available else None
    # A provider whose libraries do not load is replaced by the CPU without an exception; only this tells.
    used = session.get_providers()[0] if session else f"none ({', '.join(available)} are available)"
    if used != provider:
        raise environment_problem(
            f"ONNX Runtime {onnxruntime.__version__} would use {used}",
            provider,
            "das doctor shows what is missing; for a GPU: pip install 'das-toolkit[gpu]'",
        )
    return session


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


def _require_cuda(purpose: str) -> None:
    if not torch.cuda.is_available():
        raise environment_problem("no CUDA device", f"a GPU, for {purpose}", "use another runtime, or a GPU machine")
