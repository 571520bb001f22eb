"""Two models in one runtime, each in a process of its own, timed in interleaved turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from compressor.progress import Progress
from exporters.runtimes import find_runtime
from profiles.machine.conditions import Conditions, watch
from profiles.machine.energy import EnergyPair, Meter, find_meter
from profiles.machine.memory import Memory
from profiles.timing.latency import Latency, Sample, Speedup, Turn, estimate_speedup, take_turns
from profiles.timing.sweeps import BATCH, IMAGE, TEXT, THREADS, Sweep, SweepPoint
from profiles.timing.worker import FULL, SLIM, Setting, Started, Worker, WorkerRequest

LEAST_TURNS = 16
PRECISE = 0.05  # width of the speed-up's interval, as a share of it, above which more is measured
Requests = Mapping[str, WorkerRequest]
FIELDS = {BATCH: "batch", TEXT: "text_length", IMAGE: "image_size"}


@dataclass(frozen=True)
class Timed:
    """Measurements of "full" and "slim"; ``memory`` is None where it is hidden, ``energy`` may be a reason for none.

    ``remark`` holds caveats of the times.
    """

    times: Mapping[str, Latency]
    speedup: Speedup
    started: Mapping[str, Started]
    memory: Mapping[str, Memory] | None
    energy: EnergyPair | str
    conditions: Conditions
    remark: str


def time_pair(requests: Requests, seconds: float, progress: Progress) -> Timed:
    """Time the models of two requests, "full" and "slim", in turns.

    A machine so noisy that the speed-up's interval stays wide is measured up to three times as long.

    Raises:
        EnvironmentProblem: a process died or cannot run its model.
    """
    request = requests[FULL]
    meter, on_gpu = find_meter(request.device), request.device == "cuda"
    with _workers(requests, progress) as workers:
        for worker in workers.values():
            worker.warm_up()
        turns = {which: _Metered(worker.turn, meter) for which, worker in workers.items()}
        with watch([worker.pid for worker in workers.values()], on_gpu) as conditions:
            times = take_turns(
                turns,
                seconds=seconds,
                batch=request.setting.batch,
                least_turns=LEAST_TURNS,
                settled=lambda latencies: estimate_speedup(latencies[FULL], latencies[SLIM]).width <= PRECISE,
                progress=progress,
                label=f"timing full and slim in {request.runtime}",
            )
        visible = not on_gpu or find_runtime(request.runtime).seen_by_torch
        memory = {which: worker.memory() for which, worker in workers.items()} if visible else None
        started = {which: worker.started for which, worker in workers.items()}
    ratio = estimate_speedup(times[FULL], times[SLIM])
    energy = meter if isinstance(meter, str) else EnergyPair(meter=meter.name, **_joules(turns))
    return Timed(times, ratio, started, memory, energy, conditions[0], _remark(ratio, conditions[0]))


def time_sweep(requests: Requests, sweep: Sweep, seconds: float, progress: Progress) -> Iterator[SweepPoint]:
    """Time the models at every value of ``sweep``: threads belong to a process, all else can be changed in one.

    Raises:
        EnvironmentProblem: as :func:`time_pair`.
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


def _joules(turns: Mapping[str, _Metered]) -> dict[str, float]:
    """Return the joules of one call."""
    return {which: turn.joules / turn.calls for which, turn in turns.items()}


@contextmanager
def _workers(requests: Requests, progress: Progress) -> Iterator[dict[str, Worker]]:
    """Start a process for each request, one after the other so that the seconds of each are its own."""
    with ExitStack() as stack:
        workers = {}
        for which, request in requests.items():
            with progress.stage(f"loading {which} in {request.runtime}"):
                workers[which] = stack.enter_context(Worker(request))
        yield workers


def _remark(ratio: Speedup, conditions: Conditions) -> str:
    wide = f"the interval is still {ratio.width:.0%} of the ratio wide after {conditions.seconds:.0f} s"
    parts = ([wide] if ratio.width > PRECISE else []) + ([conditions.remark] if conditions.remark else [])
    return f"noisy machine: {'; '.join(parts)}" if parts else ""
