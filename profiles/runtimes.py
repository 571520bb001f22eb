"""The runtimes a profile compares full and slim in, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from compressor.steps import StepModel
from exporters.runners import OnnxRunner, Runner, TorchRunner
from exporters.staging import bytes_of

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class Subject:
    """One model of a comparison: how to load it, its weights file, and where its ONNX file is or will be."""

    load: Callable[[], StepModel]
    weights: Path
    onnx: Path


@dataclass(frozen=True)
class Runtime:
    """How to run a subject.

    Attributes:
        name: as users type it.
        package: the module that must be importable.
        fix: the command that installs it.
        needs_onnx: whether it executes the ONNX file.
        open: subject, device ("cpu" or "cuda") and CPU threads to a runner that is still to be entered.
        bytes: size of the files it reads.
    """

    name: str
    package: str
    fix: str
    needs_onnx: bool
    open: Callable[[Subject, str, int], Runner]
    bytes: Callable[[Subject], int]


def batch_of(samples: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """A batch of ``size``: the samples in order, from the first again when there are fewer."""
    return {name: rows[torch.arange(size) % len(rows)] for name, rows in samples.items()}


def _open_torch(subject: Subject, device: str, threads: int) -> Runner:
    return TorchRunner(_own(subject.load()), device)


def _own(model: StepModel) -> StepModel:
    """Copy every weight: full and slim come from different files, and one of them may be mapped instead of read."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
    return model


def _open_onnxruntime(subject: Subject, device: str, threads: int) -> Runner:
    return OnnxRunner(subject.onnx, PROVIDERS[device], threads)


RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        Runtime(
            "torch",
            package="torch",
            fix="pip install torch",
            needs_onnx=False,
            open=_open_torch,
            bytes=lambda subject: subject.weights.stat().st_size,
        ),
        Runtime(
            "onnxruntime",
            package="onnxruntime",
            fix="pip install 'das-toolkit[cpu]'",
            needs_onnx=True,
            open=_open_onnxruntime,
            bytes=lambda subject: bytes_of(subject.onnx),
        ),
    )
}
