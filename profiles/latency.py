"""Latency of several ways to do the same thing, measured in turns, and how sure one may be of the difference."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from compressor.progress import QUIET, Progress

Call = Callable[[], object]
Clock = Callable[[Call], tuple[float, float | None]]

WARM_UP_CALLS = 3
WARM_UP_SECONDS = 0.2
LEAST_TURNS = 10
BOOTSTRAP_DRAWS = 2000
CONFIDENCE = 0.95


class Latency(BaseModel):
    """Time of one call end to end, in milliseconds, from all of ``samples_ms`` in the order they were taken.

    ``spread`` is the standard deviation over the mean. ``throughput`` is samples per second at this batch size.
    ``gpu_p50_ms`` is the median of what CUDA events on PyTorch's stream saw of the call, None where there are none.
    """

    model_config = ConfigDict(frozen=True)

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


class Speedup(BaseModel):
    """Median of the full model over median of the slim one, with a 95 % bootstrap interval, and what to make of it."""

    model_config = ConfigDict(frozen=True)

    ratio: float
    low: float
    high: float
    verdict: str


def wall_clock(call: Call) -> tuple[float, None]:
    """Milliseconds of ``call`` on a device that works synchronously."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3, None


def cuda_clock(call: Call) -> tuple[float, float]:
    """Milliseconds of ``call`` until the GPU is done: by the wall clock, and between two CUDA events."""
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
    """Time ``calls`` in turns, A B B A, until every one has had ``least_turns`` and ``seconds`` have gone by.

    Taking turns keeps a slow drift of the machine out of the comparison; each call is warmed up before, by count and by
    time, and that is not part of ``seconds``.

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
        _warm_up(call)
    order = list(calls)
    taken: dict[str, list[tuple[float, float | None]]] = {name: [] for name in order}
    start, turns, parts = time.perf_counter(), itertools.count(), max(1, math.ceil(seconds))
    for part in progress.track(range(1, parts + 1), label, parts):
        share = part / parts
        while time.perf_counter() - start < share * seconds or len(taken[order[0]]) < share * least_turns:
            for name in order if next(turns) % 2 == 0 else reversed(order):
                taken[name].append(clock(calls[name]))
    return {
        name: summarise([wall for wall, _ in times], batch, [gpu for _, gpu in times if gpu is not None])
        for name, times in taken.items()
    }


def _warm_up(call: Call) -> None:
    end = time.perf_counter() + WARM_UP_SECONDS
    for done in itertools.count():
        if done >= WARM_UP_CALLS and time.perf_counter() >= end:
            return
        call()


def summarise(samples_ms: Sequence[float], batch: int = 1, gpu_ms: Sequence[float] = ()) -> Latency:
    """Quantiles (linear between samples), mean and spread of raw times in milliseconds."""
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
    )


def speedup(full: Latency, slim: Latency, seed: int = 0) -> Speedup:
    """How much faster ``slim`` is than ``full``, both from one :func:`measure`.

    The interval is a paired percentile bootstrap: turns are drawn with replacement, each with both of its times.
    """
    pairs = np.array([full.samples_ms, slim.samples_ms])
    drawn = np.random.default_rng(seed).integers(pairs.shape[1], size=(BOOTSTRAP_DRAWS, pairs.shape[1]))
    ratios = [np.median(pairs[0, turns]) / np.median(pairs[1, turns]) for turns in drawn]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(ratios, (tail, 1 - tail)).tolist()
    ratio = full.p50_ms / slim.p50_ms
    return Speedup(ratio=ratio, low=low, high=high, verdict=_verdict(ratio, low, high))


def _verdict(ratio: float, low: float, high: float) -> str:
    interval = f"(95 % interval {low:.2f}-{high:.2f})"
    if low <= 1 <= high:
        return f"no significant speed-up: x{ratio:.2f} {interval}"
    return f"x{ratio:.2f} faster {interval}" if ratio > 1 else f"slower: only x{ratio:.2f} {interval}"
