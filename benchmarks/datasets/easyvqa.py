"""Real data: train a small METER on easy-VQA, and ask das for the smallest model that loses at most one point.

easy-VQA (MIT licence) is at github.com/vzhou842/easy-VQA, folder ``easy_vqa/data``. Usage:

    python -m benchmarks.datasets.easyvqa FOLDER_OF_EASYVQA --work work-easyvqa

Trains the full model once (kept in the work folder), compresses it with ``--max-drop 1.0``, then takes k = 2, 4, 6, 8
layers from the same search. Every step is the command a user types.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import torch

from benchmarks.results import LogProgress, write_section
from compressor.architectures.meter import MeterDims
from compressor.checkpoints.write import save_public_checkpoint
from compressor.data.arrow_files import write_table
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.data.read_data import read_data
from compressor.data.roles import make_splits
from compressor.families.meter.meter_family import METER, build
from compressor.files import TOKENIZER_FILE
from compressor.models.plan import summarise
from compressor.saved_run.run_folder import open_run
from compressor.tasks import TASKS
from compressor.training.finetune import finetune
from profiles.formatting import format_markdown_table
from profiles.gates.budget_check import tries_table
from profiles.reports.compression_report import CompressionReport

MAX_DROP, SKIPS, RECOVER_EPOCHS = 1.0, (2, 4, 6, 8), 1.0
TEXT_LENGTH = 16


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
    word_tokenizer([question for found in pairs.values() for question, _ in found]).save(
        str(target.parent / TOKENIZER_FILE)
    )


def train_full(work: Path, steps: int) -> None:
    """Train the small METER and write it in the public format."""
    from tokenizers import Tokenizer

    torch.manual_seed(0)
    tokenizer = Tokenizer.from_file(str(work / TOKENIZER_FILE))
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
    data = make_splits(found, work / "data", TASKS["vqa"], METER.transforms(dims, tokenizer), dims.classes)
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


def compressed(work: Path, *arguments: str) -> CompressionReport:
    """The report of ``das compress ... --json``, run in the work folder."""
    typed = [sys.executable, "-m", "das", "compress", *arguments, "--recover-epochs", str(RECOVER_EPOCHS), "--json"]
    output = subprocess.run(typed, cwd=work, check=True, stdout=subprocess.PIPE).stdout
    return CompressionReport.model_validate_json(output)


def row(name: str, report: CompressionReport) -> tuple[str, ...]:
    """One compressed model."""
    assert report.full is not None
    slim, macs = report.slim, report.costs.macs
    return (
        name,
        str(len(report.skipped)),
        summarise(report.skipped),
        f"{100 * slim.value:.2f} ± {100 * slim.margin:.2f}",
        f"{100 * (report.full.value - slim.value):+.2f}",
        f"{macs.slim / macs.full:.1%}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="easy-VQA's data folder, with train/, test/ and answers.txt")
    parser.add_argument("--work", type=Path, default=Path("work-easyvqa"), help="folder for tables and checkpoint")
    parser.add_argument("--steps", type=int, default=10_000, help="training steps of the full model")
    arguments = parser.parse_args()
    work = arguments.work
    prepare_easyvqa(arguments.source, work, arguments.steps)
    shutil.rmtree(work / "runs", ignore_errors=True)
    started = time.monotonic()
    found = compressed(work, "meter.ckpt", "--task", "vqa", "--max-drop", str(MAX_DROP), "--out", "runs/max-drop")
    seconds = time.monotonic() - started
    others = [
        (f"k = {k}", compressed(work, "--from", "runs/max-drop", "--skip", str(k), "--out", f"runs/skip{k}"))
        for k in SKIPS
    ]
    assert found.full is not None and found.budget is not None
    training, record = (
        json.loads((work / "training.json").read_text()),
        open_run(work / "runs/max-drop").search_result(),
    )
    assert record is not None
    table = format_markdown_table(
        ("", "layers skipped", "which", "test, % (± 95 % margin)", "lost on test, points", "MACs"),
        [row(f"`--max-drop {MAX_DROP:g}`", found), *(row(name, report) for name, report in others)],
    )
    tries = tries_table(found.budget)
    body = (
        f"A METER of hidden size 64 (3 + 3 encoder and 6 + 6 fusion layers, 64 pixels), trained from scratch for "
        f"{training['steps']} steps of 64 ({training['seconds'] / 60:.0f} min on one thread). Full model: "
        f"{100 * found.full.value:.2f} ± {100 * found.full.margin:.2f} % of {found.full.samples} test questions; a "
        f"guesser that sees only the question has {100 * found.floor:.2f} %. One search for all sizes "
        f"({sum(record.forwards.values()):,.0f} forward passes of the full model, {found.seconds['search']:.0f} s); "
        f"{RECOVER_EPOCHS:g} epoch of recovery for each model; seed 0. `das compress --max-drop {MAX_DROP:g}` took "
        f"{seconds / 60:.0f} min. 1 MAC = 2 FLOPs.\n\n{table}\n\nWhat `--max-drop {MAX_DROP:g}` tried, against the "
        f"full model's {100 * record.full.value:.2f} % on {record.samples} held-out questions:\n\n"
        f"{format_markdown_table(tries.header, tries.rows)}"
    )
    write_section("easyvqa", "Real data: easy-VQA", body)


if __name__ == "__main__":
    main()
