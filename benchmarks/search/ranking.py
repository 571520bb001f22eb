"""Does the ranking of subsets of layers survive recovery training?

    python -m benchmarks.search.ranking scenes
    python -m benchmarks.search.ranking easyvqa --source FOLDER_OF_EASYVQA
    python -m benchmarks.search.ranking sst2 --source FOLDER_OF_SST2
    python -m benchmarks.search.ranking_report

For subsets of several sizes k of the models of ``benchmarks.search.models``:

- closed form: what ``auto`` chooses by, the score and the divergence from the full model on the held-out samples, with
  every adapter fitted by itself.
- supernet: what the paper's loop sees, reward (exp(-loss)) and score on the same samples, with the adapters that
  strategy ``das`` has trained at this k; and the sum of the gates of the subset's layers, which it chooses by.
- trained: the score on samples that no search has seen, once the subset's adapters are fitted together and trained, the
  same steps for all. A third of the subsets are recovered again with another seed, which tells the noise of this score.

Each search and each recovery leaves a file in the work folder and is not done again: this may be stopped at any time,
and the report takes what is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations, zip_longest
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from benchmarks.results import LogProgress
from benchmarks.search.judge import Judge, make_judge
from benchmarks.search.measures import measure_subsets
from benchmarks.search.models import SETTINGS, Setting, measure_data_set
from benchmarks.search.units import Unit, do_units
from compressor.jobs.job import Job
from compressor.models.supernet import Supernet
from compressor.progress import QUIET, Stages
from compressor.saved_run.resume import RunCheckpoint
from compressor.search.least_squares import fit_adapters
from compressor.search.loop import with_teacher
from compressor.search.select_layers import draw_scored_samples, encode_calibration, select_layers
from compressor.training.activation_cache import Encoded

MOST, REPEATED = 60, 3  # subsets of one size; every third is recovered with a second seed, too
SEEDS = (0, 1)


@dataclass(frozen=True)
class Plan:
    """What is measured of one data set.

    Attributes:
        sizes: numbers of layers to skip.
        search_epochs: of the paper's loop, for each size.
    """

    sizes: tuple[int, ...]
    search_epochs: float = 3


PLANS = {"scenes": Plan((4, 8)), "easyvqa": Plan((4, 8)), "sst2": Plan((1, 2, 3, 4, 5), search_epochs=1)}


class Figures(BaseModel):
    """Means over the held-out samples."""

    model_config = ConfigDict(frozen=True)

    divergence: float
    loss: float
    score: float


class Scored(BaseModel):
    """A subset before recovery, with adapters fitted in closed form and with those that the paper's loop trained.

    ``gates`` is the sum of the loop's gates of its layers: the loop skips those of the highest.
    """

    model_config = ConfigDict(frozen=True)

    layers: tuple[str, ...]
    closed: Figures
    supernet: Figures
    gates: float


class Searched(BaseModel):
    """All subsets of one size before recovery; ``samples`` are the held-out ones, ``steps`` those of the loop."""

    model_config = ConfigDict(frozen=True)

    size: int
    samples: int
    steps: int
    subsets: tuple[Scored, ...]


class Trained(BaseModel):
    """A subset after recovery: its mean scores on two disjoint halves of the test samples."""

    model_config = ConfigDict(frozen=True)

    layers: tuple[str, ...]
    seed: int
    samples: int
    halves: tuple[float, float]


def draw_subsets(candidates: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Return all subsets of ``size`` candidates or, where these are too many, some at random, in an order of chance."""
    every = list(combinations(candidates, size))
    return [every[i] for i in np.random.default_rng(size).permutation(len(every))[:MOST]]


def search(job: Job, loop_job: Job, subsets: Sequence[tuple[str, ...]], path: Path) -> None:
    """Score subsets of one size in closed form and in the supernet of the paper's loop."""
    asked = [frozenset(subset) for subset in subsets]
    supernet = Supernet(job.model, job.candidates)
    fit_adapters(supernet, encode_calibration(job, supernet, QUIET))
    held_out = Encoded(draw_scored_samples(job), with_teacher(supernet), job.device)
    closed = measure_subsets(supernet, held_out, asked, QUIET).mean(2)
    gates = [entry.gates for entry in select_layers(loop_job, RunCheckpoint(None, {}), Stages(), LogProgress()).log]
    last = next(found for found in reversed(gates) if found is not None)
    trained = Supernet(loop_job.model, loop_job.candidates)  # takes over the adapters that the search has left
    loop = measure_subsets(trained, held_out, asked, QUIET).mean(2)
    rows = tuple(
        Scored(
            layers=subset,
            closed=figures(before),
            supernet=figures(after),
            gates=sum(last[name] for name in subset),
        )
        for subset, before, after in zip(subsets, closed, loop, strict=True)
    )
    found = Searched(size=len(subsets[0]), samples=len(held_out), steps=loop_job.search_steps, subsets=rows)
    path.write_text(found.model_dump_json(indent=1))


def figures(means: np.ndarray) -> Figures:
    divergence, loss, score = means.tolist()
    return Figures(divergence=divergence, loss=loss, score=score)


def recover(judge: Judge, layers: tuple[str, ...], path: Path) -> None:
    """Recover a subset with the judge's seed, and score it."""
    scores = judge.recover(frozenset(layers))
    halves = float(scores[::2].mean()), float(scores[1::2].mean())
    found = Trained(layers=layers, seed=judge.job.settings.seed, samples=len(scores), halves=halves)
    path.write_text(found.model_dump_json(indent=1))


def units_of(setting: Setting, plan: Plan, work: Path, source: Path, home: Path) -> Iterator[Unit]:
    """Yield searches, then recoveries of one subset of each size after the other, so that any part is of all sizes."""
    candidates = setting.open(work, source).candidates
    subsets = {size: draw_subsets(candidates, size) for size in plan.sizes}

    def search_again(size: int, path: Path) -> None:
        loop = setting.open(work, source, strategy="das", skip=size, search_epochs=plan.search_epochs)
        search(setting.open(work, source, skip=size), loop, subsets[size], path)

    @cache
    def judge_of(seed: int) -> Judge:
        return make_judge(setting, setting.open(work, source, seed=seed))

    def recover_again(seed: int, layers: tuple[str, ...], path: Path) -> None:
        recover(judge_of(seed), layers, path)

    for size in plan.sizes:
        yield Unit(home / f"search-{size}.json", partial(search_again, size))
    for seed, every in zip(SEEDS, (1, REPEATED), strict=True):
        for together in zip_longest(*(found[::every] for found in subsets.values())):
            for layers in filter(None, together):
                yield Unit(home / f"{'-'.join(layers)}.{seed}.json", partial(recover_again, seed, layers))


def measure_share(number: int, processes: int, data: str, work: Path, source: Path) -> None:
    """Do one process's share of the units of a data set."""
    units = list(units_of(SETTINGS[data], PLANS[data], work, source, work / "ranking" / data))
    do_units(units[number::processes], LogProgress())


if __name__ == "__main__":
    measure_data_set(__doc__, PLANS, measure_share)
