"""Progress of long work; the terminal's version lives in ``das/terminal.py``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


class Bar:
    """The progress of one loop; draws nothing."""

    def advance(self) -> None:
        """Count one step as done."""


class Progress:
    """Draws nothing. Subclasses draw what is going on, how far it is and how long is left."""

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        """Wrap a loop of ``total`` steps that calls :meth:`Bar.advance` after each."""
        yield Bar()

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Yield ``items``, reporting each as done when the next is asked for."""
        yield from items

    @contextmanager
    def stage(self, label: str) -> Iterator[None]:
        """Wrap one piece of work whose length is not known beforehand."""
        yield

    def say(self, message: str) -> None:
        """Show the user a sentence."""


def describe_seconds(seconds: float) -> str:
    """Say how long something takes in the unit that a reader would choose: 8 s, 85 min, 2 h 5 min, 1,106 days."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    if hours >= 100:
        return f"{hours / 24:,.0f} days"
    return f"{minutes} min" if minutes < 100 else f"{hours} h {rest} min" if rest else f"{hours} h"


@dataclass
class Stages:
    """Seconds each stage took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time spent inside to the stage ``name``."""
        started = time.monotonic()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 2)


QUIET = Progress()
