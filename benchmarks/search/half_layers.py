"""Attention and feed-forward as candidates of their own: is the trained score better at equal MACs?

    python -m benchmarks.search.half_layers scenes --seeds 0 1 2
    python -m benchmarks.search.half_layers sst2 --source FOLDER_OF_SST2 --seeds 0 1
    python -m benchmarks.search.half_layers --report

Of the models of ``benchmarks.search.models``: a budget is what a model without k whole layers costs. For each budget a
beam search by the linear probe (docs/search.md) chooses whole layers, and another one parts of layers, with a skip
adapter in place of each part; among those parts are all that the whole layers consist of. Both choices are recovered
alike, and scored on samples that no search has seen. What is finished stays in the work folder.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import fmean, stdev

from pydantic import TypeAdapter

from benchmarks.results import LogProgress, write_section
from benchmarks.search.judge import RECOVERY_RATE, Judge, make_judge
from benchmarks.search.measures import probe_subsets
from benchmarks.search.models import SETTINGS, WORK, Setting
from benchmarks.search.units import Unit, do_units, in_processes
from compressor.jobs.job import Job
from compressor.models.supernet import Supernet
from compressor.progress import QUIET
from compressor.search.cost import Costs, measure_costs
from compressor.search.least_squares import fit_adapters
from compressor.search.loop import with_teacher
from compressor.search.select_layers import draw_scored_samples, encode_calibration
from compressor.training.activation_cache import Encoded
from compressor.values import Value
from profiles.formatting import format_markdown_table

BUDGETS: Mapping[str, tuple[int, ...]] = {
    "scenes": (4, 6, 8),
    "easyvqa": (4, 6, 8),
    "sst2": (1, 2, 3),
    "trecqa": (1, 2, 3),
}
WHOLE, PARTS = "whole layers", "parts of layers"
BEAM, FEW, FINALISTS = 6, 96, 12  # subsets that grow; samples that they are compared on; subsets compared on all
EQUAL = 0.01  # of the full model's MACs: adapters of parts are more than those of layers
Subset = frozenset[str]


class Chosen(Value):
    """What was skipped where k layers may go: its MACs and the full model's, and what a probe reads of the answers."""

    kind: str
    skip: int
    names: tuple[str, ...]
    macs: int
    full: int
    readable: float


class Trained(Value):
    """The same after recovery: its score on the test samples, and that of the full model."""

    chosen: Chosen
    score: float
    full: float


CHOSEN = TypeAdapter(list[Chosen])


@dataclass(frozen=True)
class Pool:
    """Candidates with fitted adapters, what they cost, and samples that subsets are compared on."""

    supernet: Supernet
    costs: Costs
    few: Encoded
    held_out: Encoded

    def macs(self, subset: Subset) -> int:
        """MACs of the model without a subset."""
        return self.costs.fixed + self.costs.subset(subset)


def in_parts(job: Job) -> Job:
    """Return the job with the parts of its layers as candidates."""
    model, names = split_layers(job.model, job.candidates)
    candidates = tuple(name for layer in job.candidates for name in names[layer])
    return replace(job, loaded=replace(job.loaded, model=model), candidates=candidates)


def make_pool(job: Job) -> Pool:
    """Fit every adapter by itself, and encode the samples that subsets are compared on."""
    supernet = Supernet(job.model, job.candidates)
    fit_adapters(supernet, encode_calibration(job, supernet, QUIET))
    samples, encode = draw_scored_samples(job), with_teacher(supernet)
    few = samples.subset(range(min(FEW, len(samples))))
    return Pool(
        supernet,
        measure_costs(supernet, job.sample()),
        Encoded(few, encode, job.device),
        Encoded(samples, encode, job.device),
    )


def grow(pool: Pool, enough: Callable[[Subset], bool]) -> dict[Subset, float]:
    """Return what a probe reads of many subsets, on few samples: those on the way to ``enough``, and the first behind.

    A beam grows by one candidate at a time: those go on that lose least of what is read for the MACs they save.
    """
    seen: dict[Subset, float] = {frozenset(): 1.0}
    beam: list[Subset] = [frozenset()]
    while beam:
        grown = {subset | {name} for subset in beam for name in pool.supernet.candidates if name not in subset}
        fresh = sorted(grown - seen.keys(), key=sorted)
        seen |= dict(zip(fresh, probe_subsets(pool.supernet, pool.few, fresh), strict=True))
        going = [subset for subset in grown if not enough(subset)]
        beam = sorted(going, key=lambda one: (1 - seen[one]) / (pool.costs.full - pool.macs(one)))[:BEAM]
    return seen


def pick(pool: Pool, seen: Mapping[Subset, float], within: Iterable[Subset], also: Iterable[Subset] = ()) -> Subset:
    """Return the best subset on all samples of those that are the best on few, and of those that are ``also`` given."""
    finalists = sorted(within, key=lambda one: (-seen[one], sorted(one)))[:FINALISTS]
    finalists = list(dict.fromkeys([*finalists, *also]))
    read = probe_subsets(pool.supernet, pool.held_out, finalists)
    return max(zip(finalists, read, strict=True), key=lambda pair: pair[1])[0]


