"""Does the choice of layers transfer: between seeds, between tasks, and between sizes of the samples it is made on?

    python -m benchmarks.search.transfer scenes
    python -m benchmarks.search.transfer easyvqa --source FOLDER_OF_EASYVQA
    python -m benchmarks.search.transfer sst2 --source FOLDER_OF_SST2
    python -m benchmarks.search.transfer trecqa --source FOLDER_OF_TRECQA
    python -m benchmarks.search.transfer_report

Adapters are fitted in closed form on few or many calibration samples, drawn by a seed, and every subset of k layers is
scored on held-out samples that are drawn by the same seed. So the best subset of each seed, each data set and each
number of samples is known, and what it is worth elsewhere.

Each fit leaves a file in the work folder and is not done again: this may be stopped at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.results import LogProgress
from benchmarks.search.measures import measure_subsets
from benchmarks.search.models import SETTINGS, Setting, measure_data_set
from benchmarks.search.units import Unit, do_units
from compressor.jobs.job import Job
from compressor.models.supernet import Supernet
from compressor.progress import QUIET
from compressor.search.least_squares import fit_adapters
from compressor.search.loop import with_teacher
from compressor.search.select_layers import CALIBRATION_SAMPLES, draw_scored_samples, encode_calibration
from compressor.training.activation_cache import Encoded

SIZES = {"scenes": (8,), "easyvqa": (8,), "sst2": (2, 3), "trecqa": (2, 3)}
SEEDS = (0, 1, 2)
CALIBRATION = (64, 128, 256, CALIBRATION_SAMPLES)


def fit_and_score(job: Job, held_out: Encoded, samples: int, sizes: tuple[int, ...], path: Path) -> None:
    """Fit adapters on so many calibration samples, and keep what each held-out sample says of each subset.

    The file has for each size k ``subsets-k``, names (subsets, k), and ``values-k``, (subsets, 3, samples).
    """
    supernet = Supernet(job.model, job.candidates)
    drawn = np.random.default_rng(job.settings.seed).permutation(len(job.data.train))[:samples]
    few = replace(job, data=replace(job.data, train=job.data.train.subset(drawn)))
    fit_adapters(supernet, encode_calibration(few, supernet, QUIET))
    subsets = [subset for size in sizes for subset in combinations(job.candidates, size)]
    values = measure_subsets(supernet, held_out, [frozenset(subset) for subset in subsets], LogProgress())
    arrays = {}
    for size in sizes:
        here = [row for row, subset in enumerate(subsets) if len(subset) == size]
        arrays |= {f"subsets-{size}": np.array([subsets[row] for row in here]), f"values-{size}": values[here]}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def units_of(setting: Setting, sizes: tuple[int, ...], work: Path, source: Path, home: Path) -> Iterator[Unit]:
    """Yield a unit for each seed and number of calibration samples; those of most samples come first."""

    @cache
    def opened(seed: int) -> tuple[Job, Encoded]:
        job = setting.open(work, source, seed=seed)
        supernet = Supernet(job.model, job.candidates)
        return job, Encoded(draw_scored_samples(job), with_teacher(supernet), job.device)

    def fit_again(seed: int, samples: int, path: Path) -> None:
        fit_and_score(*opened(seed), samples, sizes, path)

    for samples in reversed(CALIBRATION):
        for seed in SEEDS:
            yield Unit(home / f"{seed}-{samples}.npz", partial(fit_again, seed, samples))


def measure_share(number: int, processes: int, data: str, work: Path, source: Path) -> None:
    """Do one process's share of the units of a data set."""
    units = list(units_of(SETTINGS[data], SIZES[data], work, source, work / "transfer" / data))
    do_units(units[number::processes], LogProgress())


if __name__ == "__main__":
    measure_data_set(__doc__, SIZES, measure_share)
