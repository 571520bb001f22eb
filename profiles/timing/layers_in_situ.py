"""Times of single layers in a runtime, taken while the whole model runs."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from compressor.costs.macs import count_macs
from compressor.costs.parts import BRIDGES, HEAD, PROLOGUE, SKIP, blocks_of
from compressor.families import FAMILIES
from compressor.models.steps import StepModel, Streams, steps_of
from compressor.progress import QUIET, Progress
from exporters.runtimes import RUNTIMES, find_runtime
from exporters.runtimes.runtime import SHARED, ModelSource, Runtime
from profiles.timing.latency import LEAST_TURNS, WARM_UP_CALLS, Call, cuda_clock, order_of_round, wall_clock
from profiles.timing.layer_times import OVERHEAD, LayerTime, LayerTimes

MOST_TURNS = 100  # the profiler of ONNX Runtime keeps every kernel of every call in memory


@dataclass(frozen=True)
class Work:
    """The work of a part of a model in one call, in any runtime; the fields are those of :class:`LayerTime`."""

    name: str
    pool: str
    macs: int
    bytes: int


def count_work(model: StepModel, inputs: Mapping[str, Tensor]) -> tuple[Work, ...]:
    """Count MACs and bytes of the prologue, every step and the head, in the order they run.

    Args:
        model: in eval mode, on the CPU.
        inputs: (B, ...) by name.
    """
    macs, moved = count_macs(model, inputs), _traffic(model, inputs)
    pools = {step.name: SKIP if step.skipped else step.pool or BRIDGES for step in steps_of(model.rounds)}
    counted = {PROLOGUE: macs.by_pool[PROLOGUE], **macs.by_step, HEAD: macs.by_pool[HEAD]}
    return tuple(Work(name, pools.get(name, name), counted[name], moved[name]) for name in counted)


def time_layers(
    runtime: str,
    subjects: Mapping[str, ModelSource],
    work: Mapping[str, Sequence[Work]],
    inputs: Mapping[str, Tensor],
    *,
    device: str,
    threads: int,
    seconds: float,
    progress: Progress = QUIET,
) -> tuple[LayerTimes, ...]:
    """Time the layers of ``subjects`` in turns, each model by itself and watched.

    In PyTorch a layer takes from before its block to behind it, between CUDA events on a GPU. In ONNX Runtime it takes
    what its kernels take by the runtime's own profiler.

    Args:
        runtime: one that supports per-layer timing (see :func:`explain_unseen`).
        subjects: the models by name, "full", "slim".
        work: of each, from :func:`count_work` on the same inputs.
        inputs: (B, ...) by name.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads of every session; PyTorch's are the caller's.
        seconds: time to measure for; a slow model may need longer.
        progress: told about it.

    Raises:
        InputError: an ONNX file that is missing or cannot be run.
    """
    backend, clock = find_runtime(runtime), cuda_clock if device == "cuda" else wall_clock
    whole_ms: dict[str, list[float]] = {which: [] for which in subjects}

    def alone(which: str) -> None:
        whole_ms[which].append(clock(watched[which].alone)[0])

    with ExitStack() as stack:
        watched = {which: backend.watch(source, inputs, device, threads, stack) for which, source in subjects.items()}
        calls = [call for which, watch in watched.items() for call in (partial(alone, which), watch.watched)]
        turns = _take_turns(calls, seconds, progress, f"timing layers in {runtime}")
        alone_ms = {which: median(times[-turns:]) for which, times in whole_ms.items()}
        layer_ms = {which: _medians(watch.taken(alone_ms[which]), turns) for which, watch in watched.items()}
    return tuple(_times(backend, which, alone_ms[which], work[which], layer_ms[which]) for which in subjects)


def explain_unseen(runtime: Runtime, device: str) -> str | None:
    """Return why layers cannot be told apart in ``runtime`` on ``device`` ("cpu" or "cuda"); None where they can."""
    if not runtime.between:
        return f"layers are seen in {', '.join(one.name for one in RUNTIMES if one.between)} only"
    return runtime.hides_layers(device) or None


def _take_turns(calls: Sequence[Call], seconds: float, progress: Progress, label: str) -> int:
    """Warm up, then make all calls in turns as often as ``seconds`` allow; returns how often."""
    for _ in range(WARM_UP_CALLS):
        started = time.perf_counter()
        for call in calls:
            call()
        once = time.perf_counter() - started
    turns = min(MOST_TURNS, max(LEAST_TURNS, round(seconds / once)))
    for turn in progress.track(range(turns), label, turns):
        for call in order_of_round(calls, turn):
            call()
    return turns


def _times(
    runtime: Runtime, which: str, whole_ms: float, work: Iterable[Work], layer_ms: Mapping[str, float]
) -> LayerTimes:
    """Return all of a model's entries; a part without kernels (rows that are only passed on) took no time."""
    entries = [
        LayerTime(name=part.name, pool=part.pool, ms=layer_ms.get(part.name, 0.0), macs=part.macs, bytes=part.bytes)
        for part in work
    ]
    if SHARED in layer_ms:
        entries.append(LayerTime(name=SHARED, pool=SHARED, ms=layer_ms[SHARED], macs=0))
    rest = whole_ms - sum(entry.ms for entry in entries)
    entries.append(LayerTime(name=runtime.between, pool=OVERHEAD, ms=rest, macs=0))
    return LayerTimes(runtime=runtime.name, which=which, whole_ms=whole_ms, layers=tuple(entries))


def _medians(times_by_layer: Mapping[str, Sequence[float]], turns: int) -> dict[str, float]:
    return {name: median(times[-turns:]) for name, times in times_by_layer.items()}


@torch.inference_mode()
def _traffic(model: StepModel, inputs: Mapping[str, Tensor]) -> dict[str, int]:
    """Count the bytes of the weights, the inputs and the outputs of every block in one call, each once.

    Of an embedding's table only the rows that are looked up are read: as much as it writes. The head reads one token
    of a stream, or all of them where it reads their mean.
    """
    streams = model.prologue(**inputs)
    moved = {PROLOGUE: _size(inputs.values()) + _size(streams.values())}
    for round_ in model.rounds:
        written: Streams = {}
        for step in round_:
            after = model.advance(streams, ((step,),))
            written |= {name: after[name] for name in step.writes}
            read = [streams[name] for name in step.reads if name in streams]
            moved[step.name] = _size([*read, *(after[name] for name in step.writes)])
        streams = {**streams, **written}
    readout = FAMILIES[model.family].readout(model.dims, model.task)
    pooled = [x if readout[name] in ("mean", "all") else x[:, :1] for name, x in streams.items() if name in readout]
    moved[HEAD] = _size([*pooled, model.epilogue(streams)])
    return {name: size + _weights(blocks_of(model)[name]) for name, size in moved.items()}


def _weights(block: nn.Module) -> int:
    modules = (module for module in block.modules() if not isinstance(module, nn.Embedding))
    return _size([weight for module in modules for weight in module.parameters(recurse=False)])


def _size(tensors: Collection[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
