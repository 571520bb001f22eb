"""The rows of a split, wherever they lie: one of its files of text, or several together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from compressor.data.reading.csv_files import csv_header, is_quoted, is_tsv, rereadable_csv_rows
from compressor.data.reading.image_refs import Cell, may_hold_image
from compressor.data.reading.json_files import first_row, json_rows, rereadable_json_rows
from compressor.data.reading.rows import Placed, Row, Unreadable
from compressor.data.reading.text_files import check_text, lines
from compressor.errors import InputError, input_error

SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas"}


@dataclass(frozen=True)
class RowSource:
    """The rows of one split.

    Attributes:
        files: it lies in.
        columns: names.
        rows: given the columns wanted, the rows with their places; images in tables come as :class:`Cell`.
        class_names: of columns that hold numbers of classes.
        total: rows, where that is known beforehand.
    """

    files: tuple[Path, ...]
    columns: tuple[str, ...]
    rows: Callable[[Sequence[str]], Placed]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    total: int | None = None


def text_source(paths: Sequence[Path]) -> RowSource:
    """Return a CSV, TSV or JSON file. Images in it, as base64, are decoded when they are needed.

    Raises:
        InputError: it is no text, empty, or separated otherwise than its suffix says.
    """
    (path,) = paths
    json_file = path.suffix.lower().startswith(".json")
    quoted = is_tsv(path) and is_quoted(path)
    columns = tuple(first_row(json_rows(path))) if json_file else csv_header(path, quoted)
    written = json_rows(path) if json_file else filter(str.strip, lines(path))
    if not columns and next(iter(written), None) is None:
        raise _no_rows(path)
    if not json_file:
        _check_separator(path, columns)

    def rows(names: Sequence[str]) -> Placed:
        check_once(path, columns, names)
        empty = True
        for place, row, reread in rereadable_json_rows(path) if json_file else rereadable_csv_rows(path, quoted=quoted):
            empty = False
            if isinstance(row, Unreadable):
                yield place, row
            else:
                images = [name for name in names if may_hold_image(row.get(name))]
                cells = {name: Cell(f"the image in {place}", partial(_cell, reread, name)) for name in images}
                yield place, {**row, **cells} if cells else row
        if empty:
            raise _no_rows(path)

    return RowSource((path,), columns, rows)


def lines_source(paths: Sequence[Path]) -> RowSource:
    """Return the lines of a text file, each a text; blank ones between them are none.

    Raises:
        InputError: it is no text.
    """
    (path,) = paths
    check_text(path)
    texts = ((f"{path.name}, line {number}", line.strip()) for number, line in enumerate(lines(path), 1))
    return RowSource((path,), ("text",), lambda columns: ((place, {"text": text}) for place, text in texts if text))


def _no_rows(path: Path) -> InputError:
    return input_error("table-empty", f"{path} has no rows", "at least one row", "write it again")


def _cell(reread: Callable[[], Row], name: str) -> Any:
    return reread()[name]


def _check_separator(path: Path, names: Sequence[str]) -> None:
    header = names[0] if len(names) == 1 else ""
    for mark, called in SEPARATORS.items():
        if mark in header and (mark == "\t" or " " not in header.replace(f"{mark} ", mark)):
            raise input_error(
                "wrong-separator",
                f"{path} is separated by {called} ({header[:60]!r})",
                "commas in .csv, tabs in .tsv",
                "save it with commas as .csv, or with tabs as .tsv",
            )


def concatenate(sources: Sequence[RowSource]) -> RowSource:
    """Return several splits with the columns of the first as one."""
    files = tuple(path for source in sources for path in source.files)
    first = sources[0]
    return RowSource(
        files, first.columns, lambda names: chain.from_iterable(s.rows(names) for s in sources), first.class_names
    )


def check_once(path: Path, columns: Sequence[str], names: Sequence[str]) -> None:
    """Check that a file has no two columns of one name among those that are read.

    Raises:
        InputError: it has.
    """
    if twice := [name for name in names if columns.count(name) > 1]:
        raise input_error(
            "column-twice",
            f"{path} has {columns.count(twice[0])} columns called {twice[0]}",
            "one column of each name that is read",
            "rename or remove the others",
        )
