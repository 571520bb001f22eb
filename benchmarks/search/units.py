"""Long measurements in units: each leaves a file, processes share them, and what is there is not measured again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import multiprocessing

from compressor.files import atomic_file
from compressor.progress import Progress

SAID = 5  # units between two estimates of the time that is left


@dataclass(frozen=True)
class Unit:
    """A part of a measurement: the file that it leaves, and what writes it."""

    path: Path
    write: Callable[[Path], object]


def do_units(units: Sequence[Unit], progress: Progress) -> None:
    """Do what is not there yet, in order; now and then say how long the rest takes, by the last few."""
    missing = [unit for unit in units if not unit.path.exists()]
    seconds: list[float] = []
    for number, unit in enumerate(missing, 1):
        started = time.monotonic()
        unit.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(unit.path) as file:
            unit.write(file)
        seconds.append(time.monotonic() - started)
        if number % SAID == 0 or number == len(missing):
            left = median(seconds[-SAID:]) * (len(missing) - number) / 60
            done = len(units) - len(missing) + number
            progress.say(f"{done} of {len(units)} units of this process are done; about {left:.0f} minutes are left")


def in_processes(work: Callable[..., None], processes: int, *arguments: Any) -> None:
    """Run ``work(number, processes, *arguments)`` in as many processes, with a thread each, until all have ended."""
    if processes == 1:
        _on_one_thread(0, work, 1, *arguments)
    else:
        multiprocessing.start_processes(_on_one_thread, (work, processes, *arguments), processes, start_method="spawn")


def _on_one_thread(number: int, work: Callable[..., None], processes: int, *arguments: Any) -> None:
    torch.set_num_threads(1)
    work(number, processes, *arguments)
