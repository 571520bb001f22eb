"""The whole compression: evaluate the full model, search, cut, recover, evaluate the slim one, save the run."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compressor.data.splits import Split
from compressor.encoding import Encoded
from compressor.evaluation import Evaluation, Score, evaluate
from compressor.job import Job, Settings, check_options, prepare
from compressor.plan import Plan
from compressor.progress import QUIET, Progress
from compressor.recovery import (
    Encoder,
    encoder_of,
    freeze_all_but,
    recover,
    recovery_groups,
    transfer_groups,
    updated_parameters,
)
from compressor.resume import Resumable, copy_of
from compressor.runs import Manifest, Results, Run, ScorePair, interrupted_folder, new_folder, save_run, versions
from compressor.search import Search, SearchPlan, random_subset, run_search
from compressor.steps import StepModel
from compressor.supernet import Supernet, parallel_adapters
from compressor.surgery import make_plan, remove_layers
from compressor.tasks import TASKS
from compressor.training import Optimiser

UPDATE_EVERY = 10  # training steps between updates, as in the public code
MIN_UPDATES = 100  # on little data the gates move more often, so that they move at all
REWARD_SAMPLES = 256
SAMPLES_KEPT, SAMPLE_BYTES = 32, 32 << 20


@dataclass
class Stages:
    """Seconds each stage took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time spent inside to the stage ``name``."""
        started = time.monotonic()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 2)


def compress(settings: Settings, *, command: str = "", resume: bool = False, progress: Progress = QUIET) -> Run:
    """Compress a checkpoint and save the run.

    Args:
        settings: what is asked for.
        command: the command line, for the record.
        resume: go on with an interrupted run of the same settings; it ends where an uninterrupted one would.
        progress: told about every stage.

    Raises:
        DasError: as :func:`prepare`, and when the run cannot be written.
        Interrupted: on Ctrl-C while training; the state is kept.
    """
    check_options(settings)
    folder = destination(settings, resume)
    job = prepare(settings, progress)
    for note in job.loaded.notes:
        progress.say(note)
    keep = Resumable(folder, _identity(job))
    keep.load() if resume else keep.reserve()
    with keep.kept_on_interrupt():
        run = _compress(job, folder, keep, command, progress)
    keep.remove()
    return run


def destination(settings: Settings, resume: bool = False) -> Path:
    """Where the run will lie: ``--out``, or a name made of checkpoint, task and what is skipped.

    Raises:
        InputError: it exists already, or there is nothing to resume.
        EnvironmentProblem: it cannot be written.
    """
    what = "by-hand" if settings.layers else f"skip{settings.skip}"
    stem = "-".join(part for part in (Path(settings.checkpoint).stem, settings.task, what) if part)
    return interrupted_folder(settings.out, stem) if resume else new_folder(settings.out, stem)


def _compress(job: Job, folder: Path, keep: Resumable, command: str, progress: Progress) -> Run:
    stages = Stages(keep.state.setdefault("seconds", {}))
    samples = _samples(job)
    full = _full_evaluation(job, keep, stages, progress)
    plan, log = choose_layers(job, keep, stages, progress)
    slim = remove_layers(job.model, plan)
    with stages.timed("recover"):
        trained = recover_slim(job, slim, full is not None, keep, progress)
    with stages.timed("evaluate"):
        after = _evaluate(job, slim, "slim", progress)
    manifest = _manifest(job, slim, plan, trained, command, _results(job, full, after, stages))
    slim.to("cpu")
    with progress.stage("Saving the run"):
        return save_run(
            folder, slim, manifest, tokenizer=job.tokenizer, labels=job.data.labels, samples=samples, log=log
        )


def _identity(job: Job) -> dict[str, Any]:
    """What must be the same for a run to be resumed."""
    asked = job.settings.model_dump(exclude={"out", "data", "checkpoint", "tokenizer"})
    splits = [split.describe()["fingerprint"] for split in job.data.splits]
    tokenizer = hashlib.sha256(job.tokenizer.to_str().encode()).hexdigest()
    layers = list(job.candidates)
    return {**asked, "layers": layers, "checkpoint": job.source.sha256, "data": splits, "tokens": tokenizer}


def _evaluate(job: Job, model: StepModel, which: str, progress: Progress) -> tuple[Evaluation, ...]:
    """The evaluation split first, then the splits that are scored apart."""
    data, task = job.data, TASKS[model.task]
    return tuple(
        evaluate(
            model,
            split,
            task,
            metrics=data.metrics,
            progress=progress,
            label=f"Evaluating the {which} model on {split.name}",
        )
        for split in (data.evaluation, *data.apart)
    )


def _full_evaluation(job: Job, keep: Resumable, stages: Stages, progress: Progress) -> tuple[Evaluation, ...] | None:
    """The full model's scores; None for a transfer, whose head has not been trained yet."""
    if job.settings.adapt:
        return None
    if "full" in keep.state:
        return tuple(Evaluation(Score(**saved["score"]), saved["answers"]) for saved in keep.state["full"])
    with stages.timed("evaluate"):
        full = _evaluate(job, job.model, "full", progress)
    keep.state["full"] = [{"score": found.score.model_dump(), "answers": found.answers} for found in full]
    keep.save()
    return full


