"""Choose the device and the number of CPU threads."""

from __future__ import annotations

import torch

from compressor.distributed import join_processes
from compressor.errors import Problem, UsageError, environment_problem
from compressor.models.steps import StepModel

SMALL_MODEL = 5_000_000  # parameters; the published METER has 326 million


def choose_device(name: str | None) -> torch.device:
    """Return the device called ``name``; None is CUDA where there is one, else the CPU. Several processes meet here.

    Raises:
        EnvironmentProblem: CUDA was asked for and is not there, or has fewer GPUs than there are processes.
        UsageError: no such kind of device.
    """
    if name not in (None, "cpu", "cuda"):
        raise UsageError(Problem("unknown-device", f"--device {name}", "cpu or cuda", "--device cpu"))
    if name == "cuda" and not torch.cuda.is_available():
        raise environment_problem(
            "no-cuda-device", "no CUDA device", "a GPU and a CUDA build of PyTorch", "--device cpu, or das doctor"
        )
    return join_processes(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def limit_threads(model: StepModel) -> None:
    """Let PyTorch use one CPU thread for a small model: more would wait for each other longer than they work."""
    if sum(parameter.numel() for parameter in model.parameters()) < SMALL_MODEL:
        torch.set_num_threads(1)
