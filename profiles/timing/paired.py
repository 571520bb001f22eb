"""Models in runtimes, each in a process of its own, timed in interleaved turns, again and again in fresh processes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO

from compressor.progress import QUIET, Progress
from exporters.runtimes import find_runtime
from profiles.comparison.full_vs_slim import Started
from profiles.machine.conditions import Conditions, join_conditions, watch
from profiles.machine.energy import Meter, find_meter
from profiles.machine.kernels import Launch, describe_launches
from profiles.machine.memory import Memory
from profiles.timing import latency, template
from profiles.timing.latency import Latency, Sample, Turns, summarise_turns, take_turns
from profiles.timing.speedups import Speedup, estimate_speedup
from profiles.timing.sweeps import BATCH, IMAGE, TEXT, THREADS, Sweep, SweepPoint
from profiles.timing.template import Process, Template
from profiles.timing.worker import FULL, SLIM, Setting, Worker, WorkerRequest, command_of

LEAST_TURNS = 16
USUAL_GROUPS, LEAST_GROUPS = 6, 3  # of fresh processes, one for each model
SECONDS_OF_A_GROUP = 4.0  # there are more groups where they would be timed for longer
LOADING_SHARE = 0.5  # of the time that models are timed, that loading them again may take
PRECISE = 0.05  # width of a speed-up's interval, as a share of it, above which a machine is called noisy
Requests = Mapping[str, WorkerRequest]
Measure = Callable[[Mapping[str, Worker], int], None]
FIELDS = {BATCH: "batch", TEXT: "text_length", IMAGE: "image_size"}


@dataclass(frozen=True)
class Timed:
    """Measurements of several models by name.

    Attributes:
        times: of a call.
        started: seconds to load each the first time.
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


def time_models(requests: Requests, seconds: float, progress: Progress, starts: Template | None = None) -> Timed:
    """Time any number of models in turns, in several groups of fresh processes; each speed-up is that over the first.

    Args:
        requests: by name; the models may be run by different runtimes, but on one device.
        seconds: how long they are timed, all together.
        progress: told about it.
        starts: starts their processes; None makes a template for them.

    Raises:
        EnvironmentProblem: a process died or cannot run its model.
    """
    first, *others = requests
    batch, on_gpu = requests[first].setting.batch, requests[first].device == "cuda"
    meter = find_meter(requests[first].device)
    turns: dict[str, list[Turns]] = {name: [] for name in requests}
    meters = {name: _Meter(meter) for name in requests}
    conditions: list[Conditions] = []
    started: dict[str, Started] = {}
    memory: dict[str, Memory | None] = {}
    launches: dict[str, Launch] = {}

    def measure(workers: Mapping[str, Worker], groups: int) -> None:
        for worker in workers.values():
            worker.warm_up()
        last = len(conditions) + 1 == groups  # asking the driver takes seconds
        with watch([worker.pid for worker in workers.values()], on_gpu and last) as seen:
            taken = take_turns(
                {name: meters[name].turn(worker) for name, worker in workers.items()},
                seconds=seconds / groups,
                least_turns=_share_of_turns(LEAST_TURNS, groups),
            )
        conditions.extend(seen)
        for name, worker in workers.items():
            turns[name].append(taken[name])
            if name not in started:
                started[name] = worker.started
                memory[name] = worker.memory() if _visible(worker.request) else None
                if on_gpu:
                    launches[name] = worker.launch()

    _in_fresh_processes(requests, seconds, measure, f"timing {_named(requests)}", progress, starts)
    times = {name: summarise_turns(taken, batch) for name, taken in turns.items()}
    launched = describe_launches(launches, {name: entry.p50_ms for name, entry in times.items()})
    width = max((estimate_speedup(times[first], times[name]).width for name in others), default=0.0)
    together = join_conditions(conditions)
    return Timed(
        times=times,
        started=started,
        memory=memory,
        joules=meter
        if isinstance(meter, str)
        else {name: entry.joules / entry.calls for name, entry in meters.items()},
        meter="" if isinstance(meter, str) else meter.name,
        conditions=together,
        remark="; ".join(filter(None, (launched, _remark(width, together)))),
    )


def time_sweep(requests: Requests, sweep: Sweep, seconds: float, progress: Progress) -> Iterator[SweepPoint]:
    """Time "full" and "slim" at every value of ``sweep``: threads belong to a process, all else can be changed in one.

    Args:
        requests: of both.
        sweep: what is changed.
        seconds: how long they are timed at each value, both together.
        progress: told about it.

    Raises:
        EnvironmentProblem: as :func:`time_models`.
    """
    if sweep.axis == THREADS:
        for value in sweep.values:
            others = {which: request.model_copy(update={"threads": value}) for which, request in requests.items()}
            yield from _points(others, sweep.axis, {value: requests[FULL].setting}, seconds, progress)
        return
    setting = requests[FULL].setting
    settings = {value: setting.model_copy(update={FIELDS[sweep.axis]: value}) for value in sweep.values}
    yield from _points(requests, sweep.axis, settings, seconds, progress)


