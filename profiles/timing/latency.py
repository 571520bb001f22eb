"""Latency of several calls, measured in interleaved turns."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from compressor.progress import QUIET, Progress
from compressor.values import Value

T = TypeVar("T")
Call = Callable[[], object]
Sample = tuple[float, float | None]  # milliseconds by the wall clock, and between CUDA events
Clock = Callable[[Call], Sample]
Turn = Callable[[], Sequence[Sample]]
Turns = Sequence[Sequence[Sample]]  # the samples of each turn of one process

WARM_UP_CALLS = 3
WARM_UP_SECONDS = 0.2
LEAST_TURNS = 10
BLOCK_MS = 20.0
LONG_MS = 200.0  # a call of which what others left in the caches and of their threads is a small part


class Latency(Value):
    """Time of one call end to end, in milliseconds, from all of ``samples_ms`` in the order they were taken.

    ``spread`` is the standard deviation over the mean. ``throughput`` is samples per second at this batch size.
    ``gpu_p50_ms`` is the median of what CUDA events on PyTorch's stream saw of the call, None where there are none.
    ``turns`` says how many of the samples were taken in each turn, empty for one in each; ``processes`` how many of the
    turns in each process, empty for one process.
    """

    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    min_ms: float
    max_ms: float
    spread: float
    n: int
    throughput: float
    gpu_p50_ms: float | None
    samples_ms: tuple[float, ...]
    turns: tuple[int, ...] = ()
    processes: tuple[int, ...] = ()

    def medians_ms(self) -> np.ndarray:
        """Return the median of each turn, (turns,)."""
        times = np.asarray(self.samples_ms)
        if not self.turns:
            return times
        return np.array([np.median(part) for part in np.split(times, np.cumsum(self.turns)[:-1])])


def wall_clock(call: Call) -> tuple[float, None]:
    """Return the milliseconds of ``call`` on a device that works synchronously."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3, None


def cuda_clock(call: Call) -> tuple[float, float]:
    """Return the milliseconds of ``call`` until the GPU is done: by the wall clock, and between two CUDA events."""
    import torch

    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start = time.perf_counter()
    before.record()
    call()
    after.record()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) * 1e3, before.elapsed_time(after)


def measure(
    calls: Mapping[str, Call],
    *,
    seconds: float,
    batch: int = 1,
    clock: Clock = wall_clock,
    least_turns: int = LEAST_TURNS,
    progress: Progress = QUIET,
    label: str = "timing",
) -> dict[str, Latency]:
    """Time ``calls`` of this process in turns, one call a turn, as :func:`take_turns` does.

    Each call is warmed up before, by count and by time, and that is not part of ``seconds``.

    Args:
        calls: what to time, by name; each takes one batch of ``batch`` samples through a model.
        seconds: time to measure for; a slow model may need longer for its ``least_turns``.
        batch: samples in one call.
        clock: times one call.
        least_turns: how many calls of each at least.
        progress: told of every second, under ``label``.
        label: what is being timed.
    """
    for call in calls.values():
        warm_up(call)

    def turn_of(call: Call) -> Turn:
        return lambda: (clock(call),)

    turns = take_turns(
        {name: turn_of(call) for name, call in calls.items()},
        seconds=seconds,
        least_turns=least_turns,
        progress=progress,
        label=label,
    )
    return {name: summarise_turns([blocks], batch) for name, blocks in turns.items()}


def take_turns(
    turns: Mapping[str, Turn],
    *,
    seconds: float,
    least_turns: int = LEAST_TURNS,
    progress: Progress = QUIET,
    label: str = "timing",
) -> Mapping[str, Turns]:
    """Let ``turns`` follow each other until each has had ``least_turns`` and ``seconds`` have gone by.

    Taking turns keeps a slow drift of the machine out of the comparison.
    """
    order = tuple(turns)
    samples: dict[str, list[Sequence[Sample]]] = {name: [] for name in order}
    numbers, parts = itertools.count(), max(1, math.ceil(seconds))
    start = time.perf_counter()
    for part in progress.track(range(1, parts + 1), label, parts):
        share = part / parts
        while time.perf_counter() - start < share * seconds or len(samples[order[0]]) < share * least_turns:
            for name in order_of_round(order, next(numbers)):
                samples[name].append(turns[name]())
    return samples


def order_of_round(names: Sequence[T], number: int) -> Sequence[T]:
    """Return the order in which ``names`` have their turns in a round: A B, B A; or A B C, B C A, C A B.

    So none is early more often than another, or has its turn more often after itself.
    """
    first = number % len(names)
    return (*names[first:], *names[:first])


def time_burst(call: Call, clock: Clock) -> tuple[Sample, ...]:
    """Time one burst: at least one call, and as many as fit into 20 ms, after one that is not counted.

    That one finds the caches as another process left them, and its threads still awake: a sixth of the time of a model
    of 30 ms. Only a call of 200 ms or more is counted as it comes.
    """
    first = clock(call)
    if first[0] >= LONG_MS:
        return (first,)
    samples = [clock(call)]
    while sum(wall for wall, _ in samples) < BLOCK_MS:
        samples.append(clock(call))
    return tuple(samples)


def warm_up(call: Call) -> None:
    """Call it at least three times and for 0.2 seconds; twice where the second call still takes 200 ms."""
    end = time.perf_counter() + WARM_UP_SECONDS
    for done in itertools.count(1):
        took, _ = wall_clock(call)
        if (done > 1 and took >= LONG_MS) or (done >= WARM_UP_CALLS and time.perf_counter() >= end):
            return


def summarise_turns(processes: Sequence[Turns], batch: int = 1) -> Latency:
    """Return the latency of the samples that the turns of each process took; ``batch`` is that of a call."""
    turns = list(itertools.chain.from_iterable(processes))
    samples = list(itertools.chain.from_iterable(turns))
    gpu = [gpu for _, gpu in samples if gpu is not None]
    counts = tuple(len(turn) for turn in turns)
    return summarise_times([wall for wall, _ in samples], batch, gpu, counts, [len(process) for process in processes])


def summarise_times(
    samples_ms: Sequence[float],
    batch: int = 1,
    gpu_ms: Sequence[float] = (),
    turns: Sequence[int] = (),
    processes: Sequence[int] = (),
) -> Latency:
    """Return quantiles (linear between samples), mean and spread of times in ms.

    Args:
        samples_ms: in the order they were taken.
        batch: samples of data in one call.
        gpu_ms: between CUDA events.
        turns: counts of the samples of each turn.
        processes: counts of the turns of each process.
    """
    times = np.asarray(samples_ms)
    p50, p90, p99 = np.percentile(times, (50, 90, 99)).tolist()
    return Latency(
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        mean_ms=times.mean(),
        min_ms=times.min(),
        max_ms=times.max(),
        spread=times.std() / times.mean(),
        n=len(times),
        throughput=batch * 1e3 / times.mean(),
        gpu_p50_ms=float(np.median(gpu_ms)) if gpu_ms else None,
        samples_ms=tuple(round(time, 4) for time in samples_ms),
        turns=tuple(turns) if any(count != 1 for count in turns) else (),
        processes=tuple(processes) if len(processes) > 1 else (),
    )
