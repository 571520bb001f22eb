"""The whole compression: evaluate the full model, search, cut, recover, evaluate the slim one, save the run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from compressor.device import choose_device
from compressor.distributed import copy_from_main, from_main, is_main
from compressor.errors import CheckFailed, UsageError
from compressor.evaluation.evaluate import Evaluation, EveryAnswer, Score, compared, evaluate
from compressor.evaluation.pseudo_labels import with_own_answers
from compressor.job import Job, prepare
from compressor.models.costs import count_costs
from compressor.models.plan import Plan
from compressor.models.steps import StepModel
from compressor.models.supernet import Supernet
from compressor.models.surgery import make_plan, remove_layers
from compressor.progress import QUIET, Progress, Stages
from compressor.resume import Resumable, check_same
from compressor.run_folder import (
    MANIFEST,
    Manifest,
    Results,
    Run,
    ScorePair,
    every_tensor,
    interrupted_folder,
    new_folder,
    open_run,
    point_latest_at,
    save_run,
    versions,
)
from compressor.search.budgets import KINDS, BudgetResult, Prices
from compressor.search.fit_budget import Made, make_for
from compressor.search.least_squares import fit
from compressor.search.reuse import earlier_selection
from compressor.search.select_layers import FinishedSearch, calibration, encoded, select_layers
from compressor.settings import Settings, check_options
from compressor.training.optimiser import Optimiser
from compressor.training.recovery import (
    encoder_of,
    freeze_all_but,
    recover,
    recovery_groups,
    trained_parameters,
    updated_parameters,
)

SAMPLES_KEPT, SAMPLE_BYTES = 32, 32 << 20
PLACES = {"out", "data", "calibration", "checkpoint", "tokenizer"}  # settings that may differ when a run is resumed


Price = Callable[[Job], Prices]
"""Measures what a job's layers cost, where a search does not know: their latency."""


def compress(
    settings: Settings,
    *,
    command: str = "",
    resume: bool = False,
    progress: Progress = QUIET,
    price: Price | None = None,
) -> Run:
    """Compress a checkpoint and save the run.

    Args:
        settings: what is asked for.
        command: the command line, for the record.
        resume: go on with an interrupted run of the same settings; it ends where an uninterrupted one would.
        progress: told about every stage.
        price: for a budget of a kind that is measured.

    Raises:
        DasError: as :func:`prepare`, and when the run cannot be written.
        CheckFailed: the budget cannot be reached; nothing is kept.
        Interrupted: on Ctrl-C while training; the state is kept.
    """
    check_options(settings)
    choose_device(settings.device)
    folder = from_main(lambda: destination(settings, resume))
    if finished := from_main(lambda: _finished(folder, settings)):
        return finished
    job = prepare(settings, progress)
    for note in job.loaded.notes:
        progress.say(note)
    keep = Resumable(folder if is_main() else None, _identity(job))
    keep.load() if resume else keep.reserve()
    try:
        with keep.kept_on_interrupt():
            run = _compress(job, folder, keep, command, progress, price)
    except (CheckFailed, UsageError):
        keep.remove()
        raise
    keep.remove()
    return run


def _finished(folder: Path, settings: Settings) -> Run | None:
    """The run in ``folder``, where it was killed after it was complete; None where it is still to be made.

    Raises:
        InputError: it was made with other settings.
    """
    if not (folder / MANIFEST).exists():
        return None
    run = open_run(folder)
    asked = settings.model_dump(mode="json", exclude=PLACES)
    check_same(folder, asked, {name: run.manifest.settings.get(name) for name in asked})
    Resumable(folder, {}).remove()
    point_latest_at(folder)
    return run


def destination(settings: Settings, resume: bool = False) -> Path:
    """Where the run will lie: ``--out``, or a name made of checkpoint, task and what is skipped.

    Raises:
        InputError: it exists already, or there is nothing to resume.
        EnvironmentProblem: it cannot be written.
    """
    budget = settings.budget
    goal = f"skip{settings.skip}" if budget is None else budget.kind + budget.text(budget.limit)
    what = "by-hand" if settings.layers else goal
    stem = "-".join(part for part in (Path(settings.checkpoint).stem, settings.task, what) if part)
    return interrupted_folder(settings.out, stem) if resume else new_folder(settings.out, stem)


