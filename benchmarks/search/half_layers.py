"""Attention and feed-forward as candidates of their own: is the trained score better at equal MACs?

    python -m benchmarks.search.half_layers scenes --seeds 0 1 2 3 4
    python -m benchmarks.search.half_layers sst2 --source FOLDER_OF_SST2 --seeds 0 1 2 3 4
    python -m benchmarks.search.half_layers --report

Of the models of ``benchmarks.search.models``, one for each seed where they are trained from pre-trained weights: the
search of ``das compress --skip k`` chooses whole layers, and that of ``--granularity half`` parts of as many MACs,
within 1 % of the full model's. Both choices are recovered alike, and scored on samples that no search has seen. What is
finished stays in the work folder, and is not done again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.results import LogProgress, write_section
from benchmarks.search.judge import RECOVERY_RATE, Judge, make_judge
from benchmarks.search.models import SETTINGS, Setting, measure_or_report
from benchmarks.search.strategies import search
from benchmarks.search.units import Unit, do_units
from compressor.costs.macs import count_macs
from compressor.jobs.job import Job
from compressor.models.layer_parts import part_of
from compressor.search.budgets import Prices
from compressor.search.result import SearchResult
from compressor.settings import GRANULARITIES, HALF, LAYER
from compressor.values import Value
from profiles.formatting import format_markdown_table

BUDGETS: Mapping[str, tuple[int, ...]] = {
    "scenes": (4, 6, 8),
    "easyvqa": (4, 6, 8),
    "sst2": (1, 2, 3),
    "trecqa": (1, 2, 3),
}

EQUAL = 0.01  # of the full model's MACs, that halves may cost more: they have more adapters
ANY_BUDGET: Mapping[str, object] = {"skip": None, "max_macs": "0.1x"}  # the search is the same for all


class Chosen(Value):
    """Whole layers that a search chose, the share of MACs that is left, and the forward passes that it took."""

    layers: tuple[str, ...]
    macs: float
    forwards: float


class Trained(Value):
    """A choice after recovery: scores on the test samples, and MACs as shares of the full model's."""

    layers: tuple[str, ...]
    score: float
    full: float
    macs: float


def choose(job: Job, size: int, path: Path) -> None:
    """Search whole layers, and keep the choice with its share of the full model's MACs."""
    found = search(job, "auto", LogProgress())
    left = 1 - sum(found.macs_saved[name] for name in found.chosen[size]) / found.macs
    path.write_text(
        Chosen(layers=found.chosen[size], macs=left, forwards=sum(found.forwards.values())).model_dump_json()
    )


def search_halves(job: Job, path: Path) -> None:
    """Search parts for every budget, and keep the result."""
    path.write_text(search(job, "auto", LogProgress()).model_dump_json())


def pick_halves(found: SearchResult, most: float) -> tuple[str, ...]:
    """Return the best subset, as ``das compress --max-macs`` takes it, of about this share of the full's MACs."""
    prices = Prices(full=found.macs, saved=found.macs_saved)
    within = [point for point in found.points if prices.without(point.layers) <= (most + EQUAL) * found.macs]
    return min(within, key=lambda point: point.rank_key).layers


def recover(judge: Judge, layers: tuple[str, ...], path: Path) -> None:
    """Recover a choice, and score it beside the full model."""
    job = judge.job
    full, slim = (count_macs(model, job.sample()).total for model in (job.plain, job.cut(job.plan(layers))))
    score = float(judge.recover(frozenset(layers)).mean())
    found = Trained(layers=layers, score=score, full=float(judge.scores(frozenset()).mean()), macs=slim / full)
    path.write_text(found.model_dump_json(indent=1))


