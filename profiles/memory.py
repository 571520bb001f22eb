"""Memory that one model needs in one runtime, measured in a process of its own.

``python -m profiles.memory '{"run": "runs/vqa", "which": "slim", "runtime": "torch", ...}'`` prints one JSON document.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch
from pydantic import BaseModel, ConfigDict

from compressor.runs import open_run
from profiles.parts import without_idle
from profiles.runtimes import RUNTIMES, Subject, inputs_of

CALLS = 3
INTERVAL_SECONDS = 0.002


class MemoryRequest(BaseModel):
    """Which model of which run to measure, and how."""

    model_config = ConfigDict(frozen=True)

    run: Path
    which: str
    runtime: str
    onnx: Path
    batch: int
    threads: int
    device: str


class Memory(BaseModel):
    """Resident memory of the process in bytes, sampled every 2 ms, and what PyTorch took on the GPU.

    ``before`` is the interpreter with its libraries, ``peak`` the most while the model runs, loading not included.
    ``gpu_allocated`` and ``gpu_reserved`` are None without a GPU.
    """

    model_config = ConfigDict(frozen=True)

    before: int
    peak: int
    gpu_allocated: int | None = None
    gpu_reserved: int | None = None


def memory(request: MemoryRequest) -> Memory | str:
    """Measure in a fresh process, so that neither model finds what the other left behind.

    Returns the measurement, or the last line the process wrote when it died (out of memory, say).
    """
    # -P: the folder that das was started in is not a place to import from.
    command = [sys.executable, "-P", "-m", "profiles.memory", request.model_dump_json()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return Memory.model_validate_json(done.stdout)
    reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return f"the measuring process ended with status {done.returncode}: {reason}"


def measure_here(request: MemoryRequest) -> Memory:
    """Load and run the model in this process and watch its memory."""
    torch.set_num_threads(request.threads)
    run, runtime, process = open_run(request.run), RUNTIMES[request.runtime], psutil.Process()
    importlib.import_module(runtime.package)
    inputs = inputs_of(run, request.batch)
    load = {"full": lambda: without_idle(run.load_full()), "slim": run.load_slim}[request.which]
    subject = Subject(load, request.onnx)
    before = process.memory_info().rss
    with runtime.open(subject, request.device, request.threads) as runner:
        bound = runner.bind(inputs)
        _give_back_what_loading_took()
        if request.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with _watch(process) as seen:
            for _ in range(CALLS):
                bound()
    return Memory(before=before, peak=max(seen), **_gpu(request))


def _give_back_what_loading_took() -> None:
    gc.collect()
    # glibc keeps freed memory; without its malloc_trim the checkpoint that was read would count as the model's.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextlib.contextmanager
def _watch(process: psutil.Process) -> Iterator[list[int]]:
    """Sample the resident size while the block runs; the list has at least the sizes at its start and its end."""
    seen, done = [process.memory_info().rss], threading.Event()

    def sample() -> None:
        while not done.wait(INTERVAL_SECONDS):
            seen.append(process.memory_info().rss)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
        seen.append(process.memory_info().rss)


def _gpu(request: MemoryRequest) -> dict[str, int]:
    """PyTorch's own peaks; memory that another runtime takes on the GPU is not in them."""
    if request.device != "cuda" or not RUNTIMES[request.runtime].seen_by_torch:
        return {}
    return {"gpu_allocated": torch.cuda.max_memory_allocated(), "gpu_reserved": torch.cuda.max_memory_reserved()}


if __name__ == "__main__":
    print(measure_here(MemoryRequest.model_validate_json(sys.argv[1])).model_dump_json())
