"""Rates subsets of layers by what they are worth once they are recovered, all in the same way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from benchmarks.search.models import Setting
from compressor.data.batches import batches_of_like_length
from compressor.jobs.job import Job
from compressor.models.steps import Streams
from compressor.models.supernet import Supernet
from compressor.progress import QUIET
from compressor.search.least_squares import fit_adapters
from compressor.search.loop import with_teacher
from compressor.search.select_layers import encode_calibration
from compressor.tasks import TASKS
from compressor.training.activation_cache import Encoded
from compressor.training.optimiser import Optimiser
from compressor.training.recovery import DISTILLATION_SHARE, freeze_all_but

RECOVERY_SAMPLES, RECOVERY_RATE = 9600, 1e-3
TEST_SAMPLES = 4000
CHUNK = 256


@dataclass(frozen=True)
class Judge:
    """Rates subsets of a job's layers, all in the same way, on streams that are computed once.

    Attributes:
        setting: says how long a subset is trained.
        job: its seed draws the samples that adapters are fitted and trained on, and their order.
        supernet: of its candidates.
        train: samples to recover on.
        test: samples that no search has seen, the same for every seed.
    """

    setting: Setting
    job: Job
    supernet: Supernet
    train: Encoded
    test: Encoded

    @cached_property
    def calibration(self) -> list[Streams]:
        """What adapters are fitted on."""
        return encode_calibration(self.job, self.supernet, QUIET)

    def rate(self, layers: frozenset[str]) -> tuple[float, float, float]:
        """Return the test scores after plain removal, with the closed form, and trained from there."""
        model = self.supernet.model
        for name in layers:
            model.skips[name].up_proj.weight.data.zero_()  # type: ignore[union-attr,operator]
            model.skips[name].up_proj.bias.data.zero_()  # type: ignore[union-attr,operator]
        removed = self.scores(layers).mean()
        self.fit(layers)
        fitted = self.scores(layers).mean()
        self.train_adapters(layers)
        return float(removed), float(fitted), float(self.scores(layers).mean())

    def recover(self, layers: frozenset[str]) -> np.ndarray:
        """Fit and train the adapters of ``layers``; return the score of each test sample, (samples,)."""
        self.fit(layers)
        self.train_adapters(layers)
        return self.scores(layers)

    def scores(self, layers: frozenset[str]) -> np.ndarray:
        """Return the score of each test sample as ``das eval`` scores, (samples,)."""
        task, found = TASKS[self.supernet.model.task], np.empty(len(self.test))
        with torch.inference_mode():
            for numbers in batches_of_like_length(self.test.lengths, CHUNK):
                batch = self.test.batch(numbers)
                found[numbers] = task.scores(self.supernet.logits(batch, layers), batch).double().numpy()
        return found

    def fit(self, layers: frozenset[str]) -> None:
        """Fit the adapters of ``layers`` together, in closed form."""
        fit_adapters(self.supernet, self.calibration, layers)

    def train_adapters(self, layers: frozenset[str]) -> None:
        """Train the adapters of ``layers``, half on the task and half on the full model's answers, at a fixed rate."""
        model, task = self.supernet.model, TASKS[self.supernet.model.task]
        groups = [([p for name in sorted(layers) for p in model.skips[name].parameters()], RECOVERY_RATE)]
        freeze_all_but(model, groups)
        optimiser = Optimiser(groups, self.setting.steps)
        order = self.train.split.training_order(self.setting.batch_size, self.job.settings.seed)
        for step in range(self.setting.steps):
            batch = self.train.batch(order.batch(step))
            logits = self.supernet.logits(batch, layers)
            loss, distilled = task.loss(logits, batch), task.distillation(logits, batch["teacher"], batch)
            optimiser.step([((1 - DISTILLATION_SHARE) * loss + DISTILLATION_SHARE * distilled, 1.0)])


def make_judge(setting: Setting, job: Job) -> Judge:
    supernet = Supernet(job.model, job.candidates)
    drawn = np.random.default_rng(job.settings.seed).permutation(len(job.data.train))[:RECOVERY_SAMPLES]
    tested = np.random.default_rng(0).permutation(len(job.data.evaluation))[:TEST_SAMPLES]
    encode = with_teacher(supernet)
    train = Encoded(job.data.train.subset(drawn), encode, job.device)
    test = Encoded(job.data.evaluation.subset(tested), encode, job.device)
    return Judge(setting, job, supernet, train, test)
