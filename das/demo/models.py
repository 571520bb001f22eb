"""What ``das demo`` works on: generated data of a task, and a small model of a family fine-tuned on it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from compressor.checkpoints.write import save_public_checkpoint
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.data.read_data import read_data
from compressor.data.roles import make_splits
from compressor.data.text import FILE_NAME
from compressor.data.types import RawDataset
from compressor.device import limit_threads
from compressor.errors import Problem, UsageError, input_error
from compressor.families import FAMILIES
from compressor.families.meter.meter_model import MeterDims
from compressor.families.text_encoder import BertDims, RobertaDims
from compressor.families.vilt.vilt_model import ViltDims
from compressor.models.steps import steps_of
from compressor.progress import QUIET, Progress
from compressor.tasks import TASKS
from compressor.training.finetune import finetune

ASSETS = Path(__file__).parents[1] / "assets"
MARKER = ".das-demo"
DATA_SEED, TRAINING_SEED, MODEL_SEED = 0, 1, 3
BATCH_SIZE = 64


@dataclass(frozen=True)
class Sizes:
    """What the sizes of a demo's model depend on."""

    vocabulary: int
    text_length: int
    classes: int
    images: int


@dataclass(frozen=True)
class Demo:
    """A small model of a family, and how it is fine-tuned on generated data of a task.

    Attributes:
        family: key of ``FAMILIES``.
        task: key of ``TASKS``.
        checkpoint: name of its file or folder.
        skip: layers that the demo skips unless told otherwise.
        images: training images (pairs, sentences) of the demo's data.
        steps: of fine-tuning.
        learning_rate: of fine-tuning.
        dims: sizes to the family's dims.
        config: dims and data to what is saved beside the tensors.
        tokenizer: style of :func:`word_tokenizer`.
        seconds: of timing in each runtime.
        recover_epochs: of the demo's recovery: fewer than the paper's 10, for a demo of two minutes.
        shipped: its checkpoint comes with das, trained on ``shipped`` images of another seed; 0 trains on the demo's.
    """

    family: str
    task: str
    checkpoint: str
    skip: int
    images: int
    steps: int
    learning_rate: float
    dims: Callable[[Sizes], Any]
    config: Callable[[Any, RawDataset], dict[str, object]]
    tokenizer: str
    seconds: float = 5
    recover_epochs: float = 4
    shipped: int = 0

    @property
    def folder(self) -> str:
        """Where it is made unless told otherwise."""
        return "demo" if self.shipped else f"demo-{self.family}-{self.task}"


def meter_dims(sizes: Sizes, layers: int = 1, fusion_layers: int = 3) -> MeterDims:
    """A METER with square patches as large as the cells of a scene."""
    return MeterDims(
        hidden=40,
        heads=4,
        fusion_layers=fusion_layers,
        fusion_ffn=80,
        text_vocabulary=sizes.vocabulary,
        text_positions=sizes.text_length + 2,
        text_hidden=40,
        text_layers=layers,
        text_heads=4,
        text_ffn=80,
        vision_width=64,
        vision_layers=layers,
        vision_ffn=128,
        patch=12,
        image_size=36,
        images=sizes.images,
        image_types=sizes.images,
        classes=sizes.classes,
        text_length=sizes.text_length,
        dropout=0.0,
    )


def vilt_dims(sizes: Sizes) -> ViltDims:
    """A ViLT whose 3 x 3 patches are the cells of a scene."""
    return ViltDims(
        hidden=48,
        heads=4,
        layers=6,
        ffn=96,
        position_grid=3,
        image_size=96,
        images=sizes.images,
        image_types=sizes.images,
        text_vocabulary=sizes.vocabulary,
        text_positions=sizes.text_length,
        text_length=sizes.text_length,
        classes=sizes.classes,
        dropout=0.0,
    )


def text_config(sizes: Sizes, model_type: str, types: int, reserved: int, pad: int) -> dict[str, Any]:
    """The config.json of a small text encoder, which embeds ``reserved`` positions that no token has."""
    return {
        "model_type": model_type,
        "vocab_size": sizes.vocabulary,
        "hidden_size": 48,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "max_position_embeddings": sizes.text_length + reserved,
        "type_vocab_size": types,
        "pad_token_id": pad,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }


def bert_dims(sizes: Sizes) -> BertDims:
    """A small BERT."""
    return BertDims(
        config=text_config(sizes, "bert", types=2, reserved=0, pad=0),
        classes=sizes.classes,
        text_length=sizes.text_length,
    )


def roberta_dims(sizes: Sizes) -> RobertaDims:
    """A small RoBERTa, whose positions are counted from 2."""
    return RobertaDims(
        config=text_config(sizes, "roberta", types=1, reserved=2, pad=1),
        classes=sizes.classes,
        text_length=sizes.text_length,
    )


def public_config(dims: Any, found: RawDataset) -> dict[str, object]:
    """What the public code of METER and ViLT keeps beside the tensors, as far as no shape shows it."""
    return {
        "num_heads": dims.heads,
        "max_text_len": dims.text_length,
        "drop_rate": 0.0,
        "image_size": dims.image_size,
    }


def hugging_face_config(dims: Any, found: RawDataset) -> dict[str, object]:
    """The config.json of a sequence classifier."""
    names = dict(enumerate(found.labels))
    named = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    kind = type(dims.library).__name__.removesuffix("Config")
    return {**dims.config, "architectures": [f"{kind}ForSequenceClassification"], **named}


