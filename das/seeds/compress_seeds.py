"""One compression with several seeds: an ordinary run for each in one folder, and one table of all."""

from __future__ import annotations

import inspect
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.errors import CheckFailed, Checks, Interrupted, Problem, UsageError, input_error, usage_error
from compressor.progress import QUIET, Progress
from das.api.compress_model import compress, compress_and_report
from das.stages import dry_run

if TYPE_CHECKING:
    from compressor.evaluation.evaluate_job import FullEvaluations
    from compressor.settings import Settings
    from das.results import DryRun
    from profiles.comparison.seed_runs import SeedsReport
    from profiles.reports.compression_report import CompressionReport

SUFFIX = "-seeds"  # of the name of a run: the folder of the runs of several seeds
NOT_FINISHED = "not finished; the same command with --resume goes on"


def compress_seeds(
    seeds: Sequence[int],
    checkpoint: str | Path | None = None,
    *,
    from_run: str | Path | None = None,
    resume: bool = False,
    progress: Progress = QUIET,
    **options: Any,
) -> SeedsReport:
    """Compress once with each seed, and return the scores, their spread, and the layers that each seed skips.

    Args:
        seeds: each once; 0 or more.
        checkpoint: as :func:`das.compress` takes it; None with ``from_run``.
        from_run: earlier run whose search, checkpoint and settings are used again.
        resume: leave finished seeds as they are, go on with an interrupted one, and add others.
        progress: told about every stage.
        options: further ones of :func:`das.compress` but ``seed``; ``out`` is the folder of the runs, None is
            ``runs/<name>-seeds``.

    Raises:
        TypeError: :func:`das.compress` has no such option.
        CheckFailed: seeds that failed, or missed their budget; the others are there.
        DasError: as :func:`das.compress`.
    """
    from compressor.search.reuse import settings_of
    from profiles.gates.budget_check import with_runtime

    inspect.signature(compress).bind(checkpoint, **options)  # a misspelt one fails at once
    chosen = check_seeds(seeds, beside="seed" in options)
    settings = with_runtime(settings_of(from_run, checkpoint=checkpoint, **options))
    report, problems = run_seeds(settings, chosen, resume=resume, progress=progress)
    if problems:
        raise CheckFailed(*problems)
    return report


