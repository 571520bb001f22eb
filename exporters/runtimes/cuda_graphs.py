"""CUDA graphs: the kernels of a call are launched together, where one by one that takes longer than they run.

A graph reads and writes the same addresses at every replay: inputs are put into place once, and shapes are fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.errors import first_line

WARM_UP_CALLS = 3  # libraries choose kernels and take their memory, neither of which can be captured
SAME = 1e-2  # of the largest number, that a replay may be off by: its kernels are the call's, a wrong graph is far off


class NotCaptured(Exception):
    """A call that cannot be a CUDA graph, or whose graph answers otherwise; says why."""


@dataclass(frozen=True)
class CudaGraph:
    """A captured call: ``replay`` leaves its result in ``output``; ``bytes`` are what the graph took on the GPU."""

    replay: Callable[[], None]
    output: Tensor
    bytes: int


def capture(call: Callable[[], Tensor]) -> CudaGraph:
    """Return ``call`` as a CUDA graph, whose replay was compared with the call itself.

    Args:
        call: reads CUDA tensors that live as long as the graph does, and returns one.

    Raises:
        NotCaptured: it waits for the GPU, which no graph can, or something else in it cannot be captured.
    """
    current, stream = torch.cuda.current_stream(), torch.cuda.Stream()
    stream.wait_stream(current)
    try:
        # Libraries keep a workspace for each stream: the one that is captured is warmed up.
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_CALLS):
                call()
            with _refusing_to_wait():
                expected = call().clone()
        stream.synchronize()
        torch.cuda.empty_cache()
        before, graph = taken(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            output = call()
    except RuntimeError as error:
        torch.cuda.set_stream(current)  # a capture that failed leaves its own behind
        raise NotCaptured(first_line(error)) from error
    with torch.inference_mode():
        output.zero_()
    graph.replay()
    require_same(output, expected)
    return CudaGraph(graph.replay, output, max(0, taken() - before))


def require_same(replayed: Tensor, expected: Tensor) -> None:
    """Hold that a replay, whose output was zero before it, left what the call returned.

    Raises:
        NotCaptured: it did not.
    """
    torch.cuda.synchronize()
    error = float((replayed.double() - expected.to(replayed.device).double()).abs().max())
    if not error <= SAME * max(1.0, float(expected.abs().max())):  # also of what is not finite
        raise NotCaptured(f"replayed it answers otherwise than called, {error:.1e} apart")


def taken() -> int:
    """Return the bytes of the GPU that are in use, whoever uses them."""
    free, total = torch.cuda.mem_get_info()
    return total - free


def describe_captured(extra: int) -> str:
    """Return how a graph is launched and what it took, for people; ``extra`` in bytes."""
    return f"as a CUDA graph, which took {extra / 1e6:.0f} MB"


def describe_uncaptured(reason: object) -> str:
    """Return that kernels are launched one by one, and why, for people."""
    return f"without a CUDA graph ({reason})"


@contextmanager
def _refusing_to_wait() -> Iterator[None]:
    """Let operations fail that wait for the GPU: found here the reason is plain, and no capture is broken off."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
