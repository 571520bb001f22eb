"""PyTorch as a runner, by itself and as torch.compile makes it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from compressor.costs.parts import blocks_of
from compressor.device import compute_fp32_exactly
from compressor.errors import DasError, environment_problem, first_line
from compressor.families import FAMILIES
from compressor.models.steps import StepModel
from exporters.runtimes.cuda_graphs import NotCaptured, capture, describe_captured, describe_uncaptured
from exporters.runtimes.runner import Bound, Runner, require_cuda

COMPILER_MODES: Mapping[str, str] = {"cpu": "default", "cuda": "max-autotune-no-cudagraphs"}
"""How torch.compile compiles: on a GPU it times kernels for every product, and what it made is captured here."""


class TorchRunner(Runner):
    """PyTorch by itself, or as torch.compile makes it.

    Args:
        model: called with its inputs by name; returns one tensor. It is moved to the device.
        device: "cpu" or "cuda".
        compiled: whether torch.compile compiles it.
        inputs: names of its inputs, of a module that is no step model: those are declared by their families.
        dtype: of the model's weights, which it computes in. Whoever calls it gives and gets float32 all the same.
    """

    def __init__(
        self,
        model: nn.Module,
        device: str | torch.device,
        compiled: bool = False,
        inputs: Sequence[str] = (),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.model, self.device, self.compiled, self.dtype = model, torch.device(device), compiled, dtype
        mode = COMPILER_MODES[self.device.type]
        self.called = torch.compile(self._compute, mode=mode) if compiled else self._compute
        self.name = f"{'torch.compile' if compiled else 'PyTorch'} on {self.device.type}"
        self.input_names, self.output_names = tuple(inputs), ("output",)
        self.family = FAMILIES[model.family] if isinstance(model, StepModel) else None
        if self.family and isinstance(model, StepModel):
            (output,) = self.family.outputs_of(model.task)
            self.input_names, self.output_names = self.family.input_names, (output.name,)

    def open(self) -> None:
        """Put the model on the device, in eval mode.

        Raises:
            EnvironmentProblem: there is no such device, or no compiler for torch.compile.
        """
        if self.device.type == "cuda":
            require_cuda(self.name)
        compute_fp32_exactly(self.device)
        if self.compiled:
            require_compiler()
        self.model.to(self.device).eval()

    def close(self) -> None:
        """The model stays: it is the caller's."""

    def _compute(self, **inputs: Tensor | None) -> Tensor:
        cast = {name: x.to(self.dtype) if x is not None and x.is_floating_point() else x for name, x in inputs.items()}
        return self.model(**cast).float()

    def bind(self, inputs: Mapping[str, Tensor]) -> Bound:
        """(B, ...) by name, put on the device. A compiled model is compiled for inputs of this shape here.

        Raises:
            EnvironmentProblem: torch.compile fails.
        """
        call = self._call(inputs)
        once = self._bound(call)
        if self.device.type != "cuda":
            return once
        try:
            graph = capture(call)
        except NotCaptured as error:
            return replace(once, launch=describe_uncaptured(error))
        # The call, kept by ``once``, holds the inputs that the graph reads.
        outputs = {self.output_names[0]: graph.output}
        return Bound(graph.replay, lambda: outputs, describe_captured(graph.bytes), uncaptured=once.execute)

    def bind_once(self, inputs: Mapping[str, Tensor]) -> Bound:
        """Do the same without a CUDA graph."""
        return self._bound(self._call(inputs))

    def _call(self, inputs: Mapping[str, Tensor]) -> Callable[[], Tensor]:
        """Return the call of the model on ``inputs``, compiled where it is to be."""
        needed = self.family.without_idle_mask(inputs) if self.family else inputs
        given = {name: None if value is None else value.to(self.device) for name, value in needed.items()}

        @torch.inference_mode()
        def call() -> Tensor:
            return self.called(**given)

        if self.compiled:
            with _compiling():
                call()
        return call

    def _bound(self, call: Callable[[], Tensor]) -> Bound:
        left: dict[str, Tensor] = {}

        def execute() -> None:
            left[self.output_names[0]] = call()

        return Bound(execute, lambda: left)


def time_blocks(model: StepModel, call: Callable[[], object], device: str) -> dict[str, float]:
    """Return the milliseconds of every block in one call of ``model``, by its name."""
    mark, elapsed = _MARKS[device]
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}

    def noting(marks: dict[str, Any], name: str) -> Callable[..., None]:
        def note(*_: object) -> None:
            marks[name] = mark()

        return note

    blocks = blocks_of(model)
    hooks = [block.register_forward_pre_hook(noting(before, name)) for name, block in blocks.items()]
    hooks += [block.register_forward_hook(noting(after, name)) for name, block in blocks.items()]
    try:
        call()
        if device == "cuda":
            torch.cuda.synchronize()
    finally:
        for hook in hooks:
            hook.remove()
    return {name: elapsed(before[name], after[name]) for name in blocks}


def _cuda_mark() -> Any:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


_MARKS: Mapping[str, tuple[Callable[[], Any], Callable[[Any, Any], float]]] = {
    "cpu": (time.perf_counter, lambda before, after: (after - before) * 1e3),
    "cuda": (_cuda_mark, lambda before, after: before.elapsed_time(after)),
}
"""A mark in time, and the milliseconds between two of them."""


def require_compiler() -> None:
    """Look for what torch.compile calls.

    Raises:
        EnvironmentProblem: there is no C++ compiler.
    """
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if not shutil.which(compiler):
        raise _no_compiler("compiler-missing", f"no C++ compiler {compiler}")


@contextmanager
def _compiling() -> Iterator[None]:
    from torch._dynamo.exc import TorchDynamoException  # takes seconds to import

    try:
        yield
    except TorchDynamoException as error:
        raise _no_compiler("compiler-fails", f"torch.compile fails here ({first_line(error)})") from error


def _no_compiler(code: str, found: str) -> DasError:
    fix = "apt-get install g++ python3-dev, or set CXX to the compiler that is here"
    return environment_problem(code, found, "a C++ compiler that torch.compile can use", fix)
