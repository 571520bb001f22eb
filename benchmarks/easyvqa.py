"""Real data: train a small METER on easy-VQA and compress it at several budgets.

easy-VQA (MIT licence) is at github.com/vzhou842/easy-VQA, folder ``easy_vqa/data``. Usage:

    python -m benchmarks.easyvqa FOLDER_OF_EASYVQA --work work-easyvqa

Trains the full model once (kept in the work folder), then compresses it with DAS at k = 2, 4, 6, 8 and with random
subsets at k = 8, each recovered the same way, as in Table B of the paper's supplement.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from benchmarks.results import LogProgress, write_section
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.data.layouts import read_data
from compressor.data.splits import assign
from compressor.data.tables import write_table
from compressor.data.text import FILE_NAME
from compressor.evaluation import Score, evaluate
from compressor.families.meter import METER, MeterDims, build
from compressor.finetuning import finetune, save_public_checkpoint
from compressor.job import Job, Settings, prepare
from compressor.pipeline import Stages, choose_layers, recover_slim
from compressor.progress import Progress
from compressor.resume import Resumable
from compressor.search import random_subset
from compressor.surgery import make_plan, remove_layers
from compressor.tasks import TASKS
from profiles.flops import count
from profiles.markdown import markdown_table

SEARCH_EPOCHS, RECOVER_EPOCHS = 2, 3
TEXT_LENGTH = 16
RANDOM_SUBSETS = 3


def convert(source: Path, target: Path) -> None:
    """easy-VQA's JSON and PNG files to METER's tables."""
    answers = sorted((source / "answers.txt").read_text().split())
    pairs = {}
    for split in ("train", "test"):
        by_image = defaultdict(list)
        for question, answer, image in json.loads((source / split / "questions.json").read_text()):
            by_image[image].append((question, answer))
        pairs[split] = [pair for found in by_image.values() for pair in found]
        images = sorted(by_image)
        # Every tenth training image is held out, for rewards.
        parts = {"train": [i for i in images if i % 10], "val": images[::10]} if split == "train" else {"test": images}
        for name, numbers in parts.items():
            columns = defaultdict(list)
            for image in numbers:
                columns["image"].append((source / split / "images" / f"{image}.png").read_bytes())
                columns["questions"].append([question for question, _ in by_image[image]])
                columns["answers"].append([[answer] for _, answer in by_image[image]])
                columns["answer_labels"].append([[answers.index(answer)] for _, answer in by_image[image]])
                columns["answer_scores"].append([[1.0] for _ in by_image[image]])
                columns["image_id"].append(image)
                columns["question_id"].append([image * 1000 + i for i in range(len(by_image[image]))])
                columns["split"].append(name)
            target.mkdir(parents=True, exist_ok=True)
            write_table(target / f"vqav2_{name}.arrow", dict(columns))
    word_tokenizer([question for found in pairs.values() for question, _ in found]).save(str(target.parent / FILE_NAME))


def train_full(work: Path, steps: int) -> None:
    """Train the small METER and write it in the public format."""
    from tokenizers import Tokenizer

    torch.manual_seed(0)
    tokenizer = Tokenizer.from_file(str(work / FILE_NAME))
    dims = MeterDims(
        hidden=64,
        heads=4,
        fusion_ffn=256,
        text_vocabulary=tokenizer.get_vocab_size(),
        text_positions=TEXT_LENGTH + 2,
        text_hidden=64,
        text_layers=3,
        text_heads=4,
        text_ffn=256,
        vision_width=64,
        vision_layers=3,
        vision_ffn=256,
        image_size=64,
        classes=13,
        text_length=TEXT_LENGTH,
        dropout=0.0,
    )
    found = read_data(work / "data", "vqa")
    data = assign(found, work / "data", TASKS["vqa"], METER.transforms(dims, tokenizer), dims.classes)
    model = build(dims, "vqa")
    started = time.time()
    finetune(model, data.train, TASKS["vqa"], steps=steps, batch_size=64, learning_rate=1e-3, progress=LogProgress())
    config = {"num_heads": 4, "max_text_len": TEXT_LENGTH, "drop_rate": 0.0, "image_size": 64}
    save_public_checkpoint(model, work / "meter.ckpt", config)
    (work / "training.json").write_text(json.dumps({"steps": steps, "seconds": time.time() - started}))


def prepare_easyvqa(source: Path, work: Path, steps: int = 10_000) -> None:
    """Data and full model, unless they are there."""
    if not (work / "meter.ckpt").exists():
        convert(source, work / "data")
        train_full(work, steps)


@dataclass(frozen=True)
class Row:
    """One compressed model: accuracies in [0, 1] on easy-VQA's test questions."""

    name: str
    layers: tuple[str, ...]
    cut: Score
    recovered: Score
    macs: int


