"""A TensorRT engine as a runner."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from exporters.runtimes.runner import Bound, Runner, refused, require_cuda
from exporters.runtimes.tensorrt_engine import load_engine


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
            InputError: the plan or its metadata is missing.
            EnvironmentProblem: no GPU, another GPU, or the package that built the engine is missing.
        """
        require_cuda(f"running {self.plan}")
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
        given = {name: x.to("cuda", self.dtypes[name]).contiguous() for name, x in self.select(inputs).items()}
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
                    "shape-outside-profile",
                    f"{name} of shape {tuple(value.shape)}",
                    f"a shape inside the profile of {self.plan.name}",
                    "das export --trt --batch MIN:OPT:MAX",
                )
