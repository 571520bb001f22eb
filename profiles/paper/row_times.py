"""The latency of every row's model and of the plain one, in turns in one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from compressor.families import FAMILIES
from compressor.models.steps import StepModel
from compressor.progress import Progress
from profiles.timing.latency import Latency, cuda_clock, measure, wall_clock

PLAIN = "plain model"


def time_rows(
    family: str,
    task: str,
    dims: Any,
    rows: Mapping[str, Callable[[], StepModel]],
    *,
    device: torch.device,
    seconds: float,
    progress: Progress,
) -> dict[str, Latency]:
    """Time a call of one sample through each model; all are in memory at once.

    Args:
        family: of the plain model, whose weights are drawn.
        task: whose head it has.
        dims: its sizes; parallel adapters are left out.
        rows: load the models, by name.
        device: to time on.
        seconds: how long all of them are timed together.
        progress: told about it.

    Returns:
        Latencies by name, that of the plain model under ``PLAIN``.
    """
    kind = FAMILIES[family]
    plain = kind.build(dims.model_copy(update={"parallel_width": 0}), task)
    models = {PLAIN: plain, **{name: load() for name, load in rows.items()}}
    inputs = {name: value.to(device) for name, value in kind.example_inputs(plain.dims).items()}
    clock = cuda_clock if device.type == "cuda" else wall_clock
    calls = {name: partial(model.to(device).eval(), **inputs) for name, model in models.items()}
    with torch.inference_mode():
        return measure(calls, seconds=seconds, clock=clock, progress=progress, label=f"Timing {len(calls)} models")
