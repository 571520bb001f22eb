"""Recognise the family and format of a checkpoint, and choose the task whose head is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compressor.checkpoints.class_names import read_class_names
from compressor.checkpoints.read import Checkpoint, read_checkpoint
from compressor.errors import input_error, usage_error
from compressor.families import FAMILIES, Family
from compressor.families.key_mapping import Format, State
from compressor.tasks import TASKS


@dataclass(frozen=True)
class Recognised:
    """A checkpoint, the family it belongs to, how it is written, and its tensors under that format's names."""

    checkpoint: Checkpoint
    family: Family
    format: Format
    state: State

    @property
    def heads(self) -> tuple[str, ...]:
        """Tasks that it has a head for, those that das only knows by name included."""
        named = (*self.format.heads, *self._with_keys_of_their_own, *self.format.heads_by_name)
        return tuple(task for task in dict.fromkeys(named) if self.has_head(task))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that it has a head for and das can compress."""
        return tuple(task for task in self.heads if task in TASKS)

    def has_head(self, task: str) -> bool:
        """Return whether it has a head for ``task``; one of a prefix that tasks share may be for any of them."""
        prefix = self.format.heads_by_name.get(task) or self.format.prefix(task)
        declared = self.checkpoint.config.get("architectures")
        needed = self.format.architecture(task)
        there = bool(prefix) and any(key.startswith(prefix) for key in self.state)
        return there and (needed is None or needed in (declared if isinstance(declared, list) else []))

    @property
    def _with_keys_of_their_own(self) -> tuple[str, ...]:
        named = self.format.heads.values()
        return tuple(task for task in self.family.heads if self.format.prefix(task) not in named)

    @property
    def labels(self) -> tuple[str, ...]:
        """The name of each class of its head (:func:`read_class_names`); empty when it names none.

        Raises:
            InputError: its config contradicts itself.
        """
        return read_class_names(self.checkpoint.config)


def recognise(source: Checkpoint | str | Path) -> Recognised:
    """Return the checkpoint with the family and format whose signature it carries.

    Raises:
        InputError: unreadable; none does, or more than one.

    """
    checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source)
    formats = [(family, format) for family in FAMILIES.values() for format in family.formats]
    matches = [
        Recognised(checkpoint, family, format, state)
        for family, format in formats
        if (state := _as_written(checkpoint, format)) is not None
    ]
    if len(matches) == 1:
        return matches[0]
    for relative in (relative for _, format in formats for relative in format.unbuilt):
        if all(key in checkpoint.state for key in relative.signature):
            raise input_error(relative.code, f"{checkpoint.path} is {relative.what}", relative.expected, relative.fix)
    declared = checkpoint.config.get("model_type")
    signature = f"of model_type {declared}" if declared else f"its first keys: {', '.join(list(checkpoint.state)[:3])}"
    if matches:
        names = ", ".join(f"{entry.family.name} ({entry.format.name})" for entry in matches)
        raise input_error(
            "family-ambiguous",
            f"{checkpoint.path} looks like {names} at once",
            "one family",
            "save one model in a file",
        )
    looked_for = "; ".join(
        f"{family.name}: "
        + (f"config.json with model_type {format.model_type}" if format.model_type else ", ".join(format.signature))
        for family, format in formats
    )
    raise input_error(
        "unknown-model",
        f"{checkpoint.path} is of no family das knows ({signature})",
        f"one of {looked_for}",
        "give a checkpoint of one of these; docs/add-a-family.md adds another",
    )


def _as_written(checkpoint: Checkpoint, format: Format) -> State | None:
    """Return the checkpoint's tensors as ``format`` names them; None when it is of another format."""
    if checkpoint.config.get("model_type") != format.model_type:
        return None
    state = dict(checkpoint.state)
    if format.base_prefix and not any(key.startswith(format.base_prefix) for key in state):
        state = {format.base_prefix + key: tensor for key, tensor in state.items()}
    return state if all(key in state for key in format.signature) else None


def choose_task(source: Recognised, task: str | None, adapt: bool = False) -> str:
    """Return ``task``, or the only one that the checkpoint has a head for.

    Raises:
        InputError: it has no such head.
        UsageError: it has several heads and none is named, or the family knows no such task.
    """
    family, path = source.family, source.checkpoint.path
    heads = tuple(head for head in source.heads if head in family.heads)
    if task is not None and task not in family.heads:
        names = ", ".join(family.heads)
        raise usage_error(
            "unknown-task",
            f"no task {task!r} for {family.name}",
            f"one of: {names}",
            f"--task {next(iter(family.heads))}",
        )
    compressible = source.tasks or heads
    if task is None and len(compressible) == 1:
        return compressible[0]
    if task is None and compressible:
        raise usage_error(
            "task-ambiguous", f"{path} has heads for {', '.join(heads)}", "one task", f"--task {compressible[0]}"
        )
    if task is not None and (source.has_head(task) or adapt):
        return task
    target = task or next(iter(family.heads))
    raise input_error(
        "head-missing",
        f"{path} has no head for {target} (no key starts with {source.format.prefix(target) or 'one'})",
        f"a checkpoint fine-tuned on {target}"
        + (f"; this one has heads for: {', '.join(source.heads)}" if source.heads else ""),
        "give a fine-tuned checkpoint, or train a new head with --adapt",
    )