def compressed(job: Job, name: str, layers: Sequence[str], progress: Progress) -> Row:
    """Cut ``layers`` out of the job's supernet, recover, and score before and after."""
    plan = make_plan(job.model, layers)
    slim = remove_layers(job.model, plan)
    task, tested = TASKS[slim.task], job.data.evaluation
    before = evaluate(slim, tested, task, progress=progress).score
    recover_slim(job, slim, True, Resumable(None, {}), progress)
    after = evaluate(slim, tested, task, progress=progress).score
    macs = count(slim, tested.inputs(np.arange(1))).total
    return Row(name, plan.layers, before, after, macs)


def rows(work: Path, progress: Progress) -> tuple[Score, float, int, list[Row]]:
    """Full score, floor, full MACs, and every compressed model."""
    found: list[Row] = []
    full = floor = macs = None
    for k in (2, 4, 6, 8):
        settings = Settings(
            checkpoint=str(work / "meter.ckpt"),
            task="vqa",
            skip=k,
            data=str(work / "data"),
            search_epochs=SEARCH_EPOCHS,
            recover_epochs=RECOVER_EPOCHS,
        )
        job = prepare(settings)
        task = TASKS["vqa"]
        if full is None:
            full = evaluate(job.model, job.data.evaluation, task, progress=progress).score
            floor = task.floor(job.data.train, job.data.evaluation)
            macs = count(job.model, job.data.evaluation.inputs(np.arange(1))).total
        plan, _ = choose_layers(job, Resumable(None, {}), Stages(), progress)
        found.append(compressed(job, f"DAS, k = {k}", plan.layers, progress))
    for seed in range(1, RANDOM_SUBSETS + 1):
        # The same supernet, its adapters and the same recovery as DAS at k = 8.
        subset = random_subset(len(job.candidates), 8, seed)
        found.append(compressed(job, f"random {seed}, k = 8", [job.candidates[i] for i in subset], progress))
    assert full is not None and floor is not None and macs is not None
    return full, floor, macs, found


def against_random(das: Row, random: Sequence[Row]) -> str:
    """Whether DAS's choice differs from random ones by more than the sampling of questions explains, in a sentence."""
    ours, theirs = das.recovered, [row.recovered for row in random]
    values = [100 * score.value for score in theirs]
    # As if the two were asked different questions; the same questions to both make the true margin smaller.
    beyond = [score for score in theirs if abs(ours.value - score.value) > math.hypot(ours.margin, score.margin)]
    margin = 100 * max(math.hypot(ours.margin, score.margin) for score in theirs)
    verdict = (
        f"{len(beyond)} of the {len(theirs)} differences lie outside"
        if beyond
        else "all differences lie inside, so these subsets cannot be told apart here"
    )
    return (
        f"At k = {len(das.layers)} DAS reaches {100 * ours.value:.2f} %, the {len(theirs)} random subsets "
        f"{fmean(values):.2f} % on average (best {max(values):.2f}, worst {min(values):.2f}); the sampling margin of a "
        f"difference is ± {margin:.2f} points: {verdict}."
    )


def percent(score: Score) -> str:
    return f"{100 * score.value:.2f} ± {100 * score.margin:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="easy-VQA's data folder, with train/, test/ and answers.txt")
    parser.add_argument("--work", type=Path, default=Path("work-easyvqa"), help="folder for tables and checkpoint")
    parser.add_argument("--steps", type=int, default=5000, help="training steps of the full model")
    arguments = parser.parse_args()
    work = arguments.work
    convert(arguments.source, work / "data")
    if not (work / "meter.ckpt").exists():
        train_full(work, arguments.steps)
    started = time.monotonic()
    full, floor, macs, found = rows(work, LogProgress())
    training = json.loads((work / "training.json").read_text())
    table = markdown_table(
        ("model", "skipped", "accuracy, %", "without recovery, %", "MACs, M"),
        [
            ("full model", "", percent(full), "", f"{macs / 1e6:.2f}"),
            *(
                (row.name, ", ".join(row.layers), percent(row.recovered), percent(row.cut), f"{row.macs / 1e6:.2f}")
                for row in found
            ),
            ("question-only guesser", "", f"{100 * floor:.2f}", "", ""),
        ],
    )
    body = (
        f"A METER of hidden size 64 (3 + 3 encoder and 6 + 6 fusion layers, 64 pixels), trained from scratch for "
        f"{training['steps']} steps of 64 ({training['seconds'] / 60:.0f} min on one thread). Accuracy on all "
        f"{full.samples} test questions, ± half the 95 % interval of sampling; one seed. Search of {SEARCH_EPOCHS} "
        f"epochs and recovery of {RECOVER_EPOCHS}; the random subsets take the adapters of the same supernet as DAS at "
        f'k = 8 and are recovered the same way. "Without recovery" is the supernet\'s subset as the search left it. '
        f"The compressions took {(time.monotonic() - started) / 60:.0f} min. 1 MAC = 2 FLOPs.\n\n{table}\n\n"
        f"{against_random(found[-RANDOM_SUBSETS - 1], found[-RANDOM_SUBSETS:])}"
    )
    write_section("easyvqa", "Real data: easy-VQA", body)


if __name__ == "__main__":
    main()
