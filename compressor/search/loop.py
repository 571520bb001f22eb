"""The search loop: ask the strategy for a trial, train and score the supernet, tell the strategy the results."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compressor.data.batches import TrainingOrder, batch_of_step, batches_of_like_length
from compressor.distributed import all_gather, even_share, share
from compressor.errors import input_error
from compressor.models.plan import summarise
from compressor.models.supernet import Supernet
from compressor.progress import QUIET, Bar, Progress
from compressor.search.cost import Costs
from compressor.search.linear_probe import LEAST, probe_answers
from compressor.search.result import LogEntry
from compressor.search.strategies.das_bandit import reward
from compressor.search.strategies.strategy import Result, Strategy, Subset, Trial
from compressor.tasks.task import Task
from compressor.training.activation_cache import ANSWER, Encoded
from compressor.training.loss_in_parts import LossInParts
from compressor.training.optimiser import Optimiser
from compressor.training.recovery import trained_parameters

CHUNK = 256  # held-out samples whose scores are added together,
CHUNK_BYTES = 1 << 30  # while their streams, one set for each round, fit into this
TOGETHER = 64  # of a chunk that run together: those of like length
BACKWARD = 1  # cost of a backward pass, in forward passes; frozen layers need no weight gradients


@dataclass
class Spent:
    """The cost of a search.

    Attributes:
        costs: MACs of the supernet's parts.
        forwards: by kind of work, in forward passes of the full model on one sample.
    """

    costs: Costs
    forwards: dict[str, float] = field(default_factory=dict)

    def add(self, kind: str, macs: float, samples: int) -> None:
        """Add work of ``macs`` multiply-adds on each of ``samples``."""
        self.forwards[kind] = self.forwards.get(kind, 0.0) + macs * samples / self.costs.full


@dataclass(frozen=True)
class Training:
    """The data, optimiser and batches of trials that train.

    Attributes:
        data: encoded training samples.
        optimiser: over the adapters; ``optimiser.done`` says where a resumed search goes on.
        order: which samples a step has.
        kept: bytes of activations for each byte of a batch (:func:`compressor.training.loss_in_parts.kept_per_byte`).
    """

    data: Encoded
    optimiser: Optimiser
    order: TrainingOrder
    kept: float


class Search:
    """A running search; :meth:`state_dict` describes it between any two steps.

    Args:
        supernet: routes the candidates.
        task: gives losses and scores.
        strategy: a fresh one.
        held_out: samples with the full model's logits, ``teacher``, as :func:`with_teacher` encodes them.
        spent: told what is run.
        seed: of the order of the held-out samples.
        training: for strategies that train.
    """

    def __init__(
        self,
        supernet: Supernet,
        task: Task,
        strategy: Strategy,
        held_out: Encoded,
        spent: Spent,
        seed: int,
        training: Training | None = None,
    ) -> None:
        self.supernet, self.task, self.strategy, self.held_out = supernet, task, strategy, held_out
        self.spent, self.seed, self.training = spent, seed, training
        self.log: list[LogEntry] = []
        self.known: dict[Subset, tuple[int, Tensor]] = {}  # held-out samples scored, and sums over them
        self.read: dict[Subset, Tensor] = {}  # of those probed: what the head reads of the same samples, (n, d)
        self.steps = 0  # training steps and scored subsets since the start or the resumption
        self.started = time.monotonic()

    def run(self, after_step: AfterStep = lambda step, search: None, progress: Progress = QUIET) -> None:
        """Go on until the strategy has chosen; ``strategy.choice()`` then returns its choice.

        Trials that train come first, under one bar; each of the others has a bar of its own.

        Args:
            after_step: called with the number of steps and this search after each training step and each scored subset.
            progress: told about the training steps of all trials, and about the subsets of those without training.

        Raises:
            CheckFailed: the loss of a training is NaN or infinite.
            InputError: the model's answers are.
            Interrupted: as ``after_step`` does.
        """
        if self.training is not None:
            remaining = self.training.optimiser.steps - self.training.optimiser.done
            with progress.bar(f"Searching {len(self.supernet.candidates)} layers", remaining) as bar:
                while (trial := self.strategy.ask()) is not None and trial.training:
                    self._train(trial, self.training, bar, after_step)
                    self.strategy.tell(self._score(trial, Bar(), after_step))
        while (trial := self.strategy.ask()) is not None:
            label = f"Scoring {len(trial.subsets)} subsets on {self._samples(trial)} samples"
            with progress.bar(label, self._count_scores(trial)) as bar:
                self.strategy.tell(self._score(trial, bar, after_step))

    def _train(self, trial: Trial, training: Training, bar: Bar, after_step: AfterStep) -> None:
        """Carry out the trial's training steps that are still to be done."""
        for subset in trial.training[training.optimiser.done - self.strategy.trained :]:
            numbers = training.order.batch(training.optimiser.done)
            mine, skipped = share(numbers), self.names(subset)
            forward = partial(self.supernet.logits, skipped=skipped)
            losses = LossInParts(forward, self.task.loss, self.task.terms, training.kept)
            training.optimiser.step(losses.of(training.data.batch(mine), len(mine) / len(numbers)))
            self.spent.add("training", (1 + BACKWARD) * self.spent.costs.subset(skipped), len(numbers))
            self._finish_step(bar, after_step)

    def _score(self, trial: Trial, bar: Bar, after_step: AfterStep) -> list[Result]:
        """Score the trial's subsets, log them and return the results.

        Without training in between, samples that a subset was scored on before are not run again. Of several processes
        each takes some of the subsets, so that a score has the same bits however many there are.
        """
        samples, probe = self._samples(trial), self._probes(trial)
        numbers = batch_of_step(trial.rotation, samples, len(self.held_out), self.seed)
        groups = self._by_samples(trial)
        for subset in groups.get(0, ()):
            self.known.pop(subset, None)  # scored before without keeping all that was read
            self.read.pop(subset, None)
        fresh = {subset for have, subsets in groups.items() if have < samples for subset in subsets}
        for have, subsets in groups.items():
            names = {self.names(subset): subset for subset in even_share(sorted(subsets))}
            macs = sum(all_gather([self.spent.costs.together(self.supernet.varying, names)]))
            for start in range(have, samples, self._chunk):
                chunk = numbers[start : start + self._chunk]
                added: dict[Subset, Tensor] = {}
                read: dict[Subset, Tensor] = {}
                for rows in batches_of_like_length(self.held_out.lengths[chunk], TOGETHER):
                    batch = self.held_out.batch(chunk[rows])
                    for layers, last in self.supernet.streams_of_all(batch, names):
                        subset, logits = names[layers], self.supernet.answer(last)
                        added[subset] = added.get(subset, 0) + self._sums(logits, batch, layers)
                        if probe:
                            features = self.supernet.read(last).reshape(len(rows), -1).cpu()
                            read.setdefault(subset, features.new_empty(len(chunk), features.shape[1]))[rows] = features
                        self._finish_step(bar, after_step)
                # All of a chunk or nothing: an interrupted one is run again.
                for subset, sums in dict(all_gather(list(added.items()))).items():
                    before, total = self.known.get(subset, (0, 0.0))
                    self.known[subset] = before + len(chunk), total + sums
                for subset, features in dict(all_gather(list(read.items()))).items():
                    self.read[subset] = torch.cat([self.read.get(subset, features[:0]), features])
                self.spent.add("other sizes" if trial.other_sizes else "scoring", macs, len(chunk))
        answers = self._answers(numbers) if probe else None
        results = [self._result(subset, answers) for subset in trial.subsets]
        if probe:
            self.read = {subset: self.read[subset] for subset in trial.subsets}
        seconds = round(time.monotonic() - self.started, 3)
        self.log += [self._entry(trial, result, seconds) for result in results if result.subset in fresh]
        if self.training:
            self.known, self.read = {}, {}
        return results

    def _finish_step(self, bar: Bar, after_step: AfterStep) -> None:
        self.steps += 1
        bar.advance()
        after_step(self.steps, self)

    def _by_samples(self, trial: Trial) -> dict[int, list[Subset]]:
        """Return the trial's subsets by the number of samples that need not be run again."""
        groups: dict[int, list[Subset]] = {}
        probe = self._probes(trial)
        for subset in trial.subsets:
            have = self.known.get(subset, (0,))[0]
            kept = not probe or len(self.read.get(subset, ())) == have
            groups.setdefault(have if kept else 0, []).append(subset)
        return groups

    def _count_scores(self, trial: Trial) -> int:
        """Return how many steps scoring the trial takes this process: one for each subset and batch of samples."""
        samples = self._samples(trial)
        return sum(
            len(even_share(subsets)) * self._count_batches(max(0, samples - have))
            for have, subsets in self._by_samples(trial).items()
        )

    def _count_batches(self, samples: int) -> int:
        chunks, left = divmod(samples, self._chunk)
        return chunks * math.ceil(self._chunk / TOGETHER) + math.ceil(left / TOGETHER)

    def _result(self, subset: Subset, answers: Tensor | None = None) -> Result:
        """Return what is known of a subset; ``answers`` are the full model's to the same samples, to be read."""
        samples, sums = self.known[subset]
        divergence, loss, value = (sums / samples).tolist()
        readable = None if answers is None else probe_answers(self.read[subset], answers)
        return Result(subset, divergence, loss, value, samples, readable)

    def _answers(self, numbers: np.ndarray) -> Tensor:
        """Return the full model's answers to held-out samples, (n, outputs)."""
        parts = [
            self.held_out.batch(numbers[at : at + CHUNK])[ANSWER].flatten(1) for at in range(0, len(numbers), CHUNK)
        ]
        return torch.cat(parts).cpu()

    def score_full(self) -> Result:
        """Score the full model on all held-out samples."""
        sums = torch.zeros(3, dtype=torch.float64)
        for numbers in batches_of_like_length(self.held_out.lengths, self._chunk):
            batch = self.held_out.batch(numbers)
            sums += self._sums(batch[ANSWER], batch, ())
        divergence, loss, value = (sums / len(self.held_out)).tolist()
        return Result((), divergence, loss, value, len(self.held_out))

    def _sums(self, logits: Tensor, batch: Mapping[str, Tensor], layers: Collection[str]) -> Tensor:
        """Return divergence, loss and value of a batch's logits without ``layers``, summed over samples, (3,) float64.

        Sums of scores are exact, so that subsets of equal value are equal.

        Raises:
            InputError: they are NaN or infinite.
        """
        teacher, samples = batch[ANSWER], len(batch["targets"])
        divergence = self.task.distillation(logits, teacher, batch) - self.task.distillation(teacher, teacher, batch)
        value = self.task.scores(logits, batch).double().sum()
        sums = samples * float(divergence), samples * float(self.task.loss(logits, batch)), float(value)
        if not all(map(math.isfinite, sums)):
            what = f"without {summarise(sorted(layers))} the model" if layers else "the model"
            raise input_error(
                "answers-not-finite",
                f"{what} answers with NaN or infinity on held-out samples",
                "outputs that are numbers",
                "leave these layers out of the search: --scope" if layers else "a checkpoint whose answers are numbers",
            )
        return torch.tensor(sums, dtype=torch.float64)

    def _probes(self, trial: Trial) -> bool:
        return trial.probe and self._samples(trial) >= LEAST

    def _samples(self, trial: Trial) -> int:
        return min(trial.samples or len(self.held_out), len(self.held_out))

    @property
    def _chunk(self) -> int:
        return min(CHUNK, max(1, CHUNK_BYTES // (self.held_out.largest_bytes * (1 + len(self.supernet.varying)))))

    def _entry(self, trial: Trial, result: Result, seconds: float) -> LogEntry:
        return LogEntry(
            proposal=len(self.strategy.history),
            trained=len(trial.training),
            layers=tuple(self.supernet.candidates[i] for i in result.subset),
            divergence=result.divergence,
            loss=result.loss,
            reward=reward(result.loss),
            value=result.value,
            samples=result.samples,
            readable=result.readable,
            seconds=seconds,
        )

    def names(self, subset: Subset) -> frozenset[str]:
        """Return the layer names of candidates by index."""
        return frozenset(self.supernet.candidates[i] for i in subset)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed search needs, the parameters in training among it."""
        state: dict[str, Any] = {
            "history": self.strategy.state_dict(),
            "log": [entry.model_dump() for entry in self.log],
            "known": [[list(subset), samples, sums.tolist()] for subset, (samples, sums) in self.known.items()],
            "read": [[list(subset), features] for subset, features in self.read.items()],
            "spent": dict(self.spent.forwards),
        }
        if self.training is not None:
            state["parameters"] = trained_parameters(self.supernet.model)
            state["optimiser"] = self.training.optimiser.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken."""
        self.strategy.load_state_dict(state["history"])
        self.log = [LogEntry(**entry) for entry in state["log"]]
        self.known = {
            tuple(subset): (samples, torch.tensor(sums, dtype=torch.float64))
            for subset, samples, sums in state["known"]
        }
        self.read = {tuple(subset): features for subset, features in state["read"]}
        self.spent.forwards = dict(state["spent"])
        if self.training is not None:
            self.supernet.model.load_state_dict(state["parameters"], strict=False)
            self.training.optimiser.load_state_dict(state["optimiser"])


AfterStep = Callable[[int, Search], None]


def with_teacher(supernet: Supernet) -> Callable[[dict[str, Tensor]], Mapping[str, Tensor]]:
    """Return the encoder of held-out samples: streams in front of the first candidate, and the full model's logits."""

    def encode(batch: dict[str, Tensor]) -> Mapping[str, Tensor]:
        streams = supernet.encode(batch)
        return {**streams, ANSWER: supernet.logits(streams, ())}

    return encode
