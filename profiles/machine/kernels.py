"""What a GPU does in a call: how its kernels are launched, and how long they run. Where they wait, it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from compressor.values import Value
from profiles.formatting import format_number

CALLS = 5
LAUNCH_BOUND = 0.5  # share of a call's time: where kernels run for less, it is their launching that was timed


class Launch(Value):
    """How the kernels of a call are launched, and the milliseconds that they run, None where nobody sees them."""

    how: str
    kernels_ms: float | None


def time_kernels(call: Callable[[], object]) -> float | None:
    """Return the milliseconds that the kernels and copies of ``call`` take on the GPU, whichever library launches them.

    None where the driver does not let the profiler see them, as in some containers.
    """
    import torch
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for _ in range(CALLS):
            call()
        torch.cuda.synchronize()
    events = (event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA)
    total = sum(event.time_range.elapsed_us() for event in events if not event.is_user_annotation)
    return total / CALLS / 1e3 or None


def describe_launches(launches: Mapping[str, Launch], p50_ms: Mapping[str, float]) -> str:
    """Return how each model's kernels are launched, and which times are those of launching; empty on a CPU."""
    parts = [f"{name} {launch.how}" for name, launch in launches.items() if launch.how]
    parts += [
        f"launch-bound: in {name} the GPU is at work for {format_number(launch.kernels_ms)} of "
        f"{format_number(p50_ms[name])} ms"
        for name, launch in launches.items()
        if launch.kernels_ms is not None and launch.kernels_ms < LAUNCH_BOUND * p50_ms[name]
    ]
    return "; ".join(parts)
