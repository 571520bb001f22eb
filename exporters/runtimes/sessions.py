"""ONNX Runtime's sessions, the only place where one is opened, and the runner on top of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compressor.device import cpu_instructions, may_saturate
from compressor.errors import DasError, environment_problem, input_error, one_line
from exporters.runtimes.cuda_graphs import NotCaptured, describe_captured, describe_uncaptured, require_same, taken
from exporters.runtimes.runner import Bound, Refused, Runner, refused

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
OPTIMISED = "optimised.onnx"
UNCAPTURED = -1  # in place of the number of a CUDA graph
DEVICES: Mapping[str, str] = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda"}
"""Where ONNX Runtime's execution providers read and write."""
PROVIDERS = {device: provider for provider, device in DEVICES.items()}
SLOW_FUSIONS: Mapping[str, tuple[str, ...]] = {"CPUExecutionProvider": ("SkipLayerNormFusion",)}
"""Optimisers that are off: on CPUs the sum and the norm in one kernel take five times as long as in two."""
SPIN_MICROSECONDS = 100
"""How long a thread that waits keeps its core busy before it sleeps: longer than pauses in calls of small models."""
OPTIONS: Mapping[str, Mapping[str, str]] = {"CUDAExecutionProvider": {"use_tf32": "0"}}  # fp32 means fp32


