"""What a run says of its compression, and what it keeps of data and answers."""

from __future__ import annotations

import torch

from compressor.costs.count_costs import count_costs
from compressor.evaluation.evaluate import pair_answers, parity_indices, share_agreed
from compressor.evaluation.evaluate_job import Evaluations
from compressor.evaluation.score import IndexRecall
from compressor.families import FAMILIES
from compressor.jobs.job import Job
from compressor.progress import Stages
from compressor.saved_run.manifest import Manifest, Results, RunSettings, ScorePair, versions
from compressor.saved_run.save_run import every_tensor
from compressor.search.budgets import BudgetResult
from compressor.search.select_layers import FinishedSearch
from compressor.training.fit_slim import SlimModel

SAMPLES_KEPT, SAMPLE_BYTES = 32, 32 << 20


def make_results(
    job: Job, full: Evaluations | None, slim: Evaluations, stages: Stages, remarks: tuple[str, ...]
) -> Results:
    """Return what a compression measured: scores of both models, how far they agree, seconds and remarks."""
    full_scores = [evaluation.score for evaluation in full] if full else [None] * len(slim)
    pairs = [ScorePair(full=score, slim=after.score) for score, after in zip(full_scores, slim, strict=True)]
    return Results(
        full=pairs[0].full,
        slim=pairs[0].slim,
        apart=dict(zip((split.name for split in job.data.extra), pairs[1:], strict=True)),
        floor=job.task.baseline.score(job.data.train, job.data.evaluation),
        index=_recall_across(job, full, slim),
        answer_agreement=share_agreed(full[0], slim[0]) if full else None,
        seconds=stages.seconds,
        remarks=remarks,
    )


def _recall_across(job: Job, full: Evaluations | None, slim: Evaluations) -> IndexRecall | None:
    """Return what slim finds in an index of the full model's; None for tasks without one."""
    if job.task.across is None or not full:
        return None
    theirs, ours = full[0].outputs, slim[0].outputs
    assert theirs is not None and ours is not None, "a task with an index is scored on whole splits"
    return job.task.across(theirs, ours, job.data.evaluation)


def make_manifest(
    job: Job,
    slim: SlimModel,
    search: FinishedSearch | None,
    command: str,
    results: Results,
    budget: BudgetResult | None,
) -> Manifest:
    """Return the manifest of a run: how the slim model was made, and what came of it."""
    model, recovery = slim.model, job.recovery
    searching, training = job.trains_while_searching, job.trains_in_recovery
    settings = RunSettings(
        **job.settings.model_dump(),
        search_steps=job.search_steps if searching else 0,
        search_learning_rate=job.learning_rate(job.search_steps) if searching else None,
        recover_steps=recovery.steps if training else 0,
        recover_learning_rate=recovery.learning_rate if training else None,
    )
    return Manifest(
        family=model.family,
        task=model.task,
        dims=model.dims.model_dump(),
        plan=slim.plan,
        strategy=search.result.strategy if search else job.settings.choice.value,
        candidates=job.candidates,
        source=job.source,
        data=tuple(split.describe() for split in job.data.splits),
        data_root=str(job.data_root.resolve()),
        pairs=any(sample.second is not None for sample in job.data.train.samples),
        settings=settings,
        updated_parameters=slim.updated_parameters,
        device=str(job.device),
        versions={**versions(), **FAMILIES.package_of(model.family)},
        command=command,
        results=results,
        costs=count_costs(job.plain, model, job.sample()),
        budget=budget,
    )


def choose_samples(job: Job) -> dict[str, torch.Tensor]:
    """Return the first evaluation inputs that exports are compared on: up to 32 samples or 32 MB, at least one.

    Their texts have the full length: exports take it, and profiles measure at it.
    """
    split = job.data.evaluation
    size = sum(value.nbytes for value in job.sample().values())
    numbers = parity_indices(len(split))[: min(SAMPLES_KEPT, max(1, SAMPLE_BYTES // size))]
    return split.inputs(numbers, full_length=True)


def gather_answers(job: Job, full: Evaluations | None, slim: Evaluations) -> dict[str, torch.Tensor]:
    """Return logits and targets of the samples that exports are compared on, and all scores of full and slim."""
    numbers = parity_indices(len(job.data.evaluation))
    tensors = {"numbers": torch.from_numpy(numbers), "slim": slim[0].logits}
    tensors |= {"full": full[0].logits, **every_tensor(pair_answers(full[0], slim[0]))} if full else {}
    return tensors if job.task.ranked else {**tensors, "targets": job.data.evaluation.targets(numbers)}
