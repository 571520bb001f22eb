"""Latency of several calls, measured in interleaved turns, and the confidence of their ratio."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from pydantic import computed_field

from compressor.progress import QUIET, Progress
from compressor.values import Value

Call = Callable[[], object]
Sample = tuple[float, float | None]  # milliseconds by the wall clock, and between CUDA events
Clock = Callable[[Call], Sample]
Turn = Callable[[], Sequence[Sample]]

WARM_UP_CALLS = 3
WARM_UP_SECONDS = 0.2
LEAST_TURNS = 10
MOST_ROUNDS = 3
BLOCK_MS = 20.0
EQUAL = 0.01
SEED = 0
BOOTSTRAP_DRAWS = 2000
CONFIDENCE = 0.95


class Latency(Value):
    """Time of one call end to end, in milliseconds, from all of ``samples_ms`` in the order they were taken.

    ``spread`` is the standard deviation over the mean. ``throughput`` is samples per second at this batch size.
    ``gpu_p50_ms`` is the median of what CUDA events on PyTorch's stream saw of the call, None where there are none.
    ``turns`` says how many of the samples were taken in each turn; empty for one in each.
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

    def medians_ms(self) -> np.ndarray:
        """Return the median of each turn, (turns,)."""
        times = np.asarray(self.samples_ms)
        if not self.turns:
            return times
        return np.array([np.median(part) for part in np.split(times, np.cumsum(self.turns)[:-1])])


class Speedup(Value):
    """Time of the full model over time of the slim one, with a 95 % bootstrap interval, and what to make of it.

    It is significant when the whole interval is more than 1 % away from 1: smaller differences are treated as equal.
    """

    ratio: float
    low: float
    high: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def significant(self) -> bool:
        """Return whether one of the two is faster by more than chance and by more than 1 %."""
        return self.low > 1 + EQUAL or self.high < 1 - EQUAL

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> str:
        """Return the ratio and its interval in words."""
        interval = f"(95 % interval {self.low:.2f} to {self.high:.2f})"
        if not self.significant:
            return f"no significant speed-up: {self.ratio:.2f}x {interval}"
        return (
            f"{self.ratio:.2f}x faster {interval}" if self.ratio > 1 else f"slower: only {self.ratio:.2f}x {interval}"
        )

    @property
    def width(self) -> float:
        """Return the interval's width as a share of the ratio."""
        return (self.high - self.low) / self.ratio


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

    turns = {name: turn_of(call) for name, call in calls.items()}
    return take_turns(turns, seconds=seconds, batch=batch, least_turns=least_turns, progress=progress, label=label)


def take_turns(
    turns: Mapping[str, Turn],
    *,
    seconds: float,
    batch: int = 1,
    least_turns: int = LEAST_TURNS,
    settled: Callable[[Mapping[str, Latency]], bool] = lambda latencies: True,
    progress: Progress = QUIET,
    label: str = "timing",
) -> dict[str, Latency]:
    """Let ``turns`` follow each other, A B B A, until each has had ``least_turns`` and ``seconds`` have gone by.

    Taking turns keeps a slow drift of the machine out of the comparison. While what was found is not ``settled``, the
    same time is spent again, ``MOST_ROUNDS`` times in all at most.
    """
    order = list(turns)
    samples: dict[str, list[Sequence[Sample]]] = {name: [] for name in order}
    numbers, parts = itertools.count(), max(1, math.ceil(seconds))
    for round_ in range(1, MOST_ROUNDS + 1):
        start = time.perf_counter()
        for part in progress.track(
            range(1, parts + 1), label if round_ == 1 else f"noisy machine, {label} again", parts
        ):
            share = part / parts
            wanted = (round_ - 1 + share) * least_turns
            while time.perf_counter() - start < share * seconds or len(samples[order[0]]) < wanted:
                for name in order if next(numbers) % 2 == 0 else reversed(order):
                    samples[name].append(turns[name]())
        latencies = {name: _of_turns(blocks, batch) for name, blocks in samples.items()}
        if settled(latencies):
            break
    return latencies


def time_burst(call: Call, clock: Clock) -> tuple[Sample, ...]:
    """Time one burst of calls: a single one, or as many as fit into 20 ms.

    Before several, one call is not counted: it finds the caches as another process left them.
    """
    first = clock(call)
    if first[0] >= BLOCK_MS:
        return (first,)
    samples = [clock(call)]
    while sum(wall for wall, _ in samples) < BLOCK_MS:
        samples.append(clock(call))
    return tuple(samples)


def warm_up(call: Call) -> None:
    """Call it at least three times and for 0.2 seconds."""
    end = time.perf_counter() + WARM_UP_SECONDS
    for done in itertools.count():
        if done >= WARM_UP_CALLS and time.perf_counter() >= end:
            return
        call()


def summarise_times(
    samples_ms: Sequence[float], batch: int = 1, gpu_ms: Sequence[float] = (), turns: Sequence[int] = ()
) -> Latency:
    """Return quantiles (linear between samples), mean and spread of times in ms; ``turns`` are counts of each turn."""
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
    )


def _of_turns(blocks: Sequence[Sequence[Sample]], batch: int) -> Latency:
    samples = list(itertools.chain.from_iterable(blocks))
    gpu = [gpu for _, gpu in samples if gpu is not None]
    return summarise_times([wall for wall, _ in samples], batch, gpu, [len(block) for block in blocks])


def estimate_speedup(full: Latency, slim: Latency) -> Speedup:
    """Return the speed-up of ``slim`` over ``full``, both from one :func:`take_turns`.

    Of each turn the median counts. Two turns, A B and B A, make a pair of ratios whose geometric mean knows neither a
    steady drift nor which of the two came first; the estimate is the mean of the middle half of these, so that a turn
    in which the machine was busy with something else does not move it. The interval is a percentile bootstrap over
    the pairs of turns.
    """
    logs = np.log(full.medians_ms()) - np.log(slim.medians_ms())
    pairs = np.array([logs[at : at + 2].mean() for at in range(0, len(logs), 2)])
    draws = np.random.default_rng(SEED).choice(pairs, size=(BOOTSTRAP_DRAWS, len(pairs)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.exp(np.quantile(_middle_mean(draws), (tail, 1 - tail))).tolist()
    return Speedup(ratio=float(np.exp(_middle_mean(pairs))), low=low, high=high)


def _middle_mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of the middle half along the last axis."""
    ordered, cut = np.sort(values, axis=-1), values.shape[-1] // 4
    return ordered[..., cut : values.shape[-1] - cut].mean(-1)
