"""torch.compile: executes what it makes of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.runtimes.runtime import Source
from exporters.runtimes.torch import Torch, own_weights

if TYPE_CHECKING:
    from exporters.runtimes.runner import Runner


class Compile(Torch):
    """PyTorch with the model compiled for the shapes of its inputs."""

    name = "compile"
    aliases = ("torch.compile",)
    title = "torch.compile"
    by_default = False  # compiling a large model takes minutes
    times_layers = False

    def check(self, device: str) -> None:
        """Look for the device and for a C++ compiler."""
        from exporters.runtimes.torch_runner import require_compiler

        super().check(device)
        require_compiler()

    def open(self, source: Source, device: str, threads: int | None = None) -> Runner:
        """The CPU threads are the caller's own."""
        from exporters.runtimes.torch_runner import TorchRunner

        return TorchRunner(own_weights(source.load()), device, compiled=True)


RUNTIME = Compile()
