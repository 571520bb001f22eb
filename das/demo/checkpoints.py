"""The files of a demo: generated data, a tokenizer, and a checkpoint fine-tuned on them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer

from compressor.checkpoints.write import save_public_checkpoint
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.data.read_data import read_data
from compressor.data.roles import make_splits
from compressor.data.types import RawDataset
from compressor.device import limit_threads
from compressor.errors import input_error
from compressor.families import FAMILIES
from compressor.files import TOKENIZER_FILE
from compressor.progress import QUIET, Progress
from compressor.tasks import TASKS
from compressor.training.finetune import finetune
from das.demo.demos import SHIPPED, Demo
from das.demo.small_models import Sizes
from das.terminal import progress

ASSETS = Path(__file__).parents[1] / "assets"
MARKER = ".das-demo"
DATA_SEED, TRAINING_SEED, MODEL_SEED = 0, 1, 3
BATCH_SIZE = 64


def prepare_demo(demo: Demo, folder: Path, *, retrain: bool = False, progress: Progress = QUIET) -> None:
    """Write ``data/``, the tokenizer and the checkpoint of ``demo`` into ``folder``.

    Args:
        demo: what to make.
        folder: created if needed; files of an earlier demo are replaced.
        retrain: train a checkpoint anew that comes with das.
        progress: told about the training.

    Raises:
        InputError: the folder holds something that no demo wrote.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise input_error(
            "folder-exists", f"{folder} is not empty, and no demo", "a new folder, or an earlier demo's", "das demo NEW"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("Made by das demo, which may replace what lies here.\n")
    data, checkpoint = folder / "data", folder / demo.checkpoint
    shutil.rmtree(data, ignore_errors=True)
    _write_data(demo, data, demo.images, DATA_SEED)
    if demo.shipped and not retrain:
        shutil.copyfile(ASSETS / demo.checkpoint, checkpoint)
    elif demo.shipped:
        train_shipped(demo, checkpoint, progress)
    else:
        train_checkpoint(demo, data, checkpoint, progress)
    home = checkpoint if checkpoint.is_dir() else folder
    if tokenizer := _make_tokenizer(demo, read_data(data, demo.task)):
        tokenizer.save(str(home / TOKENIZER_FILE))


def train_shipped(demo: Demo, path: Path, progress: Progress = QUIET, steps: int | None = None) -> None:
    """Train a checkpoint that comes with das, on more images than the demo has (minutes)."""
    with tempfile.TemporaryDirectory() as scratch:
        _write_data(demo, Path(scratch), demo.shipped, TRAINING_SEED)
        train_checkpoint(demo, Path(scratch), path, progress, steps)


def train_checkpoint(demo: Demo, data: Path, path: Path, progress: Progress = QUIET, steps: int | None = None) -> None:
    """Train the demo's model from scratch on its data and write it in the family's public format."""
    torch.manual_seed(MODEL_SEED)
    family, task = FAMILIES[demo.family], TASKS[demo.task]
    dataset = read_data(data, demo.task)
    tokenizer = _make_tokenizer(demo, dataset)
    words = tokenizer.get_vocab_size() if tokenizer else 0
    length = max(len(tokenizer.encode(text).ids) for text in _texts(dataset)) if tokenizer else 0
    classes = family.heads[demo.task].classes or len(dataset.labels)
    dims = demo.dims(Sizes(words, length, classes, task.images))
    model = family.build(dims, demo.task)
    limit_threads(model)  # the same result everywhere
    splits = make_splits(dataset, data, task, family.transforms(dims, tokenizer), dims.classes)
    finetune(
        model,
        splits.train,
        task,
        steps=steps or demo.steps,
        batch_size=max(1, BATCH_SIZE // splits.train.rows_per_sample),
        learning_rate=demo.learning_rate,
        seed=MODEL_SEED,
        progress=progress,
    )
    save_public_checkpoint(model, path, demo.config(dims, dataset))


def _write_data(demo: Demo, folder: Path, images: int, seed: int) -> None:
    generated = TASKS[demo.task].generated
    assert generated is not None, f"{demo.task} has no generated data"
    generated.write(folder, images, seed)


def _make_tokenizer(demo: Demo, dataset: RawDataset) -> Tokenizer | None:
    """Return a tokenizer of the data's words; None of a model that reads none."""
    return word_tokenizer(_texts(dataset), demo.tokenizer) if demo.tokenizer else None


def _texts(dataset: RawDataset) -> list[str]:
    return [sample.text for sample in dataset.splits["train"].samples]


if __name__ == "__main__":
    # python -m das.demo.checkpoints makes the checkpoint that das ships.
    train_shipped(SHIPPED, ASSETS / SHIPPED.checkpoint, progress())
