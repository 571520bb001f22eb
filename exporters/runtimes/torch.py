"""PyTorch: executes the model itself."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from exporters.runtimes.runtime import ModelSource, Probe, Runtime, Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import ExitStack

    from torch import Tensor, nn

    from exporters.graph.precision import Precision
    from exporters.runtimes.runner import Runner


class Torch(Runtime):
    """PyTorch as the model was written."""

    name = "torch"
    aliases = ("pytorch",)
    title = "PyTorch"
    module = "torch"
    packages = ("torch",)
    precisions = ("fp32", "fp16", "bf16")
    casts = ("fp16", "bf16")
    seen_by_torch = True
    by_default = True
    times_layers = True
    between = "between layers"
    compiled = False  # whether torch.compile compiles it

    def check(self, device: str) -> None:
        """Look for the device."""
        from compressor.device import choose_device

        choose_device(device)

    def open(self, source: ModelSource, device: str, threads: int | None = None) -> Runner:
        """Return a runner; the CPU threads are the caller's own."""
        from exporters.runtimes.torch_runner import TorchRunner

        model, dtype = load_model(source), source.precision.dtype
        return TorchRunner(model, device, self.compiled, source.inputs, dtype)

    def refuses(self, precision: Precision, device: str) -> str:
        """Where the machine has no products of this kind they are emulated: slower than float32, and worse."""
        from compressor.device import missing_products

        if precision.name not in self.precisions:
            return f"{self.title} computes in {', '.join(self.precisions)}"
        return missing_products(precision.dtype, device)

    def watch(
        self, source: ModelSource, inputs: Mapping[str, Tensor], device: str, threads: int, stack: ExitStack
    ) -> Watched:
        """Time layers from before their blocks to behind them; on a GPU between CUDA events, and not in a graph."""
        from compressor.costs.parts import blocks_of
        from compressor.models.steps import StepModel
        from exporters.runtimes.torch_runner import TorchRunner, time_blocks

        model = load_model(source)
        assert isinstance(model, StepModel), "modules without steps have no layers to watch"
        runner = stack.enter_context(TorchRunner(model, device, dtype=source.precision.dtype))
        call, taken = runner.bind_once(inputs), {name: list[float]() for name in blocks_of(model)}

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


def load_model(source: ModelSource) -> nn.Module:
    """Return the model in its precision, every weight copied.

    Full and slim come from different files, and one of them may be mapped instead of read. Whoever shares a model that
    is rounded keeps it as it was.
    """
    import torch

    model, dtype = source.load(), source.precision.dtype
    if dtype != torch.float32:
        return deepcopy(model).to(dtype)
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
    return model


RUNTIME = Torch()
