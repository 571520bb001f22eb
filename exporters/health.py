"""What this machine has of what das can use, and the commands that add the rest."""

from __future__ import annotations

import importlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version

import psutil
from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1


class Item(BaseModel):
    """One thing looked at: ``found`` says what is there, ``fix`` is a command when something is missing."""

    model_config = ConfigDict(frozen=True)

    name: str
    ok: bool
    found: str
    fix: str | None = None


class Health(BaseModel):
    """What ``das doctor`` prints."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    items: tuple[Item, ...]


def check_health() -> Health:
    """Look at Python, memory, packages, devices and execution providers."""
    memory = psutil.virtual_memory()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {memory.available >> 30} of {memory.total >> 30} GB free"
    items = [
        Item(name="machine", ok=True, found=machine),
        Item(name="python", ok=True, found=platform.python_version()),
    ]
    items += [_package(name) for name in ("torch", "transformers", "onnx", "fvcore")]
    return Health(items=(*items, _cuda(), *_onnxruntime(), *_tensorrt()))


def _package(name: str) -> Item:
    found = _version(name)
    return Item(
        name=name, ok=bool(found), found=found or "not installed", fix=None if found else "pip install das-toolkit"
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cuda() -> Item:
    import torch

    if torch.cuda.is_available():
        return Item(name="CUDA", ok=True, found=f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    if torch.version.cuda is None:
        return Item(
            name="CUDA", ok=False, found="a CPU build of PyTorch", fix="on a machine with a GPU: pip install torch"
        )
    return Item(name="CUDA", ok=False, found="no device, or no driver", fix="nvidia-smi")


def _onnxruntime() -> list[Item]:
    cpu, gpu = _version("onnxruntime"), _version("onnxruntime-gpu")
    if cpu and gpu:  # both own the folder onnxruntime/; the CPU one wins, silently
        fix = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'das-toolkit[gpu]'"
        return [Item(name="onnxruntime", ok=False, found=f"{cpu} and onnxruntime-gpu {gpu} over each other", fix=fix)]
    if not cpu and not gpu:
        return [Item(name="onnxruntime", ok=False, found="not installed", fix="pip install 'das-toolkit[cpu]'")]
    import onnxruntime

    providers = ", ".join(onnxruntime.get_available_providers())
    return [
        Item(
            name="onnxruntime", ok=True, found=f"{'GPU' if gpu else 'CPU'} build {gpu or cpu}; built with: {providers}"
        )
    ]


def _tensorrt() -> list[Item]:
    items = []
    for package, module, extra in (
        ("tensorrt", "tensorrt", "tensorrt"),
        ("tensorrt-rtx", "tensorrt_rtx", "tensorrt-rtx"),
    ):
        fix = f"pip install 'das-toolkit[{extra}]'"
        try:
            found = importlib.import_module(module).__version__
            items.append(Item(name=package, ok=True, found=str(found)))
        except (ImportError, OSError) as error:  # libraries or driver missing show as either
            installed = _version(package)
            reason = f"installed, but: {error}" if installed else "not installed"
            items.append(Item(name=package, ok=False, found=reason, fix=fix))
    return items
