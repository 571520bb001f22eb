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

from compressor.checkpoints.read import Checkpoint, read_checkpoint
from compressor.errors import InputError, Problem, UsageError, input_error, usage_error
from compressor.families import FAMILIES, Family
from compressor.families.key_mapping import HEAD, Format, State
from compressor.models.adapters import Adapter, SkipAdapter
from compressor.models.steps import StepModel, steps_of
from compressor.models.surgery import stream_width
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
        """The name of each class of its head; empty when it names none."""
        named = self.checkpoint.config.get("id2label") or {}
        numbered = {str(number): str(name) for number, name in named.items()} if isinstance(named, Mapping) else {}
        labels = tuple(numbered.get(str(number), "") for number in range(len(numbered)))
        return () if all(re.fullmatch(r"(LABEL_\d+)?", label) for label in labels) else labels


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

    """

    classes: int


def recognise(source: Checkpoint | str | Path) -> Recognised:
    """The family and format whose signature the checkpoint carries.

    Raises:
        InputError: unreadable; none does, or more than one.

    """
    checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source)
    known = [(family, format) for family in FAMILIES.values() for format in family.formats]
    found = [
        Recognised(checkpoint, family, format, state)
        for family, format in known
        if (state := _as_written(checkpoint, format)) is not None
    ]
    if len(found) == 1:
        return found[0]
    declared = checkpoint.config.get("model_type")
    what = f"of model_type {declared}" if declared else f"its first keys: {', '.join(list(checkpoint.state)[:3])}"
    if found:
        names = ", ".join(f"{entry.family.name} ({entry.format.name})" for entry in found)
        raise input_error(
            "family-ambiguous",
            f"{checkpoint.path} looks like {names} at once",
            "one family",
            "save one model in a file",
        )
    looked_for = "; ".join(
        f"{family.name}: "
        + (f"config.json with model_type {format.model_type}" if format.model_type else ", ".join(format.signature))
        for family, format in known
    )
    raise input_error(
        "unknown-model",
        f"{checkpoint.path} is of no family das knows ({what})",
        f"one of {looked_for}",
        "give a checkpoint of one of these; docs/add-a-family.md adds another",
    )


def _as_written(checkpoint: Checkpoint, format: Format) -> State | None:
    """The checkpoint's tensors as ``format`` names them; None when it is of another format."""
    if checkpoint.config.get("model_type") != format.model_type:
        return None
    state = dict(checkpoint.state)
    if format.base_prefix and not any(key.startswith(format.base_prefix) for key in state):
        state = {format.base_prefix + key: tensor for key, tensor in state.items()}
    return state if all(key in state for key in format.signature) else None


def load_checkpoint(
    source: Recognised | Checkpoint | str | Path,
    task: str | None = None,
    image_size: int | None = None,
    transfer: Transfer | None = None,
    text_length: int | None = None,
) -> Loaded:
    """Read a full checkpoint, key for key.

    Args:
        source: a checkpoint of a known family, as a path or already opened.
        task: which head to use; may be left out when the checkpoint has exactly one.
        image_size: pixels; position embeddings are resized when it is not the checkpoint's own.
        transfer: adapt a pre-trained checkpoint: fresh parallel adapters, and a fresh head where there is none.
        text_length: tokens texts are padded to; the checkpoint's own when left out.

    Raises:
        InputError: unreadable, of no known family, without the task's head, or with keys missing or misshapen.
        UsageError: several heads and no ``task``, or an impossible image size or text length.

    """
    found = source if isinstance(source, Recognised) else recognise(source)
    task = choose_task(found, task, transfer is not None)
    own_head = has_own_head(found, task, transfer.classes if transfer else None, transfer is not None)
    with _sizes_that_fit(found):
        dims = found.format.read_dims(found.state, found.checkpoint.config, task)
        dims = _changed(found, dims, image_size, transfer, text_length, own_head)
        if dims.classes == 1 and found.family.heads[task].classes is None:
            raise ValueError("the head has one output: regression, not classification")
    return _load(found, task, dims, own_head, transfer is not None)


def check_sizes(found: Recognised, task: str, image_size: int | None, text_length: int | None) -> None:
    """Refuse sizes that a model of the checkpoint cannot have, before anything is loaded.

    Raises:
        InputError: the checkpoint's own sizes fit nothing.
        UsageError: an impossible image size or text length.
    """
    with _sizes_that_fit(found):
        dims = found.format.read_dims(found.state, found.checkpoint.config, task)
    _changed(found, dims, image_size, None, text_length, own_head=True)


