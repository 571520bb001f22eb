"""Several runs side by side: what each of them lost and gained, and whether they may be compared at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError, computed_field

from compressor.costs.model_costs import MacsShare, Pair, share_macs
from compressor.errors import DasError, InputError, Problem, input_error
from compressor.evaluation.score import EveryScore, IndexRecall, Score
from compressor.evaluation.significance import margin_of
from compressor.saved_run.manifest import Manifest
from compressor.saved_run.run_folder import Run, read_run
from compressor.values import Value
from exporters.checks.records import EXPORTS, RECORD, read_statuses
from profiles.analysis.answer_flips import FlipCount, count_flips
from profiles.comparison.full_vs_slim import PROFILE, NotMeasured, ProfileReport
from profiles.machine.environment import Environment
from profiles.timing.speedups import EQUAL, Estimate, Speedup, divide

SCHEMA_VERSION = 1
LEAST, ALL = 9, 36  # characters of a run's short name, and of all names together
SEPARATORS = "-_. /"


class ScoreChange(Value):
    """Score of the slim model less the full one's, both in [0, 1].

    ``margin`` is the half width of the 95 % interval of the mean difference, sample by sample; None for one sample,
    without labels, and for retrieval.
    """

    value: float
    margin: float | None


class RuntimeSummary(Value):
    """Median latency of full and slim in one runtime in milliseconds, their ratio, and their peak memory in bytes."""

    full_ms: float
    slim_ms: float
    speedup: Speedup
    memory: Pair | None


class Subject(Value):
    """What is compared: a run, or runs of several seeds.

    Attributes:
        name: short, different from the others'.
        folder: as the user typed it.
        checkpoint: file name of the full model's.
        sizes: of what the models read, in words.
        data: fingerprint of each split.
        reference: of a run with ``--adapt``, the run whose scores stand as the full model's.
    """

    name: str
    folder: str
    family: str
    task: str
    strategy: str
    recover: str
    checkpoint: str
    sha256: str
    sizes: str
    data: Mapping[str, str]
    reference: str | None


S = TypeVar("S", bound=Subject)


class RunSummary(Subject):
    """The results of one run; None where a quantity was not measured yet.

    Attributes:
        index: what slim embeddings find in the full model's index; None for other tasks.
        changed: answers that full and slim differ in.
        share: of the full model's MACs, with what layers and exact trims save.
        batch: of the profile.
        exports: what the comparison of each exported file said.
    """

    skipped: tuple[str, ...]
    full: Score | None
    slim: Score
    change: ScoreChange | None
    answer_agreement: float | None
    index: IndexRecall | None
    changed: FlipCount | None
    macs: Pair
    share: MacsShare
    parameters: Pair
    weight_bytes: Pair
    runtimes: Mapping[str, RuntimeSummary]
    batch: int | None
    environment: Environment | None
    exports: Mapping[str, str]


class SpeedDifference(Value):
    """How many times faster the slim model of one run is than another's, in one runtime, with a 95 % interval.

    Each was timed in turns with the full model, which is the same for both, so the two speed-ups are compared: what
    slowed the machine down in one of the profiles cancels. ``different`` says whether it is more than a repetition of
    the two profiles gives, and more than 1 %.
    """

    runtime: str
    faster: str
    slower: str
    ratio: float
    low: float
    high: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def different(self) -> bool:
        """Return whether the whole interval is more than 1 % above 1."""
        return self.low > 1 + EQUAL


class RunsReport(Value):
    """Several runs side by side.

    Attributes:
        runs: in the order they were asked for.
        one_full: all come of the same full model and were scored on the same data.
        one_machine: all profiles were measured alike.
        speeds: the fastest run in each runtime against every other; empty where they may not be compared.
        warnings: what makes the runs hard to compare.
        not_measured: what is missing, and the command that fills it in.
    """

    schema_version: int = SCHEMA_VERSION
    runs: tuple[RunSummary, ...]
    one_full: bool
    one_machine: bool
    speeds: tuple[SpeedDifference, ...] = ()
    warnings: tuple[str, ...]
    not_measured: tuple[NotMeasured, ...]


def compare_runs(folders: Sequence[Path]) -> RunsReport:
    """Collect the results of the runs in ``folders``; nothing is measured and no model is loaded.

    Raises:
        InputError: naming every folder that holds no run, or one whose profile or answers are damaged.
    """
    opened: list[Run] = []
    summaries: list[RunSummary] = []
    problems: list[Problem] = []
    for folder in folders:
        try:
            opened.append(run := read_run(folder))
            summaries.append(_figures(str(folder), run))
        except DasError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    names = short_names([run.path.name for run in opened])
    runs = [entry.model_copy(update={"name": name}) for entry, name in zip(summaries, names, strict=True)]
    answers, times = list_differences(runs), _of_times([run for run in runs if run.environment])
    return RunsReport(
        runs=tuple(runs),
        one_full=not answers,
        one_machine=not times,
        speeds=() if answers or times else tuple(_speeds(runs)),
        warnings=(*answers, *times),
        not_measured=tuple(_missing(runs)),
    )


def short_names(names: Sequence[str]) -> list[str]:
    """Return the distinguishing parts of names; numbers where these are equal.

    Each has at most 9 characters, or more where few names share the 36 of all.
    """
    width = max(LEAST, ALL // len(names))
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False)) if len(names) > 1 else ()
    shared = "".join(letters[0] for letters in alike)
    start = 1 + max(shared.rfind(mark) for mark in SEPARATORS)
    rests = [name[start:] or name for name in names]
    if any(len(rest) > width for rest in rests):
        rests = _last_words(rests)
    short = [_shorten(rest, width) for rest in rests]
    return short if len(set(short)) == len(short) else [f"run {number}" for number in range(1, len(names) + 1)]


def _last_words(names: Sequence[str]) -> list[str]:
    """Return as few last words of each name as tell all of them apart, without an ending that all of them share."""
    words = [re.split(f"[{re.escape(SEPARATORS)}]", name) for name in names]
    while min(map(len, words)) > 1 and len({parts[-1] for parts in words}) == 1 < len(names):
        words = [parts[:-1] for parts in words]
    for count in range(1, max(map(len, words))):
        ends = ["-".join(parts[-count:]) for parts in words]
        if len(set(ends)) == len(names) > 1:
            return ends
    return ["-".join(parts) for parts in words]


def _shorten(name: str, width: int) -> str:
    half = (width - 1) // 2
    return name if len(name) <= width else f"{name[:half]}…{name[-half:]}"


def describe_subject(name: str, folder: str, made: Manifest) -> Subject:
    """Return what a run is of."""
    return Subject(
        name=name,
        folder=folder,
        family=made.family,
        task=made.task,
        strategy=made.strategy,
        recover=made.settings.recover,
        checkpoint=Path(made.source.path).name,
        sha256=made.source.sha256,
        sizes=_sizes(made.dims),
        data={split["name"]: split["fingerprint"] for split in made.data},
        reference=made.settings.reference,
    )


def _figures(folder: str, run: Run) -> RunSummary:
    made, profile = run.manifest, _profile(run)
    kept, scores = (run.every_answer(), run.paired_scores()) if made.labelled else (None, None)
    costs, full = made.costs, made.results.full
    return RunSummary(
        **dict(describe_subject(run.path.name, folder, made)),
        skipped=made.plan.layers,
        full=full,
        slim=made.results.slim,
        change=_change(full, made.results.slim, scores) if full else None,
        answer_agreement=made.results.answer_agreement,
        index=made.results.index,
        changed=count_flips(kept) if kept else None,
        macs=costs.macs,
        share=share_macs(costs.macs, costs.trims),
        parameters=costs.parameters,
        weight_bytes=costs.weight_bytes,
        runtimes=_runtimes(profile) if profile else {},
        batch=profile.batch if profile else None,
        environment=profile.environment if profile else None,
        exports={file.removesuffix(RECORD): status for file, status in read_statuses(run.path / EXPORTS).items()},
    )


def _sizes(dims: Mapping[str, Any]) -> str:
    image = [f"{dims['image_size']} px"] if "image_size" in dims else []
    return ", ".join([*image, *([f"{dims['text_length']} tokens"] if dims["text_length"] else [])])


def _change(full: Score, slim: Score, kept: EveryScore | None) -> ScoreChange:
    margin = None
    if kept is not None and len(kept.full_scores) > 1:
        margin = margin_of(kept.slim_scores.astype(float) - kept.full_scores)
    return ScoreChange(value=slim.value - full.value, margin=margin)


def _profile(run: Run) -> ProfileReport | None:
    path = run.path / PROFILE
    try:
        return ProfileReport.model_validate_json(path.read_bytes()) if path.exists() else None
    except (OSError, ValidationError) as error:
        found = f"{path} cannot be read ({type(error).__name__})"
        raise input_error("profile-unreadable", found, "a profile that das wrote", f"das profile {run.path}") from None


def _runtimes(profile: ProfileReport) -> dict[str, RuntimeSummary]:
    return {
        each.name: RuntimeSummary(
            full_ms=each.full.p50_ms,
            slim_ms=each.slim.p50_ms,
            speedup=each.speedup,
            memory=each.memory.peak if each.memory else None,
        )
        for each in profile.runtimes
    }


def _speeds(runs: Sequence[RunSummary]) -> Iterator[SpeedDifference]:
    """Compare the fastest slim model in each runtime with every other."""
    for runtime in dict.fromkeys(name for run in runs for name in run.runtimes):
        speedups = {run.name: run.runtimes[runtime].speedup for run in runs if runtime in run.runtimes}
        estimates = {name: Estimate(found.ratio, found.low, found.high) for name, found in speedups.items()}
        faster = max(estimates, key=lambda name: estimates[name].value)
        for slower in (name for name in estimates if name != faster):
            found = divide(estimates[faster], estimates[slower])
            yield SpeedDifference(
                runtime=runtime, faster=faster, slower=slower, ratio=found.value, low=found.low, high=found.high
            )


def list_differences(runs: Sequence[Subject]) -> list[str]:
    """Return the reasons that scores and costs of the runs are not comparable."""
    aspects: dict[str, Callable[[Subject], str]] = {
        "task": lambda run: f"{run.task} of {run.family}",
        "full checkpoint": lambda run: f"{run.checkpoint} {run.sha256[:8]}",
        "sizes of the inputs": lambda run: run.sizes,
    }
    splits = dict.fromkeys(split for run in runs for split in run.data)
    aspects |= {f"data ({split})": partial(_fingerprint, split) for split in splits}
    referred = [run for run in runs if run.reference]
    return [*_differences(runs, aspects), *_differences(referred, {"--reference": lambda run: str(run.reference)})]


def _fingerprint(split: str, run: Subject) -> str:
    return run.data.get(split, "none")[:8]


def _of_times(profiled: Sequence[RunSummary]) -> list[str]:
    """Return the reasons that latencies and memory of the profiles are not comparable."""
    packages = dict.fromkeys(name for run in profiled if run.environment for name in run.environment.versions)
    aspects: dict[str, Callable[[RunSummary], str]] = {"machine of the profiles": _machine}
    aspects |= {f"{package} in the profiles": partial(_version, package) for package in packages}
    return _differences(profiled, aspects)


def _machine(run: RunSummary) -> str:
    place = run.environment
    assert place is not None
    return f"{place.processor}, {place.cores} cores, {place.threads} threads, {place.device}, batch {run.batch}"


def _version(package: str, run: RunSummary) -> str:
    assert run.environment is not None
    return run.environment.versions.get(package, "none")


def _differences(runs: Sequence[S], aspects: Mapping[str, Callable[[S], str]]) -> list[str]:
    """Describe each aspect that the runs do not share."""
    sentences = []
    for what, value in aspects.items():
        groups: dict[str, list[str]] = {}
        for run in runs:
            groups.setdefault(value(run), []).append(run.name)
        if len(groups) > 1:
            found = "; ".join(f"{value} ({', '.join(names)})" for value, names in groups.items())
            sentences.append(f"not comparable, {what}: {found}")
    return sentences


def _missing(runs: Sequence[RunSummary]) -> Iterable[NotMeasured]:
    """List the quantities missing from the tables, and the commands that measure them."""
    runtimes = dict.fromkeys(name for run in runs for name in run.runtimes)
    for run in runs:
        if run.environment is None:
            yield NotMeasured(what=f"{run.name}, latency and memory", why=f"das profile {run.folder}")
        elif absent := [name for name in runtimes if name not in run.runtimes]:
            command = " ".join(f"--runtime {name}" for name in runtimes)
            yield NotMeasured(what=f"{run.name}, {', '.join(absent)}", why=f"das profile {run.folder} {command}")
        if once := [name for name, each in run.runtimes.items() if each.speedup.pairs == 1]:
            what = f"{run.name}, several process pairs in {', '.join(once)}"
            yield NotMeasured(what=what, why=f"das profile {run.folder}")
        if not run.exports:
            yield NotMeasured(what=f"{run.name}, exports", why=f"das export {run.folder} --onnx")
