"""Conditions of the machine during a measurement: other load, stolen time, the GPU's state."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil

from compressor.values import Value
from exporters.gpu import ask_driver

GPU_FIELDS = ("name", "clocks.sm", "clocks.mem", "temperature.gpu", "power.draw", "utilization.gpu")

BUSY = 0.05  # of all cores' time; more than that in other hands is said


class Conditions(Value):
    """The machine during a measurement of ``seconds``.

    ``others`` is the share of all cores' time that other processes used, ``stolen`` what the host of a virtual machine
    gave to its other guests. ``gpu`` is what nvidia-smi says of clocks, temperature and power after it, None without.
    """

    seconds: float
    others: float
    stolen: float
    gpu: str | None

    @property
    def remark(self) -> str:
        """Return the caveats of times; empty on a quiet machine."""
        shares = {"other processes used": self.others, "the host took": self.stolen}
        busy = [f"{what} {share:.0%} of the CPU time" for what, share in shares.items() if share > BUSY]
        return " and ".join(busy)


@contextmanager
def watch(processes: Iterable[int], gpu: bool = False) -> Iterator[list[Conditions]]:
    """Observe the machine before and after a block; afterwards the yielded list holds its conditions.

    Args:
        processes: the numbers of those that are measured: their CPU time is not that of others.
        gpu: whether to ask nvidia-smi, too.
    """
    watched = [psutil.Process(number) for number in (*processes, psutil.Process().pid)]
    conditions: list[Conditions] = []
    started, before, cpu_seconds = time.monotonic(), psutil.cpu_times(), _seconds_of(watched)
    yield conditions
    after, cpu_seconds = psutil.cpu_times(), _seconds_of(watched) - cpu_seconds
    idle = sum(getattr(after, name, 0.0) - getattr(before, name, 0.0) for name in ("idle", "iowait"))
    stolen = getattr(after, "steal", 0.0) - getattr(before, "steal", 0.0)
    total = max(_total(after) - _total(before), 1e-9)
    conditions.append(
        Conditions(
            seconds=time.monotonic() - started,
            others=max(0.0, (total - idle - stolen - cpu_seconds) / total),
            stolen=max(0.0, stolen / total),
            gpu=ask_driver(GPU_FIELDS).strip() or None if gpu else None,
        )
    )


def join_conditions(parts: Sequence[Conditions]) -> Conditions:
    """Return the conditions of all parts of a measurement together; of the GPU those at its end."""
    seconds = sum(part.seconds for part in parts)
    others, stolen = (
        sum(getattr(part, share) * part.seconds for part in parts) / seconds for share in ("others", "stolen")
    )
    return Conditions(seconds=seconds, others=others, stolen=stolen, gpu=parts[-1].gpu)


def _seconds_of(processes: Iterable[psutil.Process]) -> float:
    """Sum the CPU time of processes in seconds; one that ended counts as 0."""
    total = 0.0
    for process in processes:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _total(times: object) -> float:
    """Sum all kinds of time; guests' time is part of users'."""
    fields = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    return float(sum(getattr(times, name, 0.0) for name in fields))
