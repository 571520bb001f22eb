"""From what was asked for to a slim model: so many layers, these layers, or the best that keeps to a budget."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.errors import CheckFailed, Problem
from compressor.evaluation.evaluate import evaluate_samples
from compressor.job import Job
from compressor.models.plan import Plan, summarise
from compressor.models.steps import StepModel
from compressor.models.surgery import make_plan, remove_layers
from compressor.progress import Progress
from compressor.resume import Resumable, copy_of
from compressor.search.budgets import (
    DROP,
    KINDS,
    MACS,
    Amount,
    Budget,
    BudgetResult,
    Prices,
    Try,
    best_within,
    pareto_front,
    predicted_start,
    smallest_that_holds,
)
from compressor.search.cost import count_slim
from compressor.search.result import SearchResult
from compressor.search.select_layers import scored_part
from compressor.settings import Settings
from compressor.training.recovery import freeze_all_but, recovery_groups, trained_parameters

SEARCH_OPTIONS = ("data", "calibration", "tokenizer", "scope", "strategy", "seed", "image_size", "text_length")
RECOVERY_OPTIONS = ("recover", "recover_epochs", "batch_size", "learning_rate")


@dataclass(frozen=True)
class Made:
    """A slim model after its recovery, and how many parameters of what were trained."""

    plan: Plan
    slim: StepModel
    updated: dict[str, int]


Make = Callable[[Sequence[str]], Made]


def make_for(
    job: Job, record: SearchResult | None, prices: Prices | None, keep: Resumable, make: Make, progress: Progress
) -> tuple[Made, BudgetResult | None]:
    """The slim model that a job asks for, and what came of its budget if it has one.

    Args:
        job: says what is asked for.
        record: of the search; None where the layers are named.
        prices: where the budget's kind is measured; else they come from the record.
        keep: remembers what was tried for a ``drop``.
        make: removes layers and recovers.
        progress: told about everything tried.

    Raises:
        CheckFailed: the budget cannot be reached; names the nearest that can.
    """
    budget = job.settings.budget
    if record is None:
        return make(job.candidates), None
    if budget is None:
        return make(record.chosen[job.skip]), None
    known = KINDS[budget.kind].prices
    found = known(record) if known else prices
    assert found is not None
    if budget.kind == DROP:
        return _smallest(job, budget, record, found, keep, make, progress)
    layers = best_within(budget, record, found, _command(job))
    # Sums of savings know nothing of exact trims: they choose, and what is chosen is counted as it will be judged.
    slim = count_slim(job.model, layers, job.sample()) if budget.kind == MACS else found.without(layers)
    predicted = Amount(full=found.full, slim=slim)
    progress.say(f"{budget}: {budget.text(budget.used(predicted))} predicted without {summarise(layers)}")
    return make(layers), BudgetResult(budget=budget, prices=found, predicted=predicted)


def _smallest(
    job: Job,
    budget: Budget,
    record: SearchResult,
    prices: Prices,
    keep: Resumable,
    make: Make,
    progress: Progress,
) -> tuple[Made, BudgetResult]:
    """The model of fewest MACs that loses no more than the budget on the held-out samples after its recovery."""
    rungs = pareto_front(record, prices)
    full = held_out_score(job, job.model, progress, "Scoring the full model on the held-out data")
    tried = {entry.layers: entry for entry in (Try(**saved) for saved in keep.state.get("tries", []))}

    def holds(rung: int) -> bool:
        point = rungs[rung]
        if point.layers not in tried:
            made = make(point.layers)
            value = held_out_score(job, made.slim, progress, "Scoring what was tried on the held-out data")
            lost = Amount(full=100 * full, slim=100 * value)
            entry = Try(
                layers=point.layers,
                macs=prices.without(point.layers) / prices.full,
                predicted=100 * (record.full.value - point.value),
                measured=budget.used(lost),
                holds=budget.holds(lost),
            )
            tried[point.layers] = entry
            progress.say(_words(entry, budget))
            keep.state.pop("recover", None)
            if entry.holds:
                keep.state["kept"] = _state_of(job, made)
            keep.state["tries"] = [entry.model_dump() for entry in tried.values()]
            keep.save()
        return tried[point.layers].holds

    start = predicted_start(rungs, record.full.value - budget.limit / 100)
    best = smallest_that_holds(start, len(rungs), holds)
    if best is None:
        nearest = min(tried.values(), key=lambda entry: entry.measured)
        raise CheckFailed(
            Problem(
                "budget-out-of-reach",
                f"{budget} cannot be reached: of {len(tried)} models tried the nearest loses {nearest.measured:.2f} "
                f"points, with {nearest.macs:.3f}x of the MACs, without {summarise(nearest.layers)}",
                f"at most {budget.text(budget.limit)} points of {record.metric} lost on {record.samples:,} samples",
                f"a longer recovery (--recover-epochs), or {_command(job)} {budget.reaching(nearest.measured)}",
            )
        )
    point = rungs[best]
    result = BudgetResult(
        budget=budget,
        prices=prices,
        predicted=Amount(full=100 * record.full.value, slim=100 * point.value),
        measured=Amount(full=100 * full, slim=100 * full - tried[point.layers].measured),
        tries=tuple(tried.values()),
    )
    return _made_before(job, keep.state["kept"]), result


def _words(entry: Try, budget: Budget) -> str:
    verdict = "within" if entry.holds else "more than"
    return (
        f"without {summarise(entry.layers)}: {entry.macs:.3f}x of the MACs, {entry.measured:.2f} points lost, "
        f"{verdict} {budget.text(budget.limit)}"
    )


def _state_of(job: Job, made: Made) -> dict[str, Any]:
    """All that a recovery may have changed, to have the model again after others were tried."""
    freeze_all_but(made.slim, recovery_groups(made.slim, job.recovery))
    parameters = copy_of(trained_parameters(made.slim))
    return {"layers": list(made.plan.layers), "updated": made.updated, "model": parameters}


def _made_before(job: Job, state: dict[str, Any]) -> Made:
    plan = make_plan(job.model, state["layers"])
    slim = remove_layers(job.model, plan)
    slim.load_state_dict(state["model"], strict=False)
    return Made(plan, slim, state["updated"])


def held_out_score(job: Job, model: StepModel, progress: Progress, label: str) -> float:
    """Mean score, in [0, 1], on the samples that a search scores its subsets on."""
    return evaluate_samples(model, scored_part(job), job.task, progress=progress, label=label).score.value


def _command(job: Job) -> str:
    """What the user would type again, up to the budget."""
    settings = job.settings
    subject = ["--from", settings.from_run] if settings.from_run else [settings.checkpoint, "--task", job.model.task]
    names = RECOVERY_OPTIONS if settings.from_run else (*SEARCH_OPTIONS, *RECOVERY_OPTIONS)
    given = {name: getattr(settings, name) for name in names}
    typed = {name: value for name, value in given.items() if value != Settings.model_fields[name].default}
    options = [part for name, value in typed.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return shlex.join(["das", "compress", *subject, *options])