def choose(job: Job, sizes: Sequence[int], path: Path) -> None:
    """Choose whole layers, and parts of layers of as many MACs, for each number of layers."""
    whole = make_pool(job)
    seen = grow(whole, lambda subset: len(subset) == max(sizes))
    layers = {size: pick(whole, seen, [one for one in seen if len(one) == size]) for size in sizes}
    most = {size: whole.macs(layers[size]) + EQUAL * whole.costs.full for size in sizes}
    apart = in_parts(job)
    parts, consists = make_pool(apart), split_layers(job.model, job.candidates)[1]
    seen = grow(parts, lambda subset: parts.macs(subset) <= min(most.values()))
    found = []
    for size in sizes:
        within = [subset for subset in seen if parts.macs(subset) <= most[size]]
        same = frozenset(name for layer in layers[size] for name in consists[layer])
        chosen = pick(parts, seen, within, [same])
        for kind, pool, subset in ((WHOLE, whole, layers[size]), (PARTS, parts, chosen)):
            read = probe_subsets(pool.supernet, pool.held_out, [subset])[0]
            found.append(
                Chosen(
                    kind=kind,
                    skip=size,
                    names=tuple(sorted(subset)),
                    macs=pool.macs(subset),
                    full=pool.costs.full,
                    readable=read,
                )
            )
    path.write_bytes(CHOSEN.dump_json(found, indent=1))


def units_of(
    setting: Setting, sizes: tuple[int, ...], model: int, seed: int, work: Path, source: Path, home: Path
) -> list[Unit]:
    """Return the choice of a seed, then its recoveries."""

    def again() -> Job:
        return setting.open(work, source, model=model, seed=seed)

    @cache
    def judge(kind: str) -> Judge:
        return make_judge(setting, again() if kind == WHOLE else in_parts(again()))

    def recover(kind: str, size: int, path: Path) -> None:
        chosen = next(
            one
            for one in CHOSEN.validate_json((home / "chosen.json").read_bytes())
            if (one.kind, one.skip) == (kind, size)
        )
        score = float(judge(kind).recover(frozenset(chosen.names)).mean())
        full = float(judge(kind).scores(frozenset()).mean())
        path.write_text(Trained(chosen=chosen, score=score, full=full).model_dump_json(indent=1))

    trained = [
        Unit(home / f"trained-{kind.split()[0]}-{size}.json", partial(recover, kind, size))
        for kind in (WHOLE, PARTS)
        for size in sizes
    ]
    return [Unit(home / "chosen.json", lambda path: choose(again(), sizes, path)), *trained]


def measure_share(number: int, processes: int, data: str, seeds: tuple[int, ...], work: Path, source: Path) -> None:
    """Do one process's share of the seeds of a data set."""
    for seed in seeds[number::processes]:
        home = work / "half-layers" / f"{data}-{seed}"
        do_units(units_of(SETTINGS[data], BUDGETS[data], seed, seed, work, source, home), LogProgress())


def tabulate(work: Path) -> str:
    """A line for each data set and number of layers: both scores, and what the parts are."""
    lines = []
    folders = sorted((work / "half-layers").iterdir())
    for data in BUDGETS:
        here = [folder for folder in folders if folder.name.rpartition("-")[0] == data]
        for size in BUDGETS[data]:
            lines += _line(data, size, here)
    header = (
        "data, model",
        "k",
        "seeds",
        "full, %",
        WHOLE,
        PARTS,
        "parts better by",
        "MACs, of the full model's",
        "parts gone",
    )
    return format_markdown_table(header, lines)


def _line(data: str, size: int, folders: Sequence[Path]) -> Iterator[tuple[str, ...]]:
    pairs = []
    for folder in folders:
        files = [folder / f"trained-{kind.split()[0]}-{size}.json" for kind in (WHOLE, PARTS)]
        if all(file.exists() for file in files):
            pairs.append([Trained.model_validate_json(file.read_bytes()) for file in files])
    if not pairs:
        return
    whole, parts = ([100 * pair[at].score for pair in pairs] for at in (0, 1))
    gains = [two - one for one, two in zip(whole, parts, strict=True)]
    macs = [fmean(pair[at].chosen.macs / pair[at].chosen.full for pair in pairs) for at in (0, 1)]
    gone = Counter(name.partition("-")[2] for _, pair in pairs for name in pair.chosen.names)
    yield (
        SETTINGS[data].name,
        str(size),
        str(len(pairs)),
        _spread([100 * pair[0].full for pair in pairs]),
        _spread(whole),
        _spread(parts),
        _spread(gains),
        f"{macs[0]:.3f}, {macs[1]:.3f}",
        ", ".join(f"{number / len(pairs):.1f} {name}" for name, number in sorted(gone.items())),
    )


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def report(work: Path) -> None:
    """Write the section of what is finished."""
    body = (
        "What k whole layers cost is the budget; parts (attention, METER's cross-attention, feed-forward) may cost 1 % "
        "of the full model's MACs more, for they have more adapters. Both are chosen by the same beam search by the "
        f"linear probe and recovered alike (adapters, rate {RECOVERY_RATE:g}); ± is the standard deviation over seeds "
        f"of model, choice and training.\n\n{tabulate(work)}"
    )
    write_section("half-layers", "Parts of layers against whole layers at equal MACs", body)


def main() -> None:
    """Measure, or write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", choices=tuple(BUDGETS))
    parser.add_argument("--source", type=Path, default=Path(), help="folder of the data set")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for data, checkpoints and results")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0,), help="of the models")
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