def has_own_head(found: Recognised, task: str, classes: int | None, adapt: bool) -> bool:
    """Whether the checkpoint's head for ``task`` is used; ``--adapt`` replaces one for another number of classes.

    Raises:
        InputError: its sizes cannot be read.
    """
    if not found.has_head(task):
        return False
    if not adapt:
        return True
    with _sizes_that_fit(found):
        dims = found.format.read_dims(found.state, found.checkpoint.config, task)
    return bool(dims.classes == (found.family.heads[task].classes or classes))


def load_backbone(source: Recognised | Checkpoint | str | Path) -> Loaded:
    """Read a checkpoint without any head: the model's output is what a head would be given.

    Raises:
        InputError: as :func:`load_checkpoint`, but for the head.

    """
    found = source if isinstance(source, Recognised) else recognise(source)
    with _sizes_that_fit(found):
        dims = found.format.read_dims(found.state, found.checkpoint.config, None)
    return _load(found, None, dims, False, False)


def _load(found: Recognised, task: str | None, dims: Any, own_head: bool, adapt: bool) -> Loaded:
    family, table = found.family, found.format.table(task if own_head else None)
    with _sizes_that_fit(found):
        model = family.build(dims, task or "")
        if task is None:
            model.epilogue.head = nn.Identity()
        ours, origin = table.to_ours(found.state)
        ours = family.prepare(ours, dims, found.state, task)
        _attach_skips(model, ours)
        own = model.state_dict()
        read = {name: value for name, value in ours.items() if name in own}
        fresh = _fresh_names(model, read, adapt)
        _check_complete(own, read, found, task, fresh)
        model.load_state_dict(own | {name: value.float() for name, value in read.items()})
    used = {origin[name] for name in read if name in origin}
    leftovers = _leftovers(found, task, own_head, used, set(origin.values()))
    return Loaded(model.eval(), found.checkpoint.config, leftovers, _notes(model, found.checkpoint))


@contextmanager
def _sizes_that_fit(found: Recognised) -> Iterator[None]:
    """Turn what tensors and settings of impossible sizes raise into input errors."""
    path, family = found.checkpoint.path, found.family.name
    try:
        yield
    except KeyError as missing:
        raise input_error(
            "tensors-missing",
            f"{path} lacks the key {found.format.keys.checkpoint_name(str(missing.args[0]))}",
            f"every tensor of a {family} checkpoint",
            "save the whole state dict, or copy the file again",
        ) from None
    except (ValueError, TypeError, IndexError, ArithmeticError, RuntimeError, AttributeError) as error:
        reason = (
            "; ".join(f"{'.'.join(map(str, problem['loc']))} {problem['msg']}".strip() for problem in error.errors())
            if isinstance(error, ValidationError)
            else str(error).partition("\n")[0]
        )
        raise input_error(
            "model-does-not-fit-together",
            f"{path} has tensors or hyper_parameters that make no {family}: {reason}",
            "shapes and settings that fit together",
            "check which training run the file came from",
        ) from error


def choose_task(found: Recognised, task: str | None, adapt: bool = False) -> str:
    """``task``, or the only one that the checkpoint has a head for.

    Raises:
        InputError: it has no such head.
        UsageError: it has several heads and none is named, or the family knows no such task.
    """
    family, path = found.family, found.checkpoint.path
    heads = tuple(head for head in found.heads if head in family.heads)
    if task is not None and task not in family.heads:
        known = ", ".join(family.heads)
        raise usage_error(
            "unknown-task",
            f"no task {task!r} for {family.name}",
            f"one of: {known}",
            f"--task {next(iter(family.heads))}",
        )
    compressible = found.tasks or heads
    if task is None and len(compressible) == 1:
        return compressible[0]
    if task is None and compressible:
        raise usage_error(
            "task-ambiguous", f"{path} has heads for {', '.join(heads)}", "one task", f"--task {compressible[0]}"
        )
    if task is not None and (found.has_head(task) or adapt):
        return task
    wanted = task or next(iter(family.heads))
    raise input_error(
        "head-missing",
        f"{path} has no head for {wanted} (no key starts with {found.format.prefix(wanted) or 'one'})",
        f"a checkpoint fine-tuned on {wanted}"
        + (f"; this one has heads for: {', '.join(found.heads)}" if found.heads else ""),
        "give a fine-tuned checkpoint, or train a new head with --adapt",
    )


