"""The demos: a small model of a family, and how it is fine-tuned on generated data of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from compressor.data.types import RawDataset
from compressor.errors import Problem, UsageError
from compressor.families import FAMILIES
from compressor.models.steps import steps_of
from compressor.tasks import TASKS
from das.demo.small_models import (
    Sizes,
    bert_dims,
    hugging_face_config,
    meter_dims,
    public_config,
    roberta_dims,
    vilt_dims,
    vit_dims,
)


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
        tokenizer: style of :func:`word_tokenizer`; empty of a model that reads no text.
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
        """Return the default folder."""
        return "demo" if self.shipped else f"demo-{self.family}-{self.task}"


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
        for family, dims, first_token in (
            ("roberta", roberta_dims, "<s>"),
            ("bert", bert_dims, "[CLS]"),
            ("vit", vit_dims, ""),
        )
    },
}
DEMOS: dict[tuple[str, str], Demo] = {
    (family, task.name): make(task=task.name, images=task.generated.images, steps=task.generated.steps)
    for family, make in MODELS.items()
    for task in TASKS.values()
    if task.generated and task.name in FAMILIES[family].heads
} | {(SHIPPED.family, SHIPPED.task): SHIPPED}
"""Every family of ``MODELS`` with every task that it has a head for and that has generated data."""


def find_demo(family: str, task: str | None) -> Demo:
    """Return the demo of a family and a task; None takes the family's first task.

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
