"""The machine and the software of a profile."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from compressor.saved_run.manifest import versions
from compressor.values import Value
from exporters.runtimes import RUNTIMES

PACKAGES = (*(package for runtime in RUNTIMES for package in runtime.packages), "onnx", "fvcore")


class Environment(Value):
    """The machine and its software; ``load`` is the one-minute load average before the measurement began."""

    device: str
    machine: str
    processor: str
    cores: int
    threads: int
    load: float
    versions: dict[str, str]

    @property
    def cpu_threads(self) -> str:
        """Return the number of threads, for people: "2 CPU threads"."""
        return f"{self.threads} CPU thread{'s' * (self.threads > 1)}"


def describe_environment(device: str, threads: int) -> Environment:
    """Describe this machine; ``device`` is "cpu" or "cuda", ``threads`` how many CPU threads the runtimes may use."""
    import torch

    installed = versions()
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            installed[package] = version(package)
    return Environment(
        device=f"cuda ({torch.cuda.get_device_name()})" if device == "cuda" else "cpu",
        machine=f"{platform.machine()} {platform.system()}",
        processor=_processor(),
        cores=os.cpu_count() or 1,
        threads=threads,
        load=psutil.getloadavg()[0],
        versions=installed,
    )


def _processor() -> str:
    """Return the CPU's name, which Linux tells in /proc alone."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
