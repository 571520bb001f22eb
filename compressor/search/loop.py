"""Search: a strategy proposes subsets of layers, the supernet is trained and scored, the strategy observes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compressor.distributed import all_gather, even_share, share
from compressor.models.supernet import Supernet
from compressor.progress import QUIET, Progress
from compressor.search.cost import Costs
from compressor.search.strategies.das_bandit import reward
from compressor.search.strategies.strategy import Course, Outcome, Proposal, Subset
from compressor.tasks.task import Task
from compressor.training.activation_cache import Encoded
from compressor.training.optimiser import Optimiser, batch_of_step

CHUNK = 256  # held-out samples that run together,
CHUNK_BYTES = 1 << 30  # while their streams, one set for each round, fit into this
BACKWARD = 1  # forward passes that gradients are worth: through frozen layers none are formed for the weights


@dataclass
class Spent:
    """What a search has run, in forward passes of the full model on one sample, by kind of work."""

    costs: Costs
    forwards: dict[str, float] = field(default_factory=dict)

    def add(self, kind: str, macs: float, samples: int) -> None:
        """Add ``macs`` for each of ``samples``."""
        self.forwards[kind] = self.forwards.get(kind, 0.0) + macs * samples / self.costs.full


@dataclass(frozen=True)
class Training:
    """How proposals that train are carried out.

    Attributes:
        data: encoded training samples.
        optimiser: over the adapters; ``optimiser.done`` says where a resumed search goes on.
        batch_size: samples of a step.
        seed: of the data's order.
    """

    data: Encoded
    optimiser: Optimiser
    batch_size: int
    seed: int


class Search:
    """A search under way; :meth:`state_dict` describes it between any two steps.

    Args:
        supernet: routes the candidates.
        task: gives losses and scores.
        course: the strategy.
        held_out: samples with the full model's logits, ``teacher``, as :func:`with_teacher` encodes them.
        spent: told what is run.
        seed: of the order of the held-out samples.
        training: for strategies that train.
    """

    def __init__(
        self,
        supernet: Supernet,
        task: Task,
        course: Course,
        held_out: Encoded,
        spent: Spent,
        seed: int,
        training: Training | None = None,
    ) -> None:
        self.supernet, self.task, self.course, self.held_out = supernet, task, course, held_out
        self.spent, self.seed, self.training = spent, seed, training
        self.log: list[dict[str, Any]] = []
        self.known: dict[Subset, tuple[int, Tensor]] = {}  # held-out samples scored, and sums over them
        self.started = time.monotonic()

    def run(self, after_step: Callable[[int], None] = lambda step: None, progress: Progress = QUIET) -> None:
        """Go on until the strategy has chosen; ``course.choice`` then says what.

        Args:
            after_step: called after each training step and each scored subset with the number of them.
            progress: told about the training steps of all proposals, and about the subsets of those without training.
        """
        steps = 0

        def stepped() -> None:
            nonlocal steps
            steps += 1
            after_step(steps)

        if self.training:
            left = self.training.optimiser.steps - self.training.optimiser.done
            for _ in progress.track(self._trained(stepped), f"Searching {len(self.supernet.candidates)} layers", left):
                stepped()
        while (proposal := self.course.proposal) is not None:
            samples = self._samples(proposal)
            label = f"Scoring {len(proposal.subsets)} subsets on {samples} samples"
            chunks = {have: math.ceil(max(0, samples - have) / self._chunk) for have in self._by_samples(proposal)}
            shares = {have: len(even_share(alike)) for have, alike in self._by_samples(proposal).items()}
            total = sum(shares[have] * chunks[have] for have in shares)
            for _ in progress.track(self._scored(proposal), label, total):
                stepped()

    def _trained(self, stepped: Callable[[], None]) -> Iterator[None]:
        """Carry out every proposal that trains; yields at each training step."""
        while (proposal := self.course.proposal) is not None and proposal.training:
            yield from self._training_steps(proposal)
            for _ in self._scored(proposal):
                stepped()

    def _training_steps(self, proposal: Proposal) -> Iterator[None]:
        """The proposal's training steps that are still to be done."""
        training = self.training
        assert training is not None
        for subset in proposal.training[training.optimiser.done - self.course.trained :]:
            numbers = batch_of_step(training.optimiser.done, training.batch_size, len(training.data), training.seed)
            mine, skipped = share(numbers), self.names(subset)
            batch = training.data.batch(mine)
            loss = self.task.loss(self.supernet.logits(batch, skipped), batch)
            training.optimiser.step(loss, len(mine) / len(numbers))
            self.spent.add("training", (1 + BACKWARD) * self.spent.costs.subset(skipped), len(numbers))
            yield

    def _scored(self, proposal: Proposal) -> Iterator[None]:
        """Score the proposal's subsets and let the strategy observe; yields at each subset of each chunk of samples.

        Without training in between, samples that a subset was scored on before are not run again. Of several processes
        each takes some of the subsets, so that a score has the same bits however many there are.
        """
        samples = self._samples(proposal)
        numbers = batch_of_step(proposal.rotation, samples, len(self.held_out), self.seed)
        fresh = {subset for have, alike in self._by_samples(proposal).items() if have < samples for subset in alike}
        for have, alike in self._by_samples(proposal).items():
            names = {self.names(subset): subset for subset in even_share(sorted(alike))}
            macs = sum(all_gather([self.spent.costs.together(self.supernet.varying, names)]))
            for start in range(have, samples, self._chunk):
                chunk = numbers[start : start + self._chunk]
                batch, added = self.held_out.batch(chunk), {}
                for layers, logits in self.supernet.logits_of_all(batch, names):
                    added[names[layers]] = self._sums(logits, batch)
                    yield
                # All of a chunk or nothing: an interrupted one is run again.
                for subset, sums in dict(all_gather(list(added.items()))).items():
                    before, total = self.known.get(subset, (0, 0.0))
                    self.known[subset] = before + len(chunk), total + sums
                self.spent.add("other sizes" if proposal.aside else "scoring", macs, len(chunk))
        outcomes = [self._outcome(subset) for subset in proposal.subsets]
        seconds = round(time.monotonic() - self.started, 3)
        self.log += [self._entry(proposal, outcome, seconds) for outcome in outcomes if outcome.subset in fresh]
        if self.training:
            self.known = {}
        self.course.observe(outcomes)

    def _by_samples(self, proposal: Proposal) -> dict[int, list[Subset]]:
        """The proposal's subsets by how many samples they have been scored on."""
        found: dict[int, list[Subset]] = {}
        for subset in proposal.subsets:
            found.setdefault(self.known.get(subset, (0,))[0], []).append(subset)
        return found

    def _outcome(self, subset: Subset) -> Outcome:
        samples, sums = self.known[subset]
        divergence, loss, value = (sums / samples).tolist()
        return Outcome(subset, divergence, loss, value, samples)

    def full(self) -> Outcome:
        """How good the full model is on all held-out samples."""
        sums = torch.zeros(3, dtype=torch.float64)
        for start in range(0, len(self.held_out), self._chunk):
            numbers = np.arange(start, min(start + self._chunk, len(self.held_out)))
            batch = self.held_out.batch(numbers)
            sums += self._sums(batch["teacher"], batch)
        divergence, loss, value = (sums / len(self.held_out)).tolist()
        return Outcome((), divergence, loss, value, len(self.held_out))

    def _sums(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Divergence, loss and value of a batch's logits, summed over its samples, (3,) float64.

        Sums of scores are exact, so that subsets of equal value are equal.
        """
        teacher, samples = batch["teacher"], len(batch["targets"])
        divergence = self.task.distillation(logits, teacher, batch) - self.task.distillation(teacher, teacher, batch)
        value = self.task.scores(logits, batch).double().sum()
        sums = samples * float(divergence), samples * float(self.task.loss(logits, batch)), float(value)
        return torch.tensor(sums, dtype=torch.float64)

    def _samples(self, proposal: Proposal) -> int:
        return min(proposal.samples or len(self.held_out), len(self.held_out))

    @property
    def _chunk(self) -> int:
        return min(CHUNK, max(1, CHUNK_BYTES // (self.held_out.sample_bytes * (1 + len(self.supernet.varying)))))

    def _entry(self, proposal: Proposal, outcome: Outcome, seconds: float) -> dict[str, Any]:
        return {
            "proposal": len(self.course.seen),
            "trained": len(proposal.training),
            "layers": [self.supernet.candidates[i] for i in outcome.subset],
            "divergence": outcome.divergence,
            "loss": outcome.loss,
            "reward": reward(outcome.loss),
            "value": outcome.value,
            "samples": outcome.samples,
            "seconds": seconds,
        }

    def names(self, subset: Subset) -> frozenset[str]:
        """Layer names of candidates by number."""
        return frozenset(self.supernet.candidates[i] for i in subset)

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed search needs but the parameters in training."""
        return {
            "seen": self.course.state_dict(),
            "log": self.log,
            "known": [[list(subset), samples, sums.tolist()] for subset, (samples, sums) in self.known.items()],
            "spent": self.spent.forwards,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken."""
        self.course.replay(state["seen"])
        self.log = list(state["log"])
        self.known = {
            tuple(subset): (samples, torch.tensor(sums, dtype=torch.float64))
            for subset, samples, sums in state["known"]
        }
        self.spent.forwards = dict(state["spent"])


def with_teacher(supernet: Supernet) -> Callable[[dict[str, Tensor]], Mapping[str, Tensor]]:
    """What encodes held-out samples: the streams in front of the first candidate, and the full model's logits."""

    def encode(batch: dict[str, Tensor]) -> Mapping[str, Tensor]:
        streams = supernet.encode(batch)
        return {**streams, "teacher": supernet.logits(streams, ())}

    return encode
