"""Jobs done by several processes, each kept in a file of its own: what is finished is not done again."""

from __future__ import annotations

import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from pathlib import Path

from pydantic import BaseModel


def share_work(
    jobs: Mapping[str, Sequence[str]],
    do: Callable[[str], BaseModel],
    folder: Path,
    processes: int,
    prepare: Callable[[], None],
) -> list[str]:
    """Do the jobs that ``folder`` has no file of; return the names of those that failed, or that need one that did.

    Stopped by Ctrl-C or SIGTERM, this process takes the others along.

    Args:
        jobs: names, in the order in which they are begun, each with the names of those that must be finished before.
        do: does one job; called in a process that may have done others, so that what it caches is there.
        folder: has the results, NAME.json.
        processes: how many work at a time.
        prepare: called once in each process, before its first job.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting = {name: needs for name, needs in jobs.items() if not _file(folder, name).exists()}
    done = set(jobs) - set(waiting)
    running: dict[Future[float], str] = {}
    with ProcessPoolExecutor(processes, get_context("spawn"), prepare) as pool, _ending_workers():
        for _ in range(processes):
            pool.submit(time.sleep, 0)  # all processes start now, whether or not there are jobs for them yet
        while True:
            ready = [name for name, needs in waiting.items() if done.issuperset(needs)]
            for name in ready[: processes - len(running)]:
                del waiting[name]
                running[pool.submit(_do, name, do, folder)] = name
            if not running:
                return [name for name in jobs if name not in done]
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(future)
                if error := future.exception():
                    traceback.print_exception(error)
                    _say(f"{name} failed")
                else:
                    done.add(name)
                    _say(f"{name}: {future.result():.1f} s, {len(done)} of {len(jobs)} done")


@contextmanager
def _ending_workers() -> Iterator[None]:
    """End the processes of this one where it cannot go on, as when it is told to end."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    except BaseException:
        for worker in active_children():
            worker.terminate()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _do(name: str, do: Callable[[str], BaseModel], folder: Path) -> float:
    """Do a job and keep its result; return the seconds it took."""
    started = time.monotonic()
    result, unfinished = do(name), folder / f"{name}.tmp"
    unfinished.write_text(result.model_dump_json(indent=1))
    unfinished.replace(_file(folder, name))
    return time.monotonic() - started


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
