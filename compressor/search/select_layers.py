"""Run a job's layer search; its result also covers the other numbers of layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from compressor.costs.macs import count_macs
from compressor.costs.parts import parameters_of_layers, without_idle
from compressor.data.batches import batches_of_like_length
from compressor.data.splits import Split
from compressor.distributed import copy_from_main, from_main
from compressor.jobs.job import Job
from compressor.models.adapters import SkipAdapter
from compressor.models.steps import Streams, is_mask, steps_of
from compressor.models.supernet import Supernet, parallel_adapters
from compressor.progress import Progress, Stages
from compressor.saved_run.resume import RunCheckpoint, Stage
from compressor.search.block_influence import block_influence
from compressor.search.cost import Costs, measure_costs
from compressor.search.least_squares import fit_adapters
from compressor.search.loop import Search, Spent, Training, with_teacher
from compressor.search.result import LogEntry, Point, SearchResult
from compressor.search.strategies import STRATEGIES, make_strategy
from compressor.search.strategies.das_bandit import add_gates
from compressor.search.strategies.reference_strategies import RandomOrder
from compressor.search.strategies.strategy import SearchSpace, WithFinalScores
from compressor.training.activation_cache import Answered, Encoded, Encoder
from compressor.training.loss_in_parts import kept_per_byte
from compressor.training.optimiser import Optimiser
from compressor.training.recovery import freeze_all_but, trained_parameters, transfer_groups

UPDATE_EVERY = 10  # training steps between updates of DAS, as in the public code
MIN_UPDATES = 100  # on little data the gates move more often, so that they move at all
HELD_OUT_SAMPLES = 1024  # that subsets are scored on at most
CALIBRATION_SAMPLES = 512  # that adapters are fitted on at most
CALIBRATION_CHUNK = 64


@dataclass(frozen=True)
class FinishedSearch:
    """The result of a search, and its log: one entry for every subset scored."""

    result: SearchResult
    log: list[LogEntry]


def select_layers(job: Job, checkpoint: RunCheckpoint, stages: Stages, progress: Progress) -> FinishedSearch:
    """Search the job's candidates by its strategy. What a strategy trains stays in the job's model.

    Raises:
        Interrupted: on Ctrl-C or SIGTERM; the state is saved.
    """
    settings, model, trains = job.settings, job.model, STRATEGIES[job.strategy].trains
    own_adapters = frozenset(model.skips)
    beside = tuple(parallel_adapters(model)) if settings.adapt else ()
    supernet = Supernet(model, job.candidates, beside, settings.skip_width)
    if saved := checkpoint.result(Stage.SEARCH):
        model.load_state_dict(saved["parameters"], strict=False)
        return FinishedSearch(SearchResult(**saved["result"]), [LogEntry(**entry) for entry in saved["log"]])
    spent = Spent(measure_costs(supernet, _on_device(job, job.data.held_out.batch([0], full_length=True))))
    priced = measure_costs(supernet, job.sample())  # as reports count a sample
    batches: list[Streams] = []
    explained: dict[str, float] = {}
    if not trains:
        with stages.timed("fit"):
            batches = encode_calibration(job, supernet, progress)
            explained = fit_adapters(supernet, batches, keep=own_adapters) if job.has_adapters else {}
            copy_from_main(supernet.adapters())
        spent.add("fitting", _fitting_macs(supernet, spent.costs), min(CALIBRATION_SAMPLES, len(job.data.train)))

    def measure_influence() -> list[float]:
        spent.add("influence", sum(spent.costs.steps.values()), min(CALIBRATION_SAMPLES, len(job.data.train)))
        return from_main(lambda: block_influence(supernet, batches))

    saved = {name: priced.steps[name] - job.has_adapters * priced.adapters[name] for name in job.candidates}
    space = search_space(job, measure_influence, saved)
    with stages.timed("encode"):
        part = draw_scored_samples(job)
        label = "Encoding the held-out data once"
        held_out = encode_split(job, part, with_teacher(supernet), checkpoint, progress, label, supernet.encode)
        spent.add("encoding", spent.costs.full, len(held_out))
        training = _prepare_training(job, supernet, spent, checkpoint, progress) if trains else None
    strategy = WithFinalScores(make_strategy(job.strategy, space))
    search = Search(supernet, job.task, strategy, held_out, spent, settings.seed + 1, training)
    if job.strategy == "exhaustive":
        progress.say(_price(search))
    with stages.timed("search"), checkpoint.running(Stage.SEARCH, search):
        search.run(checkpoint.after_step, progress)
    result = _result(job, search, priced, explained)
    log = add_gates(search.log, job.candidates) if job.strategy == "das" else search.log
    trained, entries = trained_parameters(model) if training else {}, [entry.model_dump() for entry in log]
    checkpoint.finish(Stage.SEARCH, {"parameters": trained, "result": result.model_dump(), "log": entries})
    return FinishedSearch(result, log)


def search_space(
    job: Job, influence: Callable[[], Sequence[float]], saved: Mapping[str, float] | None = None
) -> SearchSpace:
    """Return what the job's strategy is told of it.

    Args:
        job: to be searched.
        influence: measures that of each candidate.
        saved: MACs that skipping each candidate saves; None takes those of one kind to save the same.
    """
    saved = saved or dict.fromkeys(job.candidates, 1)
    layer = sum(saved.values()) / len(job.layers)
    return SearchSpace(
        candidates=len(job.candidates),
        sizes=job.sizes,
        seed=job.settings.seed,
        influence=influence,
        steps=job.search_steps,
        warm_up=job.warm_up_steps,
        every=max(1, min(UPDATE_EVERY, (job.search_steps - job.warm_up_steps) // MIN_UPDATES)),
        pools=_pools(job) if job.settings.balanced else (),
        probed=job.trains_in_recovery and job.task.probed,
        worth=tuple(saved[name] / layer for name in job.candidates) if job.in_parts else (),
    )


def _pools(job: Job) -> tuple[tuple[int, ...], ...]:
    """Return the numbers of the candidates, pool by pool."""
    pool_of = {step.name: step.pool for step in steps_of(job.model.rounds)}
    pools: dict[str | None, tuple[int, ...]] = {}
    for number, name in enumerate(job.candidates):
        pools[pool_of[name]] = (*pools.get(pool_of[name], ()), number)
    return tuple(pools.values())


def draw_layers(job: Job) -> tuple[str, ...]:
    """Return the layers that the lot falls on; nothing is scored."""
    lot = RandomOrder(search_space(job, lambda: ()))
    return tuple(job.candidates[number] for number in lot.choice()[job.skip])


def encode_calibration(job: Job, supernet: Supernet, progress: Progress) -> list[Streams]:
    """Encode the samples that adapters are fitted on: streams (B, tokens, width) in front of the first candidate."""
    return run_calibration(job, supernet.encode, progress)


def run_calibration(job: Job, encode: Callable[[dict[str, Tensor]], Streams], progress: Progress) -> list[Streams]:
    """Return what ``encode`` makes of the batches of samples that adapters or maps are fitted on."""
    part = job.data.train.draw(CALIBRATION_SAMPLES, job.settings.seed)
    chunks = batches_of_like_length(part.lengths, max(1, CALIBRATION_CHUNK // part.rows_per_sample))
    with torch.inference_mode():
        batches = [
            encode(_on_device(job, part.batch(numbers)))
            for numbers in progress.track(chunks, "Encoding calibration samples", len(chunks))
        ]
    # Inference tensors cannot be used in training: hand out ordinary copies.
    return [{name: value.clone() for name, value in streams.items()} for streams in batches]


def encode_split(
    job: Job,
    split: Split,
    encode: Encoder,
    checkpoint: RunCheckpoint,
    progress: Progress,
    label: str,
    unanswered: Encoder | None = None,
    numbers: np.ndarray | None = None,
    answered: Answered | None = None,
) -> Encoded:
    """Encode a split as :class:`Encoded` does; a resumed run keeps in memory what the first one did.

    The last bits depend on it.
    """
    decisions = checkpoint.state.kept
    kept = decisions.get(label)
    samples = Encoded(split, encode, job.device, progress, label, unanswered, numbers, kept, answered)
    decisions[label] = list(samples.kept)
    return samples


def draw_scored_samples(job: Job) -> Split:
    """Return the held-out samples that subsets are scored on."""
    return job.data.held_out.draw(HELD_OUT_SAMPLES, job.settings.seed)


def _on_device(job: Job, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(job.device) for name, value in batch.items()}


def _prepare_training(
    job: Job, supernet: Supernet, spent: Spent, checkpoint: RunCheckpoint, progress: Progress
) -> Training:
    """Prepare the training of the adapters, and with ``--adapt`` of parallel adapters and head."""
    steps = job.search_steps
    rate = job.learning_rate(steps)
    groups = [(supernet.adapters(), rate), *(transfer_groups(job.model, rate) if job.settings.adapt else [])]
    freeze_all_but(job.model, groups)
    label = "Encoding the training data once"
    with progress.stage("Tokenising the training data"):
        order = job.data.train.training_order(job.settings.batch_size, job.settings.seed)
        numbers = order.samples(steps)
    train = encode_split(job, job.data.train, supernet.encode, checkpoint, progress, label, numbers=numbers)
    spent.add("encoding", spent.costs.fixed, len(numbers))
    return Training(train, Optimiser(groups, steps), order, _kept_at_most(supernet, train.batch(order.longest(steps))))


def _kept_at_most(supernet: Supernet, sample: Streams) -> float:
    """Return :func:`kept_per_byte` of the subset of layers that keeps the most: none is skipped, all have gradients."""
    needed = {
        name: value.requires_grad_(value.is_floating_point() and not is_mask(name)) for name, value in sample.items()
    }
    return kept_per_byte(supernet.model, partial(supernet.logits, skipped=()), needed)


def _fitting_macs(supernet: Supernet, costs: Costs) -> float:
    """Return MACs of fitting all candidates on one sample: the full model, and two squares of its width a row."""
    regressions = 0.0
    for name, macs in costs.adapters.items():
        adapter = supernet.model.skips[name]
        assert isinstance(adapter, SkipAdapter)
        regressions += macs * adapter.up_proj.out_features / adapter.width
    return costs.full + regressions


def _price(search: Search) -> str:
    trial, costs, samples = search.strategy.ask(), search.spent.costs, len(search.held_out)
    subsets = trial.subsets if trial else ()
    together = costs.together(search.supernet.varying, [search.names(subset) for subset in subsets])
    return (
        f"{len(subsets):,} subsets on {samples} samples: as much as {together * samples / costs.full:,.0f} forward "
        f"passes of the full model ({len(subsets) * samples:,} without shared beginnings)"
    )


def _metric(job: Job) -> str:
    """Name the held-out score: of one sample after the other, so of retrieval no recall."""
    captions = job.data.held_out.rows_per_sample
    return f"right caption of {captions}" if job.task.ranked else job.task.metric_of_samples


def _result(job: Job, search: Search, costs: Costs, explained: Mapping[str, float]) -> SearchResult:
    samples, full = len(search.held_out), search.score_full()
    points = {
        entry.layers: Point(
            layers=entry.layers,
            value=entry.value,
            loss=entry.loss,
            divergence=entry.divergence,
            readable=entry.readable,
        )
        for entry in search.log
        if entry.samples == samples and not entry.trained
    }
    sizes = parameters_of_layers(search.supernet.model)
    adapters = {name: sum(p.numel() for p in job.model.skips[name].parameters()) for name in job.candidates}
    counts = int(job.has_adapters)  # what stands in a layer's place costs something, or nothing
    total, plain = (sum(p.numel() for p in model.parameters()) for model in (without_idle(job.model), job.plain))
    macs = count_macs(job.plain, job.sample()).total if job.settings.adapt else costs.full
    return SearchResult(
        strategy=job.strategy,
        sizes=job.sizes,
        metric=_metric(job),
        samples=samples,
        full=Point(layers=(), value=full.value, loss=full.loss, divergence=full.divergence),
        points=tuple(points.values()),
        chosen={size: tuple(job.candidates[i] for i in subset) for size, subset in search.strategy.choice().items()},
        forwards={kind: round(count, 1) for kind, count in search.spent.forwards.items()},
        macs=macs,
        macs_saved={name: costs.steps[name] - counts * costs.adapters[name] for name in job.candidates},
        parameters=plain,
        parameters_saved={name: sizes[name] - counts * adapters[name] for name in job.candidates},
        explained=explained,
        macs_beside=costs.full - macs,
        parameters_beside=total - plain,
    )
