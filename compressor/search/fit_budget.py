"""Build the slim model for a request: k layers, named layers, or the best subset within a budget."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from compressor.costs.count_costs import count_reductions
from compressor.costs.macs import count_macs
from compressor.costs.model_costs import Pair, Trims, share_macs
from compressor.errors import CheckFailed, Problem
from compressor.evaluation.evaluate import evaluate_samples
from compressor.jobs.job import Job
from compressor.models.plan import summarise
from compressor.models.steps import StepModel
from compressor.models.supernet import Supernet
from compressor.progress import Progress
from compressor.saved_run.resume import Stage
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
    describe_drop,
    pareto_front,
    predict_start,
    smallest_that_holds,
)
from compressor.search.cost import measure_costs
from compressor.search.result import Point, SearchResult
from compressor.search.select_layers import draw_layers, draw_scored_samples
from compressor.settings import Choice, Settings
from compressor.training.fit_slim import Fitter, SlimModel
from compressor.training.recovery import freeze_all_but, recovery_groups, trained_parameters

SEARCH_OPTIONS = (
    *("data", "columns", "holdout", "calibration", "tokenizer"),
    *("scope", "strategy", "skip_width", "seed", "image_size", "text_length"),
)
RECOVERY_OPTIONS = ("merge_tokens", "replace", "recover", "recover_epochs", "batch_size", "learning_rate", "train_head")


def fit_request(
    fitter: Fitter, search: SearchResult | None, prices: Prices | None
) -> tuple[SlimModel, BudgetResult | None]:
    """Return the slim model that a job asks for, and the result of its budget if it has one.

    Args:
        fitter: of the job.
        search: None where the layers are named, drawn by lot, or none.
        prices: where the budget's kind is measured; else they come from the search.

    Raises:
        UsageError: the full model keeps to the budget as it is.
        CheckFailed: the budget cannot be reached; names the nearest that can.
        Interrupted: on Ctrl-C or SIGTERM while training; the state is saved.
    """
    job, budget = fitter.job, fitter.job.settings.budget
    if search is None:
        return fitter.fit(draw_layers(job) if job.settings.choice is Choice.LOT else job.candidates), None
    if budget is None:
        return fitter.fit(search.chosen[job.skip]), None
    known = KINDS[budget.kind].prices
    prices = known(search) if known else prices
    if job.settings.merge_tokens is not None and budget.kind in (MACS, DROP):
        prices = price_merged(job, search)
    assert prices is not None
    if budget.kind == DROP:
        return fit_within_drop(fitter, budget, search, prices)
    layers = best_within(budget, search, prices, _command(job))
    predicted = _counted(job, layers) if budget.kind == MACS else prices.predict(layers)
    fitter.progress.say(f"{budget}: {budget.text(budget.used(predicted))} predicted without {summarise(layers)}")
    return fitter.fit(layers), BudgetResult(budget=budget, prices=prices, predicted=predicted)


def price_merged(job: Job, search: SearchResult) -> Prices:
    """Return the MACs that each layer saves of the model that merges tokens; all its vision layers are in that."""
    with torch.random.fork_rng():  # fresh adapters are drawn, and thrown away
        merging = Supernet(job.merge_tokens(job.model), job.candidates, width=job.settings.skip_width)
    costs, counts = measure_costs(merging, job.sample()), int(job.has_adapters)
    saved = {name: costs.steps[name] - counts * costs.adapters[name] for name in job.candidates}
    return Prices(full=search.macs, saved=saved, beside=costs.full - search.macs)


def count_cut(job: Job, layers: Sequence[str]) -> tuple[Pair, Trims]:
    """Return the MACs of full and slim on the sample that the run is judged on, and those of the exact trims.

    Sums of savings know nothing of exact trims: they choose, and what is chosen is counted.
    """
    sample = job.sample()
    with torch.random.fork_rng():  # fresh adapters are drawn, and thrown away
        slim = job.cut(job.plan(layers), copy_kept=False)
    full, trims = count_macs(job.plain, sample).total, count_reductions(slim, sample)
    return Pair(full=full, slim=trims.after), trims


def _counted(job: Job, layers: Sequence[str]) -> Amount:
    macs, _ = count_cut(job, layers)
    return Amount(full=macs.full, slim=macs.slim)


def fit_within_drop(
    fitter: Fitter, budget: Budget, search: SearchResult, prices: Prices
) -> tuple[SlimModel, BudgetResult]:
    """Return the model of fewest MACs that loses no more than the budget on the held-out samples after its recovery.

    Raises:
        CheckFailed: no point of the search's Pareto front does; names the nearest.
        Interrupted: on Ctrl-C or SIGTERM while training; the state is saved.
    """
    front, tries = pareto_front(search, prices), DropTries(fitter, budget, search)
    start = predict_start(front, search.full.value - budget.limit / 100)
    point = smallest_that_holds(front, start, tries.holds)
    if point is None:
        nearest = min(tries.by_layers.values(), key=lambda entry: entry.measured)
        raise CheckFailed(
            Problem(
                "budget-out-of-reach",
                f"{budget} cannot be reached: of {len(tries.by_layers)} models tried the nearest loses "
                f"{nearest.measured:.2f} points, MACs {nearest.share}, without {summarise(nearest.layers)}",
                f"at most {budget.text(budget.limit)} points of {search.metric} lost on {search.samples:,} samples",
                f"a longer recovery (--recover-epochs), or {_command(fitter.job)} {budget.reaching(nearest.measured)}",
            )
        )
    full, lost = 100 * tries.full, tries.by_layers[point.layers].measured
    result = BudgetResult(
        budget=budget,
        prices=prices,
        predicted=Amount(full=100 * search.full.value, slim=100 * point.value),
        measured=Amount(full=full, slim=full - lost),
        tries=tuple(tries.by_layers.values()),
    )
    return tries.restore_best(), result


class DropTries:
    """Models tried for a budget on the drop; those that an interrupted run tried are not fitted again.

    Attributes:
        full: held-out score of the full model, in [0, 1].
        by_layers: every try so far.
    """

    def __init__(self, fitter: Fitter, budget: Budget, search: SearchResult) -> None:
        self.fitter, self.budget, self.search = fitter, budget, search
        job = fitter.job
        self.full = score_held_out(job, job.model, fitter.progress, "Scoring the full model on the held-out data")
        saved: dict[str, Any] = fitter.checkpoint.result(Stage.TRY) or {"tries": [], "best": None}
        self.by_layers = {entry.layers: entry for entry in (Try(**values) for values in saved["tries"])}
        self._best = saved["best"]

    def holds(self, point: Point) -> bool:
        """Fit and score the model of a point, once, and return whether it keeps to the budget."""
        if point.layers not in self.by_layers:
            self._try(point)
        return self.by_layers[point.layers].holds

    def _try(self, point: Point) -> None:
        fitter, slim = self.fitter, self.fitter.fit(point.layers)
        label, share = "Scoring what was tried on the held-out data", share_macs(*count_cut(fitter.job, point.layers))
        score = score_held_out(fitter.job, slim.model, fitter.progress, label)
        scores = Amount(full=100 * self.full, slim=100 * score)
        entry = Try(
            layers=point.layers,
            macs=share.left,
            trims=share.trims,
            merging=share.merging,
            predicted=100 * (self.search.full.value - point.value),
            measured=self.budget.used(scores),
            holds=self.budget.holds(scores),
        )
        self.by_layers[point.layers] = entry
        fitter.progress.say(_describe(entry, self.budget))
        if entry.holds:
            self._best = _slim_state(fitter.job, slim)
        tries = [tried.model_dump() for tried in self.by_layers.values()]
        fitter.checkpoint.finish(Stage.TRY, {"tries": tries, "best": self._best})

    def restore_best(self) -> SlimModel:
        """Return the last model that held, as it was after its recovery."""
        job, state = self.fitter.job, self._best
        plan = job.plan(state["layers"])
        slim = job.cut(plan)
        slim.load_state_dict(state["parameters"], strict=False)
        return SlimModel(plan, slim, state["updated_parameters"])


def _slim_state(job: Job, slim: SlimModel) -> dict[str, Any]:
    """Return all that a recovery may have changed, to have the model again after others were tried."""
    freeze_all_but(slim.model, recovery_groups(slim.model, job.recovery))
    return {
        "layers": list(slim.plan.layers),
        "updated_parameters": slim.updated_parameters,
        "parameters": {name: value.cpu().clone() for name, value in trained_parameters(slim.model).items()},
    }


def _describe(entry: Try, budget: Budget) -> str:
    verdict = "within" if entry.holds else "more than"
    return (
        f"without {summarise(entry.layers)}: {describe_drop(entry.measured)}, {verdict} {budget.text(budget.limit)}; "
        f"MACs {entry.share}"
    )


def score_held_out(job: Job, model: StepModel, progress: Progress, label: str) -> float:
    """Return the mean score, in [0, 1], on the samples that a search scores its subsets on."""
    return evaluate_samples(model, draw_scored_samples(job), job.task, progress=progress, label=label).score.value


def _command(job: Job) -> str:
    """Return the command that a user would type again, up to the budget."""
    settings = job.settings
    subject = ["--from", settings.from_run] if settings.from_run else [settings.checkpoint, "--task", job.model.task]
    names = RECOVERY_OPTIONS if settings.from_run else (*SEARCH_OPTIONS, *RECOVERY_OPTIONS)
    values = {name: getattr(settings, name) for name in names}
    changed = {name: value for name, value in values.items() if value != Settings.model_fields[name].default}
    options = [part for name, value in changed.items() for part in (f"--{name.replace('_', '-')}", *_typed(value))]
    return shlex.join(["das", "compress", *subject, *options])


def _typed(value: Any) -> tuple[str, ...]:
    """Return what a user types behind an option: nothing behind a flag, columns as --columns takes them."""
    if isinstance(value, Mapping):
        return (",".join(f"{role}={name}" for role, name in value.items()),)
    return () if value is True else (str(value),)
