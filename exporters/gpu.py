"""GPU queries to the driver: the one place that asks nvidia-smi and NVML."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

QUERY = ("name", "driver_version", "compute_cap", "memory.total", "memory.free")
SECONDS = 10.0  # for nvidia-smi to answer


def ask_driver(fields: Sequence[str], units: bool = True) -> str:
    """Return what nvidia-smi says of every GPU, a line each, fields parted by ", "; empty where there is no driver."""
    style = "csv,noheader" if units else "csv,noheader,nounits"
    try:
        command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", f"--format={style}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def describe_gpus() -> tuple[str, ...]:
    """Return a sentence for every GPU."""
    return gpus_of(ask_driver(QUERY, units=False))


def gpus_of(answer: str) -> tuple[str, ...]:
    """Return the lines of nvidia-smi, memory in MiB, as sentences."""
    lines = (line.split(", ") for line in answer.splitlines() if line.count(", ") == len(QUERY) - 1)
    return tuple(
        f"{name}, driver {driver}, compute capability {capability}, {free} of {total} MiB free"
        for name, driver, capability, total, free in lines
    )


def first_gpu() -> tuple[Any, Any]:
    """Return the module of NVML and its handle of the first GPU.

    Raises:
        ImportError: its Python package is not installed.
        Exception: NVML's own errors, which share no base class that can be named without it.
    """
    import pynvml  # type: ignore[import-not-found, import-untyped, unused-ignore]

    pynvml.nvmlInit()
    return pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)
