"""Which search is best for its price: every strategy on three fine-tuned models, five seeds each.

Usage, for each data set on its own, then the report on all that is there:

    python -m benchmarks.search.strategies scenes
    python -m benchmarks.search.strategies easyvqa --source FOLDER_OF_EASYVQA
    python -m benchmarks.search.strategies sst2 --source FOLDER_OF_SST2
    python -m benchmarks.search.strategies_report

``scenes`` are generated (``das demo``), with the METER that das ships. easy-VQA is at github.com/vzhou842/easy-VQA
(folder ``easy_vqa/data``), for a METER trained by ``benchmarks.datasets.easyvqa``. SST-2 is
nlp.stanford.edu/sentiment with two
classes, for a pre-trained six-layer BERT fine-tuned by ``benchmarks.datasets.sst2``, once for each seed.

For each seed and number of layers k every strategy chooses k layers. What it chose is then rated in the same ways:

- held out: the score with adapters fitted in closed form, on the held-out samples that the search itself has. All
  subsets of k layers are scored in this way, so the best of them is known, and with it everybody's regret.
- test: the score on samples that no search has seen, after plain removal, after the closed form fitted to the chosen
  layers together, and after training from there.

What is finished stays in the work folder and is not done again: a run may be stopped at any time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter

from benchmarks.datasets import easyvqa, sst2
from benchmarks.results import LogProgress
from compressor.data.batches import TrainingOrder, batches_of_like_length
from compressor.data.generated.questions import write_vqa
from compressor.job import Job, prepare_job
from compressor.models.supernet import Supernet
from compressor.progress import QUIET, Progress, Stages
from compressor.resume import RunCheckpoint
from compressor.search.least_squares import fit_adapters
from compressor.search.loop import with_teacher
from compressor.search.select_layers import encode_calibration, select_layers
from compressor.search.strategies import STRATEGIES
from compressor.settings import Settings
from compressor.tasks import TASKS
from compressor.training.activation_cache import Encoded
from compressor.training.optimiser import Optimiser
from compressor.training.recovery import DISTILLATION_SHARE, freeze_all_but
from das.demo.checkpoints import TRAINING_SEED, prepare_demo
from das.demo.demos import SHIPPED

WORK = Path("work-strategies")
SEEDS = (0, 1, 2, 3, 4)
RECOVERY_SAMPLES, RECOVERY_RATE = 9600, 1e-3
TEST_SAMPLES = 4000
CHUNK = 256


@dataclass(frozen=True)
class Setting:
    """A data set with its model.

    Attributes:
        name: in the table.
        sizes: numbers of layers to skip.
        settings: seed to what ``das compress`` would be asked; makes data and checkpoint if they are not there.
        steps: of training that recovers a choice.
        batch_size: of these.
    """

    name: str
    sizes: tuple[int, ...]
    settings: Callable[[Path, Path, int], Settings]
    steps: int = 150
    batch_size: int = 64


def scenes(work: Path, source: Path, seed: int) -> Settings:
    """The model that das ships, and as much data as it was trained on."""
    home = work / "scenes"
    if not (home / "complete").exists():
        prepare_demo(SHIPPED, home)
        write_vqa(home / "data", SHIPPED.shipped, TRAINING_SEED)
        (home / "complete").touch()
    return Settings(checkpoint=str(home / SHIPPED.checkpoint), task="vqa", data=str(home / "data"), seed=seed)


def easy_vqa(work: Path, source: Path, seed: int) -> Settings:
    """A small METER trained from scratch on easy-VQA."""
    home = work / "easyvqa"
    easyvqa.prepare_easyvqa(source, home)
    return Settings(checkpoint=str(home / "meter.ckpt"), task="vqa", data=str(home / "data"), seed=seed)


def sentences(work: Path, source: Path, seed: int) -> Settings:
    """A pre-trained BERT of six layers, fine-tuned with this seed; matrices are multiplied in bfloat16."""
    sst2.use_bfloat16()
    checkpoint = work / f"sst2-{seed}"
    if not checkpoint.exists():
        sst2.train_full(source, checkpoint, seed, LogProgress())
    return Settings(
        checkpoint=str(checkpoint),
        task=sst2.TASK.name,
        data=str(source),
        seed=seed,
        text_length=sst2.TEXT_LENGTH,
        batch_size=sst2.BATCH_SIZE,
    )


SETTINGS = {
    "scenes": Setting("generated scenes, METER", (8, 4), scenes),
    "easyvqa": Setting("easy-VQA, METER", (8,), easy_vqa),
    "sst2": Setting("SST-2, BERT", (2,), sentences, steps=60, batch_size=32),
}


class Row(BaseModel):
    """What one strategy chose, and how good that is; scores in [0, 1].

    ``asked`` and ``others`` are forward passes of the full model on one sample: what the search of ``skip`` layers ran,
    and what it ran besides to answer for other numbers of layers. ``removed``, ``fitted`` and ``trained`` are test
    scores; ``best`` is the best held-out score of all subsets.
    """

    model_config = ConfigDict(frozen=True)

    data: str
    seed: int
    strategy: str
    skip: int
    layers: tuple[str, ...]
    asked: float
    others: float
    seconds: float
    held_out: float
    best: float
    rank: int
    subsets: int
    full: float
    removed: float
    fitted: float
    trained: float


ROWS = TypeAdapter(list[Row])


@dataclass(frozen=True)
class Judge:
    """Rates subsets of a job's layers, all in the same way, on streams that are computed once."""

    setting: Setting
    job: Job
    supernet: Supernet
    train: Encoded
    test: Encoded
    rated: dict[frozenset[str], tuple[float, float, float]]

    def rate(self, layers: frozenset[str]) -> tuple[float, float, float]:
        """Test scores after plain removal, with the closed form, and trained from there."""
        if layers not in self.rated:
            model = self.supernet.model
            for name in layers:
                model.skips[name].up_proj.weight.data.zero_()  # type: ignore[union-attr,operator]
                model.skips[name].up_proj.bias.data.zero_()  # type: ignore[union-attr,operator]
            removed = self.score(layers)
            fit_adapters(self.supernet, encode_calibration(self.job, self.supernet, QUIET), layers)
            fitted = self.score(layers)
            self.recover(layers)
            self.rated[layers] = removed, fitted, self.score(layers)
        return self.rated[layers]

    def score(self, layers: frozenset[str]) -> float:
        """On the test samples, as ``das eval`` scores."""
        task, total = TASKS[self.supernet.model.task], 0.0
        with torch.inference_mode():
            for numbers in batches_of_like_length(self.test.lengths, CHUNK):
                batch = self.test.batch(numbers)
                total += float(task.scores(self.supernet.logits(batch, layers), batch).sum())
        return total / len(self.test)

    def recover(self, layers: frozenset[str]) -> None:
        """Train the adapters of ``layers``, half on the task and half on the full model's answers, at a fixed rate."""
        model, task = self.supernet.model, TASKS[self.supernet.model.task]
        groups = [([p for name in sorted(layers) for p in model.skips[name].parameters()], RECOVERY_RATE)]
        freeze_all_but(model, groups)
        optimiser = Optimiser(groups, self.setting.steps)
        order = TrainingOrder(self.train.lengths, self.setting.batch_size, self.job.settings.seed)
        for step in range(self.setting.steps):
            batch = self.train.batch(order.batch(step))
            logits = self.supernet.logits(batch, layers)
            loss, distilled = task.loss(logits, batch), task.distillation(logits, batch["teacher"], batch)
            optimiser.step((1 - DISTILLATION_SHARE) * loss + DISTILLATION_SHARE * distilled)


