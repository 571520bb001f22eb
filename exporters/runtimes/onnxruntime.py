"""ONNX Runtime: executes an ONNX file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.runtimes.runtime import Runtime, Source

if TYPE_CHECKING:
    from exporters.runtimes.runner import Runner


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

    def check(self, device: str) -> None:
        """Run the smallest graph there is."""
        from exporters.runtimes.sessions import PROVIDERS, require_provider

        require_provider(PROVIDERS[device])

    def open(self, source: Source, device: str, threads: int | None = None) -> Runner:
        """A session of the file."""
        from exporters.runtimes.sessions import PROVIDERS, OnnxRunner

        assert source.file
        return OnnxRunner(source.file, PROVIDERS[device], threads)


RUNTIME = OnnxRuntime()
