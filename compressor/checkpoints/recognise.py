"""Recognise the family and format of a checkpoint, and choose the task whose head is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compressor.checkpoints.class_names import read_class_names
from compressor.checkpoints.declared import (
    FILE,
    OF_SEQUENCES,
    REGRESSION,
    architectures_in,
    other_purpose,
    refuse_unknown,
    task_of_class,
)
from compressor.checkpoints.read import Checkpoint, read_checkpoint
from compressor.checkpoints.sources.locate import CONFIG, locate, read_config
from compressor.checkpoints.sources.sentence_modules import RESAVE, is_cross_encoder
from compressor.checkpoints.sources.weight_sets import BETWEEN_SETS, find_prefixes, split_at, without_wrappers
from compressor.checkpoints.unread_keys import find_stored_otherwise
from compressor.errors import InputError, input_error, usage_error
from compressor.families import FAMILIES, Family
from compressor.families.key_mapping import MODULE_KEYS, SENTENCE_MODULES, Format, State, Unbuilt
from compressor.tasks import TASKS
from compressor.tasks.reranking.reranking_task import RERANKING

_ONE_SET = 'save the set that was evaluated alone: torch.save(its state dict, "weights.pt")'


@dataclass(frozen=True)
class Recognised:
    """A checkpoint, the family it belongs to, how it is written, and its tensors under that format's names.

    Attributes:
        checkpoint: as it was read, with the configuration that is of this format.
        family: of the model.
        format: of the checkpoint.
        state: the tensors of the model's set of weights, without ``prefix``.
        prefix: of the keys in the file that are in ``state``; "" without one.
        beside: keys of the same set without it.
        others: other sets of tensors in the file, by name.
        notes: sentences on where the weights were found.

    """

    checkpoint: Checkpoint
    family: Family
    format: Format
    state: State
    prefix: str = ""
    beside: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def heads(self) -> tuple[str, ...]:
        """Tasks that it has a head for, those that das only knows by name included."""
        named = (*self.format.heads, *self._with_keys_of_their_own, *self.format.heads_by_name)
        found = tuple(task for task in dict.fromkeys(named) if self.has_head(task))
        return found or ((self.declared_task,) if self.declared_task else ())

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that it has a head for and das can compress."""
        return tuple(task for task in self.heads if task in TASKS)

    def has_head(self, task: str) -> bool:
        """Return whether it has a head for ``task``; one of a prefix that tasks share may be for any of them.

        What config.json says of its architecture counts; where it says nothing, the head's tensors do.
        """
        if self._is_of_modules(task):
            return SENTENCE_MODULES in self.checkpoint.config
        if task in self.format.heads_by_name:
            return self._has_keys(self.format.heads_by_name[task])
        needed = self.format.architecture(task)
        if not self._has_keys(self.format.prefix(task)):
            return False
        if needed is None or not self.architectures:
            return needed is None or self.format.head_fits(self.state, task)
        purposes = TASKS[task].purposes if task in TASKS else ("",)
        return needed in self.architectures and self._other_purpose in purposes

    @property
    def declared_task(self) -> str:
        """What config.json says that the head is for, in transformers' words; '' where it says nothing of one."""
        named = (task_of_class(architecture) for architecture in self.architectures)
        return self._other_purpose or next((task for task in named if task not in ("", OF_SEQUENCES)), "")

    @property
    def _other_purpose(self) -> str:
        """The same of a head for sequences that chooses no class."""
        if not any(task_of_class(name) == OF_SEQUENCES for name in self.architectures):
            return ""
        path, config = self.checkpoint.path, self.checkpoint.config
        purpose = other_purpose(config)
        return RERANKING.name if purpose == REGRESSION and is_cross_encoder(path, config) else purpose

    def _is_of_modules(self, task: str) -> bool:
        """Return whether the head of a task are modules of sentence-transformers."""
        return self.format.prefix(task) == MODULE_KEYS

    def _has_keys(self, prefix: str) -> bool:
        return bool(prefix) and any(key.startswith(prefix) for key in self.state)

    @property
    def architectures(self) -> tuple[str, ...]:
        """The classes of the library that config.json names; empty where it names none."""
        return architectures_in(self.checkpoint.config)

    def describe_absence(self, task: str) -> str:
        """Return why it has no head for ``task``, as a sentence goes on behind the file's name."""
        kind, prefix = " and ".join(self.architectures), self.format.prefix(task)
        if self._is_of_modules(task):
            return f"is a {self.family.name}, no folder of sentence-transformers (modules.json with a Pooling)"
        if self.heads and not self.tasks:
            named = f"is {kind}: " if kind else "is "
            return f"{named}a sound model for {' and '.join(self.heads)}, which das has no task for yet"
        if not self._has_keys(prefix):
            why = f"no key starts with {prefix}" if prefix else f"{self.format.name} has none"
            return f"is {kind}, without a head for it ({why})" if kind else f"has no head for {task} ({why})"
        return f"has no head for {task} ({f'it is {kind}' if kind else f'what starts with {prefix} has another shape'})"

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
    """Return the checkpoint with the family and format whose signature it carries, wrapped or not.

    Raises:
        InputError: unreadable; none does, more than one, or several sets of weights do; weights that are stored as
            something else.

    """
    checkpoint = source if isinstance(source, Checkpoint) else _read(source)
    path, formats = checkpoint.path, [(family, format) for family in FAMILIES.values() for format in family.formats]
    settings = {**checkpoint.beside, **checkpoint.config}
    if problem := find_stored_otherwise(path, checkpoint.state, settings):
        raise InputError(problem)
    try:
        state, wrappers = without_wrappers(checkpoint.state)
    except ValueError as error:
        raise input_error("weights-ambiguous", f"{path}: {error}", "each tensor once", _ONE_SET) from None
    # METER has a whole RoBERTa inside: backbones without their own prefix are looked for where nothing else is found.
    matches = [
        match for family, format in formats for match in _find_format(checkpoint, state, family, format, "")
    ] or [
        match
        for family, format in formats
        if format.base_prefix
        for match in _find_format(checkpoint, state, family, format, format.base_prefix)
    ]
    if not matches:
        raise InputError(*_unknown(checkpoint, state, formats).problems, *FAMILIES.problems)
    first = matches[0]
    if len(matches) == 1:
        left_out = tuple(f"{problem.found}; {problem.fix}" for problem in FAMILIES.problems)
        return replace(first, notes=(*_describe_place(first, wrappers), *left_out))
    if all(match.format is first.format for match in matches):
        places = " and ".join(match.prefix or "no prefix" for match in matches)
        found = f"{path} has {len(matches)} sets of weights of a {first.family.name}: under {places}"
        raise input_error("weights-ambiguous", found, "one set", _ONE_SET)
    names = ", ".join(dict.fromkeys(f"{match.family.name} ({match.format.name})" for match in matches))
    raise input_error(
        "family-ambiguous", f"{path} looks like {names} at once", "one family", "save one model in a file"
    )


