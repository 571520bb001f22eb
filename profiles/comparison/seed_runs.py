"""The runs of one compression with several seeds: scores, layers, and what another seed might change of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from compressor.costs.model_costs import Pair
from compressor.errors import InputError, Problem, input_error
from compressor.evaluation.score import Score
from compressor.saved_run.manifest import MANIFEST, Manifest
from compressor.saved_run.run_folder import Run, read_run
from compressor.settings import PLACES
from compressor.values import Value
from profiles.comparison.run_vs_run import Subject, describe_subject, list_differences, short_names
from profiles.comparison.seeds import Difference, Spread, spread_of, subtract
from profiles.student import margin_of_mean

SCHEMA_VERSION = 1
SEEDS = "seeds.json"
PREFIX = "seed-"  # and the seed: the folder of its run
FREE = PLACES | {"seed", "device"}  # settings in which the runs of a folder may differ


class SeedRun(Value):
    """The result of one seed.

    Attributes:
        folder: of the run, as the user would type it.
        seconds: that all stages took.
    """

    seed: int
    folder: str
    skipped: tuple[str, ...]
    full: Score | None
    slim: Score
    macs: Pair
    seconds: float


class MissingSeed(Value):
    """A seed that was asked for and has no finished run."""

    seed: int
    why: str


class _Missing(Value):
    """All that is read again of a table of seeds: the runs tell the rest."""

    missing: tuple[MissingSeed, ...]


class SeedsReport(Subject):
    """One compression with several seeds; spreads are over the finished ones.

    Attributes:
        runs: by seed.
        missing: seeds that were asked for and are not among them.
        full: scores of the full models; after a transfer those of its reference, None without one.
        slim: scores.
        change: slim less full, seed by seed; None where there is no full.
        macs: of slim, as a share of full.
        parts: further metrics of slim by name.
        apart: scores of slim on further splits by name.
        chosen: how many of the runs skip each layer, the most frequent first.
    """

    schema_version: int = SCHEMA_VERSION
    runs: tuple[SeedRun, ...]
    missing: tuple[MissingSeed, ...] = ()
    full: Spread | None
    slim: Spread
    change: Spread | None
    macs: Spread
    parts: Mapping[str, Spread]
    apart: Mapping[str, Spread]
    chosen: Mapping[str, int]


class SeedsDifference(Value):
    """Mean score of ``name`` less that of ``base``, with Welch's interval over seeds.

    ``samples_margin`` is half its 95 % interval over samples: sample by sample, each with its mean score over seeds.
    None where these are not known (retrieval, a transfer, no labels), or the two were scored on other samples.
    """

    name: str
    base: str
    difference: Difference
    samples_margin: float | None


class SeedsComparison(Value):
    """Compressions with several seeds side by side; a single run counts as one seed.

    Attributes:
        sets: in the order they were asked for.
        differences: of each of the others from the first.
        warnings: what makes them hard to compare.
    """

    schema_version: int = SCHEMA_VERSION
    sets: tuple[SeedsReport, ...]
    differences: tuple[SeedsDifference, ...]
    warnings: tuple[str, ...]


def is_seeds_folder(path: Path) -> bool:
    """Return whether a folder holds runs of several seeds, and is none itself."""
    return not (path / MANIFEST).exists() and any(_runs_in(path))


def collect_seeds(folder: Path, failed: Mapping[int, str] | None = None) -> SeedsReport:
    """Collect the results of all finished runs in a folder, or of a single run; no model is loaded.

    Args:
        folder: of runs, or a run.
        failed: why seeds have no run; None takes over what :data:`SEEDS` says.

    Raises:
        InputError: no run there, a damaged one, or runs that differ in more than the seed.
    """
    runs = open_seed_runs(folder)
    check_alike(folder, runs)
    made, several = runs[0].manifest, is_seeds_folder(folder)
    name = folder.resolve().name if several else runs[0].path.name
    scores = [run.manifest.results for run in runs]
    full = [score.full for score in scores if score.full]
    missing = read_missing(folder) if failed is None else failed
    seeds = {run.manifest.settings.seed for run in runs}
    layers = Counter(layer for run in runs for layer in run.manifest.plan.layers)
    order = sorted(layers, key=lambda layer: (-layers[layer], made.candidates.index(layer)))
    return SeedsReport(
        **dict(describe_subject(name, str(folder), made)),
        runs=tuple(_result(str(folder / run.path.name if several else folder), run) for run in runs),
        missing=tuple(MissingSeed(seed=seed, why=why) for seed, why in sorted(missing.items()) if seed not in seeds),
        full=spread_of([score.value for score in full]) if full else None,
        slim=spread_of([score.slim.value for score in scores]),
        change=spread_of([score.slim.value - score.full.value for score in scores if score.full]) if full else None,
        macs=spread_of([run.manifest.costs.macs.slim / run.manifest.costs.macs.full for run in runs]),
        parts=_spreads([score.slim.parts for score in scores], lambda value: value),
        apart=_spreads([score.apart for score in scores], lambda pair: pair.slim.value),
        chosen={layer: layers[layer] for layer in order},
    )


def open_seed_runs(folder: Path) -> list[Run]:
    """Return the finished runs in a folder by seed, or the single run that it is.

    Raises:
        InputError: no run there, or a damaged one.
    """
    places = [folder] if not is_seeds_folder(folder) else [manifest.parent for manifest in _runs_in(folder)]
    return sorted((read_run(place) for place in places), key=lambda run: run.manifest.settings.seed)


def check_alike(folder: Path, runs: Sequence[Run]) -> None:
    """Hold that runs differ in the seed alone.

    Raises:
        InputError: they differ in more, or have a seed in common.
    """
    values = [_identity(run.manifest) for run in runs]
    differing = [name for name in values[0] if any(value.get(name) != values[0][name] for value in values[1:])]
    counts = Counter(run.manifest.settings.seed for run in runs)
    twice = [f"seed {seed} {count} times" for seed, count in counts.items() if count > 1]
    if differing or twice:
        raise input_error(
            "seeds-not-alike",
            f"{folder} holds runs with {', '.join([*(f'another {name}' for name in differing), *twice])}",
            "runs that differ in the seed alone, each once",
            "a folder for each setting: move the others away",
        )


def _identity(made: Manifest) -> dict[str, Any]:
    """Return what the runs of a folder have in common."""
    data = {split["name"]: split["fingerprint"] for split in made.data}
    return {**made.settings.model_dump(exclude=FREE), "checkpoint": made.source.sha256, "data": data}


def _runs_in(folder: Path) -> Iterator[Path]:
    return folder.glob(f"{PREFIX}*/{MANIFEST}")


def _result(folder: str, run: Run) -> SeedRun:
    made = run.manifest
    return SeedRun(
        seed=made.settings.seed,
        folder=folder,
        skipped=made.plan.layers,
        full=made.results.full,
        slim=made.results.slim,
        macs=made.costs.macs,
        seconds=sum(made.results.seconds.values()),
    )


def _spreads(figures: Sequence[Mapping[str, Any]], value: Callable[[Any], float]) -> dict[str, Spread]:
    """Return the spread of each figure that all runs have."""
    names = [name for name in figures[0] if all(name in one for one in figures)]
    return {name: spread_of([value(one[name]) for one in figures]) for name in names}


def read_missing(folder: Path) -> dict[int, str]:
    """Return the seeds without a run, as they were written down when the others were made."""
    path = folder / SEEDS
    if not path.exists():
        return {}
    try:
        table = _Missing.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        found = f"{path} cannot be read ({type(error).__name__})"
        raise input_error("seeds-unreadable", found, "a table of seeds that das wrote", f"remove {path}") from None
    return {entry.seed: entry.why for entry in table.missing}


def compare_seeds(folders: Sequence[Path]) -> SeedsComparison:
    """Compare the scores of several compressions, each with several seeds or, as a single run, with one.

    Raises:
        InputError: naming every folder that holds no run, a damaged one, or runs that differ in more than the seed.
    """
    sets: list[SeedsReport] = []
    problems: list[Problem] = []
    for folder in folders:
        try:
            sets.append(collect_seeds(folder))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    names = short_names([entry.name for entry in sets])
    sets = [entry.model_copy(update={"name": name}) for entry, name in zip(sets, names, strict=True)]
    base, others = sets[0], sets[1:]
    scores = [_sample_scores(folder) for folder in folders]
    return SeedsComparison(
        sets=tuple(sets),
        differences=tuple(
            SeedsDifference(
                name=entry.name,
                base=base.name,
                difference=subtract(entry.slim, base.slim),
                samples_margin=None if entry.data != base.data else _samples_margin(own, scores[0]),
            )
            for entry, own in zip(others, scores[1:], strict=True)
        ),
        warnings=tuple(list_differences(sets)),
    )


def _sample_scores(folder: Path) -> np.ndarray | None:
    """Return the score of each sample, (n,), the mean over the runs; None where they are not known."""
    runs = open_seed_runs(folder)
    if not runs[0].manifest.labelled:
        return None
    answers = [run.paired_scores() for run in runs]
    return None if None in answers else np.mean([kept.slim_scores for kept in answers if kept], axis=0)


def _samples_margin(own: np.ndarray | None, base: np.ndarray | None) -> float | None:
    """Return half the 95 % interval of the mean difference of paired scores."""
    return None if own is None or base is None or len(own) < 2 else margin_of_mean(own - base)