def make_judge(setting: Setting, job: Job) -> Judge:
    supernet = Supernet(job.model, job.candidates)
    drawn = np.random.default_rng(job.settings.seed).permutation(len(job.data.train))[:RECOVERY_SAMPLES]
    tested = np.random.default_rng(0).permutation(len(job.data.evaluation))[:TEST_SAMPLES]
    encode = with_teacher(supernet)
    train = Encoded(job.data.train.subset(drawn), encode, job.device)
    test = Encoded(job.data.evaluation.subset(tested), encode, job.device)
    return Judge(setting, job, supernet, train, test, {})


def run(setting: Setting, skip: int, work: Path, source: Path, seed: int, progress: Progress) -> list[Row]:
    """Every strategy, for one number of layers and one seed."""
    asked = setting.settings(work, source, seed).model_copy(update={"skip": skip})
    judge = make_judge(setting, prepare_job(asked))
    full, points, rows = judge.score(frozenset()), None, []
    for strategy in ("exhaustive", *(name for name in STRATEGIES if name != "exhaustive")):
        job = prepare_job(asked.model_copy(update={"strategy": strategy}))
        started = time.monotonic()
        record = select_layers(job, RunCheckpoint(None, {}), Stages(), progress).result
        seconds = time.monotonic() - started
        points = points or {point.layers: point.value for point in record.points}
        layers = record.chosen[skip]
        removed, fitted, trained = judge.rate(frozenset(layers))
        others = record.forwards.get("other sizes", 0.0)
        rows.append(
            Row(
                data=setting.name,
                seed=seed,
                strategy=strategy,
                skip=skip,
                layers=layers,
                asked=sum(record.forwards.values()) - others,
                others=others,
                seconds=seconds,
                held_out=points[layers],
                best=max(points.values()),
                rank=1 + sum(value > points[layers] for value in points.values()),
                subsets=len(points),
                full=full,
                removed=removed,
                fitted=fitted,
                trained=trained,
            )
        )
        progress.say(f"{setting.name}, k = {skip}, seed {seed}: {rows[-1]}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=SETTINGS)
    parser.add_argument("--source", type=Path, default=Path(), help="folder of easy-VQA or SST-2")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for data, checkpoints and rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    setting = SETTINGS[arguments.data]
    for skip, seed in product(setting.sizes, arguments.seeds):
        path = arguments.work / f"{arguments.data}-{skip}-{seed}.json"
        if not path.exists():
            rows = run(setting, skip, arguments.work, arguments.source, seed, LogProgress())
            unfinished = path.with_suffix(".tmp")
            unfinished.write_bytes(ROWS.dump_json(rows, indent=1))
            unfinished.replace(path)


if __name__ == "__main__":
    main()