def _find_format(
    checkpoint: Checkpoint, state: State, family: Family, format: Format, base: str
) -> Iterator[Recognised]:
    """Yield every set of weights in ``state`` that is of ``format`` but for ``base`` before its names, with it."""
    settings: tuple[Mapping[str, Any], ...] = (checkpoint.config, checkpoint.beside, {})
    config = next((entry for entry in settings if entry.get("model_type") == format.model_type), None)
    if config is None:
        return
    given = replace(checkpoint, config=config)
    for prefix in find_prefixes(state, tuple(key.removeprefix(base) for key in format.signature)):
        inside, beside, others = split_at(state, prefix)
        inside = {base + key: tensor for key, tensor in inside.items()}
        inside |= {MODULE_KEYS + key: tensor for key, tensor in checkpoint.behind.items()}
        yield Recognised(given, family, format, inside, prefix, beside, others)


def _describe_place(found: Recognised, wrappers: tuple[str, ...]) -> tuple[str, ...]:
    """Return what was left out of the keys, and what else the file holds."""
    name, _, prefix = found.prefix.rpartition(BETWEEN_SETS)
    others = f"; not read: {', '.join(found.others)}" if found.others else ""
    notes = [f"the weights are those that the file calls {name}{others}"] if name else []
    notes += [f"the keys start with {prefix}, which is left out"] if prefix else []
    notes += [f"the keys have {', '.join(wrappers)} in them, which is left out"] if wrappers else []
    return tuple(notes)


