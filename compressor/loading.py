"""From a checkpoint on disk to a full model, with an account of every key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

from compressor.adapters import SkipAdapter
from compressor.checkpoints import Checkpoint, read_checkpoint
from compressor.errors import InputError, Problem, input_error, usage_error
from compressor.families import FAMILIES, Family
from compressor.families.base import State
from compressor.steps import StepModel, steps_of
from compressor.surgery import stream_width

NEW_HEAD = "epilogue.head."


@dataclass(frozen=True)
class Loaded:
    """A full model and what became of the checkpoint's keys.

    Attributes:
        model: in eval mode, on the CPU, float32.
        config: the checkpoint's own configuration.
        leftovers: keys that nothing reads, with the reason.
        notes: sentences the user should see.

    """

    model: StepModel
    config: Mapping[str, Any]
    leftovers: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def leftovers_by_reason(self) -> dict[str, list[str]]:
        """The leftover keys, grouped."""
        grouped: dict[str, list[str]] = {}
        for key, reason in self.leftovers.items():
            grouped.setdefault(reason, []).append(key)
        return grouped


@dataclass(frozen=True)
class Transfer:
    """How a pre-trained checkpoint is adapted to a task it was not trained for (``--adapt``).

    Args:
        classes: outputs of the task's new head, when the checkpoint has none.
        parallel_fraction: bottleneck of the parallel adapters in kept layers, over the hidden size (paper: 96/768).

    """

    classes: int
    parallel_fraction: float = 1 / 8


def recognise(checkpoint: Checkpoint) -> Family:
    """The family whose signature the checkpoint carries.

    Raises:
        InputError: none does, or more than one.

    """
    found = [family for family in FAMILIES.values() if all(key in checkpoint.state for key in family.signature)]
    if len(found) == 1:
        return found[0]
    keys = ", ".join(list(checkpoint.state)[:3])
    looked_for = "; ".join(f"{family.name}: {', '.join(family.signature)}" for family in FAMILIES.values())
    raise input_error(
        f"{checkpoint.path} is of no family das knows (its first keys: {keys})",
        f"a checkpoint with these keys: {looked_for}",
        "give a METER checkpoint; see the list of families in the README",
    )


def tasks_of(checkpoint: Checkpoint, family: Family) -> tuple[str, ...]:
    """Tasks that das can compress and the checkpoint has a head for."""
    return tuple(task for task in heads_of(checkpoint, family) if task in family.heads)


def heads_of(checkpoint: Checkpoint, family: Family) -> tuple[str, ...]:
    """Tasks that the checkpoint has a head for, those that das only knows by name included."""
    known = {**family.heads, **family.other_heads}
    return tuple(task for task, head in known.items() if any(key.startswith(head) for key in checkpoint.state))


def load_checkpoint(
    source: Checkpoint | str | Path,
    task: str | None = None,
    image_size: int | None = None,
    transfer: Transfer | None = None,
) -> Loaded:
    """Read a full checkpoint, key for key.

    Args:
        source: a Lightning checkpoint or a plain state dict of a known family, or what ``read_checkpoint`` made of it.
        task: which head to use; may be left out when the checkpoint has exactly one.
        image_size: pixels; position embeddings are resized when it is not the checkpoint's own.
        transfer: adapt a pre-trained checkpoint: fresh parallel adapters, and a fresh head where there is none.

    Raises:
        InputError: unreadable, of no known family, without the task's head, or with keys missing or misshapen.
        UsageError: several heads and no ``task``, or an impossible image size.

    """
    checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source)
    family = recognise(checkpoint)
    return _load(checkpoint, family, _choose_task(checkpoint, family, task, transfer), image_size, transfer)


def load_backbone(source: Checkpoint | str | Path) -> Loaded:
    """Read a checkpoint without any head: the model's output is what a head would be given.

    Raises:
        InputError: as :func:`load_checkpoint`, but for the head.

    """
    checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source)
    return _load(checkpoint, recognise(checkpoint), None)


def _load(
    checkpoint: Checkpoint,
    family: Family,
    task: str | None,
    image_size: int | None = None,
    transfer: Transfer | None = None,
) -> Loaded:
    with _sizes_that_fit(checkpoint, family):
        dims = _dims(checkpoint, family, task, image_size, transfer)
        model = family.build(dims, task or "")
        if task is None:
            model.epilogue.head = nn.Identity()
        ours, origin = family.keys.to_ours(checkpoint.state)
        ours = family.prepare(ours, dims)
        _attach_skips(model, ours)
        own = model.state_dict()
        read = {name: value for name, value in ours.items() if name in own}
        fresh = _fresh_names(model, read, checkpoint, family, str(task)) if transfer else set()
        _check_complete(own, read, checkpoint, family, fresh)
        model.load_state_dict(own | {name: value.float() for name, value in read.items()})
    leftovers = _leftovers(checkpoint, family, task, {origin[name] for name in read}, set(origin.values()))
    return Loaded(model.eval(), checkpoint.config, leftovers, _notes(model, checkpoint))


@contextmanager
def _sizes_that_fit(checkpoint: Checkpoint, family: Family) -> Iterator[None]:
    """Turn what tensors and settings of impossible sizes raise into input errors."""
    try:
        yield
    except KeyError as missing:
        raise input_error(
            f"{checkpoint.path} lacks the key {family.keys.checkpoint_name(str(missing.args[0]))}",
            f"every tensor of a {family.name} checkpoint",
            "save the whole state dict, or copy the file again",
        ) from None
    except (ValueError, TypeError, IndexError, ArithmeticError, RuntimeError) as error:
        reason = (
            "; ".join(f"{'.'.join(map(str, problem['loc']))} {problem['msg']}".strip() for problem in error.errors())
            if isinstance(error, ValidationError)
            else str(error).partition("\n")[0]
        )
        raise input_error(
            f"{checkpoint.path} has tensors or hyper_parameters that make no {family.name}: {reason}",
            "shapes and settings that fit together",
            "check which training run the file came from",
        ) from error


def _choose_task(checkpoint: Checkpoint, family: Family, task: str | None, transfer: Transfer | None) -> str:
    heads, all_heads = tasks_of(checkpoint, family), heads_of(checkpoint, family)
    if task is not None and task not in family.heads:
        known = ", ".join(family.heads)
        raise usage_error(
            f"no task {task!r} for {family.name}", f"one of: {known}", f"--task {next(iter(family.heads))}"
        )
    if task is None and len(heads) == 1:
        return heads[0]
    if task is None and heads:
        raise usage_error(f"{checkpoint.path} has heads for {', '.join(heads)}", "one task", f"--task {heads[0]}")
    if task is not None and (task in heads or transfer):
        return task
    wanted = task or next(iter(family.heads))
    raise input_error(
        f"{checkpoint.path} has no head for {wanted} (no key starts with {family.heads[wanted]})",
        f"a checkpoint fine-tuned on {wanted}"
        + (f"; this one has heads for: {', '.join(all_heads)}" if all_heads else ""),
        "give a fine-tuned checkpoint, or train a new head with --adapt",
    )


def _dims(
    checkpoint: Checkpoint, family: Family, task: str | None, image_size: int | None, transfer: Transfer | None
) -> Any:
    there = task in tasks_of(checkpoint, family)
    dims = family.read_dims(checkpoint.state, checkpoint.config, family.heads[str(task)] if there else None)
    if transfer is not None and not there:
        dims = dims.model_copy(update={"classes": transfer.classes})
    if image_size is not None:
        if image_size <= 0 or image_size % dims.patch:
            raise usage_error(
                f"image size {image_size}",
                f"a multiple of the patch size {dims.patch}",
                f"--image-size {dims.image_size}",
            )
        dims = dims.model_copy(update={"image_size": image_size})
    if transfer is not None and not dims.parallel_width:
        dims = dims.model_copy(update={"parallel_width": max(1, round(dims.hidden * transfer.parallel_fraction))})
    return dims


def _leftovers(
    checkpoint: Checkpoint, family: Family, task: str | None, used: set[str], known: set[str]
) -> dict[str, str]:
    """Every key that is not ``used``, and why; ``known`` are those that the family has a name for."""
    unread = {head: name for name, head in (family.heads | family.other_heads).items() if name != task}
    leftovers = {}
    for key in (key for key in checkpoint.state if key not in used):
        reasons = [entry.reason for entry in family.leftovers if re.match(entry.pattern, key)]
        reasons += [f"head of another task ({name})" for head, name in unread.items() if key.startswith(head)]
        unknown = "no such part in this model" if key in known else f"not part of a {family.name}"
        leftovers[key] = reasons[0] if reasons else unknown
    return leftovers


def _attach_skips(model: StepModel, ours: State) -> None:
    """Make room for the skip adapters that the checkpoint brought along."""
    for name in sorted({name.split(".")[1] for name in ours if name.startswith("skips.")}):
        if name in model.layers:
            width, _ = ours[f"skips.{name}.down_proj.weight"].shape
            model.skips[name] = SkipAdapter(stream_width(model, name), width)


def _fresh_names(model: StepModel, ours: State, checkpoint: Checkpoint, family: Family, task: str) -> set[str]:
    """Parameters that a transfer starts anew: parallel adapters, and the head when the checkpoint has none for it."""
    head_there = task in tasks_of(checkpoint, family)
    names = {
        name for name in model.state_dict() if ".adapter." in name or (name.startswith(NEW_HEAD) and not head_there)
    }
    if not head_there:
        for module in model.epilogue.get_submodule("head").modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
    return {name for name in names if name not in ours}


def _check_complete(
    own: Mapping[str, Tensor], ours: Mapping[str, Tensor], checkpoint: Checkpoint, family: Family, fresh: set[str]
) -> None:
    expected = {name: value.shape for name, value in own.items()}
    problems = []
    missing = sorted({family.keys.checkpoint_name(name) for name in expected if name not in ours and name not in fresh})
    if missing:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        problems.append(
            Problem(
                f"{checkpoint.path} lacks {len(missing)} keys: {shown}",
                f"every tensor of a {family.name} checkpoint",
                "save the whole state dict, or copy the file again",
            )
        )
    wrong = [
        f"{family.keys.checkpoint_name(name)} {tuple(ours[name].shape)}, not {tuple(shape)}"
        for name, shape in expected.items()
        if name in ours and ours[name].shape != shape
    ]
    if wrong:
        problems.append(
            Problem(
                f"{checkpoint.path} has {len(wrong)} tensors of another shape: {'; '.join(wrong[:4])}",
                "shapes that fit together",
                "check which training run the file came from",
            )
        )
    if problems:
        raise InputError(*problems)


def _notes(model: StepModel, checkpoint: Checkpoint) -> tuple[str, ...]:
    if not model.skips:
        return ()
    ordered = [step.name for step in steps_of(model.rounds) if step.name in model.skips]
    recorded = checkpoint.config.get("skip_module")
    note = f"the checkpoint carries skip adapters for {len(ordered)} layers; none is skipped until you name the layers"
    return (note + (f" (it records skip_module={recorded})" if recorded else ""),)
