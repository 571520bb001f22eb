"""Which score, taken before recovery, says what a subset of layers is worth after it?

    python -m benchmarks.search.probe scenes --seeds 0
    python -m benchmarks.search.probe sst2 --source FOLDER_OF_SST2 --seeds 0 1
    python -m benchmarks.search.probe --report

Of the models of ``benchmarks.search.models``, a model for each seed: all subsets of k layers, or some drawn by lot, are
scored on the same held-out samples with every adapter fitted by itself: divergence from the full model, task score, and
what a linear probe still reads of the full model's answers. Then each is recovered, the same steps for all, and scored
on samples that no search has seen. Each part leaves a file in the work folder and is not done again; the report takes
what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from statistics import fmean, median

import numpy as np
from pydantic import TypeAdapter

from benchmarks.results import LogProgress, write_section
from benchmarks.search.judge import RECOVERY_RATE, Judge, make_judge
from benchmarks.search.measures import measure_subsets, probe_subsets
from benchmarks.search.models import SETTINGS, Setting, measure_or_report
from benchmarks.search.rank_correlation import spearman
from benchmarks.search.units import Unit, do_units
from compressor.jobs.job import Job
from compressor.models.supernet import Supernet
from compressor.progress import QUIET
from compressor.search.least_squares import fit_adapters
from compressor.search.loop import with_teacher
from compressor.search.select_layers import draw_scored_samples, encode_calibration
from compressor.training.activation_cache import Encoded
from compressor.values import Value
from profiles.formatting import format_markdown_table

SIZES: Mapping[str, tuple[int, ...]] = {"scenes": (4, 8), "sst2": (2,), "trecqa": (2,)}
MOST = 24  # subsets of one size


class Scored(Value):
    """A subset before recovery: means over the held-out samples, and the share of answers that a probe reads."""

    layers: tuple[str, ...]
    divergence: float
    score: float
    readable: float


class Trained(Value):
    """A subset after recovery: its score on the test samples."""

    layers: tuple[str, ...]
    score: float


SCORED = TypeAdapter(list[Scored])
KEYS: Mapping[str, Callable[[Scored], float]] = {
    "divergence": lambda one: -one.divergence,
    "score": lambda one: one.score,
    "readable by a probe": lambda one: one.readable,
}


def draw_subsets(candidates: tuple[str, ...], size: int) -> list[tuple[str, ...]]:
    """Return all subsets of ``size`` candidates, or some at random."""
    every = list(combinations(candidates, size))
    return [every[i] for i in np.random.default_rng(size).permutation(len(every))[:MOST]]


def score(job: Job, subsets: list[tuple[str, ...]], path: Path) -> None:
    """Score subsets in closed form."""
    supernet, asked = Supernet(job.model, job.candidates), [frozenset(subset) for subset in subsets]
    fit_adapters(supernet, encode_calibration(job, supernet, QUIET))
    held_out = Encoded(draw_scored_samples(job), with_teacher(supernet), job.device)
    means = measure_subsets(supernet, held_out, asked, QUIET).mean(2).tolist()
    found = [
        Scored(layers=layers, divergence=divergence, score=value, readable=readable)
        for layers, (divergence, _, value), readable in zip(
            subsets, means, probe_subsets(supernet, held_out, asked), strict=True
        )
    ]
    path.write_bytes(SCORED.dump_json(found, indent=1))


def recover(judge: Judge, layers: tuple[str, ...], path: Path) -> None:
    """Recover a subset and score it."""
    found = Trained(layers=layers, score=float(judge.recover(frozenset(layers)).mean()))
    path.write_text(found.model_dump_json(indent=1))


def units_of(setting: Setting, sizes: tuple[int, ...], seed: int, work: Path, source: Path, home: Path) -> list[Unit]:
    """Return the scores of all subsets of a seed's model, then their recoveries."""

    @cache
    def judge() -> Judge:
        return make_judge(setting, setting.open(work, source, model=seed))

    def score_again(size: int, path: Path) -> None:
        score(setting.open(work, source, model=seed, skip=size), draw_subsets(candidates, size), path)

    def recover_again(layers: tuple[str, ...], path: Path) -> None:
        recover(judge(), layers, path)

    candidates = setting.open(work, source, model=seed).candidates
    return [
        *(Unit(home / f"scores-{size}.json", partial(score_again, size)) for size in sizes),
        *(
            Unit(home / f"trained-{'-'.join(layers)}.json", partial(recover_again, layers))
            for size in sizes
            for layers in draw_subsets(candidates, size)
        ),
    ]


