"""Several labels of a text: a list in one column, or a column of 0 and 1 for each label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from compressor.data.layouts.columns import NamedColumns
from compressor.data.layouts.label_columns import Classes
from compressor.data.layouts.split_files import SplitFiles
from compressor.data.reading.class_labels import class_names, class_number, find_class, is_given, read_label
from compressor.data.reading.row_source import RowSource
from compressor.data.reading.rows import Labels, Placed, Unreadable, listed

LABELS = "labels"  # the column that columns of 0 and 1 become
LOOKED_AT = 200  # rows that tell which columns hold 0 and 1
KNOWN_SHARE = 0.9  # of them hold one of the two; the others are listed as unreadable


@dataclass(frozen=True)
class LabelLists(NamedColumns):
    """Files with named columns, whose texts have any number of labels, none among them."""

    name: str = "texts with lists of labels, or columns of 0 and 1"

    def open(self, files: SplitFiles) -> RowSource:
        """Return the rows of a split, with its columns of 0 and 1, if any, gathered to lists of labels."""
        return gather_indicators(super().open(files), {name for form in self.forms for name in form.columns["label"]})


def gather_indicators(source: RowSource, lists: set[str]) -> RowSource:
    """Return a source with a column of lists of names in place of columns of 0 and 1.

    Args:
        source: one with a column of ``lists`` comes back as it is.
        lists: what columns of lists are called, in lower case.
    """
    if lists & {column.lower() for column in source.columns}:
        return source
    rows = [row for _, row in islice(source.rows(source.columns), LOOKED_AT) if not isinstance(row, Unreadable)]
    bits = {column: sum(_bit(row.get(column)) is not None for row in rows) for column in source.columns}
    names = tuple(column for column, count in bits.items() if count > KNOWN_SHARE * len(rows))
    if len(names) < 2:
        return source
    others = tuple(column for column in source.columns if column not in names)
    return replace(source, columns=(*others, LABELS), rows=partial(_gather, source, names), class_names={LABELS: names})


def _gather(source: RowSource, names: Sequence[str], wanted: Sequence[str]) -> Placed:
    if LABELS not in wanted:
        yield from source.rows(wanted)
        return
    for place, row in source.rows([*(column for column in wanted if column != LABELS), *names]):
        yield place, row if isinstance(row, Unreadable) else _with_list(row, names)


def _with_list(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    bits = {name: _bit(row.get(name)) for name in names}
    if wrong := [name for name, bit in bits.items() if bit is None]:
        return Unreadable(f"{wrong[0]} is {str(row.get(wrong[0]))[:40]!r}, neither 0 nor 1")
    return {**row, LABELS: [name for name, bit in bits.items() if bit]}


def _bit(cell: Any) -> int | None:
    number = None if isinstance(cell, list | dict) else class_number(cell)
    return number if number in (0, 1) else None


def label_lists(train: RowSource, column: str, root: Path) -> Classes:
    """Return the labels that occur in the lists of the training split, or that its file names."""
    named = train.class_names.get(column, ())
    names = named or class_names(_labels_in(train, column))
    numbered_here = not named and not all(name.isdecimal() for name in names)
    return Classes(names, partial(_parse_list, names), numbered_here)


def _labels_in(source: RowSource, column: str) -> Iterator[Any]:
    cells = (row.get(column) for _, row in source.rows([column]) if not isinstance(row, Unreadable))
    return (label for cell in cells if isinstance(given := listed(cell), list) for label in given)


def _parse_list(names: tuple[str, ...], cell: Any) -> Labels:
    """Return all labels, each 1 where the list in a cell has it, else 0.

    Raises:
        Unreadable: there is no list, or it has a label that is none of these.
    """
    given = listed(cell)
    if not isinstance(given, list):
        raise Unreadable(f"labels {str(cell)[:40]!r} are no list" if is_given(cell) else "no labels")
    right = {find_class(read_label(label), names) for label in given}
    return tuple(range(len(names))), tuple(float(number in right) for number in range(len(names)))