def _compress(job: Job, folder: Path, keep: Resumable, command: str, progress: Progress, price: Price | None) -> Run:
    stages = Stages(keep.state.setdefault("seconds", {}))
    samples = _samples(job)
    if job.settings.calibration is not None:
        with stages.timed("ask"):
            job = with_own_answers(job, keep, progress)
    prices = _measured_prices(job, keep, stages, price)
    full = _full_evaluation(job, keep, stages, progress)
    own = frozenset(job.model.skips)
    found = _selection(job, keep, stages, progress)

    def make(layers: Sequence[str]) -> Made:
        plan = make_plan(job.model, layers)
        slim = replace_layers(job, plan, own, stages, progress)
        with stages.timed("recover"):
            return Made(plan, slim, recover_slim(job, slim, full is not None, keep, progress))

    made, budget = make_for(job, found.result if found else None, prices, keep, make, progress)
    slim = made.slim
    with stages.timed("evaluate"):
        after = _evaluate(job, slim, "slim", progress)
    manifest = _manifest(job, made, found, command, _results(job, full, after, stages), budget)
    slim.to("cpu")
    with progress.stage("Saving the run"):
        save = partial(
            save_run,
            folder,
            slim,
            manifest,
            tokenizer=job.tokenizer,
            labels=job.data.labels,
            samples=samples,
            answers=_answers(job, full, after),
            result=found.result if found else None,
            log=found.log if found else [],
        )
        return from_main(save)


def _selection(job: Job, keep: Resumable, stages: Stages, progress: Progress) -> FinishedSearch | None:
    """What a search finds, or an earlier one found; None where the layers are named."""
    if job.settings.from_run:
        return earlier_selection(job.settings.from_run)
    return select_layers(job, keep, stages, progress) if job.searches else None


def _measured_prices(job: Job, keep: Resumable, stages: Stages, price: Price | None) -> Prices | None:
    """Prices of a budget that the search does not know, measured once for all resumed runs; None for the others."""
    budget = job.settings.budget
    if budget is None or KINDS[budget.kind].prices:
        return None
    if "prices" not in keep.state:
        if price is None:
            raise ValueError(f"a budget on {KINDS[budget.kind].noun} needs something that measures it: price")
        with stages.timed("measure"):
            keep.state["prices"] = from_main(lambda: price(job).model_dump())
    return Prices(**keep.state["prices"])


def _identity(job: Job) -> dict[str, Any]:
    """What must be the same for a run to be resumed."""
    asked = job.settings.model_dump(exclude=PLACES)
    splits = [split.describe()["fingerprint"] for split in job.data.splits]
    tokenizer = hashlib.sha256(job.tokenizer.to_str().encode()).hexdigest()
    layers = list(job.candidates)
    own = {"layers": layers, "checkpoint": job.source.sha256, "data": splits, "tokens": tokenizer}
    return {**asked, **own, "calibration": job.settings.calibration is not None}


def _evaluate(job: Job, model: StepModel, which: str, progress: Progress) -> tuple[Evaluation, ...]:
    """The evaluation split first, then the splits that are scored apart."""
    data, task = job.data, job.task
    return tuple(
        evaluate(
            model,
            split,
            task,
            metrics=data.metrics,
            progress=progress,
            label=f"Evaluating the {which} model on {split.name}",
        )
        for split in (data.evaluation, *data.extra)
    )


def _full_evaluation(job: Job, keep: Resumable, stages: Stages, progress: Progress) -> tuple[Evaluation, ...] | None:
    """The full model's scores; None for a transfer, whose head has not been trained yet."""
    if job.settings.adapt:
        return None
    if "full" in keep.state:
        return tuple(Evaluation(Score(**saved.pop("score")), **saved) for saved in map(dict, keep.state["full"]))
    with stages.timed("evaluate"):
        full = _evaluate(job, job.model, "full", progress)
    keep.state["full"] = [{**vars(found), "score": found.score.model_dump()} for found in full]
    keep.save()
    return full


def search_only(settings: Settings, progress: Progress = QUIET) -> tuple[Job, Plan, FinishedSearch]:
    """Search without cutting: the opened job, the plan that would be followed, and what the search found."""
    job, keep = prepare(settings, progress), Resumable(None, {})
    if settings.calibration is not None:
        job = with_own_answers(job, keep, progress)
    selection = select_layers(job, keep, Stages(), progress)
    return job, make_plan(job.model, selection.result.chosen[job.skip]), selection


def replace_layers(job: Job, plan: Plan, own: Collection[str], stages: Stages, progress: Progress) -> StepModel:
    """The slim model, with adapters as ``--recover`` wants them before any training.

    Args:
        job: its model holds the adapters that a search trained.
        plan: what to skip.
        own: layers whose adapters came with the checkpoint: they stay as they are.
        stages: told how long fitting takes.
        progress: told about the calibration samples.
    """
    if job.settings.recover == "none" and not job.trains_while_searching:
        for name in set(job.model.skips) - set(own):
            del job.model.skips[name]
    elif job.settings.recover != "none" and not job.settings.adapt:
        with stages.timed("fit"):
            supernet = Supernet(job.model, plan.layers)
            fit(supernet, calibration(job, supernet, progress), plan.layers, own)
            copy_from_main(supernet.adapters())
    return remove_layers(job.model, plan)


