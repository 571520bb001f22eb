"""The runtimes a profile compares full and slim in, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from compressor.device import choose_device
from compressor.errors import EnvironmentProblem, Problem, environment_problem
from compressor.models.steps import StepModel
from compressor.run_folder import Run
from exporters.graph.inputs import trimmed
from exporters.runtimes.runners import (
    PROVIDERS,
    OnnxRunner,
    Runner,
    TensorRTRunner,
    TorchRunner,
    require_compiler,
    require_provider,
)
from exporters.runtimes.tensorrt_engine import find_target
from profiles.comparison.matching_exports import ENGINE, ONNX, ExportedFile


@dataclass(frozen=True)
class Subject:
    """One model of a comparison: how to load it, and the exported file of it that the runtime executes, if any."""

    load: Callable[[], StepModel]
    file: Path | None = None


@dataclass(frozen=True)
class Runtime:
    """How to run a subject.

    Attributes:
        name: as users type it.
        package: the module to import.
        check: takes "cpu" or "cuda" and raises an EnvironmentProblem when the runtime cannot run there.
        seen_by_torch: whether PyTorch's CUDA events and memory counters see its work.
        open: subject, device ("cpu" or "cuda") and CPU threads to a runner that is still to be entered.
        executes: which exported file; None for the model itself.
        by_default: whether it is used when none is named.
    """

    name: str
    package: str
    check: Callable[[str], object]
    seen_by_torch: bool
    open: Callable[[Subject, str, int], Runner]
    executes: ExportedFile | None = None
    by_default: bool = True

    def file_in(self, folder: Path) -> Path | None:
        """The file that it executes of a folder of exports, whether it is there or not; None for the model itself."""
        return folder / self.executes.name() if self.executes else None


def obstacles(device: str) -> dict[str, Problem]:
    """Why runtimes cannot run on ``device`` ("cpu" or "cuda"), by name; those that can are not in it."""
    found = {}
    for name, runtime in RUNTIMES.items():
        try:
            runtime.check(device)
        except EnvironmentProblem as error:
            found[name] = error.problems[0]
    return found


def batch_of(samples: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """A batch of ``size``: the samples in order, from the first again when there are fewer."""
    return {name: rows[torch.arange(size) % len(rows)] for name, rows in samples.items()}


def inputs_of(run: Run, size: int) -> dict[str, Tensor]:
    """The first ``size`` samples of a run, without the padding that other samples of the run brought."""
    return trimmed(batch_of(run.samples(), size), run.manifest.dims.get("patch", 1))


def _open_torch(subject: Subject, device: str, threads: int) -> Runner:
    return TorchRunner(_own(subject.load()), device)


def _open_compiled(subject: Subject, device: str, threads: int) -> Runner:
    return TorchRunner(_own(subject.load()), device, compiled=True)


def _can_compile(device: str) -> None:
    choose_device(device)
    require_compiler()


def _own(model: StepModel) -> StepModel:
    """Copy every weight: full and slim come from different files, and one of them may be mapped instead of read."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
    return model


def _open_onnxruntime(subject: Subject, device: str, threads: int) -> Runner:
    assert subject.file
    return OnnxRunner(subject.file, PROVIDERS[device], threads)


def _open_tensorrt(subject: Subject, device: str, threads: int) -> Runner:
    assert subject.file
    return TensorRTRunner(subject.file)


def _can_run_engines(device: str) -> None:
    if device != "cuda":
        found = f"TensorRT runs on GPUs, and this is the {device}"
        raise environment_problem(found, "a GPU", "--device cuda, on a machine with one")
    find_target()


RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        Runtime(
            "torch",
            package="torch",
            check=choose_device,
            seen_by_torch=True,
            open=_open_torch,
        ),
        Runtime(
            "onnxruntime",
            package="onnxruntime",
            check=lambda device: require_provider(PROVIDERS[device]),
            seen_by_torch=False,
            open=_open_onnxruntime,
            executes=ONNX,
        ),
        Runtime(
            "compile",
            package="torch",
            check=_can_compile,
            seen_by_torch=True,
            open=_open_compiled,
            by_default=False,  # compiling a large model takes minutes
        ),
        Runtime(
            "tensorrt",
            package="torch",  # TensorRT itself comes with the engine: which of its packages, the passport says
            check=_can_run_engines,
            seen_by_torch=False,
            open=_open_tensorrt,
            executes=ENGINE,
            by_default=False,  # building the full model's engine takes minutes
        ),
    )
}
