"""A compression that hands over the processor every few seconds, for another checkout to be timed in turns with it.

``sst2_seconds`` starts it as a script, with a checkout of das on PYTHONPATH, which may be an older one: of das it knows
what has been there for long. It waits for a line on stdin before each turn, says "turn" at the end of one, and at the
last the seconds it took.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
TURN_SECONDS = 10.0
WHOLE = "everything"


class Clock:
    """Seconds of work, without those of waiting for a turn."""

    def __init__(self) -> None:
        self.waited = 0.0
        self.wait()

    @property
    def seconds(self) -> float:
        """Seconds of work so far."""
        return time.monotonic() - self.waited

    def wait(self) -> None:
        """Wait for the next turn."""
        stopped = time.monotonic()
        sys.stdin.readline()
        self.waited += time.monotonic() - stopped
        self.turn = self.seconds

    def hand_over(self) -> None:
        """End the turn if it has been long enough."""
        if self.seconds - self.turn > TURN_SECONDS:
            print("turn", flush=True)
            self.wait()


def main() -> None:
    settings, changes = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    clock = Clock()
    began, times = clock.seconds, dict[str, Any]()

    from compressor.compression import compress
    from compressor.progress import Bar, Progress
    from compressor.search import select_layers
    from compressor.settings import Settings

    class TimedBar(Bar):
        """Counts its steps, and hands over between two."""

        steps = 0

        def advance(self) -> None:
            self.steps += 1
            clock.hand_over()

    class Timed(Progress):
        """Keeps for each loop its steps and seconds, and the seconds of all else."""

        @contextmanager
        def bar(self, label: str, total: int) -> Iterator[Bar]:
            bar, start = TimedBar(), clock.seconds
            yield bar
            times[label] = {"steps": bar.steps, "seconds": clock.seconds - start}

        def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
            with self.bar(label, total or 1) as bar:
                for item in items:
                    yield item
                    bar.advance()

    for name, value in changes.items():
        setattr(select_layers, name, value)
    run = compress(Settings(**settings), progress=Timed())
    score = run.manifest.results.slim
    times[WHOLE] = {"steps": 1, "seconds": clock.seconds - began}
    result = {
        "layers": run.manifest.plan.layers,
        "value": score.value,
        "margin": score.margin,
        "samples": score.samples,
    }
    print(json.dumps({"times": times, **result}), flush=True)


if __name__ == "__main__":
    main()
