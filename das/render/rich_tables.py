"""Tables on the terminal: within its width, and no number is ever cut."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator

import rich.box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table as RichTable

from das.terminal import console
from profiles.formatting import Row, Table

LEAST = 12  # characters that a column of words keeps
SPACED, TIGHT = 1, 0  # blanks on either side of a cell


def draw(table: Table, words: Collection[str] = (), width: int | None = None) -> RenderableType:
    """Return ``table`` for rich: names to the left, figures to the right, indented rows dim.

    Where it is too wide, ``words`` are wrapped; then blanks between columns go; then headers and names are wrapped, and
    at last columns go into a further table.

    Args:
        table: to draw.
        words: headers of columns that are text.
        width: characters of a line; None is the terminal's.
    """
    room = width or console.width
    for padding in (SPACED, TIGHT):
        if _width(table, words, padding) <= room:
            return _drawn(table, words, padding)
    return Group(*(_drawn(part, words, TIGHT) for part in _fitting(table, words, room)))


def _width(table: Table, words: Collection[str], padding: int, wrap: bool = False) -> int:
    """Return the characters that a line needs at least; with ``wrap`` headers and names may be wrapped, too."""
    return sum(_needed(table, place, words, wrap) + 2 * padding + 1 for place in range(len(table.header))) + 1


def _needed(table: Table, place: int, words: Collection[str], wrap: bool) -> int:
    """Return the characters that a column needs at least."""
    header, longest = table.header[place], max((cell_len(row[place]) for row in table.rows), default=0)
    if header in words or (wrap and not place):
        longest = min(longest, LEAST)
    return max(longest, *map(cell_len, (header.split() if wrap else [header]) or [""]))


def _fitting(table: Table, words: Collection[str], room: int) -> Iterator[Table]:
    """Split the columns of ``table`` so that each part fits into ``room`` when it is wrapped; names stand in each."""
    kept = [0]
    for place in range(1, len(table.header)):
        if len(kept) > 1 and _width(_columns(table, [*kept, place]), words, TIGHT, wrap=True) > room:
            yield _wrapped(_columns(table, kept), words)
            kept = [0]
        kept.append(place)
    yield _wrapped(_columns(table, kept), words)


def _columns(table: Table, places: Collection[int]) -> Table:
    rows: tuple[Row, ...] = tuple(tuple(row[place] for place in places) for row in table.rows)
    return Table(table.title, tuple(table.header[place] for place in places), rows)


def _wrapped(table: Table, words: Collection[str]) -> Table:
    """Break headers where that makes their column narrower."""
    places = range(len(table.header))
    header = (textwrap.wrap(table.header[place], _needed(table, place, words, wrap=True)) for place in places)
    return Table(table.title, tuple(map("\n".join, header)), table.rows)


def _drawn(table: Table, words: Collection[str], padding: int) -> RichTable:
    rich_table = RichTable(
        title=table.title or None,
        title_justify="left",
        title_style="bold",
        box=rich.box.SIMPLE_HEAD,
        padding=(0, padding),
    )
    for place, header in enumerate(table.header):
        text = header.replace("\n", " ") in words
        rich_table.add_column(header, justify="left" if text or not place else "right", no_wrap=not text and place > 0)
    for row in table.rows:
        rich_table.add_row(*row, style="dim" if row[0].startswith(" ") else "")
    return rich_table
