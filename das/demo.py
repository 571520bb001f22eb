"""What ``das demo`` works on: generated scenes, and a small METER fine-tuned on them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch

from compressor.data.images import ImageTransform
from compressor.data.scenes import ANSWERS, word_tokenizer, write_scenes
from compressor.data.tables import read_table
from compressor.data.text import FILE_NAME, TextTransform
from compressor.data.vqa import Transforms, load_vqa
from compressor.errors import input_error
from compressor.families.meter import MeterDims, build
from compressor.finetuning import finetune, save_public_checkpoint
from compressor.progress import QUIET, Progress
from compressor.tasks import TASKS

ASSETS = Path(__file__).parent / "assets"
CHECKPOINT = "meter.ckpt"
MARKER = ".das-demo"
IMAGE_SIZE, DRAWN_SIZE, TEXT_LENGTH = 36, 48, 12
TABLES = {"train": (2000, 0), "val": (400, 1), "test": (600, 2)}  # images and seed
TRAINING_IMAGES, TRAINING_SEED, TRAINING_STEPS, BATCH_SIZE, LEARNING_RATE = 6000, 3, 3000, 64, 1e-3


def prepare_demo(folder: Path, *, retrain: bool = False, progress: Progress = QUIET) -> None:
    """Write ``data/``, ``tokenizer.json`` and ``meter.ckpt`` into ``folder``.

    Args:
        folder: created if needed; files of an earlier demo are replaced.
        retrain: train the checkpoint anew instead of copying the one that comes with das.
        progress: told about the training.

    Raises:
        InputError: the folder holds something that no demo wrote.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise input_error(f"{folder} is not empty, and no demo", "a new folder, or an earlier demo's", "das demo NEW")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("Made by das demo, which may replace what lies here.\n")
    data = folder / "data"
    for split, (images, seed) in TABLES.items():
        write_scenes(data / f"vqav2_{split}.arrow", images, DRAWN_SIZE, seed)
    checkpoint = folder / CHECKPOINT
    if retrain:
        train_checkpoint(checkpoint, progress)
    else:
        shutil.copyfile(ASSETS / CHECKPOINT, checkpoint)
    word_tokenizer(_questions(data / "vqav2_train.arrow")).save(str(folder / FILE_NAME))


def train_checkpoint(path: Path, progress: Progress = QUIET, steps: int = TRAINING_STEPS) -> None:
    """Train the demo's METER from scratch on generated scenes and write it in the public format (minutes)."""
    torch.manual_seed(TRAINING_SEED)
    torch.set_num_threads(1)  # faster for a model this small, and the same everywhere
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        write_scenes(root / "vqav2_train.arrow", TRAINING_IMAGES, DRAWN_SIZE, TRAINING_SEED)
        write_scenes(root / "vqav2_val.arrow", 10, DRAWN_SIZE, TRAINING_SEED + 1)
        tokenizer = word_tokenizer(_questions(root / "vqav2_train.arrow"))
        dims = demo_dims(tokenizer.get_vocab_size())
        text = TextTransform(tokenizer, TEXT_LENGTH, dims.text_vocabulary)
        data = load_vqa(root, Transforms(text, ImageTransform(IMAGE_SIZE)), dims.classes)
        model = build(dims, "vqa")
        finetune(
            model,
            data.train,
            TASKS["vqa"],
            steps=steps,
            batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            seed=TRAINING_SEED,
            progress=progress,
        )
    config: dict[str, object] = {
        "num_heads": dims.heads,
        "max_text_len": TEXT_LENGTH,
        "drop_rate": 0.0,
        "image_size": IMAGE_SIZE,
    }
    save_public_checkpoint(model, path, config)


def demo_dims(vocabulary: int) -> MeterDims:
    """A METER with all 12 fusion layers, small enough to ship."""
    return MeterDims(
        hidden=40,
        heads=4,
        fusion_ffn=80,
        text_vocabulary=vocabulary,
        text_positions=TEXT_LENGTH + 2,
        text_hidden=40,
        text_layers=2,
        text_heads=4,
        text_ffn=80,
        vision_width=64,
        vision_layers=2,
        vision_ffn=128,
        patch=12,
        image_size=IMAGE_SIZE,
        classes=len(ANSWERS),
        text_length=TEXT_LENGTH,
        dropout=0.0,
    )


def _questions(path: Path) -> list[str]:
    return [question for asked in read_table(path, ["questions"])["questions"].to_pylist() for question in asked]


if __name__ == "__main__":
    # python -m das.demo makes the checkpoint that das ships.
    from das.terminal import progress as terminal_progress

    train_checkpoint(ASSETS / CHECKPOINT, terminal_progress())
