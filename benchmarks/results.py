"""docs/results.md: each benchmark owns one section between two markers and rewrites only that."""

from __future__ import annotations

import datetime
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import torch

from compressor.progress import Bar, Progress

T = TypeVar("T")
RESULTS = Path(__file__).parents[1] / "docs" / "results.md"
LOAD = os.getloadavg()[0]  # of the minute before the benchmark: every one imports this before it begins
PACKAGES = ("torch", "transformers", "onnx", "onnxruntime", "openvino", "nncf", "fvcore", "tensorrt-rtx")


class LogBar(Bar):
    """A line on stderr for every tenth of its steps."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.number, self.started = label, total, 0, time.monotonic()

    def advance(self) -> None:
        """Count a step."""
        self.number += 1
        if self.number % max(1, self.total // 10) == 0:
            seconds = time.monotonic() - self.started
            print(f"{self.label}: {self.number}/{self.total}, {seconds:.0f} s", file=sys.stderr, flush=True)


class LogProgress(Progress):
    """A line on stderr for every tenth of a long job: for logs of runs that nobody watches."""

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Yield ``items`` and report; nothing where nobody knows how many they are."""
        if total is None:
            yield from items
            return
        with self.bar(label, total) as bar:
            for item in items:
                yield item
                bar.advance()

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        """Report every tenth of ``total`` steps."""
        yield LogBar(label, total)

    def say(self, message: str) -> None:
        """A line of its own."""
        print(message, file=sys.stderr, flush=True)


def environment() -> str:
    """One line: date, machine, load before the start, versions, command."""
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} not installed")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device"
    return (
        f"{datetime.date.today()}, {platform.machine()} with {os.cpu_count()} cores, {gpu}, load {LOAD:.2f} at the "
        f"start, Python {platform.python_version()}, {', '.join(versions)}. Command: `{command(sys.argv)}`"
    )


def command(typed: Sequence[str]) -> str:
    """The command that runs this benchmark again, with the last part of every path."""
    arguments = (re.sub("[^=]*/", "", argument.rstrip("/")) for argument in typed[1:])
    parts = Path(typed[0]).with_suffix("").parts
    module = ".".join(parts[parts.index("benchmarks") :])
    return " ".join(["python", "-m", module, *arguments])


def write_section(name: str, title: str, body: str, measured: str | None = None) -> None:
    """Replace the section ``name`` of docs/results.md, or append it.

    ``measured`` is the :func:`environment` of where it was measured, if not here and now.
    """
    text = RESULTS.read_text() if RESULTS.exists() else "# Results\n"
    section = f"<!-- {name} -->\n## {title}\n\n{measured or environment()}\n\n{body.strip()}\n<!-- /{name} -->"
    pattern = re.compile(rf"<!-- {name} -->.*?<!-- /{name} -->", re.DOTALL)
    text = pattern.sub(lambda _: section, text) if pattern.search(text) else f"{text.rstrip()}\n\n{section}\n"
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text)
