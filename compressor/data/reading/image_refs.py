"""Encoded images in files and in tables: whether they are there; nothing is decoded to pixels here."""

from __future__ import annotations

import binascii
import os
import re
from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

import pyarrow as pa

from compressor.data.reading.rows import NoImage, Unreadable
from compressor.data.reading.signatures import is_image
from compressor.data.types import ImageRef

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
LONGEST_PATH = 1024  # characters
BEGINNING = 64  # characters of base64 that tell whether an image follows
BEGINNINGS = ("data:", "iVBOR", "/9j/", "_9j_", "R0lG", "UklG", "SUkq", "TU0A", "Qk", "AAAA")  # PNG's, JPEG's and so on
BASE64 = str.maketrans("-_", "+/", " \t\r\n")  # the alphabet for addresses to the common one; line breaks go


@dataclass(frozen=True)
class Cell:
    """A cell that may hold an encoded image, read when it is needed: not all images fit into memory.

    Attributes:
        origin: its place, for messages.
        value: reads what is in it.
    """

    origin: str
    value: Callable[[], Any]

    def read(self) -> bytes:
        """Return the encoded image.

        Raises:
            Unreadable: there is none.
        """
        content = image_content(_unwrap(self.value()))
        if content is None:
            raise Unreadable("the image is not given as bytes")
        return content


def cell_of_table(column: Any, row: int, origin: str) -> Cell:
    """Return a cell of an arrow or Parquet table; indexing ``column`` gives pyarrow scalars."""
    return Cell(origin, partial(_table_value, column, row))


def image_in_table(column: Any, row: int, origin: str) -> ImageRef:
    """Return the image in a cell of a table, without reading it.

    Raises:
        Unreadable: there is none.
    """
    if not column[row].is_valid:
        raise Unreadable("no image")
    return ImageRef(origin, cell_of_table(column, row, origin).read)


def _table_value(column: Any, row: int) -> Any:
    return column[row].as_py()


def holds_images(kind: pa.DataType) -> bool:
    """Return whether a column of this type holds encoded images, if it holds images at all."""
    if pa.types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.types.is_uint8(kind.value_type) or holds_images(kind.value_type)
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    return binary or pa.types.is_fixed_size_binary(kind)


def may_hold_image(value: Any) -> bool:
    """Return whether a cell of a text file holds an encoded image."""
    return (isinstance(value, dict) and "bytes" in value) or (isinstance(value, str) and _is_base64(value))


