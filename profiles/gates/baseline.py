"""``das profile --baseline``: regressions since an earlier profile of this model on this machine.

Two profiles are taken at different moments, and a machine is not equally fast at both. Where both have the same full
model, slim is therefore judged by its time over that of full, taken in turns with it; what slowed down both of them is
not seen then. Numbers of two machines, or of other settings, are refused: a gate that compares less than it was asked
to would pass for the wrong reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from compressor.errors import InputError, Problem, input_error
from compressor.evaluation.score import Score
from compressor.saved_run.manifest import RunSettings
from compressor.saved_run.run_folder import Run
from compressor.values import Value, list_faults
from exporters.runtimes import RUNTIMES
from profiles.comparison.full_vs_slim import SCHEMA_VERSION, NotMeasured, ProfileReport, RuntimeProfile
from profiles.formatting import Table, format_count
from profiles.machine.environment import Environment
from profiles.timing.speedups import Estimate, divide, estimate_median

TOLERANCE = 0.05  # of times and memory: two processes that do the same differ by so much
FILE_TOLERANCE = 16 * 1024  # bytes; the metadata of an ONNX file names versions and the errors that were measured
FIX = "measure as the baseline was, or make a new one here: das profile, and keep its profile.json"

Unit = Literal["", "B", "ms", "share", "points"]
Verdict = Literal["regression", "better", "same"]
_RELATIVE: tuple[str, Unit] = ("slim/full", "share")
_ABSOLUTE: tuple[str, Unit] = ("p50 of slim", "ms")


class Profiled(Value):
    """A profile with the scores of its run, None where they are not known; a report.json holds these and more."""

    profile: ProfileReport
    full: Score | None = None
    slim: Score | None = None
    settings: RunSettings | None = None

    @property
    def drop(self) -> float | None:
        """Return the points of the task's score that slim loses; None where that was not measured."""
        if self.full is None or self.slim is None or (self.settings and self.settings.calibration):
            return None
        return 100 * (self.full.value - self.slim.value)


class QuantityChange(Value):
    """A quantity that should be small, in an earlier profile and in this one.

    Attributes:
        quantity: its name, with the runtime where it was measured in one.
        unit: of ``before`` and ``now``; "share" is a time of slim over that of full.
        before: in the baseline.
        now: in this profile.
        change: ``now`` over ``before``, less 1; of a score's points the difference.
        interval: 95 % interval of ``change``, from those of both profiles; None of what has none.
        tolerance: more ``change`` than this is a regression; of an interval, all of it must be more.
        verdict: what to make of it.
    """

    quantity: str
    unit: Unit
    before: float
    now: float
    change: float
    interval: tuple[float, float] | None
    tolerance: float
    verdict: Verdict


class BaselineChanges(Value):
    """A profile against an earlier one; ``how`` says what the times are."""

    how: str
    rows: tuple[QuantityChange, ...]
    not_compared: tuple[NotMeasured, ...]


class ComparedProfile(ProfileReport):
    """The profile of ``das profile --json``, with changes since the baseline where there is one."""

    baseline: BaselineChanges | None = None


def read_baseline(path: Path) -> Profiled:
    """Open a profile.json, the output of ``das profile --json``, or a report.json that holds a profile.

    Raises:
        InputError: it is none of these, or of a newer das.
    """
    try:
        document = json.loads(path.read_bytes())
        baseline = Profiled.model_validate(document if "profile" in document else {"profile": document})
    except (OSError, ValueError, TypeError) as error:
        raise input_error(
            "profile-unreadable",
            f"{path} holds no profile ({_reason(error)})",
            "a profile.json, or the report.json of a run that was profiled",
            "das profile, and keep the profile.json of the run",
        ) from None
    if baseline.profile.schema_version > SCHEMA_VERSION:
        raise input_error(
            "schema-too-new",
            f"{path} has schema version {baseline.profile.schema_version}",
            f"at most {SCHEMA_VERSION}",
            "a newer das wrote it: pip install --upgrade das-toolkit",
        )
    return baseline


def open_baseline(path: Path, run: Run, *, batch: int, runtimes: Collection[str], environment: Environment) -> Profiled:
    """Open a baseline that a new profile of ``run`` can be held against, see :func:`check_comparable`.

    Raises:
        InputError: it holds no profile, or one whose numbers cannot be compared.
    """
    baseline, manifest = read_baseline(path), run.manifest
    check_comparable(
        baseline.profile,
        family=manifest.family,
        task=manifest.task,
        batch=batch,
        runtimes=runtimes,
        environment=environment,
    )
    return baseline