def measure_share(number: int, processes: int, data: str, seeds: tuple[int, ...], work: Path, source: Path) -> None:
    """Do one process's share of the units of a data set."""
    for seed in seeds:
        units = units_of(SETTINGS[data], SIZES[data], seed, work, source, work / "probe" / f"{data}-{seed}")
        do_units(units[number::processes], LogProgress())


def measured(folder: Path) -> Iterator[tuple[list[Scored], np.ndarray]]:
    """Yield the subsets of each size of a seed that are finished, and their scores after recovery, (subsets,)."""
    after = {one.layers: one.score for one in map(_trained, folder.glob("trained-*.json"))}
    for path in sorted(folder.glob("scores-*.json")):
        found = [one for one in SCORED.validate_json(path.read_bytes()) if one.layers in after]
        if len(found) > 2:
            yield found, np.array([after[one.layers] for one in found])


def _trained(path: Path) -> Trained:
    return Trained.model_validate_json(path.read_bytes())


def tabulate(work: Path) -> str:
    """A line for each model and number of layers: how each score ranks its subsets, and what its pick loses."""
    lines = []
    correlations: dict[str, list[float]] = {name: [] for name in KEYS}
    regrets: dict[str, list[float]] = {name: [] for name in KEYS}
    for folder in sorted((work / "probe").iterdir()):
        data, _, seed = folder.name.rpartition("-")
        for found, after in measured(folder):
            cells = [SETTINGS[data].name, seed, str(len(found[0].layers)), str(len(found))]
            cells.append(f"{100 * after.max():.2f} ({100 * after.mean():.2f})")
            for name, key in KEYS.items():
                before = np.array([key(one) for one in found])
                correlations[name].append(spearman(before, after, np.zeros(len(after))))
                regrets[name].append(100 * float(after.max() - after[before.argmax()]))
                cells.append(f"{correlations[name][-1]:.2f}, {regrets[name][-1]:.2f}")
            lines.append(cells)
    last = ["mean, median", "", "", "", ""]
    lines.append([*last, *(f"{fmean(correlations[name]):.2f}, {median(regrets[name]):.2f}" for name in KEYS)])
    header = ("data, model", "seed", "k", "subsets", "best trained, % (mean)", *KEYS)
    return format_markdown_table(header, lines)


def report(work: Path) -> None:
    """Write the section of what is finished."""
    there = [data for data in SIZES if any((work / "probe").glob(f"{data}-*"))]
    steps = "; ".join(f"{SETTINGS[data].steps} steps of {SETTINGS[data].batch_size} on {data}" for data in there)
    body = (
        f"All subsets of k layers, at most {MOST}, scored on the same held-out samples with every adapter fitted by "
        f"itself, then recovered alike ({steps}; rate {RECOVERY_RATE:g}) and scored on test samples that no search has "
        "seen. Each score's column has two figures: its rank correlation (Spearman) with the recovered score, and how "
        "many points the subset that it would choose lies below the best recovered one, which is partly luck. The last "
        f"line has the mean of the correlations and the median of the points.\n\n{tabulate(work)}"
    )
    write_section("probe", "A linear probe before recovery, and the score after it", body)


if __name__ == "__main__":
    measure_or_report(__doc__, SIZES, measure_share, report)
