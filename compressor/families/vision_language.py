"""What METER's and ViLT's public code have in common: tasks, heads and their keys, and fine-tuning for another task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from compressor.costs.layer_macs import has_linear_head
from compressor.errors import input_error
from compressor.families.family import LOGITS, MATCH, Head, Output
from compressor.families.key_mapping import HEAD, State
from compressor.tasks import TASKS
from compressor.tasks.task import OutputKind

OUTPUTS: Mapping[OutputKind, tuple[Output, ...]] = {"classes": (LOGITS,), "score": (MATCH,)}
SECONDARY = ("itm",)  # of pre-training, and beside that of irtr
AUGMENTED = "_randaug"
PREFIXES = {
    "vqa": "vqa_classifier.",
    "nlvr2": "nlvr2_classifier.",
    "irtr": "rank_output.",
    "snli-ve": "snli_classifier.",
    "itm": "itm_score.fc.",
}
"""Of the head's keys in a checkpoint, by task."""


def find_head(task: str | None) -> Head:
    """Return what ``task`` puts on top, or an ordinary head without one."""
    if task is None:
        return Head()
    return Head(TASKS[task].images, TASKS[task].classes)


def check_transform(config: Mapping[str, Any], ours: str) -> None:
    """Refuse a checkpoint that makes pixels of images otherwise than by the transform ``ours``.

    Args:
        config: ``hyper_parameters["config"]``; what it leaves out is as published. Of ``val_transform_keys`` the models
            read the first view; ``clip_randaug`` is ``clip`` with noise for training.
        ours: the key of the transform that das makes for the family.

    Raises:
        InputError: names the other transform.
    """
    keys = config.get("val_transform_keys") or config.get("train_transform_keys") or ours
    first = keys[0] if isinstance(keys, list | tuple) else keys
    if isinstance(first, str) and first.removesuffix(AUGMENTED) != ours:
        raise input_error(
            "image-transform-unsupported",
            f"a checkpoint that is shown images by the transform {first}",
            f"{ours}, which is what das makes for this family",
            f"give a checkpoint that was trained with {ours}",
        )


def build_head(task: str, joined: int, inner: int, classes: int) -> nn.Module:
    """Return a head from ``joined`` numbers, those pooled of all images of a sample, (B, joined) -> (B, classes).

    ``inner`` is the width of the hidden layer, where it has one.
    """
    if has_linear_head(task, classes):
        return nn.Linear(joined, classes)
    return nn.Sequential(nn.Linear(joined, inner), nn.LayerNorm(inner, eps=1e-5), nn.GELU(), nn.Linear(inner, classes))


def for_another_task(ours: State, state: State, task: str | None, types: str, count: int, matching: str) -> State:
    """Return ``ours`` with what the public code changes when a pre-trained checkpoint is fine-tuned for another task.

    The second image's type starts as the first one's, and the ranking head as the "matches" row of the matching head.

    Args:
        ours: tensors under our names.
        state: under the checkpoint's.
        task: that the model is built for.
        types: our name of the images' types, (n, hidden).
        count: of types that the model has.
        matching: prefix of the matching head in the checkpoint.
    """
    ours = dict(ours)
    if types in ours:
        ours[types] = torch.cat([ours[types], ours[types][-1:].expand(count - len(ours[types]), -1)])
    if task == "irtr" and f"{HEAD}weight" not in ours and f"{matching}weight" in state:
        ours |= {HEAD + kind: state[matching + kind][1:] for kind in ("weight", "bias")}
    return ours