def attach_scores(run: Run, report: ProfileReport) -> Profiled:
    """Return the run's new profile with its scores, to compare with a baseline."""
    results = run.manifest.results
    return Profiled(profile=report, full=results.full, slim=results.slim, settings=run.manifest.settings)


def check_comparable(
    before: ProfileReport, *, family: str, task: str, batch: int, runtimes: Collection[str], environment: Environment
) -> None:
    """Check that a profile with these settings can be compared with the baseline.

    Raises:
        InputError: naming all that differs: model, batch, machine, threads, the packages that run the models, or the
            version of the report, on which depends how it was measured.
    """
    baseline_runtimes = [runtime.name for runtime in before.runtimes]
    shared = set(baseline_runtimes) & set(runtimes)
    then = _facts(before.schema_version, before.family, before.task, before.batch, before.environment, shared)
    here = _facts(SCHEMA_VERSION, family, task, batch, environment, shared)
    problems = [
        Problem("baseline-not-comparable", f"the baseline has {name} {then[name]}", f"{name} {value}, as here", FIX)
        for name, value in here.items()
        if then[name] != value
    ]
    if not shared:
        found = f"the baseline was measured in {' and '.join(baseline_runtimes) or 'no runtime'}"
        problems.append(Problem("baseline-not-comparable", found, f"one of: {', '.join(runtimes)}", FIX))
    if problems:
        raise InputError(*problems)


def compare_profiles(before: Profiled, now: Profiled) -> BaselineChanges:
    """Compare every quantity that both profiles measured.

    Raises:
        InputError: as :func:`check_comparable`.
    """
    then, here = before.profile, now.profile
    runtimes = {runtime.name: runtime for runtime in here.runtimes}
    check_comparable(
        then, family=here.family, task=here.task, batch=here.batch, runtimes=runtimes, environment=here.environment
    )
    relative = _same_full(then, here)
    rows = [
        _judged("MACs", "", then.macs.slim, here.macs.slim),
        _judged("parameters", "", then.parameters.slim, here.parameters.slim),
    ]
    missing = []
    for runtime in then.runtimes:
        if runtime.name in runtimes:
            rows += _in_runtime(runtime, runtimes[runtime.name], relative)
        missing += _missing_in(runtime, runtimes.get(runtime.name))
    if drop := _drop(before, now):
        rows.append(drop)
    else:
        missing.append(NotMeasured(what="score lost", why="not known of both, on as many samples"))
    return BaselineChanges(how=_how(relative), rows=tuple(rows), not_compared=tuple(missing))


def tabulate_changes(changes: BaselineChanges) -> Table:
    """Return every quantity in the baseline and now."""
    rows = tuple(
        (row.quantity, _figure(row.before, row.unit), _figure(row.now, row.unit), _change(row), row.verdict)
        for row in changes.rows
    )
    return Table("Against the baseline", ("", "before", "now", "change", ""), rows)


def list_notes(changes: BaselineChanges) -> tuple[str, ...]:
    """Describe the times, and list the quantities that were not compared with their reasons."""
    return changes.how, *(f"Not compared, {entry.what}: {entry.why}." for entry in changes.not_compared)


def find_regressions(changes: BaselineChanges) -> tuple[Problem, ...]:
    """Return a problem for every quantity that became worse."""
    return tuple(
        Problem(
            "worse-than-baseline",
            f"{row.quantity}: {_exactly(row.before, row.unit)}, now {_exactly(row.now, row.unit)}: {_change(row)}",
            f"at most {_signed(row.tolerance, row.unit)}",
            "undo what made it worse; where it is meant, keep the new profile.json as the baseline",
        )
        for row in changes.rows
        if row.verdict == "regression"
    )


def _facts(
    version: int, family: str, task: str, batch: int, place: Environment, runtimes: Collection[str]
) -> dict[str, str]:
    """Return the facts that must agree before the times of two profiles are compared."""
    machine = {name: str(getattr(place, name)) for name in ("device", "machine", "processor", "cores", "threads")}
    measured_runtimes = [runtime for runtime in RUNTIMES if runtime.by_default or runtime.name in runtimes]
    packages_compared = ("python", *(package for runtime in measured_runtimes for package in runtime.packages))
    packages = {package: place.versions.get(package, "not installed") for package in packages_compared}
    return {"schema version": str(version), "family": family, "task": task, "batch": str(batch), **machine, **packages}


