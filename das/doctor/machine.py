"""What this machine has of what das can use, what stands in its way, and the commands that mend it."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from pydantic import computed_field

from compressor.errors import DasError
from compressor.values import Value

SCHEMA_VERSION = 1
OURS = "das-toolkit"
NEEDED = ("torch", "transformers", "onnx")  # by everything that is looked at behind the packages
SHOWN = (*NEEDED, "fvcore")  # with their versions; of the others only what is wrong
ELSEWHERE = ("AzureExecutionProvider",)  # providers that run nothing on this machine
QUERY = ("name", "driver_version", "compute_cap", "memory.total", "memory.free")
SECONDS = 10.0  # for nvidia-smi to answer


class Item(Value):
    """One thing looked at: ``found`` says what is there, ``fix`` is a command when something is missing."""

    name: str
    ok: bool
    found: str
    fix: str | None = None


class Need(Value):
    """What one stage of a command takes of one resource, in bytes, and what is free of it; ``parts`` by what for.

    ``fix`` is a command that needs less, or what to do; None where there is enough.
    """

    stage: str
    resource: str
    parts: Mapping[str, int]
    free: int
    fix: str | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> int:
        """Everything together."""
        return sum(self.parts.values())

    @computed_field  # type: ignore[prop-decorator]
    @property
    def enough(self) -> bool:
        """Whether as much is free."""
        return self.total <= self.free


class Needs(Value):
    """The estimates for a checkpoint or a run: parameters and bytes of its weights in float32, and its stages."""

    subject: str
    family: str
    task: str
    parameters: int
    weights: int
    stages: tuple[Need, ...]


class Health(Value):
    """What ``das doctor`` prints; ``needs`` are estimates for the model it was asked about, None without one."""

    schema_version: int = SCHEMA_VERSION
    items: tuple[Item, ...]
    needs: Needs | None = None


def check_health(subject: Path | None = None) -> Health:
    """Look at the machine, packages, devices, execution providers and compilers, and at what ``subject`` takes.

    Args:
        subject: a checkpoint to compress or a run to export.

    Raises:
        InputError: ``subject`` is neither, or cannot be read.
    """
    items = (_machine(), _python(), *_packages())
    if not all(map(_version, NEEDED)):
        return Health(items=items)
    needs = _needs(subject) if subject else None
    return Health(items=(*items, *_gpu(), *_onnxruntime(), *_tensorrt(), _compiler()), needs=needs)


def _needs(subject: Path) -> Needs:
    from das.doctor.estimates import estimate

    return estimate(subject)


def _machine() -> Item:
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(".")
    found = (
        f"{platform.machine()}, {os.cpu_count()} cores, {memory.available >> 30} of {memory.total >> 30} GiB of memory "
        f"free, {disk.free >> 30} of {disk.total >> 30} GiB of this disk"
    )
    return Item(name="machine", ok=True, found=found)


def _python() -> Item:
    return Item(name="python", ok=True, found=platform.python_version())


def _packages() -> Iterator[Item]:
    """The packages das stands on, and of the others those of versions that it does not declare to work with."""
    declared = (requires(OURS) if _version(OURS) else None) or ()  # none where das runs from its sources
    ranges = {wanted.name: wanted.specifier for wanted in map(Requirement, declared)}
    for name in (*SHOWN, *(name for name in ranges if name not in SHOWN)):
        found, wanted = _version(name), ranges.get(name, SpecifierSet())
        fits = found is not None and wanted.contains(found, prereleases=True)
        if found is not None and not fits:
            yield Item(name=name, ok=False, found=f"{found}, not {wanted}", fix=f"pip install '{name}{wanted}'")
        elif name in SHOWN:
            fix = None if fits else f"pip install {OURS}"
            yield Item(name=name, ok=fits, found=found or "not installed", fix=fix)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpu() -> Iterator[Item]:
    """The driver's own list of GPUs, and whether PyTorch can use them."""
    import torch

    listed = gpus_of(_ask_driver())
    yield from (Item(name=f"GPU {number}", ok=True, found=found) for number, found in enumerate(listed))
    built = torch.version.cuda
    if torch.cuda.is_available():
        yield Item(name="CUDA", ok=True, found=f"{torch.cuda.get_device_name()}, PyTorch's CUDA {built}")
    elif built is None:
        fix = "pip install --force-reinstall torch" if listed else "on a machine with a GPU: pip install torch"
        yield Item(name="CUDA", ok=False, found="a CPU build of PyTorch", fix=fix)
    else:
        fix = (
            f"a driver for CUDA {built}, or a PyTorch for the driver: nvidia-smi shows both" if listed else "nvidia-smi"
        )
        yield Item(name="CUDA", ok=False, found=f"PyTorch's CUDA {built} finds no device, or no driver", fix=fix)


