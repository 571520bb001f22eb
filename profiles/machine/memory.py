"""Memory that one model needs in one runtime, watched from inside the process that runs it alone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import psutil

from compressor.unneeded_memory import give_back
from compressor.values import Value

CALLS = 3
INTERVAL_SECONDS = 0.002


class Memory(Value):
    """Resident memory of a process in bytes, and what PyTorch took on the GPU.

    ``before`` is the interpreter with its libraries, ``loaded`` with the model and its inputs, what loading left behind
    given back, ``peak`` the most while the model runs, sampled every 2 ms. ``gpu_allocated`` is
    PyTorch's peak there, None where it cannot be read.
    """

    before: int
    loaded: int | None = None
    peak: int
    gpu_allocated: int | None = None

    @property
    def activations(self) -> int | None:
        """Return the peak less the loaded size."""
        return None if self.loaded is None else max(0, self.peak - self.loaded)


def read_resident() -> int:
    """Return the resident bytes of this process, each page once, mapped files included."""
    return psutil.Process().memory_info().rss


def watch_calls(call: Callable[[], object], before: int, gpu: bool) -> Memory:
    """Run ``call`` a few times and watch this process.

    Args:
        call: executes the model.
        before: resident bytes before the model was loaded.
        gpu: whether PyTorch's counters see what it takes on the GPU.
    """
    import torch

    give_back()  # or the checkpoint that was read would count as the model's
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    with _watch() as sizes:
        for _ in range(CALLS):
            call()
    return Memory(
        before=before,
        loaded=sizes[0],
        peak=max(sizes),
        gpu_allocated=torch.cuda.max_memory_allocated() if gpu else None,
    )


@contextlib.contextmanager
def _watch() -> Iterator[list[int]]:
    """Sample the resident size while the block runs; the list has at least the sizes at its start and its end."""
    sizes, stop = [read_resident()], threading.Event()

    def sample() -> None:
        while not stop.wait(INTERVAL_SECONDS):
            sizes.append(read_resident())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield sizes
    finally:
        stop.set()
        thread.join()
        sizes.append(read_resident())
