"""Files of UTF-8 text: their lines, and where in the file these lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from compressor.data.reading.rows import Row
from compressor.data.reading.signatures import find_signature, find_text_signature, read_head, wide_encoding
from compressor.errors import InputError, input_error

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Reread = tuple[str, Any, Callable[[], Row]]
"""A row's place, the row (or :class:`Unreadable`), and how to read it again."""


@contextmanager
def open_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
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
    with open_text(path):
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
    with open_text(path, newline) as file:
        yield from file


class Tape:
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


def reread(path: Path, span: tuple[int, int], parse: Callable[[str], Row]) -> Row:
    """Return a row that lies in these bytes of a text file."""
    with path.open("rb") as file:
        file.seek(span[0])
        return parse(file.read(span[1] - span[0]).decode())
