"""Attention and feed-forward as candidates of their own: is the trained score better at equal MACs?

    python -m benchmarks.search.half_layers scenes --seeds 0 1 2 3 4
    python -m benchmarks.search.half_layers sst2 --source FOLDER_OF_SST2 --seeds 0 1 2 3 4
    python -m benchmarks.search.half_layers --report

Of the models of ``benchmarks.search.models``, one for each seed where they are trained from pre-trained weights: the
search of ``das compress --skip k`` chooses whole layers, and that of ``--granularity half`` parts that save as much.
Both choices are recovered alike, and scored on samples that no search has seen. What is finished stays in the work
folder, and is not done again.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.results import LogProgress, write_section
from benchmarks.search.judge import RECOVERY_RATE, Judge, make_judge
from benchmarks.search.models import SETTINGS, WORK, Setting
from benchmarks.search.strategies import search
from benchmarks.search.units import Unit, do_units, in_processes
from compressor.costs.macs import count_macs
from compressor.jobs.job import Job
from compressor.models.layer_parts import part_of
from compressor.settings import GRANULARITIES, HALF, LAYER
from compressor.values import Value
from profiles.formatting import format_markdown_table

BUDGETS: Mapping[str, tuple[int, ...]] = {
    "scenes": (4, 6, 8),
    "easyvqa": (4, 6, 8),
    "sst2": (1, 2, 3),
    "trecqa": (1, 2, 3),
}


class Chosen(Value):
    """What a search chose for each number of layers, and the forward passes of the full model that it took."""

    layers: Mapping[int, tuple[str, ...]]
    forwards: float


class Trained(Value):
    """A choice after recovery: scores on the test samples, and MACs as shares of the full model's."""

    layers: tuple[str, ...]
    score: float
    full: float
    macs: float


def choose(job: Job, sizes: Sequence[int], path: Path) -> None:
    """Search once, and keep the choices of ``sizes``."""
    found = search(job, "auto", LogProgress())
    layers = {size: found.chosen[size] for size in sizes}
    path.write_text(Chosen(layers=layers, forwards=sum(found.forwards.values())).model_dump_json(indent=1))


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
    """Yield the searches of a seed, whole layers by number and parts at once, each before its recoveries."""

    def again(granularity: str, skip: int) -> Job:
        return setting.open(work, source, model=seed, seed=seed, skip=skip, granularity=granularity)

    @cache
    def judge(granularity: str) -> Judge:
        return make_judge(setting, again(granularity, max(sizes)))

    def choose_again(granularity: str, chosen: tuple[int, ...], path: Path) -> None:
        choose(again(granularity, max(chosen)), chosen, path)

    def recover_again(granularity: str, size: int, source: Path, path: Path) -> None:
        chosen = Chosen.model_validate_json(source.read_bytes()).layers[size]
        recover(judge(granularity), chosen, path)

    for granularity, groups in ((LAYER, [(size,) for size in sizes]), (HALF, [sizes])):
        for group in groups:
            chosen = home / f"chosen-{granularity}-{max(group)}.json"
            yield Unit(chosen, partial(choose_again, granularity, group))
            for size in group:
                yield Unit(_trained(home, granularity, size), partial(recover_again, granularity, size, chosen))


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
        "Halves are parts of layers (attention, METER's cross-attention, feed-forward) that save the MACs of k layers. "
        f"Both choices are those of `auto`, recovered alike (adapters, rate {RECOVERY_RATE:g}); ± is the standard "
        f"deviation over seeds of choice and training, and of the text models' fine-tuning.\n\n{tabulate(work)}"
    )
    write_section("half-layers", "Halves of layers against whole layers at equal MACs", body)


def main() -> None:
    """Measure, or write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", choices=tuple(BUDGETS))
    parser.add_argument("--source", type=Path, default=Path(), help="folder of the data set")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for data, checkpoints and results")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0,), help="of models, searches and training")
    parser.add_argument("--processes", type=int, default=2, help="of a thread each")
    parser.add_argument("--report", action="store_true", help="write the section of what is finished, and do no more")
    given = parser.parse_args()
    if given.report:
        report(given.work)
        return
    given.work.mkdir(parents=True, exist_ok=True)
    for seed in given.seeds:  # once, before the processes begin
        SETTINGS[given.data].settings(given.work, given.source, seed)
    in_processes(measure_share, given.processes, given.data, tuple(given.seeds), given.work, given.source)


if __name__ == "__main__":
    main()