def count_groups(seconds: float, loading: float) -> int:
    """Return how many groups of fresh processes are measured.

    Args:
        seconds: that models are timed for, in all groups together.
        loading: seconds that it takes to start one more group.
    """
    wanted = max(USUAL_GROUPS, int(seconds // SECONDS_OF_A_GROUP))
    return max(LEAST_GROUPS, min(wanted, 1 + int(seconds * LOADING_SHARE // loading)))


def _points(
    requests: Requests, axis: str, settings: Mapping[int, Setting], seconds: float, progress: Progress
) -> Iterator[SweepPoint]:
    turns: dict[int, dict[str, list[Turns]]] = {value: {which: [] for which in requests} for value in settings}

    def measure(workers: Mapping[str, Worker], groups: int) -> None:
        for value, setting in settings.items():
            for worker in workers.values():
                worker.bind(setting)
            taken = take_turns(
                {which: worker.turn for which, worker in workers.items()},
                seconds=seconds / groups,
                least_turns=_share_of_turns(latency.LEAST_TURNS, groups),
            )
            for which in workers:
                turns[value][which].append(taken[which])

    runtime = requests[FULL].runtime
    label = f"timing {axis} {', '.join(map(str, settings))} in {runtime}"
    _in_fresh_processes(requests, seconds * len(settings), measure, label, progress)
    for value, setting in settings.items():
        full, slim = (summarise_turns(turns[value][which], setting.batch) for which in (FULL, SLIM))
        speedup = estimate_speedup(full, slim)
        yield SweepPoint(axis=axis, value=value, runtime=runtime, full=full, slim=slim, speedup=speedup)


def _in_fresh_processes(
    requests: Requests,
    seconds: float,
    measure: Measure,
    label: str,
    progress: Progress,
    given: Template | None = None,
) -> None:
    """Call ``measure`` with one group of fresh processes after the other, and with the number of all groups.

    Every other group is loaded the other way round: where a model's weights lie depends on who came before.
    """
    with ExitStack() as stack:
        starts = given or stack.enter_context(Template(command_of(requests.values())))
        began = time.perf_counter()
        with _workers(requests, starts.start, progress) as workers:
            loading = sum(w.started.load_seconds + w.started.first_call_seconds for w in workers.values())
            if not template.CAN_FORK:
                loading = time.perf_counter() - began
            groups = count_groups(seconds, loading)
            bar = stack.enter_context(progress.bar(label, groups))
            measure(workers, groups)
        for number in range(1, groups):
            bar.advance()
            ordered = list(requests.items())[:: -1 if number % 2 else 1]
            with _workers(dict(ordered), starts.start, QUIET) as workers:
                measure(workers, groups)
        bar.advance()


def _share_of_turns(least: int, groups: int) -> int:
    """Return how many turns there are in each group at least, an even number, so that there are ``least`` in all."""
    return 2 * math.ceil(least / 2 / groups)


def _visible(request: WorkerRequest) -> bool:
    """Return whether the memory that a model takes is seen: PyTorch's counters do not see all of a GPU's."""
    return request.device != "cuda" or find_runtime(request.runtime).seen_by_torch


def _named(requests: Requests) -> str:
    """Return the names of what is timed and of the runtimes."""
    *most, last = requests
    runtimes = dict.fromkeys(request.runtime for request in requests.values())
    return f"{' and '.join(filter(None, (', '.join(most), last)))} in {', '.join(runtimes)}"


class _Meter:
    """The energy that went by during the turns of one model."""

    def __init__(self, meter: Meter | str) -> None:
        self.meter, self.joules, self.calls = meter, 0.0, 0

    def turn(self, worker: Worker) -> Callable[[], Sequence[Sample]]:
        """Return turns of ``worker`` that are metered, where they can be."""
        if isinstance(self.meter, str):
            return worker.turn
        read = self.meter.read

        def metered() -> Sequence[Sample]:
            before = read()
            samples = worker.turn()
            self.joules += read() - before
            self.calls += len(samples) + (len(samples) > 1)  # several come with one that is not counted
            return samples

        return metered


@contextmanager
def _workers(
    requests: Requests, start: Callable[[IO[str]], Process], progress: Progress
) -> Iterator[dict[str, Worker]]:
    """Start a process for each request, one after the other so that the seconds of each are its own."""
    with ExitStack() as stack:
        workers = {}
        for name, request in requests.items():
            with progress.stage(f"loading {name} in {request.runtime}"):
                workers[name] = stack.enter_context(Worker(request, start))
        yield workers


def _remark(width: float, conditions: Conditions) -> str:
    wide = f"the interval is {width:.0%} of the ratio wide, measure longer (--seconds)"
    parts = ([wide] if width > PRECISE else []) + ([conditions.remark] if conditions.remark else [])
    return f"noisy machine: {'; '.join(parts)}" if parts else ""
