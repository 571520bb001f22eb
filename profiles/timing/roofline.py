"""Layers against the machine's peaks (the roofline of Williams, Waterman and Patterson, CACM 2009).

A layer that does few operations for each byte it moves cannot be faster than memory is; any other is bound by
arithmetic. Both peaks are measured: the product of two large squares by the runtime itself, and a large copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from compressor.values import Value
from exporters.runtimes import find_runtime
from profiles.timing.latency import cuda_clock, wall_clock
from profiles.timing.layer_times import LayerTime

SIDES = {"cpu": 2048, "cuda": 8192}  # of the squares
COPIED = 2**28  # bytes: more than any cache holds
SECONDS = 0.5  # for each of the two peaks
LEAST_CALLS = 3
MEMORY, ARITHMETIC = "memory", "arithmetic"


class Peaks(Value):
    """The machine's peaks in a runtime: GFLOP/s of a float32 product, and GB/s read and written by a copy."""

    runtime: str
    gflops: float
    gbs: float

    @property
    def ridge(self) -> float:
        """Return the operations per byte above which arithmetic is the bound."""
        return self.gflops / self.gbs


class Roofline(Value):
    """A layer under the roof.

    Attributes:
        gflops: GFLOP/s it reached, 2 for each MAC.
        share: of the peak.
        intensity: operations for each byte of weights and streams it reads and writes. What it writes and reads inside
            is not counted: it may stay in caches.
        bound: "memory" or "arithmetic".
    """

    gflops: float
    share: float
    intensity: float
    bound: str


def compute_roofline(layer: LayerTime, peaks: Peaks) -> Roofline | None:
    """Return the roofline of ``layer``; None where it computes nothing or took no time."""
    if not (layer.macs and layer.bytes and layer.ms > 0):
        return None
    gflops, intensity = 2 * layer.macs / layer.ms / 1e6, 2 * layer.macs / layer.bytes
    bound = ARITHMETIC if intensity >= peaks.ridge else MEMORY
    return Roofline(gflops=gflops, share=gflops / peaks.gflops, intensity=intensity, bound=bound)


def measure_peaks(runtime: str, device: str, threads: int) -> Peaks:
    """Measure both peaks, in about a second.

    Args:
        runtime: ``torch`` or ``onnxruntime``, whose own product is timed.
        device: ``cpu`` or ``cuda``; ONNX Runtime is measured on the CPU alone.
        threads: CPU threads of ONNX Runtime; PyTorch's are the caller's.
    """
    gflops = measure_product(runtime, device, threads, SIDES[device])
    return Peaks(runtime=runtime, gflops=gflops, gbs=measure_copy(device))


def measure_product(runtime: str, device: str, threads: int, side: int) -> float:
    """Return the best GFLOP/s of a float32 product of two squares of ``side``."""
    return 2 * side**3 / _best_ms(find_runtime(runtime).product(side, device, threads), device) / 1e6


def measure_copy(device: str) -> float:
    """Return the best GB/s, read and written, of PyTorch's copy of a large tensor."""
    import torch

    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    return 2 * COPIED / _best_ms(lambda: target.copy_(source), device) / 1e6


def _best_ms(call: Callable[[], object], device: str) -> float:
    clock = cuda_clock if device == "cuda" else wall_clock
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < LEAST_CALLS or time.perf_counter() < end:
        times.append(clock(call)[0])
    return min(times)
