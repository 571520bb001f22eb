"""Columns of labels: the names of the classes, and what a cell means."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from compressor.data.reading.class_labels import class_names, class_number, find_class, is_given, read_label
from compressor.data.reading.row_source import RowSource
from compressor.data.reading.rows import NO_LABEL, NO_LABELS, Labels, Unreadable, listed
from compressor.data.reading.vqa_answers import answer_classes, soft_answers

LABEL = ("label", "labels", "gold_label", "target", "class", "category", "sentiment", "intent", "is_duplicate")
NOT_PUBLIC = -1  # how data sets whose classes have names write that a row has no label
ANNOTATORS = 10  # of a question of VQA v2: as many answers mean soft scores


@dataclass(frozen=True)
class Classes:
    """The classes of a column.

    Attributes:
        names: of the classes.
        parse: a cell to its labels; raises Unreadable where it means no class.
        numbered_here: the numbers of the classes are only the order in which they were found in this folder.
    """

    names: tuple[str, ...]
    parse: Callable[[Any], Labels]
    numbered_here: bool = False


def present_labels(source: RowSource, column: str) -> Iterator[Any]:
    """Return the labels of a split that are given."""
    rows = (row for _, row in source.rows([column]) if not isinstance(row, Unreadable))
    return (row[column] for row in rows if is_given(row.get(column)))


def no_classes(names: tuple[str, ...], train: RowSource, column: str, root: Path) -> Classes:
    """Return ``names`` for a task whose samples need no label, such as captions beside their images."""
    return Classes(names, lambda cell: NO_LABELS)


def task_classes(
    names: tuple[str, ...], synonyms: Mapping[str, str], train: RowSource, column: str, root: Path
) -> Classes:
    """Return the classes of a task that has its own.

    Args:
        names: of the classes.
        synonyms: of them, in lower case.
        train: the training split; where its file names its classes, numbers mean these names.
        column: of labels.
        root: the folder of the data.
    """
    return Classes(names, partial(_parse_class, names, synonyms, train.class_names.get(column, ()), True))


def own_classes(train: RowSource, column: str, root: Path) -> Classes:
    """Return the classes that the training split has: those that its file names, else the labels that occur."""
    named = train.class_names.get(column, ())
    names = named or class_names(present_labels(train, column))
    numbered_here = not named and not all(name.isdecimal() for name in names)
    return Classes(names, partial(_parse_class, names, {}, named, bool(named)), numbered_here)


def answer_vocabulary(train: RowSource, column: str, root: Path) -> Classes:
    """Return the lines of answers.txt in the folder; else the answers of the training split in first-seen order."""
    given = (answer for cell in present_labels(train, column) for answer in _answers(cell))
    names, numbered_here = answer_classes(root, given)
    numbers = {answer: number for number, answer in enumerate(names)}
    return Classes(names, partial(_parse_answers, numbers), numbered_here)


def _parse_class(
    names: tuple[str, ...], synonyms: Mapping[str, str], named: tuple[str, ...], may_hide: bool, cell: Any
) -> Labels:
    """Return the class in a cell; none of it where the data set says that the annotators gave none.

    Args:
        names: of the classes.
        synonyms: of them, in lower case.
        named: what the file calls the numbers of its classes, nothing if it does not.
        may_hide: -1 says that there is no label.
        cell: of the column.

    Raises:
        Unreadable: there is none, or none of these.
    """
    if str(cell).strip() == NO_LABEL or (may_hide and class_number(cell) == NOT_PUBLIC):
        return NO_LABELS
    label = read_label(cell)
    number = class_number(label)
    if named and number is not None:
        if not 0 <= number < len(named):
            raise Unreadable(f"label {label[:40]!r} is no number of a class")
        label = named[number]
    return (find_class(synonyms.get(label.lower(), label), names),), (1.0,)


def _parse_answers(numbers: Mapping[str, int], cell: Any) -> Labels:
    answers, given = _answers(cell), _unpack(cell)
    if not answers:
        raise Unreadable("a list of answers that is no JSON" if str(cell).startswith("[") else "no answer")
    if isinstance(given, list) and len(given) == ANNOTATORS:
        return soft_answers(answers, numbers)
    labels = tuple(numbers[answer] for answer in dict.fromkeys(answers) if answer in numbers)
    return labels, (1.0,) * len(labels)


def _answers(cell: Any) -> list[str]:
    """Return the answers of a cell: one, a list of them, or VQA v2's annotations, a list or a dictionary of lists.

    In a list the empty text is an answer, as it is one of VQA v2's; an empty cell has none.
    """
    given = _unpack(cell)
    if not isinstance(given, list):
        return [str(given)] if is_given(given) else []
    answers = (item.get("answer") if isinstance(item, dict) else item for item in given)
    return [str(answer) for answer in answers if answer is not None]


def _unpack(cell: Any) -> Any:
    """Return what a dictionary of lists has for the answers, or the list in a text of JSON; else the cell."""
    return cell.get("answer") if isinstance(cell, dict) else listed(cell)
