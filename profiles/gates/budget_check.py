"""Check a run against its budget, measured on the slim model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from compressor.costs.model_costs import Pair
from compressor.errors import CheckFailed, Checks, Problem, environment_problem
from compressor.evaluation.score import Score
from compressor.jobs.open_inputs import open_inputs
from compressor.models.plan import summarise
from compressor.models.steps import StepModel
from compressor.progress import QUIET, Progress
from compressor.saved_run.run_folder import Run
from compressor.search.budgets import DROP, KINDS, Amount, Budget, BudgetResult, describe_drop
from compressor.settings import Settings
from exporters.runtimes import RUNTIMES, find_runtime
from exporters.runtimes.runtime import Runtime
from profiles.comparison.full_vs_slim import ProfileReport, RuntimeProfile
from profiles.comparison.profile_run import measure_run, save_profile
from profiles.formatting import Table
from profiles.timing.speedups import estimate_quantile

SECONDS = 10.0
RUNTIME = "onnxruntime"  # what a latency is measured on where nobody says


def runtime_of(budget: Budget) -> Runtime:
    """Return the runtime that a latency budget is measured on."""
    return find_runtime(budget.runtime or RUNTIME)


def with_runtime(settings: Settings) -> Settings:
    """Return the settings with the runtime of a latency budget under its own name.

    Raises:
        UsageError: no such runtime; with it all else that is wrong, as :func:`compressor.jobs.open_inputs.open_inputs`.
        EnvironmentProblem: a runtime that single layers cannot be timed on.
    """
    runtime, checks = None, Checks()
    with checks:
        if settings.limits.keys() == {"latency"} or settings.runtime:
            runtime = find_runtime(settings.runtime or RUNTIME)
    if checks.found:
        with checks:
            open_inputs(settings)  # for what else is wrong
    checks.raise_found()
    if runtime is None:
        return settings
    if not runtime.times_layers:
        known = ", ".join(runtime.name for runtime in RUNTIMES if runtime.times_layers)
        raise environment_problem(
            "layers-not-timed",
            f"--runtime {settings.runtime}: das does not time single layers in {runtime.title}, which a latency budget "
            "is made of",
            f"a runtime that layers can be timed on: {known}",
            f"--runtime {RUNTIME}, or another budget: --max-macs 0.7x",
        )
    return settings.model_copy(update={"runtime": runtime.name})


def measure_budget(run: Run, full_model: StepModel | None = None, progress: Progress = QUIET) -> None:
    """Time full and slim in turns on the runtime of a latency budget, and keep that as the run's profile.

    Args:
        run: of any budget or none; only latencies are still to be measured.
        full_model: on the CPU; None loads it.
        progress: told what is timed.

    Raises:
        CheckFailed: an ONNX file that was made on the way does not answer as its model does.
        EnvironmentProblem: as :func:`profiles.comparison.profile_run.measure_run`.
    """
    result = run.manifest.budget
    if result is None or result.budget.at is None:  # latencies alone have a quantile
        return
    device, runtime = run.manifest.device.partition(":")[0], runtime_of(result.budget).name
    profile = measure_run(
        run, full_model=full_model, runtimes=[runtime], seconds=SECONDS, device=device, progress=progress
    )
    save_profile(run, profile)


def with_measured(
    result: BudgetResult | None, macs: Pair, parameters: Pair, profiled: ProfileReport | None
) -> BudgetResult | None:
    """Return a run's budget with its measurement: MACs of the manifest, parameters, or times of the profile."""
    if result is None or result.measured:
        return result
    timed = _timed(result.budget, profiled) if result.budget.at else None  # latencies alone have a quantile
    found: Mapping[str, Callable[[], Amount | None]] = {
        "macs": lambda: Amount(full=macs.full, slim=macs.slim),
        "params": lambda: Amount(full=parameters.full, slim=parameters.slim),
        "latency": lambda: _times(result.budget, timed),
    }
    return result.model_copy(
        update={"measured": found[result.budget.kind](), "interval": _interval(result.budget, timed)}
    )


def _timed(budget: Budget, profiled: ProfileReport | None) -> RuntimeProfile | None:
    """Return the times in the budget's runtime; None where a later profile has left it out."""
    if profiled is None or profiled.batch != 1:
        return None
    return next((entry for entry in profiled.runtimes if entry.name == runtime_of(budget).name), None)


def _times(budget: Budget, timed: RuntimeProfile | None) -> Amount | None:
    """Return the times at the budget's quantile."""
    quantile = f"{budget.at}_ms"
    return Amount(full=getattr(timed.full, quantile), slim=getattr(timed.slim, quantile)) if timed else None


def _interval(budget: Budget, timed: RuntimeProfile | None) -> tuple[float, float] | None:
    """Return the 95 % interval of what a latency budget limits; None of other budgets, and of one process alone."""
    if timed is None or budget.at is None:
        return None
    percent = float(budget.at.removeprefix("p"))
    found = estimate_quantile(timed.slim, percent, timed.full if budget.relative else None)
    return (found.low, found.high) if found else None


def budget_sentence(result: BudgetResult, full: Score | None, slim: Score) -> str:
    """Describe the budget, the search's prediction, and the measurement."""
    budget, noun = result.budget, KINDS[result.budget.kind].noun
    predicted = budget.text(budget.used(result.predicted))
    measured = _measured(result) if result.measured else "not measured yet (das profile)"
    if budget.kind == DROP and full and result.measured:
        here, there = budget.used(result.measured), 100 * (full.value - slim.value)
        count = f"{len(result.tries)} model{'s' * (len(result.tries) != 1)} tried"
        return (
            f"Budget {budget}: {describe_drop(here)} on the held-out samples ({predicted} before the recovery), "
            f"{describe_drop(there)} on the evaluation split; {count}."
        )
    return f"Budget {budget}: {noun} predicted {predicted}, measured {measured}."


def _measured(result: BudgetResult) -> str:
    """Return what was measured with its interval, and whether a repetition may decide otherwise."""
    assert result.measured
    budget = result.budget
    text = budget.text(budget.used(result.measured))
    if result.interval is None:
        return text
    low, high = map(budget.text, result.interval)
    return f"{text} (95 % interval {low} to {high}{'; a repetition may decide otherwise' * result.undecided})"


def tries_table(result: BudgetResult) -> Table:
    """Return every model that was tried for a drop."""
    rows = (
        (
            summarise(entry.layers),
            f"{entry.macs:.1%}",
            f"{entry.predicted:+.2f}",
            f"{entry.measured:+.2f}",
            "holds" if entry.holds else "too much",
        )
        for entry in result.tries
    )
    header = ("without", "MACs", "lost, predicted", "after recovery", "")
    return Table("Tried on the held-out samples, in points", header, tuple(rows))


def check_budget(result: BudgetResult | None, run: Run) -> None:
    """Hold a finished run against its budget.

    Raises:
        CheckFailed: what was measured is more; the run is kept.
    """
    if result is None or result.measured is None or not result.broken:
        return
    budget, used = result.budget, result.budget.used(result.measured)
    tighter = budget.model_copy(update={"limit": budget.limit * budget.limit / used})
    raise CheckFailed(
        Problem(
            "budget-broken",
            f"{budget}: predicted {budget.text(budget.used(result.predicted))}, measured {_measured(result)}; "
            f"the run is kept in {run.path}",
            f"at most {budget.text(budget.limit)} {KINDS[budget.kind].noun}",
            f"das compress --from {run.path} {tighter}",
        )
    )
