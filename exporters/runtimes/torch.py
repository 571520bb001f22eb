"""PyTorch: executes the model itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.runtimes.runtime import ModelSource, Probe, Runtime, Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import ExitStack

    from torch import Tensor, nn

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
    between = "between layers"

    def check(self, device: str) -> None:
        """Look for the device."""
        from compressor.device import choose_device

        choose_device(device)

    def open(self, source: ModelSource, device: str, threads: int | None = None) -> Runner:
        """Return a runner; the CPU threads are the caller's own."""
        from exporters.runtimes.torch_runner import TorchRunner

        return TorchRunner(own_weights(source.load()), device, inputs=source.inputs)

    def watch(
        self, source: ModelSource, inputs: Mapping[str, Tensor], device: str, threads: int, stack: ExitStack
    ) -> Watched:
        """Time layers from before their blocks to behind them, between CUDA events on a GPU."""
        from compressor.costs.parts import blocks_of
        from compressor.models.steps import StepModel
        from exporters.runtimes.torch_runner import TorchRunner, time_blocks

        model = own_weights(source.load())
        assert isinstance(model, StepModel), "modules without steps have no layers to watch"
        runner = stack.enter_context(TorchRunner(model, device))
        call, taken = runner.bind(inputs), {name: list[float]() for name in blocks_of(model)}

        def watched() -> None:
            for name, ms in time_blocks(model, call, device).items():
                taken[name].append(ms)

        return Watched(call, watched, lambda _: taken)

    def product(self, side: int, device: str, threads: int) -> Callable[[], object]:
        """Of two random squares on the device."""
        import torch

        a, b = (torch.rand(side, side, device=device) for _ in range(2))
        return lambda: a @ b

    def probe(self) -> Iterator[Probe]:
        """The driver's own list of GPUs, and whether PyTorch can use them."""
        import torch

        from exporters.gpu import describe_gpus

        listed, built = describe_gpus(), torch.version.cuda
        yield from (Probe(f"GPU {number}", True, found) for number, found in enumerate(listed))
        if torch.cuda.is_available():
            yield Probe("CUDA", True, f"{torch.cuda.get_device_name()}, PyTorch's CUDA {built}")
        elif built is None:
            fix = "pip install --force-reinstall torch" if listed else "on a machine with a GPU: pip install torch"
            yield Probe("CUDA", False, "a CPU build of PyTorch", fix)
        else:
            fix = f"a driver for CUDA {built}, or a PyTorch for the driver: nvidia-smi shows both"
            fix = fix if listed else "nvidia-smi"
            yield Probe("CUDA", False, f"PyTorch's CUDA {built} finds no device, or no driver", fix)


def own_weights(model: nn.Module) -> nn.Module:
    """Copy every weight: full and slim come from different files, and one of them may be mapped instead of read."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
    return model


RUNTIME = Torch()
