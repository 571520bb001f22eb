"""PyTorch: executes the model itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.runtimes.runtime import Runtime, Source

if TYPE_CHECKING:
    from compressor.models.steps import StepModel
    from exporters.runtimes.runner import Runner


class Torch(Runtime):
    """PyTorch as the model was written."""

    name = "torch"
    aliases = ("pytorch",)
    title = "PyTorch"
    module = "torch"
    packages = ("torch",)
    seen_by_torch = True
    by_default = True
    times_layers = True

    def check(self, device: str) -> None:
        """Look for the device."""
        from compressor.device import choose_device

        choose_device(device)

    def open(self, source: Source, device: str, threads: int | None = None) -> Runner:
        """The CPU threads are the caller's own."""
        from exporters.runtimes.torch_runner import TorchRunner

        return TorchRunner(own_weights(source.load()), device)


def own_weights(model: StepModel) -> StepModel:
    """Copy every weight: full and slim come from different files, and one of them may be mapped instead of read."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
    return model


RUNTIME = Torch()