def _ask_driver() -> str:
    """What nvidia-smi says of every GPU, a line each; empty where there is no driver."""
    try:
        asked = ["nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def gpus_of(answer: str) -> tuple[str, ...]:
    """The lines of nvidia-smi, memory in MiB, as sentences."""
    lines = (line.split(", ") for line in answer.splitlines() if line.count(", ") == len(QUERY) - 1)
    return tuple(
        f"{name}, driver {driver}, compute capability {capability}, {free} of {total} MiB free"
        for name, driver, capability, total, free in lines
    )


def _onnxruntime() -> Iterator[Item]:
    cpu, gpu = _version("onnxruntime"), _version("onnxruntime-gpu")
    if cpu and gpu:  # both own the folder onnxruntime/; the CPU one wins, silently
        fix = f"pip uninstall -y onnxruntime onnxruntime-gpu && pip install '{OURS}[gpu]'"
        yield Item(name="onnxruntime", ok=False, found=f"{cpu} and onnxruntime-gpu {gpu} over each other", fix=fix)
        return
    if not cpu and not gpu:
        yield Item(name="onnxruntime", ok=False, found="not installed", fix=f"pip install '{OURS}[cpu]'")
        return
    import torch

    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        fix = f"pip install --force-reinstall '{OURS}[{'gpu' if gpu else 'cpu'}]'"
        yield Item(name="onnxruntime", ok=False, found=f"installed, but: {error}", fix=fix)
        return
    yield Item(name="onnxruntime", ok=True, found=f"{'GPU' if gpu else 'CPU'} build {gpu or cpu}")
    yield from cuda_conflict(torch.version.cuda, getattr(onnxruntime, "cuda_version", None))
    yield from (_provider(name) for name in onnxruntime.get_available_providers() if name not in ELSEWHERE)


def cuda_conflict(torch_cuda: str | None, wanted: str | None) -> Iterator[Item]:
    """PyTorch and ONNX Runtime built for different major versions of CUDA, whose libraries do not do for each other.

    Args:
        torch_cuda: what PyTorch was built for, None for a CPU build.
        wanted: what onnxruntime-gpu was built for, None or empty for a CPU build.
    """
    if not torch_cuda or not wanted or torch_cuda.split(".")[0] == wanted.split(".")[0]:
        return
    found = f"PyTorch brings CUDA {torch_cuda}, onnxruntime-gpu needs CUDA {wanted.split('.')[0]}"
    fix = f"pip install 'onnxruntime-gpu[cuda,cudnn]', or a PyTorch for CUDA {wanted.split('.')[0]}"
    yield Item(name="CUDA libraries", ok=False, found=found, fix=fix)


def _provider(name: str) -> Item:
    """Run the smallest sum there is: a provider whose libraries are missing is listed all the same."""
    try:
        works = _doubles(name)
    except DasError as error:
        problem = error.problems[0]
        return Item(name=name, ok=False, found=f"listed, but {problem.found}", fix=problem.fix)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        return Item(
            name=name, ok=False, found=f"listed, but {_first_line(error)}", fix=f"pip install '{OURS}[gpu]', nvidia-smi"
        )
    found = "ran a graph" if works else "ran a graph and gave a wrong answer"
    return Item(name=name, ok=works, found=found, fix=None if works else "pip install --force-reinstall onnxruntime")


def _doubles(provider: str) -> bool:
    import numpy as np
    from onnx import TensorProto, helper

    from exporters.runtimes.sessions import open_session

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "double", [x], [y])
    # Old versions, which every ONNX Runtime reads.
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    given = np.array([1.0, -2.0], dtype=np.float32)
    (found,) = open_session(model.SerializeToString(), provider).run(None, {"x": given})
    return bool((found == 2 * given).all())


def _tensorrt() -> Iterator[Item]:
    from exporters.runtimes.tensorrt_engine import RTX, TENSORRT

    for package, module in (("tensorrt", TENSORRT), ("tensorrt-rtx", RTX)):
        fix = f"pip install '{OURS}[{package}]'"
        try:
            loaded = importlib.import_module(module)
        except (ImportError, OSError) as error:  # libraries or driver missing show as either
            reason = f"installed, but: {error}" if _version(package) else "not installed"
            yield Item(name=package, ok=False, found=reason, fix=fix)
            continue
        yield _builder(package, loaded)


def _builder(package: str, trt: Any) -> Item:
    """Whether the package can build engines here."""
    try:
        trt.Builder(trt.Logger(trt.Logger.ERROR))
    except Exception as error:  # TypeError from pybind11 where there is no driver
        found = f"{trt.__version__} loads and builds nothing: {_first_line(error)}"
        fix = f"a driver (nvidia-smi shows it), or pip install '{OURS}[tensorrt-rtx]', which needs none"
        return Item(name=package, ok=False, found=found, fix=fix)
    return Item(name=package, ok=True, found=f"{trt.__version__} loads and builds")


def _compiler() -> Item:
    from exporters.runtimes.torch_runner import require_compiler

    try:
        require_compiler()
    except DasError as error:
        problem = error.problems[0]
        return Item(name="torch.compile", ok=False, found=problem.found, fix=problem.fix)
    return Item(name="torch.compile", ok=True, found="there is a C++ compiler")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
