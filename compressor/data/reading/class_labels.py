"""What a cell of a column of labels says: a class by its number, however that is written, or by its name.

0, "0", 0.0, "0.0", False, "False" and "LABEL_0" are all class number 0. Answers of VQA are no labels of this kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from numbers import Number
from typing import Any

from compressor.data.reading.rows import MOST_CLASSES, NO_LABEL, Labels, Unreadable
from compressor.errors import shorten

# A whole number; a class without a name, as transformers calls it; and as das does.
_CLASS_NUMBER = re.compile(r"(-?[0-9]{1,18})(?:\.0*)?|label_([0-9]{1,18})|<class ([0-9]{1,18})>")
_NUMERAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|nan|[+-]?inf")
_TRUTH_VALUES = {"false": 0, "true": 1}


def class_number(label: Any) -> int | None:
    """Return the whole number that a label is in any dress, -1 included; None for a name."""
    text = str(label).strip().lower()
    found = _CLASS_NUMBER.fullmatch(text)
    return int(found[found.lastindex or 0]) if found else _TRUTH_VALUES.get(text)


def nameless(number: int) -> str:
    """Return what a class without a name is called."""
    return f"<class {number}>"


def is_nameless(name: str) -> bool:
    """Return whether a class of this name has none of its own."""
    return name.startswith("<class ")


def is_given(cell: Any) -> bool:
    """Return whether a cell holds anything: not none, no empty text, no NaN, and no dash (SNLI's)."""
    return cell is not None and cell == cell and cell not in ("", NO_LABEL)


def read_label(cell: Any) -> str:
    """Return the label in a cell, without blanks around it.

    Raises:
        Unreadable: there is none, or what is there is no class: a fraction, a list.
    """
    text = str(cell).strip()
    if not is_given(cell) or not is_given(text) or text.lower() == "nan":
        raise Unreadable("no label")
    is_score = class_number(text) is None and _NUMERAL.fullmatch(text.lower())
    if is_score or not isinstance(cell, str | Number):
        raise Unreadable(f"label {text[:40]!r} is no class")
    return text


def class_of(cell: Any, classes: tuple[str, ...]) -> int:
    """Return the number of the class that a cell says, by :func:`class_finder`.

    Raises:
        Unreadable: it says none, or none of these.
    """
    return find_class(read_label(cell), classes)


def one_class(cell: Any, classes: tuple[str, ...]) -> Labels:
    """Return the class that a cell says, as the one that is right.

    Raises:
        Unreadable: as :func:`class_of`.
    """
    return (class_of(cell, classes),), (1.0,)


def find_class(label: str, classes: tuple[str, ...]) -> int:
    """Return the number of the class that a label names, by :func:`class_finder`.

    Raises:
        Unreadable: it is none of these.
    """
    number = class_finder(classes)(label)
    if number is None:
        raise Unreadable(f"label {label[:40]!r} is none of {shorten(classes)}")
    return number


@lru_cache(maxsize=8)
def class_finder(names: tuple[str, ...], numbers: bool = True) -> Callable[[str], int | None]:
    """Return a function from a label to the place of its name among ``names``, None where it is none of them.

    A name is the same when it is written the same, else but for capitals, else as the same class number (``numbers``).
    One that two classes bear stands for neither.
    """
    keys: list[Callable[[str], Hashable]] = [str.strip, lambda name: name.strip().casefold()]
    keys += [class_number] * numbers
    indices = [(key, _unique_places([key(name) for name in names])) for key in keys]

    def find(label: str) -> int | None:
        return next((index[key(label)] for key, index in indices if key(label) in index), None)

    return find


def _unique_places(keys: Sequence[Hashable]) -> dict[Hashable, int]:
    places: dict[Hashable, int] = {}
    twice = set()
    for place, key in enumerate(keys):
        if places.setdefault(key, place) != place:
            twice.add(key)
    return {key: place for key, place in places.items() if key is not None and key not in twice}


def class_names(cells: Iterable[Any]) -> tuple[str, ...]:
    """Return the classes of a column of labels: numbers up to the highest, or the names in alphabetical order.

    A number that is written in several ways among names is one class. Cells that say no class are passed over.
    """
    labels = sorted(set(_labels(cells)), reverse=True)
    written = {label if (number := class_number(label)) is None else number: label for label in labels}
    numbers = [key for key in written if isinstance(key, int) and 0 <= key < MOST_CLASSES]
    if len(numbers) == len(written):
        return tuple(str(number) for number in range(1 + max(numbers, default=-1)))
    return tuple(sorted(written.values()))


def _labels(cells: Iterable[Any]) -> Iterator[str]:
    for cell in {str(cell): cell for cell in cells}.values():
        with suppress(Unreadable):
            yield read_label(cell)