def choose_layers(job: Job, keep: Resumable, stages: Stages, progress: Progress) -> tuple[Plan, list[dict[str, Any]]]:
    """The plan, by hand or by search, and the search's log. The search leaves its trained adapters in the model."""
    if job.settings.layers:
        return make_plan(job.model, job.candidates), []
    model, settings, task = job.model, job.settings, TASKS[job.model.task]
    supernet = Supernet(model, job.candidates, tuple(parallel_adapters(model)) if settings.adapt else ())
    steps, warm_up = job.search_steps, job.warm_up_steps
    every = max(1, min(UPDATE_EVERY, (steps - warm_up) // MIN_UPDATES))
    search = Search(len(job.candidates), job.skip, every=every, seed=settings.seed)
    rate = job.learning_rate(steps)
    groups = [(supernet.adapters(), rate), *(transfer_groups(model, rate) if settings.adapt else [])]
    freeze_all_but(model, groups)
    optimiser = Optimiser(groups, steps)
    log: list[dict[str, Any]] = []
    if "searched" in keep.state:
        model.load_state_dict(keep.state["searched"]["model"], strict=False)
        return _chosen(job, search, keep.state["searched"]["gates"]), keep.state["searched"]["log"]
    if "search" in keep.state:
        _restore(keep.state["search"], model, optimiser)
        search.load_state_dict(keep.state["search"]["bandit"])
        log += keep.state["search"]["log"]

    def take() -> dict[str, Any]:
        state = {
            "model": _trained(model),
            "optimiser": optimiser.state_dict(),
            "bandit": search.state_dict(),
            "log": log,
        }
        return {"search": state}

    with stages.timed("encode"):
        train = _encoded(job, job.data.train, supernet.encode, keep, progress, "Encoding the training data once")
        held_out = _encoded(job, job.data.held_out, supernet.encode, keep, progress, "Encoding the held-out data once")
    lengths = SearchPlan(steps, warm_up, settings.batch_size, min(REWARD_SAMPLES, len(held_out)), settings.seed)
    with stages.timed("search"), keep.saving(take) as after_step:
        run_search(
            supernet,
            search,
            optimiser,
            task,
            train,
            held_out,
            lengths,
            log=log,
            after_step=after_step,
            progress=progress,
        )
    keep.state.pop("search", None)
    keep.state["searched"] = copy_of({"model": _trained(model), "gates": search.gates, "log": log})
    keep.save()
    return _chosen(job, search, search.gates), log


def _encoded(job: Job, split: Split, encode: Encoder, keep: Resumable, progress: Progress, label: str) -> Encoded:
    """Encode a split; a resumed run keeps in memory what the first one did, as the last bits depend on it."""
    decisions = keep.state.setdefault("in_memory", {})
    encoded = Encoded(split, encode, job.device, progress, label, decisions.get(label))
    decisions[label] = encoded.in_memory
    return encoded


def search_only(settings: Settings, progress: Progress = QUIET) -> tuple[Job, Plan, list[dict[str, Any]]]:
    """Search without cutting: the opened job, the plan DAS would follow, and the search's log."""
    job = prepare(settings)
    return (job, *choose_layers(job, Resumable(None, {}), Stages(), progress))


def _chosen(job: Job, search: Search, gates: torch.Tensor) -> Plan:
    search.gates = gates
    chosen = (
        search.best()
        if job.settings.strategy == "das"
        else random_subset(len(job.candidates), job.skip, job.settings.seed)
    )
    return make_plan(job.model, [job.candidates[i] for i in chosen])


def recover_slim(job: Job, slim: StepModel, has_teacher: bool, keep: Resumable, progress: Progress) -> dict[str, int]:
    """Train the job's slim model in place, by its recipe; returns how many parameters of what were trained."""
    recovery = job.recovery
    groups = recovery_groups(slim, recovery)
    if recovery.steps == 0:
        return {} if job.settings.layers else updated_parameters(slim, groups)  # by the search
    optimiser = Optimiser(groups, recovery.steps)
    if "recover" in keep.state:
        _restore(keep.state["recover"], slim, optimiser)
    freeze_all_but(slim, groups)
    teacher = job.model if has_teacher else None
    encode = encoder_of(slim, teacher, recovery)
    train = _encoded(job, job.data.train, encode, keep, progress, "Asking the full model once")

    def take() -> dict[str, Any]:
        return {"recover": {"model": _trained(slim), "optimiser": optimiser.state_dict()}}

    with keep.saving(take) as after_step:
        recover(slim, TASKS[slim.task], train, recovery, optimiser, after_step=after_step, progress=progress)
    return updated_parameters(slim, groups)


def _trained(model: StepModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def _restore(state: dict[str, Any], model: StepModel, optimiser: Optimiser) -> None:
    model.load_state_dict(state["model"], strict=False)
    optimiser.load_state_dict(state["optimiser"])


def _results(job: Job, full: tuple[Evaluation, ...] | None, slim: tuple[Evaluation, ...], stages: Stages) -> Results:
    before = [found.score for found in full] if full else [None] * len(slim)
    pairs = [ScorePair(full=b, slim=after.score) for b, after in zip(before, slim, strict=True)]
    return Results(
        full=pairs[0].full,
        slim=pairs[0].slim,
        apart=dict(zip((split.name for split in job.data.apart), pairs[1:], strict=True)),
        floor=TASKS[job.model.task].floor(job.data.train, job.data.evaluation),
        answer_agreement=float((full[0].answers == slim[0].answers).double().mean()) if full else None,
        seconds=stages.seconds,
    )


def _manifest(
    job: Job, slim: StepModel, plan: Plan, updated: dict[str, int], command: str, results: Results
) -> Manifest:
    recovery = job.recovery
    recipe = {
        "search_steps": 0 if job.settings.layers else job.search_steps,
        "search_learning_rate": None if job.settings.layers else job.learning_rate(job.search_steps),
        "recover_steps": recovery.steps,
        "recover_learning_rate": recovery.learning_rate,
    }
    return Manifest(
        family=slim.family,
        task=slim.task,
        dims=slim.dims.model_dump(),
        plan=plan,
        strategy="by hand" if job.settings.layers else job.settings.strategy,
        candidates=job.candidates,
        source=job.source,
        data=tuple(split.describe() for split in job.data.splits),
        data_root=str(job.data_root.resolve()),
        settings={**job.settings.model_dump(exclude={"out"}), **recipe},
        updated_parameters=updated,
        device=str(job.device),
        versions=versions(),
        command=command,
        results=results,
    )


def _samples(job: Job) -> dict[str, torch.Tensor]:
    """The first evaluation inputs, up to 32 of them or 32 MB, at least one."""
    split = job.data.evaluation
    size = sum(value.nbytes for value in split.inputs(np.arange(1)).values())
    return split.inputs(np.arange(min(SAMPLES_KEPT, max(1, SAMPLE_BYTES // size), len(split))))
