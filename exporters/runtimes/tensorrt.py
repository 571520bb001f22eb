"""TensorRT and TensorRT-RTX: execute an engine that was built from an ONNX file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compressor.errors import environment_problem
from exporters.runtimes.runtime import Runtime, Source

if TYPE_CHECKING:
    from exporters.runtimes.runner import Runner


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
    built_on_demand = False  # an engine may need options that only the user knows

    def check(self, device: str) -> None:
        """Look for a GPU and for a TensorRT that builds for it."""
        from exporters.runtimes.tensorrt_engine import find_target

        if device != "cuda":
            found = f"TensorRT runs on GPUs, and this is the {device}"
            raise environment_problem("tensorrt-without-gpu", found, "a GPU", "--device cuda, on a machine with one")
        find_target()

    def open(self, source: Source, device: str, threads: int | None = None) -> Runner:
        """The engine in the file."""
        from exporters.runtimes.tensorrt_runner import TensorRTRunner

        assert source.file
        return TensorRTRunner(source.file)


RUNTIME = TensorRT()
