"""Rows of text files: JSON documents and lines, CSV and TSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from compressor.data.reading.image_refs import Cell, may_hold_image
from compressor.data.reading.rows import Placed, Row, Unreadable, number_rows
from compressor.data.reading.signatures import find_signature, find_text_signature, read_head, wide_encoding
from compressor.errors import InputError, input_error

LONGEST_CELL = 1 << 27  # characters
SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas"}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
QUOTED = {"question1", "question2"}  # columns of GLUE's QQP, the only set of GLUE that is quoted as CSV is
LOOKED_AT = 1 << 20  # characters that tell how a TSV file is quoted
QUOTED_CELL = re.compile(r'"(?:[^"]|"")*"')

_Reread = tuple[str, Any, Callable[[], Row]]
"""A row's place, the row (or :class:`Unreadable`), and how to read it again."""


@contextmanager
def _opened(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """Open a text file.

    Raises:
        InputError: it is not UTF-8, or stands in place of the file itself.
    """
    head = read_head(path)
    if other := find_text_signature(head):
        raise input_error("not-a-table", f"{path} is {other.name}", "rows of text", other.fix)
    if wide := wide_encoding(head):
        raise input_error(
            "not-text", f"{path} is {wide} text", "UTF-8 text", f"save it as UTF-8: iconv -f {wide} -t UTF-8"
        )
    try:
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            yield file
    except UnicodeDecodeError:
        raise _not_utf8(path, head) from None


def check_text(path: Path) -> None:
    """Hold that a file begins as a text does; what is wrong further on is for its reader to find.

    Raises:
        InputError: it is of another kind, of another encoding, or cannot be opened.
    """
    with _opened(path):
        head = read_head(path)
    if b"\0" in head and (other := find_signature(head)):
        raise input_error("not-text", f"{path} is {other.name}", "UTF-8 text", other.fix)


def _not_utf8(path: Path, head: bytes) -> InputError:
    """Return what is there instead of UTF-8, and in which line."""
    if other := find_signature(head):
        return input_error("not-text", f"{path} is {other.name}", "UTF-8 text", other.fix)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                byte = f"line {number} holds the byte {line[error.start]:#04x}"
                return input_error(
                    "not-text",
                    f"{path} is no UTF-8 text: {byte}",
                    "UTF-8 text",
                    "convert it (from Latin-1: iconv -f latin1 -t utf-8), or copy it again",
                )
    return input_error("not-text", f"{path} is no UTF-8 text", "UTF-8 text", "copy it again")


def lines(path: Path, newline: str | None = None) -> Iterator[str]:
    """Return the lines of a text file, which end in a newline whatever ended them; as they are with ``newline=""``.

    Raises:
        InputError: it is not UTF-8, or stands in place of the file itself.
    """
    with _opened(path, newline) as file:
        yield from file


def load_json(path: Path, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Return a JSON document; ``hook`` sees every object in it, as in :func:`json.load`.

    Raises:
        InputError: it is no JSON.
    """
    try:
        with _opened(path) as file:
            return json.load(file, object_hook=hook)
    except (ValueError, RecursionError) as error:
        raise input_error(
            "not-json", f"{path} is no JSON ({error})", "a JSON document", "download or write it again"
        ) from None


def json_list(path: Path, name: str, hook: Callable[[dict[str, Any]], Any] | None = None) -> list[Any]:
    """Return the objects of the list ``name`` of a JSON document; :class:`Unreadable` for what is none.

    Raises:
        InputError: no JSON, or no such list, or an empty one.
    """
    document = load_json(path, hook)
    rows = document.get(name) if isinstance(document, dict) else None
    if not isinstance(rows, list) or not rows:
        raise input_error(
            "json-list-missing", f"{path} has no list {name!r}", f"a JSON document with {name}", "download it again"
        )
    return [_object(row) for row in rows]


def json_objects(
    path: Path, name: str, key_name: str, hook: Callable[[dict[str, Any]], Any] | None = None
) -> list[tuple[str, Any]]:
    """Return the objects of a JSON document that is an object of objects, with their keys as places.

    Args:
        path: of the document.
        name: of one of them, for messages.
        key_name: what the key becomes in its object.
        hook: as in :func:`load_json`.

    Raises:
        InputError: no JSON, or no such document, or an empty one.
    """
    document = load_json(path, hook)
    if not isinstance(document, dict) or not document:
        raise input_error(
            "json-objects-missing",
            f"{path} has no {name}s",
            f"a JSON document of {name}s by number",
            "download it again",
        )
    named = ((key, {**row, key_name: key} if isinstance(row, dict) else row) for key, row in document.items())
    return [(f"{path.name}, {name} {key}", _object(row)) for key, row in named]


def json_rows(path: Path) -> Placed:
    """Return the objects of a JSON list, or of JSON lines.

    Raises:
        InputError: it is no text, or starts as a list and is none.
    """
    return ((place, row) for place, row, _ in _json_rows(path))


def _json_rows(path: Path) -> Iterator[_Reread]:
    first = next((line for line in lines(path) if line.strip()), "").lstrip()
    if first.startswith("["):
        for place, row in number_rows(path, map(_object, load_json(path))):
            yield place, row, partial(_same, row)
    else:
        tape = _Tape(path)
        for number, line in enumerate(tape, 1):
            span = tape.cut()
            if line.strip():
                yield f"{path.name}, line {number}", parse_line(line), partial(_reread, path, span, json.loads)


def _same(row: Any) -> Any:
    return row


def first_row(rows: Placed) -> Mapping[str, Any]:
    """Return the first row that is one; an empty row without any."""
    return next((row for _, row in rows if not isinstance(row, Unreadable)), {})


def parse_line(line: str) -> Any:
    """Return the object in a line of JSON, or why there is none."""
    try:
        return _object(json.loads(line))
    except (ValueError, RecursionError) as error:
        return Unreadable(f"no JSON ({getattr(error, 'msg', error)})")


def _object(value: Any) -> Any:
    """Return a JSON object, or why it is none; no text holds half a character, which only JSON's escapes can write."""
    if not isinstance(value, dict):
        return Unreadable("no JSON object")
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return Unreadable(f"a text with half a character, {error.object[error.start]!a}")
    return value


class _Tape:
    """The lines of a file as they are, and which bytes the lines since the last cut took."""

    def __init__(self, path: Path) -> None:
        self._lines = lines(path, newline="")
        self._since: list[str] = []
        self._stop = len(BYTE_ORDER_MARK) if read_head(path).startswith(BYTE_ORDER_MARK) else 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self._since.append(line)
            yield line

    @property
    def text(self) -> str:
        """The lines since the last cut."""
        return "".join(self._since)

    def cut(self) -> tuple[int, int]:
        """Return the first byte of the lines since the last cut, and the one behind them."""
        start = self._stop
        self._stop += sum(len(line) if line.isascii() else len(line.encode()) for line in self._since)
        self._since = []
        return start, self._stop


def _reread(path: Path, span: tuple[int, int], parse: Callable[[str], Row]) -> Row:
    """Return a row that lies in these bytes of a text file."""
    with path.open("rb") as file:
        file.seek(span[0])
        return parse(file.read(span[1] - span[0]).decode())


def csv_rows(path: Path, header: Sequence[str] | None = None) -> Placed:
    """Return the rows of a CSV file, or of a TSV file, whose quotes are plain characters (but for QQP's).

    Args:
        path: ends in ``.tsv`` or ``.csv``.
        header: names of the columns, for files whose first line is a row.

    Raises:
        InputError: it is no text, or a quote that is not closed holds rows.
    """
    return ((place, row) for place, row, _ in _csv_rows(path, header))


def _csv_rows(path: Path, header: Sequence[str] | None = None, quoted: bool = False) -> Iterator[_Reread]:
    tape, dialect, names = _Tape(path), _dialect(path, quoted), tuple(header or csv_header(path, quoted))
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
            fault = _fault(cells, names, _is_tsv(path))
            row = Unreadable(fault) if fault else dict(zip(names, cells, strict=True))
            yield f"{path.name}, line {reader.line_num}", row, partial(_reread, path, span, parse)


def csv_header(path: Path, quoted: bool = False) -> tuple[str, ...]:
    """Return the names in the first line of a CSV or TSV file, without spaces around them; none of an empty file.

    A TSV file is ``quoted`` where its quotes are no plain characters.
    """
    return tuple(name.strip() for name in _parse_cells(next(lines(path), ""), _dialect(path, quoted)))


def _dialect(path: Path, quoted: bool) -> dict[str, Any]:
    """Return how a file is separated and quoted; where spaces follow the commas of its header, they mean nothing."""
    first = next(lines(path), "")
    if _is_tsv(path):
        quoted = quoted or {*first.strip().split("\t")} >= QUOTED
        return {"delimiter": "\t", "quoting": csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE}
    return {"delimiter": ",", "quoting": csv.QUOTE_MINIMAL, "skipinitialspace": ", " in first}


def _is_tsv(path: Path) -> bool:
    return path.suffix.lower() == ".tsv"


def _is_quoted(path: Path) -> bool:
    """Return whether a TSV file is quoted as CSV is, which pandas and spreadsheets do and GLUE does not.

    It is where every cell with a quote stands in quotes and has its own quotes doubled, and some cell has any.
    """
    with _opened(path) as file:
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
    quoted = _is_tsv(path) and _is_quoted(path)
    columns = tuple(first_row(json_rows(path))) if json_file else csv_header(path, quoted)
    written = json_rows(path) if json_file else filter(str.strip, lines(path))
    if not columns and next(iter(written), None) is None:
        raise _no_rows(path)
    if not json_file:
        _check_separator(path, columns)

    def rows(names: Sequence[str]) -> Placed:
        check_once(path, columns, names)
        empty = True
        for place, row, reread in _json_rows(path) if json_file else _csv_rows(path, quoted=quoted):
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