def _unknown(checkpoint: Checkpoint, state: State, formats: list[tuple[Family, Format]]) -> InputError:
    """Return the error for tensors of no family, or of one that das knows and does not compute."""
    path, config = checkpoint.path, checkpoint.config
    for relative in _relatives():
        if find_prefixes(state, relative.signature):
            return _refuse_relative(path, relative)
    first, declared = ", ".join(list(checkpoint.state)[:3]), _model_types()
    if config.get("model_type") in declared:
        signature = next(format.signature for _, format in formats if format.model_type == config["model_type"])
        named = f"{path} is a {declared[config['model_type']]} by its config.json"
        return input_error(
            "tensors-missing",
            f"{named}, and lacks {signature[0]} (it has: {first})",
            "the tensors as transformers names them",
            'save the whole model: model.save_pretrained("new")',
        )
    if config.get("model_type"):
        return refuse_unknown(path, config, declared)
    silent = "its config.json names no model_type" if config else "nothing says what it is"
    own = (f"{family.name}: {', '.join(format.signature)}" for family, format in formats if not format.model_type)
    return input_error(
        "unknown-model",
        f"{path} is of no family das knows: {silent}, and its first keys are {first}",
        f"config.json with model_type {', '.join(declared)}; or tensors of {'; '.join(own)}",
        FILE,
    )


def _relatives() -> Iterator[Unbuilt]:
    """Yield the relatives of all formats that are refused by name."""
    return (relative for family in FAMILIES.values() for format in family.formats for relative in format.unbuilt)


def _refuse_relative(path: Path, relative: Unbuilt) -> InputError:
    return input_error(relative.code, f"{path} is {relative.what}", relative.expected, relative.fix)


def _model_types() -> dict[str, str]:
    """Return the names of the families by the ``model_type`` that their config.json has."""
    return {
        format.model_type: family.name for family in FAMILIES.values() for format in family.formats if format.model_type
    }


def _read(source: str | Path) -> Checkpoint:
    """Read a checkpoint, but of one that declares another kind of model nothing beside that: no weights come for it."""
    path = locate(source, weights=False)
    config = read_config(path) if (path / CONFIG).is_file() else {}
    for relative in _relatives():
        declared = relative.model_type and relative.model_type == config.get("model_type")
        if declared and relative.architecture in ("", *architectures_in(config)):
            raise _refuse_relative(path, relative)
    if config.get("model_type", "") not in ("", None, *_model_types()):
        raise InputError(*refuse_unknown(path, config, _model_types()).problems, *FAMILIES.problems)
    return read_checkpoint(source)


def _is_of_vectors(task: str) -> bool:
    """Return whether a task has vectors, not a head that is trained on labels."""
    return task in TASKS and TASKS[task].output == "embedding"


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
    meant = [head for head in compressible if head not in family.secondary] or compressible
    if task is None and len(meant) == 1:
        return meant[0]
    if task is None and compressible:
        raise usage_error(
            "task-ambiguous", f"{path} has heads for {', '.join(heads)}", "one task", f"--task {compressible[0]}"
        )
    named = (*source.format.heads, *family.heads)
    tasks = list(dict.fromkeys(name for name in named if name in TASKS and not _is_of_vectors(name)))
    if task is not None and (source.has_head(task) or (adapt and not _is_of_vectors(task))):
        return task
    own = [name for name in tasks if name in source.format.heads and TASKS[name].output == "classes"]
    if task is None and adapt and len(own) == 1:
        return own[0]
    target = task or next(iter(tasks or family.heads))
    raise input_error(
        "head-missing",
        f"{path} {source.describe_absence(target)}",
        f"a checkpoint fine-tuned on {target}"
        + (f"; this one has heads for: {', '.join(source.heads)}" if source.heads else ""),
        RESAVE.format(path)
        if source.format.prefix(target) == MODULE_KEYS
        else 'save the whole model: model.save_pretrained("new")'
        if _is_of_vectors(target)
        else f"give a fine-tuned checkpoint, or train a new head: --adapt --task {target}"
        + ("; docs/add-a-task.md adds a task" if source.heads and not source.tasks else ""),
    )
