"""Rows of CSV and TSV files, whichever way they are quoted."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from compressor.data.reading.rows import Placed, Row, Unreadable
from compressor.data.reading.text_files import Reread, Tape, lines, open_text, reread
from compressor.errors import InputError, input_error

LONGEST_CELL = 1 << 27  # characters
QUOTED = {"question1", "question2"}  # columns of GLUE's QQP, the only set of GLUE that is quoted as CSV is
LOOKED_AT = 1 << 20  # characters that tell how a TSV file is quoted
QUOTED_CELL = re.compile(r'"(?:[^"]|"")*"')


def csv_rows(path: Path, header: Sequence[str] | None = None) -> Placed:
    """Return the rows of a CSV file, or of a TSV file, whose quotes are plain characters (but for QQP's).

    Args:
        path: ends in ``.tsv`` or ``.csv``.
        header: names of the columns, for files whose first line is a row.

    Raises:
        InputError: it is no text, or a quote that is not closed holds rows.
    """
    return ((place, row) for place, row, _ in rereadable_csv_rows(path, header))


def rereadable_csv_rows(path: Path, header: Sequence[str] | None = None, quoted: bool = False) -> Iterator[Reread]:
    """Yield the rows of :func:`csv_rows`, each with how to read it again; a TSV file may be ``quoted`` as CSV is."""
    tape, dialect, names = Tape(path), _dialect(path, quoted), tuple(header or csv_header(path, quoted))
    parse = partial(_parse_row, names, dialect)
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(iter(tape), strict=True, **dialect)
    while True:
        start = reader.line_num
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if reader.line_num > start + 1:
                raise _open_quote(path, start + 1, error) from None
            cells = _parse_cells(tape.text, dialect)
        span = tape.cut()
        if cells and (header or reader.line_num > 1):
            fault = _fault(cells, names, is_tsv(path))
            row = Unreadable(fault) if fault else dict(zip(names, cells, strict=True))
            yield f"{path.name}, line {reader.line_num}", row, partial(reread, path, span, parse)


def csv_header(path: Path, quoted: bool = False) -> tuple[str, ...]:
    """Return the names in the first line of a CSV or TSV file, without spaces around them; none of an empty file.

    A TSV file is ``quoted`` where its quotes are no plain characters.
    """
    return tuple(name.strip() for name in _parse_cells(next(lines(path), ""), _dialect(path, quoted)))


def _dialect(path: Path, quoted: bool) -> dict[str, Any]:
    """Return how a file is separated and quoted; where spaces follow the commas of its header, they mean nothing."""
    first = next(lines(path), "")
    if is_tsv(path):
        quoted = quoted or {*first.strip().split("\t")} >= QUOTED
        return {"delimiter": "\t", "quoting": csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE}
    return {"delimiter": ",", "quoting": csv.QUOTE_MINIMAL, "skipinitialspace": ", " in first}


def is_tsv(path: Path) -> bool:
    """Return whether a file is named as one that is separated by tabs."""
    return path.suffix.lower() == ".tsv"


def is_quoted(path: Path) -> bool:
    """Return whether a TSV file is quoted as CSV is, which pandas and spreadsheets do and GLUE does not.

    It is where every cell with a quote stands in quotes and has its own quotes doubled, and some cell has any.
    """
    with open_text(path) as file:
        whole = file.read(LOOKED_AT).splitlines()[:-1]
    cells = [cell for line in whole for cell in line.split("\t") if '"' in cell]
    return all(map(QUOTED_CELL.fullmatch, cells)) and any('""' in cell[1:-1] for cell in cells)


def _parse_row(names: Sequence[str], dialect: Mapping[str, Any], text: str) -> Row:
    return dict(zip(names, _parse_cells(text, dialect), strict=True))


def _parse_cells(text: str, dialect: Mapping[str, Any]) -> list[str]:
    """Return the cells of one row, in which quotes may be written carelessly."""
    return next(csv.reader(io.StringIO(text, newline=""), **dialect), [])


def _fault(cells: Sequence[str], names: Sequence[str], tabs: bool) -> str:
    """Return what is wrong with a row as a whole; nothing when all is right."""
    if len(cells) != len(names):
        return f"{len(cells)} columns, not {len(names)}"
    if tabs and any("\t" in cell and "\n" in cell for cell in cells):
        return "a quote that nothing closes holds the lines after it"
    return ""


def _open_quote(path: Path, line: int, error: csv.Error) -> InputError:
    return input_error(
        "quote-not-closed",
        f"{path}: a quote that opens in line {line} is not closed before the lines after it ({error})",
        'cells with quotes in quotes, their own quotes doubled: "a ""word"""',
        "write it again with a program for CSV, or as JSON lines",
    )