def image_content(value: Any) -> bytes | None:
    """Return the encoded image in a value: bytes, a list of bytes as numbers, or base64; None where it holds none.

    Raises:
        Unreadable: the base64 is damaged.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, list) and value and all(isinstance(byte, int) and 0 <= byte < 256 for byte in value):
        return bytes(value)
    if not isinstance(value, str) or not _is_base64(value):
        return None
    header, comma, rest = value.partition(",") if value.startswith("data:") else ("", "", value)
    if comma and not header.endswith(";base64"):
        raise Unreadable(f"the image is given as {header[:40]!r}, not as base64")
    text = rest.translate(BASE64).rstrip("=")
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise Unreadable(f"the image's base64 is damaged ({error})") from None


def _is_base64(text: str) -> bool:
    """Return whether a text begins as an image in base64 does, or as ``data:`` does; no path begins so."""
    if not text.startswith(BEGINNINGS):
        return False
    if text.startswith("data:"):
        return True
    try:
        beginning = b64decode(text[:BEGINNING].translate(BASE64)[: BEGINNING // 2], validate=True)
    except ValueError:  # not of base64's letters, not even of ASCII, or too short
        return False
    return len(beginning) == BEGINNING // 2 * 3 // 4 and is_image(beginning)


def _unwrap(value: Any) -> Any:
    """Return what is in a cell: bytes, base64 or a path, alone or as one entry of a list, or with a path beside it."""
    if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], int):
        return _unwrap(value[0])
    if isinstance(value, dict):
        content = value.get("bytes")
        return value.get("path") if content is None else content
    return value


class ImageFiles:
    """The image files in a folder; samples that name the same file get the same reference.

    Args:
        root: the folder, however deep the images lie in it, and behind whatever links.
        beside: the folder of the file that names them, where that is another one.
    """

    def __init__(self, root: Path, beside: Path | None = None) -> None:
        self.root = root
        self._folders = dict.fromkeys((beside or root, root, root / "images"))
        self._files: dict[Path, ImageRef] = {}
        self._cells: dict[bytes, ImageRef] = {}

    def named(self, name: str) -> ImageRef:
        """Return the image in the file called ``name``, wherever it lies below the folder.

        Raises:
            NoImage: no such file.
            Unreadable: several of them.
        """
        places = self._places.get(name, [])
        if not places:
            raise NoImage(f"no image {name}{self._hint(str(name))}")
        if len(places) > 1 and len({os.path.realpath(self.root / place) for place in places}) > 1:
            raise Unreadable(f"{len(places)} files are called {name}: {', '.join(places[:2])}")
        return self._open(self.root / places[0])

    def at(self, place: str) -> ImageRef:
        """Return the image at a path relative to the folder, or to its ``images``; a bare name may lie anywhere below.

        Backslashes separate folders where no file has them in its name: tables that were written on Windows have them.

        Raises:
            NoImage: no such file.
            Unreadable: it is no path, or a bare name that several files have.
        """
        if ADDRESS.match(place):
            raise Unreadable(f"the image is an address, {place[:80]}: download it, and give its path")
        if len(place) > LONGEST_PATH or "\n" in place:
            raise Unreadable(
                f"the image is neither a path nor an encoded image ({place[:20]!r}..., {len(place)} characters)"
            )
        paths = self._paths(place) or self._paths(PureWindowsPath(place).as_posix())
        if not paths and PurePath(place).name == place:
            return self.named(place)
        if not paths:
            raise NoImage(f"no image {place}{self._hint(PurePath(place).name)}")
        return self._open(paths[0])

    def _paths(self, place: str) -> list[Path]:
        return [path for folder in self._folders if os.path.isfile(path := folder / place)]  # noqa: PTH113  # Path.is_file raises where a folder may not be read

    def of(self, cell: Any) -> ImageRef:
        """Return the image that a cell of a row means: an encoded one, or the path of one.

        The same image in several rows of a table, one for each caption, comes once.

        Raises:
            Unreadable: there is none.
        """
        value = _unwrap(cell.value() if isinstance(cell, Cell) else cell)
        if (content := image_content(value)) is not None:
            # About 1 GB/s, a tenth of the time that the images take to decode.
            digest = blake2b(content, digest_size=16).digest()
            origin = cell if isinstance(cell, Cell) else Cell("the image", lambda: value)
            return self._cells.setdefault(digest, ImageRef(origin.origin, origin.read))
        if value is None or value == "":
            raise Unreadable("no image")
        if not isinstance(value, str):
            raise Unreadable(f"the image is given as {type(value).__name__}, not as bytes, base64 or a path")
        return self.at(value)

    @cached_property
    def _places(self) -> dict[str, list[str]]:
        """Paths below the folder by file name; the tree is walked once."""
        places: defaultdict[str, list[str]] = defaultdict(list)
        for folder, files in _walk(self.root):
            relative = os.path.relpath(folder, self.root)
            for name in files:
                places[name].append(os.path.join(relative, name))  # noqa: PTH118  # a Path for each would take seconds
        return places

    def _hint(self, name: str) -> str:
        """Return what is there in place of a file that is not: one that is called nearly so, or broken links."""
        near = self._by_stem.get(PurePath(name).stem.lower())
        if near and near not in self._broken:
            return f" (there is {near})"
        broken = [near] if near else self._broken
        return f" ({broken[0]} is a link to nothing)" if broken else ""

    @cached_property
    def _by_stem(self) -> dict[str, str]:
        """A path for each name, its suffix and its case left out."""
        return {PurePath(name).stem.lower(): os.path.normpath(places[0]) for name, places in self._places.items()}

    @cached_property
    def _broken(self) -> list[str]:
        """Links whose file or folder is not there."""
        paths = (self.root / place for places in self._places.values() for place in places)
        return sorted(str(path.relative_to(self.root)) for path in paths if path.is_symlink() and not path.exists())

    def _open(self, path: Path) -> ImageRef:
        return self._files.setdefault(path, ImageRef(str(path), partial(Path.read_bytes, path), path.name))


def _walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Return each folder below ``root`` with its files; links to folders are followed, but into none twice."""
    seen: set[tuple[int, int]] = set()
    for folder, below, files in os.walk(root, followlinks=True):
        status = os.stat(folder)  # noqa: PTH116  # of a text
        if (status.st_dev, status.st_ino) in seen:
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield folder, files
