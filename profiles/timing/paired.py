"""Models in runtimes, each in a process of its own, timed in interleaved turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from compressor.progress import Progress
from exporters.runtimes import find_runtime
from profiles.comparison.full_vs_slim import Started
from profiles.machine.conditions import Conditions, watch
from profiles.machine.energy import Meter, find_meter
from profiles.machine.memory import Memory
from profiles.timing.latency import Latency, Sample, Speedup, Turn, estimate_speedup, take_turns
from profiles.timing.sweeps import BATCH, IMAGE, TEXT, THREADS, Sweep, SweepPoint
from profiles.timing.worker import FULL, SLIM, Setting, Worker, WorkerRequest

LEAST_TURNS = 16
PRECISE = 0.05  # width of the speed-up's interval, as a share of it, above which more is measured
Requests = Mapping[str, WorkerRequest]
FIELDS = {BATCH: "batch", TEXT: "text_length", IMAGE: "image_size"}


@dataclass(frozen=True)
class Timed:
    """Measurements of several models by name.

    Attributes:
        times: of a call.
        started: seconds to load each.
        memory: None where no counter sees it.
        joules: of a call; or the reason that there are none.
        meter: name of what counted the joules; empty without one.
        conditions: of the machine meanwhile.
        remark: caveats of the times.
    """

    times: Mapping[str, Latency]
    started: Mapping[str, Started]
    memory: Mapping[str, Memory | None]
    joules: Mapping[str, float] | str
    meter: str
    conditions: Conditions
    remark: str

    def speedup(self, which: str = SLIM, over: str = FULL) -> Speedup:
        """Return how many times faster ``which`` is than ``over``."""
        return estimate_speedup(self.times[over], self.times[which])


def time_models(requests: Requests, seconds: float, progress: Progress) -> Timed:
    """Time any number of models in turns; each speed-up is that over the first.

    A machine so noisy that the interval of a speed-up stays wide is measured up to three times as long.

    Args:
        requests: by name; the models may be run by different runtimes, but on one device.
        seconds: how long they are timed, all together.
        progress: told about it.

    Raises:
        EnvironmentProblem: a process died or cannot run its model.
    """
    first, *others = requests
    request = requests[first]
    meter, on_gpu = find_meter(request.device), request.device == "cuda"

    def widest(times: Mapping[str, Latency]) -> float:
        return max((estimate_speedup(times[first], times[name]).width for name in others), default=0.0)

    with _workers(requests, progress) as workers:
        for worker in workers.values():
            worker.warm_up()
        turns = {name: _Metered(worker.turn, meter) for name, worker in workers.items()}
        with watch([worker.pid for worker in workers.values()], on_gpu) as conditions:
            times = take_turns(
                turns,
                seconds=seconds,
                batch=request.setting.batch,
                least_turns=LEAST_TURNS,
                settled=lambda latencies: widest(latencies) <= PRECISE,
                progress=progress,
                label=f"timing {_named(requests)}",
            )
        memory = {name: worker.memory() if _visible(worker.request) else None for name, worker in workers.items()}
        started = {name: worker.started for name, worker in workers.items()}
    return Timed(
        times=times,
        started=started,
        memory=memory,
        joules=meter if isinstance(meter, str) else {name: turn.joules / turn.calls for name, turn in turns.items()},
        meter="" if isinstance(meter, str) else meter.name,
        conditions=conditions[0],
        remark=_remark(widest(times), conditions[0]),
    )


def _visible(request: WorkerRequest) -> bool:
    """Return whether the memory that a model takes is seen: PyTorch's counters do not see all of a GPU's."""
    return request.device != "cuda" or find_runtime(request.runtime).seen_by_torch


def _named(requests: Requests) -> str:
    """Return the names of what is timed and of the runtimes."""
    *most, last = requests
    runtimes = dict.fromkeys(request.runtime for request in requests.values())
    return f"{' and '.join(filter(None, (', '.join(most), last)))} in {', '.join(runtimes)}"


def time_sweep(requests: Requests, sweep: Sweep, seconds: float, progress: Progress) -> Iterator[SweepPoint]:
    """Time the models at every value of ``sweep``: threads belong to a process, all else can be changed in one.

    Raises:
        EnvironmentProblem: as :func:`time_models`.
    """
    if sweep.axis == THREADS:
        for value in sweep.values:
            others = {which: request.model_copy(update={"threads": value}) for which, request in requests.items()}
            with _workers(others, progress) as workers:
                yield _point(workers, sweep.axis, value, requests[FULL].setting, seconds, progress)
        return
    with _workers(requests, progress) as workers:
        for value in sweep.values:
            setting = requests[FULL].setting.model_copy(update={FIELDS[sweep.axis]: value})
            yield _point(workers, sweep.axis, value, setting, seconds, progress)


def _point(
    workers: Mapping[str, Worker], axis: str, value: int, setting: Setting, seconds: float, progress: Progress
) -> SweepPoint:
    for worker in workers.values():
        worker.bind(setting)
    runtime = workers[FULL].request.runtime
    turns: dict[str, Turn] = {which: worker.turn for which, worker in workers.items()}
    times = take_turns(
        turns, seconds=seconds, batch=setting.batch, progress=progress, label=f"{runtime}, {axis} {value}"
    )
    full, slim = times[FULL], times[SLIM]
    return SweepPoint(
        axis=axis, value=value, runtime=runtime, full=full, slim=slim, speedup=estimate_speedup(full, slim)
    )


class _Metered:
    """Turns of a worker, with the energy that went by meanwhile."""

    def __init__(self, turn: Turn, meter: Meter | str) -> None:
        self.turn, self.meter = turn, meter
        self.joules, self.calls = 0.0, 0

    def __call__(self) -> Sequence[Sample]:
        if isinstance(self.meter, str):
            return self.turn()
        before = self.meter.read()
        samples = self.turn()
        self.joules += self.meter.read() - before
        self.calls += len(samples) + (len(samples) > 1)  # several come with one that is not counted
        return samples


@contextmanager
def _workers(requests: Requests, progress: Progress) -> Iterator[dict[str, Worker]]:
    """Start a process for each request, one after the other so that the seconds of each are its own."""
    with ExitStack() as stack:
        workers = {}
        for which, request in requests.items():
            with progress.stage(f"loading {which} in {request.runtime}"):
                workers[which] = stack.enter_context(Worker(request))
        yield workers


def _remark(width: float, conditions: Conditions) -> str:
    wide = f"the interval is still {width:.0%} of the ratio wide after {conditions.seconds:.0f} s"
    parts = ([wide] if width > PRECISE else []) + ([conditions.remark] if conditions.remark else [])
    return f"noisy machine: {'; '.join(parts)}" if parts else ""