SHIPPED = Demo(
    "meter",
    "vqa",
    "meter.ckpt",
    skip=8,
    images=2000,
    steps=3000,
    learning_rate=1e-3,
    dims=lambda sizes: meter_dims(sizes, layers=2, fusion_layers=6),
    config=public_config,
    tokenizer="<s>",
    seconds=10,
    shipped=5400,
)
MODELS: Mapping[str, Callable[..., Demo]] = {  # small models of a family, which learn a task's generated data
    "meter": partial(
        Demo,
        family="meter",
        checkpoint="meter.ckpt",
        skip=4,
        learning_rate=1e-3,
        dims=meter_dims,
        config=public_config,
        tokenizer="<s>",
    ),
    "vilt": partial(
        Demo,
        family="vilt",
        checkpoint="vilt.ckpt",
        skip=3,
        learning_rate=3e-3,
        dims=vilt_dims,
        config=public_config,
        tokenizer="[CLS]",
    ),
    **{
        family: partial(
            Demo,
            family=family,
            checkpoint=family,
            skip=3,
            learning_rate=1e-3,
            dims=dims,
            config=hugging_face_config,
            tokenizer=first_token,
        )
        for family, dims, first_token in (("roberta", roberta_dims, "<s>"), ("bert", bert_dims, "[CLS]"))
    },
}
DEMOS: dict[tuple[str, str], Demo] = {
    (family, task.name): make(task=task.name, images=task.generated.images, steps=task.generated.steps)
    for family, make in MODELS.items()
    for task in TASKS.values()
    if task.generated and task.name in FAMILIES[family].heads
} | {(SHIPPED.family, SHIPPED.task): SHIPPED}
"""Every family with every task that it has a head for and that has generated data."""


def find_demo(family: str, task: str | None) -> Demo:
    """The demo of a family and a task; None takes the family's first task.

    Raises:
        UsageError: there is no such demo.
    """
    tasks = [known for name, known in DEMOS if name == family]
    demo = DEMOS.get((family, task or (tasks[0] if tasks else "")))
    if demo is not None:
        return demo
    families = ", ".join(dict.fromkeys(name for name, _ in DEMOS))
    if not tasks:
        raise UsageError(Problem("unknown-family", f"--family {family}", f"one of {families}", "--family meter"))
    raise UsageError(
        Problem("unknown-task", f"--task {task} for {family}", f"one of {', '.join(tasks)}", f"--task {tasks[0]}")
    )


def check_skip(demo: Demo, skip: int) -> None:
    """Refuse a number of layers that the demo's model does not have, before it is trained.

    Raises:
        UsageError: fewer than one, or more than there are.
    """
    family = FAMILIES[demo.family]
    dims = demo.dims(Sizes(vocabulary=100, text_length=16, classes=2, images=TASKS[demo.task].images))
    pools = next(iter(family.scopes.values()))
    most = sum(step.pool in pools for step in steps_of(family.rounds(dims)))
    if not 1 <= skip <= most:
        raise UsageError(
            Problem("skip-impossible", f"--skip {skip} of {most} layers", f"1 to {most}", f"--skip {demo.skip}")
        )


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
    word_tokenizer(_texts(read_data(data, demo.task)), demo.tokenizer).save(str(home / FILE_NAME))


def train_shipped(demo: Demo, path: Path, progress: Progress = QUIET, steps: int | None = None) -> None:
    """Train a checkpoint that comes with das, on more images than the demo has (minutes)."""
    with tempfile.TemporaryDirectory() as scratch:
        _write_data(demo, Path(scratch), demo.shipped, TRAINING_SEED)
        train_checkpoint(demo, Path(scratch), path, progress, steps)


def train_checkpoint(demo: Demo, data: Path, path: Path, progress: Progress = QUIET, steps: int | None = None) -> None:
    """Train the demo's model from scratch on its data and write it in the family's public format."""
    torch.manual_seed(MODEL_SEED)
    family, task = FAMILIES[demo.family], TASKS[demo.task]
    found = read_data(data, demo.task)
    tokenizer = word_tokenizer(_texts(found), demo.tokenizer)
    length = max(len(tokenizer.encode(text).ids) for text in _texts(found))
    classes = family.heads[demo.task].classes or len(found.labels)
    dims = demo.dims(Sizes(tokenizer.get_vocab_size(), length, classes, task.images))
    model = family.build(dims, demo.task)
    limit_threads(model)  # the same result everywhere
    splits = make_splits(found, data, task, family.transforms(dims, tokenizer), dims.classes)
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
    save_public_checkpoint(model, path, demo.config(dims, found))


def _write_data(demo: Demo, folder: Path, images: int, seed: int) -> None:
    generated = TASKS[demo.task].generated
    assert generated is not None, f"{demo.task} has no generated data"
    generated.write(folder, images, seed)


def _texts(found: RawDataset) -> list[str]:
    return [sample.text for sample in found.splits["train"].samples]


if __name__ == "__main__":
    # python -m das.demo.models makes the checkpoint that das ships.
    from das.terminal import progress as terminal_progress

    train_shipped(SHIPPED, ASSETS / SHIPPED.checkpoint, terminal_progress())
