"""What a checkpoint calls the classes of its head: ``id2label`` and ``label2id`` of its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.data.reading.class_labels import class_number, is_nameless, nameless
from compressor.data.reading.rows import MOST_CLASSES
from compressor.errors import input_error, shorten

BY_NUMBER, BY_NAME = "id2label", "label2id"


def read_class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the name of each class, by its number: ``<class 1>`` for one without; nothing where none has a name.

    ``label2id`` names the classes that ``id2label`` does not. LABEL_1 is no name of class 1: transformers makes it up.

    Raises:
        InputError: the two contradict each other, or a class is given by no number.
    """
    names, others = _names_by_number(config), _numbers_by_name(config)
    for number, called in others.items():
        if names[number] not in called if number in names else set(called) & set(names.values()):
            raise input_error(
                "class-names-contradict",
                f"in the checkpoint's config {BY_NAME} calls class {number} {shorten(called)}, "
                f"{BY_NUMBER} calls the classes {shorten([f'{n} {name}' for n, name in sorted(names.items())])}",
                f"{BY_NAME} as the inverse of {BY_NUMBER}",
                f"correct one of them in config.json, or leave {BY_NAME} out",
            )
    names = {number: called[0] for number, called in others.items()} | names
    return tuple(names.get(number, nameless(number)) for number in range(1 + max(names, default=-1)))


def note_class_names(config: Mapping[str, Any], classes: int) -> tuple[str, ...]:
    """Return what the user should know of the names of a head with so many classes, in sentences.

    Raises:
        InputError: as :func:`read_class_names`, or more classes have names than there are.
    """
    names = read_class_names(config)
    if not names:
        return ()
    if len(names) > classes:
        raise input_error(
            "class-names-beyond-head",
            f"the checkpoint's config names {len(names)} classes ({shorten(names)}), its head has {classes}",
            "at most a name for each class",
            f"correct {BY_NUMBER} in config.json, or give the weights that it belongs to",
        )
    all_names = (*names, *map(nameless, range(len(names), classes)))
    without = [name for name in all_names if is_nameless(name)]
    stated, listed = config.get("num_labels"), config.get(BY_NUMBER) or ()
    notes = []
    if without:
        notes.append(f"the checkpoint names {classes - len(without)} of {classes} classes, not {shorten(without)}")
    if not _names_by_number(config):
        notes.append(f"the names of the classes are those of {BY_NAME}; transformers reads {BY_NUMBER} alone")
    elif isinstance(stated, int) and stated != len(listed):
        notes.append(
            f"the checkpoint's config says num_labels {stated} and names {len(listed)} classes: das keeps these names, "
            "transformers drops them"
        )
    return tuple(notes)


def _names_by_number(config: Mapping[str, Any]) -> dict[int, str]:
    given = config.get(BY_NUMBER)
    pairs = dict(enumerate(given)) if isinstance(given, list) else given if isinstance(given, Mapping) else {}
    names = {_class_number(number, BY_NUMBER): str(name) for number, name in pairs.items() if name is not None}
    return {number: name for number, name in names.items() if name != f"LABEL_{number}"}


def _numbers_by_name(config: Mapping[str, Any]) -> dict[int, list[str]]:
    """Return the names that ``label2id`` has for each number."""
    given = config.get(BY_NAME)
    names: dict[int, list[str]] = {}
    for name, number in given.items() if isinstance(given, Mapping) else ():
        if str(name) != f"LABEL_{number}":
            names.setdefault(_class_number(number, BY_NAME), []).append(str(name))
    return names


def _class_number(value: Any, setting: str) -> int:
    number = class_number(value)
    if number is None or not 0 <= number < MOST_CLASSES:
        raise input_error(
            "class-names-without-number",
            f"{setting} of the checkpoint's config has {str(value)[:40]!r} in place of the number of a class",
            "whole numbers from 0",
            f"correct {setting} in config.json",
        )
    return number