def units_of(
    setting: Setting, sizes: tuple[int, ...], seed: int, work: Path, source: Path, home: Path
) -> Iterator[Unit]:
    """Yield the searches of a seed, whole layers by number and then parts, each before its recoveries."""

    def again(**options: object) -> Job:
        return setting.open(work, source, model=seed, **{"seed": seed, **options})

    @cache
    def judge(granularity: str) -> Judge:
        return make_judge(setting, again(granularity=granularity, skip=max(sizes)))

    def recover_whole(size: int, path: Path) -> None:
        chosen = Chosen.model_validate_json((home / f"chosen-{size}.json").read_bytes())
        recover(judge(LAYER), chosen.layers, path)

    def recover_halves(size: int, path: Path) -> None:
        whole = Chosen.model_validate_json((home / f"chosen-{size}.json").read_bytes())
        found = SearchResult.model_validate_json((home / "halves.json").read_bytes())
        recover(judge(HALF), pick_halves(found, whole.macs), path)

    for size in sizes:
        yield Unit(home / f"chosen-{size}.json", lambda path, size=size: choose(again(skip=size), size, path))
        yield Unit(_trained(home, LAYER, size), partial(recover_whole, size))
    yield Unit(home / "halves.json", lambda path: search_halves(again(granularity=HALF, **ANY_BUDGET), path))
    yield from (Unit(_trained(home, HALF, size), partial(recover_halves, size)) for size in sizes)


def _trained(home: Path, granularity: str, size: int) -> Path:
    return home / f"trained-{granularity}-{size}.json"


def measure_share(number: int, processes: int, data: str, seeds: tuple[int, ...], work: Path, source: Path) -> None:
    """Do one process's share of the seeds of a data set."""
    for seed in seeds[number::processes]:
        home = work / "half-layers" / f"{data}-{seed}"
        do_units([*units_of(SETTINGS[data], BUDGETS[data], seed, work, source, home)], LogProgress())


def tabulate(work: Path) -> str:
    """A line for each data set and number of layers: both scores, and what the parts are."""
    folders = sorted((work / "half-layers").iterdir())
    lines = [
        line
        for data, sizes in BUDGETS.items()
        for size in sizes
        for line in _line(data, size, [folder for folder in folders if folder.name.rpartition("-")[0] == data])
    ]
    header = (
        "data, model", "k", "seeds", "full, %", "whole layers, %", "halves, %", "halves better by",
        "MACs of whole, halves", "parts gone, mean",
    )  # fmt: skip
    return format_markdown_table(header, lines)


def _line(data: str, size: int, folders: Sequence[Path]) -> Iterator[tuple[str, ...]]:
    """Yield the line of the seeds that have both, if there are any."""
    pairs = []
    for folder in folders:
        files = [_trained(folder, granularity, size) for granularity in GRANULARITIES]
        if all(file.exists() for file in files):
            pairs.append([Trained.model_validate_json(file.read_bytes()) for file in files])
    if pairs:
        whole, halves = zip(*pairs, strict=True)
        gains = [100 * (two.score - one.score) for one, two in pairs]
        gone = Counter(part_of(name) for one in halves for name in one.layers)
        yield (
            SETTINGS[data].name,
            str(size),
            str(len(pairs)),
            _spread([100 * one.full for one in whole]),
            _spread([100 * one.score for one in whole]),
            _spread([100 * one.score for one in halves]),
            _spread(gains),
            f"{fmean(one.macs for one in whole):.1%}, {fmean(one.macs for one in halves):.1%}",
            ", ".join(f"{number / len(pairs):.1f} {name}" for name, number in sorted(gone.items())),
        )


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def report(work: Path) -> None:
    """Write the section of what is finished."""
    body = (
        "Halves are parts of layers (attention, METER's cross-attention, feed-forward) of as many MACs, within "
        f"{EQUAL:.0%} of the full model's. "
        f"Both choices are those of `auto`, recovered alike (adapters, rate {RECOVERY_RATE:g}); ± is the standard "
        f"deviation over seeds of choice and training, and of the text models' fine-tuning.\n\n{tabulate(work)}"
    )
    write_section("half-layers", "Halves of layers against whole layers at equal MACs", body)


if __name__ == "__main__":
    measure_or_report(__doc__, BUDGETS, measure_share, report)