def _changed(
    found: Recognised,
    dims: Any,
    image_size: int | None,
    transfer: Transfer | None,
    text_length: int | None,
    own_head: bool,
) -> Any:
    """The checkpoint's sizes with what the user asked for."""
    problems, changes = [], {}
    if image_size is not None:
        if not hasattr(dims, "image_size"):
            problems.append(
                Problem(
                    "image-size-without-images",
                    f"an image size for {found.family.name}",
                    "none: it reads no images",
                    "leave it out",
                )
            )
        elif image_size <= 0 or image_size % dims.patch:
            expected = f"a multiple of the patch size {dims.patch}"
            problems.append(
                Problem(
                    "image-size-impossible", f"image size {image_size}", expected, f"--image-size {dims.image_size}"
                )
            )
        changes["image_size"] = image_size
    if text_length is not None:
        if not 1 <= text_length <= dims.longest_text:
            expected = f"1 to {dims.longest_text} tokens"
            problems.append(
                Problem(
                    "text-length-impossible",
                    f"text length {text_length}",
                    expected,
                    f"--text-length {dims.text_length}",
                )
            )
        changes["text_length"] = text_length
    if problems:
        raise UsageError(*problems)
    if transfer is not None and not own_head:
        changes["classes"] = transfer.classes
    if transfer is not None and not dims.parallel_width:
        changes["parallel_width"] = max(1, round(dims.hidden * found.family.parallel_fraction))
    return dims.model_copy(update=changes)


def _leftovers(found: Recognised, task: str | None, own_head: bool, used: set[str], known: set[str]) -> dict[str, str]:
    """Every key that is not ``used``, and why; ``known`` are those that the family has a name for."""
    format = found.format
    own = format.prefix(task) if task else ""
    replaced = None if own_head else own
    heads = {name: format.prefix(name) for name in (*found.family.heads, *format.heads)} | {**format.heads_by_name}
    unread = {head: name for name, head in heads.items() if head not in ("", own)}
    leftovers = {}
    for key in (key for key in found.state if key not in used):
        reasons = [entry.reason for entry in format.leftovers if re.match(entry.pattern, key)]
        reasons += [f"head of another task ({name})" for head, name in unread.items() if key.startswith(head)]
        reasons += ["a head for other classes; a new one is trained"] * bool(replaced and key.startswith(replaced))
        unknown = "no such part in this model" if key in known else f"not part of a {found.family.name}"
        leftovers[key] = reasons[0] if reasons else unknown
    return leftovers


def _attach_skips(model: StepModel, ours: State) -> None:
    """Make room for the skip adapters that the checkpoint brought along."""
    for name in sorted({name.split(".")[1] for name in ours if name.startswith("skips.")}):
        if name in model.layers:
            width, _ = ours[f"skips.{name}.down_proj.weight"].shape
            model.skips[name] = SkipAdapter(stream_width(model, name), width)


def _fresh_names(model: StepModel, read: State, adapt: bool) -> set[str]:
    """Parameters that start anew: with ``--adapt`` parallel adapters, and a head that the checkpoint does not have.

    A backbone may come without a pooler (BERT saved with its language-modelling head does).
    """
    beside = tuple(f"blocks.{name}." for name, module in model.blocks.named_modules() if isinstance(module, Adapter))
    head_there = any(name.startswith(HEAD) for name in read)
    if adapt and not head_there:
        for module in model.epilogue.get_submodule("head").modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
    anew = (*(beside if adapt else ()), *(() if head_there else (HEAD, "epilogue.pooler.")))
    without_head = adapt or isinstance(model.epilogue.head, nn.Identity)
    return {name for name in model.state_dict() if without_head and name.startswith(anew) and name not in read}


def _check_complete(
    own: Mapping[str, Tensor], ours: Mapping[str, Tensor], found: Recognised, task: str | None, fresh: set[str]
) -> None:
    path, table = found.checkpoint.path, found.format.table(task)
    expected = {name: value.shape for name, value in own.items()}
    problems = []
    missing = sorted({table.checkpoint_name(name) for name in expected if name not in ours and name not in fresh})
    if missing:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        problems.append(
            Problem(
                "tensors-missing",
                f"{path} lacks {len(missing)} keys: {shown}",
                f"every tensor of a {found.family.name} checkpoint",
                "save the whole state dict, or copy the file again",
            )
        )
    wrong = [
        f"{table.checkpoint_name(name)} {tuple(ours[name].shape)}, not {tuple(shape)}"
        for name, shape in expected.items()
        if name in ours and ours[name].shape != shape
    ]
    if wrong:
        problems.append(
            Problem(
                "tensors-misshapen",
                f"{path} has {len(wrong)} tensors of another shape: {'; '.join(wrong[:4])}",
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
