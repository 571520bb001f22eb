"""Real data: train a small METER on easy-VQA and compress it at several budgets.

easy-VQA (MIT licence) is at github.com/vzhou842/easy-VQA, folder ``easy_vqa/data``. Usage:

    python benchmarks/easyvqa.py FOLDER_OF_EASYVQA --work work-easyvqa

Trains the full model once (kept in the work folder), then compresses it with DAS at k = 2, 4, 6, 8 and with random
subsets at k = 8, each recovered the same way, as in Table B of the paper's supplement.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import torch

from benchmarks.results import LogProgress
from compressor.data.images import ImageTransform
from compressor.data.scenes import word_tokenizer
from compressor.data.tables import write_table
from compressor.data.text import FILE_NAME, TextTransform
from compressor.data.vqa import Transforms, load_vqa
from compressor.families.meter import MeterDims, build
from compressor.finetuning import finetune, save_public_checkpoint
from compressor.tasks import TASKS

TEXT_LENGTH = 16


def convert(source: Path, target: Path) -> float:
    """easy-VQA's JSON and PNG files to METER's tables; returns the floor of a question-only guesser on test."""
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
    return question_only_floor(pairs["train"], pairs["test"])


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
    transforms = Transforms(TextTransform(tokenizer, TEXT_LENGTH, dims.text_vocabulary), ImageTransform(64))
    data = load_vqa(work / "data", transforms, dims.classes)
    model = build(dims, "vqa")
    started = time.time()
    finetune(model, data.train, TASKS["vqa"], steps=steps, batch_size=64, learning_rate=1e-3, progress=LogProgress())
    config = {"num_heads": 4, "max_text_len": TEXT_LENGTH, "drop_rate": 0.0, "image_size": 64}
    save_public_checkpoint(model, work / "meter.ckpt", config)
    (work / "training.json").write_text(json.dumps({"steps": steps, "seconds": time.time() - started}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="easy-VQA's data folder, with train/, test/ and answers.txt")
    parser.add_argument("--work", type=Path, default=Path("work-easyvqa"), help="folder for tables, checkpoint, runs")
    parser.add_argument("--steps", type=int, default=5000, help="training steps of the full model")
    arguments = parser.parse_args()
    floor = convert(arguments.source, arguments.work / "data")
    if not (arguments.work / "meter.ckpt").exists():
        train_full(arguments.work, arguments.steps)
    print(floor)


if __name__ == "__main__":
    main()