def recover_slim(job: Job, slim: StepModel, has_teacher: bool, keep: Resumable, progress: Progress) -> dict[str, int]:
    """Train the job's slim model in place, by its recipe; returns how many parameters of what were trained."""
    recovery = job.recovery
    groups = recovery_groups(slim, recovery)
    if job.settings.recover != "train":
        changed = job.settings.recover == "closed-form" or job.trains_while_searching
        return updated_parameters(slim, groups) if changed else {}
    optimiser = Optimiser(groups, recovery.steps)
    if "recover" in keep.state:
        _restore(keep.state["recover"], slim, optimiser)
    freeze_all_but(slim, groups)
    teacher = job.model if has_teacher else None
    encode = encoder_of(slim, teacher, recovery)
    train = encoded(job, job.data.train, encode, keep, progress, "Asking the full model once")

    def take() -> dict[str, Any]:
        return {"recover": {"model": trained_parameters(slim), "optimiser": optimiser.state_dict()}}

    with keep.saving(take) as after_step:
        recover(slim, job.task, train, recovery, optimiser, after_step=after_step, progress=progress)
    return updated_parameters(slim, groups)


def _restore(state: dict[str, Any], model: StepModel, optimiser: Optimiser) -> None:
    model.load_state_dict(state["model"], strict=False)
    optimiser.load_state_dict(state["optimiser"])


def _results(job: Job, full: tuple[Evaluation, ...] | None, slim: tuple[Evaluation, ...], stages: Stages) -> Results:
    before = [found.score for found in full] if full else [None] * len(slim)
    pairs = [ScorePair(full=b, slim=after.score) for b, after in zip(before, slim, strict=True)]
    return Results(
        full=pairs[0].full,
        slim=pairs[0].slim,
        apart=dict(zip((split.name for split in job.data.extra), pairs[1:], strict=True)),
        floor=job.task.baseline.score(job.data.train, job.data.evaluation),
        answer_agreement=float((full[0].answers == slim[0].answers).double().mean()) if full else None,
        seconds=stages.seconds,
    )


def _manifest(
    job: Job, made: Made, found: FinishedSearch | None, command: str, results: Results, budget: BudgetResult | None
) -> Manifest:
    slim, recovery = made.slim, job.recovery
    searching, training = job.trains_while_searching, job.settings.recover == "train"
    recipe = {
        "search_steps": job.search_steps if searching else 0,
        "search_learning_rate": job.learning_rate(job.search_steps) if searching else None,
        "recover_steps": recovery.steps if training else 0,
        "recover_learning_rate": recovery.learning_rate if training else None,
    }
    return Manifest(
        family=slim.family,
        task=slim.task,
        dims=slim.dims.model_dump(),
        plan=made.plan,
        strategy=found.result.strategy if found else "by hand",
        candidates=job.candidates,
        source=job.source,
        data=tuple(split.describe() for split in job.data.splits),
        data_root=str(job.data_root.resolve()),
        settings={**job.settings.model_dump(exclude={"out"}), **recipe},
        updated_parameters=made.updated,
        device=str(job.device),
        versions=versions(),
        command=command,
        results=results,
        costs=count_costs(job.model, slim, job.sample()),
        budget=budget,
    )


def _samples(job: Job) -> dict[str, torch.Tensor]:
    """Evaluation inputs, the first of those that exports are compared on: up to 32 of them or 32 MB, at least one."""
    split = job.data.evaluation
    size = sum(value.nbytes for value in split.inputs([0]).values())
    return split.inputs(compared(len(split))[: min(SAMPLES_KEPT, max(1, SAMPLE_BYTES // size))])


def _answers(job: Job, full: tuple[Evaluation, ...] | None, slim: tuple[Evaluation, ...]) -> dict[str, torch.Tensor]:
    """Logits of full and slim on the samples that exports are compared on, what is right, and all their answers."""
    numbers = compared(len(job.data.evaluation))
    found = {"numbers": torch.from_numpy(numbers), "slim": slim[0].logits}
    found |= {"full": full[0].logits, **every_tensor(EveryAnswer.of(full[0], slim[0]))} if full else {}
    return found if job.task.ranked else {**found, "targets": job.data.evaluation.targets(numbers)}
