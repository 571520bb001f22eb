"""Consoles and progress: results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Self, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from compressor.distributed import is_main
from compressor.progress import Bar, Progress, describe_seconds

T = TypeVar("T")
WIDTH = 80
TELL_EVERY = 60.0  # seconds between two lines on what takes long, where there is no terminal
WORTH_TELLING = 1.0  # seconds from which on it is said how long something took

answered = ContextVar("answered", default=False)
"""Whether the command has put JSON on stdout: what goes wrong then has no document of its own."""


class _Console(Console):
    """A console whose reader may go away, as ``head`` does."""

    def on_broken_pipe(self) -> None:
        """Let the command end as it does when it writes JSON: Rich would exit with 1."""
        raise BrokenPipeError


# Markup is off: names of files, answers and error messages may hold square brackets.
# Of several processes only the main one draws.
console = _Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False, markup=False, quiet=not is_main())
err_console = _Console(
    stderr=True, width=None if sys.stderr.isatty() else WIDTH, highlight=False, markup=False, quiet=not is_main()
)


class _TerminalBar(Bar):
    """One bar on stderr."""

    def __init__(self, bars: Bars, task: TaskID) -> None:
        self.bars, self.task = bars, task

    def advance(self) -> None:
        """Draw one step more."""
        self.bars.advance(self.task)


def _bars() -> Bars:
    return Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err_console,
        transient=True,
    )


class _PlainLines(Bar):
    """Lines for a log: where something begins, how far it is after each minute, and how long it took.

    Args:
        label: what it is called.
        total: steps that it takes; None where they are not known.
    """

    def __init__(self, label: str, total: int | None = None) -> None:
        self.label, self.total, self.done = label, total, 0
        self.started, self._ended = time.monotonic(), threading.Event()

    def advance(self) -> None:
        """Count one step as done."""
        self.done += 1

    @contextmanager
    def told(self) -> Iterator[Self]:
        """Wrap the work; a thread of its own tells how far it is, also while one step takes long."""
        _say(f"{self.label} ...")
        telling = threading.Thread(target=self._tell, daemon=True)
        telling.start()
        try:
            yield self
        finally:
            self._ended.set()
            telling.join()
        if self.seconds >= WORTH_TELLING:
            _say(f"{self.label}: done in {describe_seconds(self.seconds)}")

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.started

    def _tell(self) -> None:
        while not self._ended.wait(TELL_EVERY):
            _say(f"{self.label}: {self._how_far()}")

    def _how_far(self) -> str:
        if not (self.total and self.done):
            return f"{describe_seconds(self.seconds)} so far"
        left = describe_seconds(self.seconds / self.done * (self.total - self.done))
        return f"{self.done:,} of {self.total:,}, about {left} left"


def _say(message: str) -> None:
    err_console.print(message, soft_wrap=True)


class TerminalProgress(Progress):
    """Bars on stderr while it is a terminal, lines for a log where it is none; plain sentences always."""

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Draw what, how far and how long is left."""
        if not err_console.is_terminal:
            with _PlainLines(label, total).told() as lines:
                for item in items:
                    yield item
                    lines.advance()
            return
        with _bars() as bars:
            yield from bars.track(items, total=total, description=label)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        """Draw what, how far and how long is left."""
        if not err_console.is_terminal:
            with _PlainLines(label, total).told() as lines:
                yield lines
            return
        with _bars() as bars:
            yield _TerminalBar(bars, bars.add_task(label, total=total))

    @contextmanager
    def stage(self, label: str) -> Iterator[None]:
        """Draw a spinner and the time since the start."""
        if not err_console.is_terminal:
            with _PlainLines(label).told():
                yield
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Bars(*columns, console=err_console, transient=True) as bars:
            bars.add_task(label, total=None)
            yield

    def say(self, message: str) -> None:
        """Print a sentence."""
        _say(message)


def progress() -> Progress:
    """Return the progress that commands pass on."""
    return TerminalProgress()


def print_json(value: Any, indent: int | None = 2) -> None:
    """Put one JSON document on stdout: a pydantic model, or anything JSON can hold; without ``indent`` as a line."""
    if not is_main():
        return
    text = (
        value.model_dump_json(indent=indent) if hasattr(value, "model_dump_json") else json.dumps(value, indent=indent)
    )
    print(text, flush=True)
    answered.set(True)


def shorten_path(path: Path) -> Path:
    """Return ``path`` as a user would type it: relative to the current folder where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
