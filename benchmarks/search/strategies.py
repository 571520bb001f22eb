"""Which search is best for its price: every strategy on three fine-tuned models, five seeds each.

Usage, for each data set on its own, then the report on all that is there:

    python -m benchmarks.search.strategies scenes
    python -m benchmarks.search.strategies easyvqa --source FOLDER_OF_EASYVQA
    python -m benchmarks.search.strategies sst2 --source FOLDER_OF_SST2
    python -m benchmarks.search.strategies_report

Data and models are those of ``benchmarks.search.models``; that of SST-2 is fine-tuned once for each seed.

For each seed and number of layers k every strategy chooses k layers. What it chose is then rated in the same ways:

- held out: the score with adapters fitted in closed form, on the held-out samples that the search itself has. All
  subsets of k layers are scored in this way, so the best of them is known, and with it everybody's regret.
- test: the score on samples that no search has seen, after plain removal, after the closed form fitted to the chosen
  layers together, and after training from there.

What is finished stays in the work folder and is not done again: a run may be stopped at any time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter

from benchmarks.results import LogProgress
from benchmarks.search.judge import make_judge
from benchmarks.search.models import SETTINGS, WORK, Setting
from benchmarks.search.published import PUBLISHED, search_as_published
from compressor.files import atomic_file
from compressor.jobs.job import Job
from compressor.progress import Progress, Stages
from compressor.saved_run.resume import RunCheckpoint
from compressor.search.result import SearchResult
from compressor.search.select_layers import select_layers
from compressor.search.strategies import STRATEGIES, TRANSFER

DATA = ("scenes", "easyvqa", "sst2")
SEEDS = (0, 1, 2, 3, 4)


class Row(BaseModel):
    """What one strategy chose, and how good that is; scores in [0, 1].

    ``asked`` and ``others`` are forward passes of the full model on one sample: what the search of ``skip`` layers ran,
    and what it ran besides to answer for other numbers of layers. ``removed``, ``fitted`` and ``trained`` are test
    scores; ``best`` is the best held-out score of all subsets.
    """

    model_config = ConfigDict(frozen=True)

    data: str
    seed: int
    strategy: str
    skip: int
    layers: tuple[str, ...]
    asked: float
    others: float
    seconds: float
    held_out: float
    best: float
    rank: int
    subsets: int
    full: float
    removed: float
    fitted: float
    trained: float


ROWS = TypeAdapter(list[Row])


def search(job: Job, strategy: str, progress: Progress) -> SearchResult:
    """Search by one of the library's strategies, or as the paper's public code does."""
    if strategy == PUBLISHED:
        return search_as_published(job, progress)
    return select_layers(job, RunCheckpoint(None, {}), Stages(), progress).result


def run(
    setting: Setting,
    skip: int,
    work: Path,
    source: Path,
    seed: int,
    progress: Progress,
    strategies: Sequence[str] = tuple(STRATEGIES),
) -> list[Row]:
    """Return a row for each strategy, for one number of layers and one seed."""
    judge = make_judge(setting, setting.open(work, source, seed, skip=skip))
    full, rows, rated = float(judge.scores(frozenset()).mean()), [], {}
    points: dict[tuple[str, ...], float] = {}
    for strategy in ("exhaustive", *(name for name in strategies if name != "exhaustive")):
        known = TRANSFER if strategy == PUBLISHED else strategy
        job = setting.open(work, source, seed, skip=skip, strategy=known)
        started = time.monotonic()
        record = search(job, strategy, progress)
        seconds = time.monotonic() - started
        points = points or {point.layers: point.value for point in record.points}
        layers = record.chosen[skip]
        if layers not in rated:
            rated[layers] = judge.rate(frozenset(layers))
        removed, fitted, trained = rated[layers]
        others = record.forwards.get("other sizes", 0.0)
        rows.append(
            Row(
                data=setting.name,
                seed=seed,
                strategy=strategy,
                skip=skip,
                layers=layers,
                asked=sum(record.forwards.values()) - others,
                others=others,
                seconds=seconds,
                held_out=points[layers],
                best=max(points.values()),
                rank=1 + sum(value > points[layers] for value in points.values()),
                subsets=len(points),
                full=full,
                removed=removed,
                fitted=fitted,
                trained=trained,
            )
        )
        progress.say(f"{setting.name}, k = {skip}, seed {seed}: {rows[-1]}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=DATA)
    parser.add_argument("--source", type=Path, default=Path(), help="folder of easy-VQA or SST-2")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for data, checkpoints and rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    setting = SETTINGS[arguments.data]
    for skip, seed in product(setting.sizes, arguments.seeds):
        path = arguments.work / f"{arguments.data}-{skip}-{seed}.json"
        if not path.exists():
            rows = run(setting, skip, arguments.work, arguments.source, seed, LogProgress())
            with atomic_file(path) as file:
                file.write_bytes(ROWS.dump_json(rows, indent=1))


if __name__ == "__main__":
    main()
