"""How long a compression will take on this machine: a few real batches are timed, all the others counted.

The timed batches have the mean length of their split, so that they take the mean of the time. Trained is a copy: the
job's model and the random numbers that it draws are as they were.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median

import numpy as np
import torch
from torch import Tensor

from compressor.data.splits import Split
from compressor.device import use_fast_products
from compressor.families import FAMILIES
from compressor.jobs.job import Job
from compressor.models.steps import StepModel, split_at_candidates, steps_of
from compressor.models.surgery import split_layers
from compressor.models.trims.simplify import trim_last_round
from compressor.progress import describe_seconds
from compressor.search.cost import Costs
from compressor.search.linear_probe import LEAST
from compressor.search.select_layers import CALIBRATION_SAMPLES, draw_scored_samples, search_space
from compressor.search.strategies import make_strategy
from compressor.search.strategies.strategy import Result, WithFinalScores
from compressor.training.activation_cache import Encoder, fits_into_memory
from compressor.training.recovery import encoder_of, freeze_all_but, recovery_groups, recovery_loss, rounds_behind
from compressor.values import Value

BATCH = 64  # samples of a forward pass
LEAST_SECONDS, MOST_SECONDS = 0.3, 4.0  # that a timed batch takes: shorter ones say little, longer ones take too long
FALLING = 0.8  # of the time of a sample in half the batch: what is paid once for a batch is still to be spread
FITTING = 2  # passes over the calibration samples: to encode them, and to solve for the adapters
LONG = 60.0  # seconds of recovery from which on a shorter one is named
SHORT_EPOCHS = 0.5
REPEATS = 3  # of a batch that stays short

Make = Callable[[int], dict[str, Tensor]]
"""Makes a batch of so many samples."""


class Expected(Value):
    """Seconds that each part of a job is expected to take, and those of all of it with cheaper options.

    Of a compression a budget is taken to skip half of the candidates. With ``--max-drop`` the recovery is that of one
    of the models that are tried.
    """

    seconds: Mapping[str, float]
    cheaper: Mapping[str, float]

    @property
    def total(self) -> float:
        """Return the seconds of all parts."""
        return sum(self.seconds.values())

    def describe(self) -> str:
        """Return the whole, its parts and the cheaper ways, in one sentence."""
        told = {name: seconds for name, seconds in self.seconds.items() if seconds >= 1}
        parts = ", ".join(f"{name} {describe_seconds(seconds)}" for name, seconds in told.items())
        ways = ", ".join(f"{option} about {describe_seconds(seconds)}" for option, seconds in self.cheaper.items())
        return (
            f"about {describe_seconds(self.total)} on this machine{': ' * bool(told)}{parts}{'; ' * bool(ways)}{ways}"
        )


def expect_time(job: Job) -> Expected:
    """Time a few batches of a job, and return how long it is expected to take.

    Retrieval is left out of the evaluation: what it takes is ranked, not scored sample by sample.
    """
    with torch.random.fork_rng():
        scored = "reference's score" if job.reference else "full model's score"
        seconds = {} if job.settings.adapt and not job.reference else evaluation_seconds(job, job.model, scored)
        seconds |= _search(job) if job.searches else {}
        fitted = "adapters" if job.fits_adapters else "maps" if job.merges else ""
        fit = {f"fitting {fitted}": FITTING * _calibration(job)} if fitted else {}
        recover, cheaper = _recovery(job) if job.trains_in_recovery else ({}, {})
        seconds |= fit | recover | evaluation_seconds(job, job.model, "slim model's score")
    rest = sum(seconds.values()) - sum(recover.values())
    return Expected(seconds=seconds, cheaper={option: rest + took for option, took in cheaper.items()})


def expect_search_time(job: Job) -> Expected:
    """Return how long the search alone is expected to take."""
    with torch.random.fork_rng():
        return Expected(seconds=_search(job), cheaper={})


def seconds_per_sample(model: StepModel, split: Split, device: torch.device) -> float:
    """Return the seconds that a forward pass takes for one sample of mean length, in a batch of 64."""
    names = FAMILIES[model.family].input_names
    model.eval()

    def forward(batch: dict[str, Tensor]) -> None:
        with torch.inference_mode(), use_fast_products(model):
            model(**{name: batch[name] for name in names})

    order = _typical(split)
    return time_growing(lambda size: _on(device, split.inputs(order[:size])), forward, min(BATCH, len(split)))


def evaluation_seconds(job: Job, model: StepModel, name: str) -> dict[str, float]:
    """Return the seconds of scoring a model on all splits, under a name; nothing where they are ranked."""
    splits = () if job.task.ranked else (job.data.evaluation, *job.data.extra)
    seconds = sum(len(split) * seconds_per_sample(model, split, job.device) for split in splits)
    return {name: seconds} if splits else {}


def _calibration(job: Job) -> float:
    train = job.data.train
    return min(CALIBRATION_SAMPLES, len(train)) * seconds_per_sample(job.model, train, job.device)


def _search(job: Job) -> dict[str, float]:
    """Return the seconds of fitting or training adapters, and of scoring subsets."""
    held_out = draw_scored_samples(job)
    once = seconds_per_sample(job.model, held_out, job.device)
    seconds = once * (len(held_out) + _count_passes(job, len(held_out)))
    if job.trains_while_searching:
        _, step = _training_times(job, job.candidates[: job.skip])
        return {f"search ({job.search_steps:,} steps)": seconds + job.search_steps * step}
    return {"search": seconds + FITTING * _calibration(job)}


def _count_passes(job: Job, samples: int) -> float:
    """Count the forward passes of the full model that scoring subsets is worth, layers alike, beginnings shared.

    A layer that computes one token alone counts as nothing, as an adapter does.
    The strategy is asked for its trials, and told results of no meaning: how many it asks for does not depend on them.
    """
    model = split_layers(job.model, job.candidates)
    _, varying = split_at_candidates(model.rounds, job.candidates)
    steps = {step.name: int(bool(step.pool)) for step in steps_of(model.rounds)}
    adapters, one_token = dict.fromkeys(job.candidates, 0), dict.fromkeys(trim_last_round(model, varying[-1]), 0)
    costs = Costs(fixed=0, steps=steps, adapters=adapters, epilogue=0, scoring=one_token)
    space = search_space(job, lambda: [0.0] * len(job.candidates))
    strategy, passes = WithFinalScores(make_strategy(job.strategy, space)), 0
    known: dict[tuple[int, ...], int] = {}
    read: set[tuple[int, ...]] = set()  # of these the search has kept what a probe reads
    while (trial := strategy.ask()) is not None:
        wanted = min(trial.samples or samples, samples)
        probe = trial.probe and wanted >= LEAST
        fresh: dict[int, list[frozenset[str]]] = {}
        for subset in trial.subsets:
            have = 0 if trial.training or (probe and subset not in read) else known.get(subset, 0)
            fresh.setdefault(have, []).append(frozenset(job.candidates[i] for i in subset))
            known[subset] = max(wanted, have)
        read = {*trial.subsets} if probe else read
        passes += sum(max(0, wanted - have) * costs.together(varying, subsets) for have, subsets in fresh.items())
        strategy.tell([Result(subset, 0.0, 0.0, 0.0, wanted) for subset in trial.subsets])
    return passes / sum(steps.values())


def _recovery(job: Job) -> tuple[dict[str, float], dict[str, float]]:
    """Return the seconds of encoding and training, and of cheaper recoveries by their options."""
    skip = (len(job.candidates) // 2 or 1) if job.settings.skip is None else job.settings.skip
    skip = round(skip * len(job.candidates) / len(job.layers)) if job.in_parts and job.settings.skip else skip
    chosen = job.candidates if job.settings.layers else _spread(job.candidates, skip)
    (encoding, step), steps = _training_times(job, chosen), job.recovery.steps
    encoding *= len(job.recovery.order(job.data.train).samples(steps))
    first = "encoding" if job.settings.adapt else "asking the full model"
    seconds = {first: encoding, f"recovery ({steps:,} steps)": steps * step}
    if sum(seconds.values()) < LONG:
        return seconds, {}
    cheaper = {} if job.settings.adapt or not job.has_adapters else {"--recover closed-form": 0.0}
    if (epochs := job.settings.recover_epochs) > SHORT_EPOCHS:
        asked, trained = (SHORT_EPOCHS / epochs for epochs in (min(1, epochs), epochs))
        cheaper[f"--recover-epochs {SHORT_EPOCHS:g}"] = asked * encoding + trained * steps * step
    return seconds, cheaper


def _spread(candidates: tuple[str, ...], skip: int) -> tuple[str, ...]:
    """Return ``skip`` candidates that lie where those of an average subset do."""
    places = np.arange(1, skip + 1) * (len(candidates) + 1) / (skip + 1) - 1
    return tuple(candidates[int(place)] for place in places)


def _training_times(job: Job, layers: tuple[str, ...]) -> tuple[float, float]:
    """Return the seconds of encoding a sample with the full model's answer, and of a training step, without ``layers``.

    Where the encoded data does not fit into memory the samples of each step are encoded again in it.
    """
    train, recovery = job.data.train, job.recovery
    slim = job.cut(job.plan(layers))
    freeze_all_but(slim, recovery_groups(slim, recovery))
    with_answer = encoder_of(slim, None if job.settings.adapt else job.model.eval(), recovery)
    without = encoder_of(slim, None, recovery)
    varying = rounds_behind(slim, recovery)

    loss = partial(recovery_loss, slim, job.task, varying)
    return training_seconds(train, job.device, recovery.batch_size, with_answer, without, loss)


def training_seconds(
    train: Split,
    device: torch.device,
    batch_size: int,
    encoder: Encoder,
    again: Encoder,
    loss: Callable[[dict[str, Tensor]], Tensor],
) -> tuple[float, float]:
    """Return the seconds of encoding a sample, and of a training step on encoded samples.

    Args:
        train: the samples.
        device: to work on.
        batch_size: samples of a step.
        encoder: a batch to what the training reads.
        again: what encodes the samples of each step again, where all of them do not fit into memory.
        loss: of an encoded batch; what is trained has gradients afterwards.
    """

    def encode(batch: dict[str, Tensor], encoder: Encoder = encoder) -> dict[str, Tensor]:
        with torch.inference_mode():
            encoded = encoder(batch)
        return {name: value.clone() for name, value in encoded.items()}

    def train_on(streams: dict[str, Tensor]) -> None:
        loss(streams).backward()  # type: ignore[no-untyped-call]

    order = _typical(train)

    def typical(size: int) -> dict[str, Tensor]:
        return _on(device, train.batch(order[:size]))

    size = min(batch_size, len(train))
    encoding = time_growing(typical, encode, size)
    step = size * time_growing(lambda size: encode(typical(size)), train_on, size)
    if fits_into_memory(len(train) * sum(value.nbytes for value in encode(typical(1)).values())):
        return encoding, step
    return encoding, step + size * time_growing(typical, partial(encode, encoder=again), size)


def _on(device: torch.device, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in batch.items()}


def _typical(split: Split) -> np.ndarray:
    """Return the numbers of all samples, those first whose length is nearest to the mean."""
    lengths = split.lengths
    return np.argsort(np.abs(lengths - lengths.mean()), kind="stable")


def time_growing(make: Make, run: Callable[[dict[str, Tensor]], object], most: int) -> float:
    """Return the seconds of a sample, in the first batch of 1, 2, 4 ... ``most`` that takes long enough to be timed.

    On a busy machine a call of the model takes long, however few samples it has: batches grow as long as that helps.
    """
    size, falls = 1, True
    _time(make(size), run)  # what is loaded or chosen once is in no time
    seconds = _time(make(size), run)
    while size < most and seconds < MOST_SECONDS and (falls or seconds < LEAST_SECONDS):
        before, size = seconds / size, min(2 * size, most)
        seconds = _time(make(size), run)
        falls = seconds / size < FALLING * before
    if seconds < LEAST_SECONDS:
        seconds = median(_time(make(size), run) for _ in range(REPEATS))
    return seconds / size


def _time(batch: dict[str, Tensor], run: Callable[[dict[str, Tensor]], object]) -> float:
    started = time.perf_counter()
    run(batch)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started
