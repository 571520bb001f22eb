"""Build the full model of a checkpoint, with an account of every key."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compressor.checkpoints.class_names import note_class_names
from compressor.checkpoints.finite import check_finite
from compressor.checkpoints.read import Checkpoint
from compressor.checkpoints.recognise import Recognised, choose_task, recognise
from compressor.checkpoints.sizes import (
    Transfer,
    change_dims,
    has_own_head,
    note_text_length,
    read_dims,
    sizes_that_fit,
)
from compressor.checkpoints.sources.weight_sets import BETWEEN_SETS
from compressor.checkpoints.unread_keys import find_unread
from compressor.errors import InputError, Problem, input_error, shorten
from compressor.families.key_mapping import HEAD, State
from compressor.models.adapters import Adapter, SkipAdapter
from compressor.models.steps import StepModel, steps_of
from compressor.models.surgery import stream_width


@dataclass(frozen=True)
class Loaded:
    """A full model and what became of the checkpoint's keys.

    Attributes:
        model: in eval mode, on the CPU, float32.
        config: the checkpoint's own configuration.
        leftovers: keys that nothing reads, with the reason.
        notes: sentences the user should see.
        problems: why the model may not be the one that was trained; only an outline has any.

    """

    model: StepModel
    config: Mapping[str, Any]
    leftovers: Mapping[str, str]
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def leftovers_by_reason(self) -> dict[str, list[str]]:
        """The leftover keys, grouped."""
        grouped: dict[str, list[str]] = {}
        for key, reason in self.leftovers.items():
            grouped.setdefault(reason, []).append(key)
        return grouped


def load_checkpoint(
    source: Recognised | Checkpoint | str | Path,
    task: str | None = None,
    image_size: int | None = None,
    transfer: Transfer | None = None,
    text_length: int | None = None,
    longest: int | None = None,
) -> Loaded:
    """Read a full checkpoint, key for key.

    A key that nothing reads has to be one of known use elsewhere: another could change every answer.

    Args:
        source: a checkpoint of a known family, as a path or already opened.
        task: which head to use; may be left out when the checkpoint has exactly one.
        image_size: pixels; position embeddings are resized when it is not the checkpoint's own.
        transfer: adapt a pre-trained checkpoint: fresh parallel adapters, and a fresh head where there is none.
        text_length: most tokens of a text; when left out the checkpoint's own, but at most ``longest``.
        longest: most tokens of a text that the tokenizer was made for; None where it does not say.

    Raises:
        InputError: unreadable, of no known family, without the task's head, with keys missing, misshapen or unread, or
            with weights that are no floats, or NaN.
        UsageError: several heads and no ``task``, or an impossible image size or text length.

    """
    recognised = source if isinstance(source, Recognised) else recognise(source)
    return _accept(_load_with_head(recognised, task, image_size, transfer, text_length, longest))


def _load_with_head(
    recognised: Recognised,
    task: str | None,
    image_size: int | None = None,
    transfer: Transfer | None = None,
    text_length: int | None = None,
    longest: int | None = None,
) -> Loaded:
    """Return what :func:`load_checkpoint` does, whatever its problems."""
    task = choose_task(recognised, task, transfer is not None)
    own_head = has_own_head(recognised, task, transfer.classes if transfer else None, transfer is not None)
    with sizes_that_fit(recognised):
        own, notes = read_dims(recognised, task)
        dims = change_dims(recognised, own, image_size, transfer, text_length, own_head, longest)
    named = recognised.family.outputs_of(task)[0].kind == "classes"
    if named and dims.classes == 1 and recognised.family.heads[task].classes is None:
        path = recognised.checkpoint.path
        raise input_error(
            "head-missing",
            f"{path} has a head of one output, as of regression or a reranker, which das has no task for yet",
            "a head with an output for each class",
            f"train a new head in its place: --adapt --task {task}",
        )
    loaded = _load(recognised, task, dims, own_head, transfer is not None)
    return replace(loaded, notes=(*loaded.notes, *notes, *note_text_length(own.text_length, text_length, longest)))


def load_backbone(source: Recognised | Checkpoint | str | Path) -> Loaded:
    """Read a checkpoint without any head: the model's output is what a head would be given.

    Raises:
        InputError: as :func:`load_checkpoint`, but for the head.

    """
    return _accept(_load_without_head(source if isinstance(source, Recognised) else recognise(source)))


def _load_without_head(recognised: Recognised) -> Loaded:
    """Return what :func:`load_backbone` does, whatever its problems."""
    with sizes_that_fit(recognised):
        dims, notes = read_dims(recognised, None)
    loaded = _load(recognised, None, dims, False, False)
    return replace(loaded, notes=(*loaded.notes, *notes))


def _accept(loaded: Loaded) -> Loaded:
    """Return a model that is the one that was trained.

    Raises:
        InputError: it may not be.
    """
    if loaded.problems:
        raise InputError(*loaded.problems)
    return loaded


def outline_checkpoint(source: Recognised | Checkpoint | str | Path, task: str | None) -> Loaded:
    """Build the model of a checkpoint on the meta device: every shape and key is checked, no weight is read.

    Keys that nothing reads and weights that are no floats are its ``problems``.

    Args:
        source: a checkpoint of a known family, as a path or already opened.
        task: whose head the model gets; None builds it without a head, as :func:`load_backbone`.

    Raises:
        InputError: as :func:`load_checkpoint`, but for its ``problems``.

    """
    recognised = source if isinstance(source, Recognised) else recognise(source)
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in recognised.state.items()}
    outline = replace(recognised, state=shapes)
    with torch.device("meta"):
        return _load_with_head(outline, task) if task else _load_without_head(outline)


def _load(source: Recognised, task: str | None, dims: Any, own_head: bool, adapt: bool) -> Loaded:
    family, format = source.family, source.format
    table = format.table(task if own_head else None)
    with sizes_that_fit(source):
        ours, origin = table.to_ours(source.state)
        ours = family.prepare(ours, dims, source.state, task)
        with torch.device("meta"):  # sizes that the tensors do not have may ask for more memory than there is
            outline = _build(source, dims, task, ours)
        parameters = outline.state_dict()
        read = {name: value for name, value in ours.items() if name in parameters}
        _check_complete(parameters, read, source, task, _fresh_names(outline, read, adapt))
        model = _build(source, dims, task, ours)
        if adapt:
            _draw_head(model, read)
        weights = {name: value.float() for name, value in read.items()}
        model.load_state_dict(model.state_dict() | weights)
    check_finite(((origin.get(name, name), value) for name, value in weights.items()), source.checkpoint.path)
    used = {origin[name]: source.state[origin[name]] for name in read if name in origin}
    explained = _explain_leftovers(source, task, own_head, used)
    unread = {key: _reason_of(key, source, origin) for key in (*source.state, *source.beside)}
    unread = {key: reason for key, reason in unread.items() if key not in used and key not in explained}
    problems = find_unread(source.checkpoint.path, family.name, unread, used)
    remarks = format.remarks(source.state, source.checkpoint.config)
    notes = (*source.notes, *remarks, *_notes(model, source.checkpoint))
    named = task is not None and own_head and source.family.outputs_of(task)[0].kind == "classes"
    if named and dims.classes > 1:  # one output is a score, not a class
        notes = (*notes, *note_class_names(source.checkpoint.config, dims.classes))
    return Loaded(model.eval(), source.checkpoint.config, explained | unread, notes, problems)


def _build(source: Recognised, dims: Any, task: str | None, ours: State) -> StepModel:
    """Return a model of these dims, randomly initialised, with room for what ``ours`` brings along."""
    model = source.family.build(dims, task or "")
    if task is None:
        model.epilogue.head = nn.Identity()
    _attach_skips(model, ours)
    return model


def _reason_of(key: str, source: Recognised, origin: Mapping[str, str]) -> str:
    """Return why nothing reads a key that no rule explains; ``origin`` has those that the family has a name for."""
    if key in source.beside:
        return f"not under {source.prefix}, as the model's are"
    return "no such part in this model" if key in origin.values() else f"not part of a {source.family.name}"


def _explain_leftovers(source: Recognised, task: str | None, own_head: bool, used: Container[str]) -> dict[str, str]:
    """Return the keys that are not ``used`` and are known to be of no use for ``task``, each with the reason."""
    format = source.format
    own_prefix = format.prefix(task) if task else ""
    replaced = None if own_head else own_prefix
    heads = {name: format.prefix(name) for name in (*source.family.heads, *format.heads)} | {**format.heads_by_name}
    named = {name: source.declared_task or name for name in heads if not source.has_head(name)}
    unread = {head: named.get(name, name) for name, head in heads.items() if head not in ("", own_prefix)}
    leftovers: dict[str, str] = {}
    for key in (key for key in source.state if key not in used):
        reasons = [entry.reason for entry in format.leftovers if re.match(entry.pattern, key)]
        reasons += [f"head of another task ({name})" for head, name in unread.items() if key.startswith(head)]
        reasons += ["a head for other classes; a new one is trained"] * bool(replaced and key.startswith(replaced))
        if reasons:
            leftovers[key] = reasons[0]
    averaged = (key for key in source.beside if key.rpartition(BETWEEN_SETS)[2] == "n_averaged")
    return leftovers | dict.fromkeys(averaged, "how many models PyTorch has averaged")


def _attach_skips(model: StepModel, ours: State) -> None:
    """Make room for the skip adapters that the checkpoint brought along."""
    for name in sorted({name.split(".")[1] for name in ours if name.startswith("skips.")}):
        if name in model.layers:
            width, _ = ours[f"skips.{name}.down_proj.weight"].shape
            model.skips[name] = SkipAdapter(stream_width(model, name), width)


def _fresh_names(model: StepModel, read: State, adapt: bool) -> set[str]:
    """Return the freshly initialised parameters: with ``--adapt`` parallel adapters, and a head the checkpoint lacks.

    A backbone may come without a pooler (BERT saved with its language-modelling head does).
    """
    beside = tuple(f"blocks.{name}." for name, module in model.blocks.named_modules() if isinstance(module, Adapter))
    anew = (*(beside if adapt else ()), *(() if _has_head(read) else (HEAD, "epilogue.pooler.")))
    without_head = adapt or isinstance(model.epilogue.head, nn.Identity)
    return {name for name in model.state_dict() if without_head and name.startswith(anew) and name not in read}


def _draw_head(model: StepModel, read: State) -> None:
    """Initialise the head anew where the checkpoint has none."""
    if not _has_head(read):
        for module in model.epilogue.get_submodule("head").modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)


def _has_head(read: State) -> bool:
    return any(name.startswith(HEAD) for name in read)


def _check_complete(
    parameters: Mapping[str, Tensor], ours: Mapping[str, Tensor], source: Recognised, task: str | None, fresh: set[str]
) -> None:
    path, table = source.checkpoint.path, source.format.table(task)
    expected = {name: value.shape for name, value in parameters.items()}
    problems = []
    missing = sorted({table.checkpoint_name(name) for name in expected if name not in ours and name not in fresh})
    if missing:
        problems.append(
            Problem(
                "tensors-missing",
                f"{path} lacks {len(missing)} keys: {shorten(missing, 8)}",
                f"every tensor of a {source.family.name} checkpoint",
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