class OnnxRunner(Runner):
    """ONNX Runtime with exactly the execution provider that was asked for."""

    def __init__(self, path: Path, provider: str = "CPUExecutionProvider", threads: int | None = None) -> None:
        self.path, self.provider, self.threads = path, provider, threads
        self.name = f"ONNX Runtime, {provider}"
        self.session: Any = None
        self.singly = ""  # on a GPU, why no call becomes a CUDA graph
        self._graphs = itertools.count(1)  # their numbers: one for each inputs that were bound

    def open(self) -> None:
        """Create the session.

        Raises:
            InputError: no such file, or one that ONNX Runtime cannot load.
            EnvironmentProblem: ONNX Runtime is missing, or would run on another provider.
        """
        import_onnxruntime()
        if not self.path.is_file():
            raise input_error("export-missing", f"no file {self.path}", "an exported ONNX file", "das export --onnx")
        with self._refusals():
            self.session = self._open_session()
        self.input_names = tuple(entry.name for entry in self.session.get_inputs())
        self.output_names = tuple(entry.name for entry in self.session.get_outputs())

    def _open_session(self) -> Any:
        if self.provider == CUDA and not self.singly:
            try:
                return open_session(self.path, self.provider, self.threads, cuda_graphs=True)
            except DasError:
                raise
            except Exception as error:  # it has nodes on the CPU, or control flow; what else is wrong is wrong below
                self.singly = one_line(error)
        return open_session(self.path, self.provider, self.threads)

    def close(self) -> None:
        """Let the session go."""
        self.session = None

    def bind(self, inputs: Mapping[str, Tensor]) -> Bound:
        """(B, ...) by name, put on the provider's device. On a GPU the model runs once here, to be captured.

        Raises:
            InputError: an input is missing. Shapes that the graph does not take are found by the first call.
        """
        if self.provider != CUDA:
            return self.bind_once(inputs)
        if not self.singly:
            try:
                return self._captured(inputs)
            except NotCaptured as error:
                self.singly = str(error)
                self.session = self._open_session()  # the other one may be left in the middle of a capture
        return replace(self.bind_once(inputs), launch=describe_uncaptured(self.singly))

    def bind_once(self, inputs: Mapping[str, Tensor]) -> Bound:
        """Do the same without a CUDA graph."""
        given, binding = self._bind_inputs(inputs)
        for name in self.output_names:
            binding.bind_output(name, DEVICES[self.provider])

        def outputs() -> dict[str, Tensor]:
            return dict(zip(self.output_names, map(torch.from_numpy, binding.copy_outputs_to_cpu()), strict=True))

        return Bound(self._run(given, binding, UNCAPTURED), outputs)

    def _captured(self, inputs: Mapping[str, Tensor]) -> Bound:
        """Bind outputs to memory that stays where it is, too, and capture a call; compare its replay with a call.

        Raises:
            NotCaptured: ONNX Runtime cannot capture it, or the replay answers otherwise.
        """
        once, before = self.bind_once(inputs), taken()
        once()
        expected = once.outputs()
        places = {name: torch.zeros_like(value, device="cuda") for name, value in expected.items()}
        given, binding = self._bind_inputs(inputs)
        for name, place in places.items():
            binding.bind_output(name, "cuda", 0, _numpy_type(place), tuple(place.shape), place.data_ptr())
        replay = self._run({**given, **places}, binding, next(self._graphs))
        try:
            replay()  # captures
        except Refused as error:
            raise NotCaptured(error.problems[0].found) from error
        for place in places.values():
            place.zero_()
        torch.cuda.synchronize()
        replay()
        for name, place in places.items():
            require_same(place, expected[name])

        def outputs() -> dict[str, Tensor]:
            return {name: place.cpu() for name, place in places.items()}

        return Bound(replay, outputs, describe_captured(max(0, taken() - before)), uncaptured=once.execute)

    def _bind_inputs(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
        """Return the inputs on the provider's device, and a binding of them."""
        device, binding = DEVICES[self.provider], self.session.io_binding()
        given = {name: x.to(device).contiguous() for name, x in self.select(inputs).items()}
        with self._refusals():
            for name, value in given.items():
                binding.bind_input(name, device, 0, _numpy_type(value), tuple(value.shape), value.data_ptr())
        if device == "cuda":
            torch.cuda.synchronize()  # ONNX Runtime's stream does not wait for PyTorch's copies
        return given, binding

    def _run(self, held: Mapping[str, Tensor], binding: Any, graph: int) -> Callable[[], None]:
        """Return the call of the session; what was bound is ``held`` while there is that call.

        Args:
            held: the tensors, of which the binding has addresses only.
            binding: of inputs and outputs.
            graph: number of the CUDA graph that the first call captures and each later one replays.
        """
        session, options = self.session, run_options(graph) if self.provider == CUDA else None

        def execute() -> None:
            assert held
            with self._refusals():
                session.run_with_iobinding(binding, options)

        return execute

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except DasError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise refused(
                "runtime-refused",
                f"ONNX Runtime cannot run {self.path} ({one_line(error)})",
                "an ONNX file and inputs that fit it",
                "das export --onnx again, perhaps with another --opset",
            ) from error


def import_onnxruntime() -> Any:
    """Return the onnxruntime module.

    Raises:
        EnvironmentProblem: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise environment_problem(
            "onnxruntime-missing",
            f"ONNX Runtime cannot be imported ({error})",
            "ONNX Runtime",
            "pip install 'das-toolkit[cpu]'",
        ) from None
    return onnxruntime


def run_options(graph: int) -> Any:
    """Return the options of a call that is, or becomes, the CUDA graph of this number; -1 is a call by itself."""
    options = import_onnxruntime().RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options


def session_options(threads: int | None = None) -> Any:
    """Return the options of das's ONNX Runtime sessions: CPU ``threads``, by default as many as PyTorch's; no remarks.

    Threads spin for a moment only, and stop when a call ends. Where another process has a core, a thread that waits for
    the other half of a product would otherwise take the time that this half needs; of two models that are timed in
    turns, the one at rest would take a core from the other.
    On CPUs whose products of uint8 and int8 saturate, int8 weights beyond 7 bits are made uint8, which is exact.
    """
    options = import_onnxruntime().SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_MICROSECONDS))
    if may_saturate(cpu_instructions()):
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def open_session(
    model: Path | bytes,
    provider: str = CPU,
    threads: int | None = None,
    *,
    cuda_graphs: bool = False,
    weights_in: Path | None = None,
    profile_in: Path | None = None,
) -> Any:
    """Return an ONNX Runtime session of ``model`` that runs on exactly ``provider``.

    Args:
        model: a file, or the bytes of one.
        provider: an execution provider.
        threads: as in :func:`session_options`.
        cuda_graphs: whether calls may be captured; each then needs :func:`run_options`.
        weights_in: folder of the weights that lie outside ``model``, where that is bytes.
        profile_in: folder for the profiler, which is on then: it gets its events, and as ``optimised.onnx`` the graph
            that is executed, without its weights.

    Raises:
        EnvironmentProblem: ONNX Runtime is missing, or would run on another provider.
    """
    onnxruntime = import_onnxruntime()
    options = session_options(threads)
    if weights_in:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(weights_in))
    outside = f"{OPTIMISED}.data"
    if profile_in:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_in / "profile")
        options.optimized_model_filepath = str(profile_in / OPTIMISED)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", outside)
    available = onnxruntime.get_available_providers()
    chosen = [(provider, {**OPTIONS.get(provider, {}), **({"enable_cuda_graph": "1"} if cuda_graphs else {})})]
    slow = list(SLOW_FUSIONS.get(provider, ()))
    session = (
        onnxruntime.InferenceSession(model, options, providers=chosen, disabled_optimizers=slow)
        if provider in available
        else None
    )
    # A provider whose libraries do not load is replaced by the CPU without an exception; only this tells.
    used = session.get_providers()[0] if session else f"none ({', '.join(available)} are available)"
    if used != provider:
        raise environment_problem(
            "provider-not-used",
            f"ONNX Runtime {onnxruntime.__version__} would use {used}",
            provider,
            "das doctor shows what is missing; for a GPU: pip install 'das-toolkit[gpu]'",
        )
    if profile_in:
        (profile_in / outside).unlink(missing_ok=True)  # as large as the model's, and nobody reads them
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


def doubles(provider: str) -> bool:
    """Return whether ``provider`` computes the smallest sum there is correctly.

    Raises:
        EnvironmentProblem: as :func:`open_session`.
    """
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "double", [x], [y])
    # Old versions, which every ONNX Runtime reads.
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    given = np.array([1.0, -2.0], dtype=np.float32)
    (found,) = open_session(model.SerializeToString(), provider).run(None, {"x": given})
    return bool((found == 2 * given).all())


def product(side: int) -> bytes:
    """Return an ONNX model that multiplies a float32 square ``a`` by a constant one, both of ``side``: ``c``."""
    from onnx import TensorProto, helper, numpy_helper

    squares = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [side, side]) for name in "ac"]
    constant = numpy_helper.from_array(np.random.default_rng(0).random((side, side), dtype=np.float32), "b")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])], "product", squares[:1], squares[1:], [constant]
    )
    # Old versions, which every ONNX Runtime reads.
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]).SerializeToString()


def _numpy_type(value: Tensor) -> np.dtype[Any]:
    return torch.empty(0, dtype=value.dtype).numpy().dtype
