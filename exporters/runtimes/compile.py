"""torch.compile: executes what it makes of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.runtimes.runtime import Probe
from exporters.runtimes.torch import Torch

if TYPE_CHECKING:
    from collections.abc import Iterator


class Compile(Torch):
    """PyTorch with the model compiled for the shapes of its inputs."""

    name = "compile"
    aliases = ("torch.compile",)
    title = "torch.compile"
    by_default = False  # compiling a large model takes minutes
    times_layers = False
    between = ""  # its code is one for all layers
    compiled = True

    def check(self, device: str) -> None:
        """Look for the device and for a C++ compiler."""
        from exporters.runtimes.torch_runner import require_compiler

        super().check(device)
        require_compiler()

    def probe(self) -> Iterator[Probe]:
        """What torch.compile calls."""
        from compressor.errors import DasError
        from exporters.runtimes.torch_runner import require_compiler

        try:
            require_compiler()
        except DasError as error:
            problem = error.problems[0]
            yield Probe(self.title, False, problem.found, problem.fix)
        else:
            yield Probe(self.title, True, "there is a C++ compiler")


RUNTIME = Compile()