def _same_full(before: ProfileReport, now: ProfileReport) -> bool:
    """Return whether both full models compute the same; their weights may differ."""
    costs = [
        (report.macs.full, report.parameters.full, {part: pair.full for part, pair in report.macs_by_pool.items()})
        for report in (before, now)
    ]
    return costs[0] == costs[1]


def _how(relative: bool) -> str:
    if relative:
        return "Times are slim's over those of the full model, which is the same: the machine's slowdowns cancel."
    return "Times are slim's own, as the full models differ: a slower hour of the machine counts as slower."


def _in_runtime(before: RuntimeProfile, now: RuntimeProfile, relative: bool) -> Iterator[QuantityChange]:
    name, file = before.name, before.file_bytes.slim
    yield _time(before, now, relative)
    yield _judged(f"file, {name}", "B", file, now.file_bytes.slim, FILE_TOLERANCE / file)
    if before.memory and now.memory:
        yield _judged(f"memory, {name}", "B", before.memory.peak.slim, now.memory.peak.slim, TOLERANCE)


def _missing_in(before: RuntimeProfile, now: RuntimeProfile | None) -> list[NotMeasured]:
    if now is None:
        return [NotMeasured(what=before.name, why="measured in the baseline, not now")]
    if before.memory and now.memory:
        return []
    return [NotMeasured(what=f"memory, {before.name}", why="not measured in both")]


def _time(before: RuntimeProfile, now: RuntimeProfile, relative: bool) -> QuantityChange:
    earlier, later = (_over_full(runtime) if relative else estimate_median(runtime.slim) for runtime in (before, now))
    name, unit = _RELATIVE if relative else _ABSOLUTE
    change = divide(later, earlier)
    interval = (change.low - 1, change.high - 1)
    return _judged(f"{name}, {before.name}", unit, earlier.value, later.value, TOLERANCE, interval)


def _over_full(runtime: RuntimeProfile) -> Estimate:
    """Return slim's time over full's with its interval."""
    speedup = runtime.speedup
    return Estimate(1 / speedup.ratio, 1 / speedup.high, 1 / speedup.low)


def _drop(before: Profiled, now: Profiled) -> QuantityChange | None:
    """Compare the losses of the score; the tolerance is the sampling margin of their difference."""
    if before.drop is None or now.drop is None or before.slim is None or now.slim is None:
        return None
    if (before.slim.metric, before.slim.samples) != (now.slim.metric, now.slim.samples):
        return None
    margin = 100 * math.hypot(before.slim.margin, now.slim.margin)
    return _judged("score lost", "points", before.drop, now.drop, margin)


def _judged(
    name: str,
    unit: Unit,
    before: float,
    now: float,
    tolerance: float = 0.0,
    interval: tuple[float, float] | None = None,
) -> QuantityChange:
    change = now - before if unit == "points" else now / before - 1
    low, high = interval or (change, change)
    verdict: Verdict = "regression" if low > tolerance else "better" if high < -tolerance else "same"
    return QuantityChange(
        quantity=name,
        unit=unit,
        before=before,
        now=now,
        change=change,
        interval=interval,
        tolerance=tolerance,
        verdict=verdict,
    )


def _figure(value: float, unit: Unit) -> str:
    if unit in ("", "B"):
        return format_count(int(value), unit)
    return {"ms": f"{value:.2f} ms", "share": f"{value:.3f}", "points": f"{value:.2f}"}[unit]


def _exactly(value: float, unit: Unit) -> str:
    return f"{int(value):,} {unit}".rstrip() if unit in ("", "B") else _figure(value, unit)


def _change(row: QuantityChange) -> str:
    change = _signed(row.change, row.unit)
    if row.interval is None:
        return change
    low, high = (f"{100 * end:+.1f}" for end in row.interval)
    return f"{change} ({low} to {high})"


def _signed(change: float, unit: Unit) -> str:
    return f"{change:+.2f} points" if unit == "points" else f"{change:+.1%}"


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return list_faults(error)[0]
    return getattr(error, "strerror", None) or str(error)