def read_seeds(text: str, beside: bool) -> tuple[int, ...]:
    """Read ``"0,1,2"``.

    Raises:
        UsageError: as :func:`check_seeds`.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise _wrong_seeds(f"--seeds {text}")
    return check_seeds([int(part) for part in parts], beside)


def check_seeds(seeds: Sequence[int], beside: bool) -> tuple[int, ...]:
    """Return seeds that can be run.

    Args:
        seeds: that were asked for.
        beside: a single seed was given, too.

    Raises:
        UsageError: none, one below 0 or too large, one twice, or a single seed beside them.
    """
    from compressor.settings import LARGEST_SEED

    if beside:
        raise usage_error("seed-beside-seeds", "--seed and --seeds together", "one of them", "drop --seed")
    if not seeds or min(seeds) < 0 or max(seeds) > LARGEST_SEED or len(set(seeds)) < len(seeds):
        raise _wrong_seeds(f"--seeds {','.join(map(str, seeds))}")
    return tuple(seeds)


def _wrong_seeds(found: str) -> UsageError:
    return usage_error("seeds-unreadable", found, "whole numbers from 0 to 2^63 - 1, each once", "--seeds 0,1,2")


def run_seeds(
    settings: Settings, seeds: Sequence[int], *, command: str = "", resume: bool = False, progress: Progress = QUIET
) -> tuple[SeedsReport, tuple[Problem, ...]]:
    """Make the run of each seed that has none, and the table of all after each; one that fails leaves the others.

    Returns:
        The table, and what failed.

    Raises:
        CheckFailed: no seed has a run.
        Interrupted: on Ctrl-C or SIGTERM; finished runs and the table stay.
    """
    from compressor.distributed import from_main
    from profiles.comparison.seed_runs import collect_seeds, is_seeds_folder

    folder = find_folder(settings, resume)
    try:
        problems = _run_each(folder, settings, seeds, command, progress)
    finally:
        with suppress(OSError):
            folder.rmdir()  # where nothing came of any seed
    told = tuple(
        replace(problem, found=f"seed {seed}: {problem.found}") for seed, found in problems.items() for problem in found
    )
    if not from_main(lambda: is_seeds_folder(folder)):
        raise CheckFailed(*told)
    return from_main(lambda: collect_seeds(folder)), told


def _run_each(
    folder: Path, settings: Settings, seeds: Sequence[int], command: str, progress: Progress
) -> dict[int, tuple[Problem, ...]]:
    """Make the run of each seed and the table of all so far; return what failed, by seed."""
    from compressor.distributed import is_main, world_size
    from profiles.comparison.seed_runs import is_seeds_folder, read_missing
    from profiles.comparison.seed_tables import save_seeds

    problems: dict[int, tuple[Problem, ...]] = {}
    known: FullEvaluations = {}
    failed = {seed: why for seed, why in read_missing(folder).items() if why != NOT_FINISHED}
    for seed in seeds:
        place = place_of(folder, seed)
        try:
            progress.say(f"seed {seed}: {place}{', finished' if is_finished(place) else ''}")
            _run_seed(_of_seed(settings, seed, place), place, command, progress, known)
        except CheckFailed as error:
            if world_size() > 1:
                raise  # the other processes do not know of it
            problems[seed] = error.problems
        except KeyboardInterrupt as interrupt:
            if isinstance(interrupt, Interrupted) or not is_seeds_folder(folder):
                raise
            hint = f"stopped at the start of seed {seed}; go on with the same command and --resume"
            raise Interrupted(hint, getattr(interrupt, "number", signal.SIGINT)) from None
        if is_main() and is_seeds_folder(folder):
            save_seeds(folder, failed | _missing(seeds, problems))
    return problems


def plan_seeds(settings: Settings, seeds: Sequence[int], resume: bool = False) -> DryRun:
    """Return the plan of the first seed that has no run yet, for all of them.

    Raises:
        DasError: as :func:`compressor.jobs.prepare_job.prepare_job` says.
    """
    folder = find_folder(settings, resume)
    left = tuple(seed for seed in seeds if not is_finished(place_of(folder, seed)))
    seed = (*left, seeds[-1])[0]
    place = place_of(folder, seed)
    plan = dry_run(_of_seed(settings, seed, place), _is_begun(place))
    return plan.model_copy(update={"out": str(folder), "seeds": left})


def find_folder(settings: Settings, resume: bool) -> Path:
    """Return the folder of the runs of several seeds: ``--out``, or ``runs/<name>-seeds``; none is made yet.

    Raises:
        DasError: as :func:`compressor.jobs.open_inputs.open_inputs` says.
        InputError: it exists already; or, to be resumed, there is none, or it was made with other settings.
    """
    from compressor.distributed import from_main
    from compressor.jobs.open_inputs import open_inputs
    from compressor.saved_run.run_places import run_name

    def find(task: str | None) -> Path:
        stem = run_name(settings, task) + SUFFIX
        return from_main(lambda: (_begun_folder if resume else _new_folder)(settings, stem))

    folder = open_inputs(settings, find).folder
    assert folder
    return folder


def _new_folder(settings: Settings, stem: str) -> Path:
    from compressor.saved_run.run_places import new_folder
    from profiles.comparison.seed_runs import PREFIX

    if settings.out and any(Path(settings.out).glob(f"{PREFIX}*")):
        found, fix = (
            f"{settings.out} holds runs of seeds",
            "--resume to go on or to add seeds, another --out, or remove it",
        )
        raise input_error("folder-exists", found, "a new folder", fix)
    return new_folder(settings.out, stem)


def _begun_folder(settings: Settings, stem: str) -> Path:
    """Return the newest folder of this name with runs of these settings, finished or not.

    Raises:
        InputError: there is none, or all of them were made with other settings.
    """
    from compressor.saved_run.run_places import runs_named
    from profiles.comparison.seed_runs import PREFIX

    places = [Path(settings.out)] if settings.out else runs_named(stem)
    begun = [place for place in places if any(place.glob(f"{PREFIX}*"))]
    if not begun:
        found = f"no runs of seeds in {settings.out or f'runs/{stem}'}"
        raise input_error("nothing-to-resume", found, "runs to go on with", "start without --resume")
    checks = Checks()
    for folder in sorted(begun, key=lambda place: place.stat().st_mtime, reverse=True):
        with checks:
            _check_settings(folder, settings)
            return folder
    raise checks.found[0]


def _check_settings(folder: Path, settings: Settings) -> None:
    """Hold that the finished runs in a folder were made with these settings."""
    from compressor.saved_run.resume import check_same
    from profiles.comparison.seed_runs import FREE, is_seeds_folder, open_seed_runs

    values = settings.model_dump(mode="json", exclude=FREE)
    for run in open_seed_runs(folder) if is_seeds_folder(folder) else ():
        check_same(run.path, values, run.manifest.settings.model_dump(mode="json", include=set(values)))


def place_of(folder: Path, seed: int) -> Path:
    """Return the folder of the run of a seed."""
    from profiles.comparison.seed_runs import PREFIX

    return folder / f"{PREFIX}{seed}"


def is_finished(place: Path) -> bool:
    """Return whether a run is complete, its report, too."""
    from profiles.reports.html import PAGE

    return (place / PAGE).exists()  # the last file that is written


def _is_begun(place: Path) -> bool:
    """Return whether there is a run, or the state of one."""
    from compressor.saved_run.run_places import partial_of

    return place.exists() or partial_of(place).exists()


def _of_seed(settings: Settings, seed: int, place: Path) -> Settings:
    return settings.model_copy(update={"seed": seed, "out": str(place)})


def _run_seed(settings: Settings, place: Path, command: str, progress: Progress, known: FullEvaluations) -> None:
    """Make the run of a seed, or what is missing of it, and hold it against its budget.

    Raises:
        CheckFailed: it failed, or misses its budget; then it is kept.
    """
    from compressor.saved_run.run_folder import open_run
    from profiles.gates.budget_check import check_budget
    from profiles.reports.build_report import build_report

    if is_finished(place):
        run = open_run(place)
        report: CompressionReport | None = build_report(run)
    else:
        run, report = compress_and_report(
            settings, command=command, resume=_is_begun(place), progress=progress, known=known
        )
    if report:
        check_budget(report.budget, run)


def _missing(seeds: Sequence[int], problems: Mapping[int, Sequence[Problem]]) -> dict[int, str]:
    """Return why seeds have no run: those that failed, and those whose turn has not come."""
    return {seed: problems[seed][0].found if seed in problems else NOT_FINISHED for seed in seeds}
