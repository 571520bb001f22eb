"""Encoded images in files and in tables: whether they are there; nothing is decoded here."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa

from compressor.data.reading.rows import NoImage, Unreadable
from compressor.data.types import ImageRef

END = 1 << 16  # bytes


@dataclass(frozen=True)
class Cell:
    """An encoded image in a table.

    Attributes:
        column: of bytes, or of Hugging Face's structs with ``bytes`` and ``path``; indexing it gives a pyarrow scalar.
        row: in the column.
        origin: its place, for messages.
    """

    column: Any
    row: int
    origin: str

    def read(self) -> bytes:
        """Return the encoded image."""
        return self._scalar("bytes").as_buffer().to_pybytes()

    def image_ref(self) -> ImageRef:
        """Return the image, which may turn out not to decode.

        Raises:
            Unreadable: there are no bytes.
        """
        scalar = self._scalar("bytes")
        if not scalar.is_valid:
            raise Unreadable("no image")
        if not isinstance(scalar, pa.BinaryScalar):
            raise Unreadable("the image is not given as bytes")
        return ImageRef(self.origin, self.read)

    def digest(self) -> bytes:
        """Return a digest of the size and both ends, which tells encoded images apart."""
        content = memoryview(self._scalar("bytes").as_buffer())
        return blake2b(b"".join((str(len(content)).encode(), content[:END], content[-END:])), digest_size=16).digest()

    @property
    def path(self) -> str | None:
        """The path of the image when the table does not hold it."""
        scalar = self._scalar("path")
        return scalar.as_py() if isinstance(scalar, pa.StringScalar) and not self._scalar("bytes").is_valid else None

    def _scalar(self, part: str) -> pa.Scalar:
        scalar = self.column[self.row]
        return scalar[part] if isinstance(scalar, pa.StructScalar) and scalar.is_valid else scalar


class ImageFiles:
    """The image files in a folder; samples that name the same file get the same reference.

    Args:
        root: the folder, however deep the images lie in it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files: dict[Path, ImageRef] = {}
        self._cells: dict[bytes, ImageRef] = {}

    def named(self, name: str) -> ImageRef:
        """Return the image in the file called ``name``, wherever it lies below the folder.

        Raises:
            NoImage: no such file.
            Unreadable: several of them.
        """
        places = self._places.get(name, [])
        if len(places) > 1:
            raise Unreadable(f"{len(places)} files are called {name}: {', '.join(places[:2])}")
        if not places:
            raise NoImage(f"no image {name}")
        return self._open(self.root / places[0])

    def at(self, place: str) -> ImageRef:
        """Return the image at a path relative to the folder, or to its ``images``; a bare name may lie anywhere below.

        Raises:
            NoImage: no such file.
            Unreadable: a bare name that several files have.
        """
        paths = [path for path in (self.root / place, self.root / "images" / place) if path.is_file()]
        if not paths and Path(place).name == place:
            return self.named(place)
        if not paths:
            raise NoImage(f"no image {place}")
        return self._open(paths[0])

    def of(self, value: Any) -> ImageRef:
        """Return the image that a cell of a row means: an image in a table, or the path of one.

        Raises:
            Unreadable: there is none.
        """
        if isinstance(value, Cell):
            return self.at(value.path) if value.path else self._cell(value)
        if not isinstance(value, str) or not value:
            raise Unreadable("no image")
        return self.at(value)

    def _cell(self, cell: Cell) -> ImageRef:
        """Return the image in a table; a table with a row for each caption has the same image several times."""
        image = cell.image_ref()
        return self._cells.setdefault(cell.digest(), image)

    @cached_property
    def _places(self) -> dict[str, list[str]]:
        """Paths below the folder by file name; the tree is walked once."""
        places: defaultdict[str, list[str]] = defaultdict(list)
        for folder, below, files in os.walk(self.root):
            below[:] = sorted(name for name in below if not name.startswith("."))
            relative = os.path.relpath(folder, self.root)
            for name in files:
                places[name].append(os.path.join(relative, name))  # noqa: PTH118  # a Path for each would take seconds
        return places

    def _open(self, path: Path) -> ImageRef:
        return self._files.setdefault(path, ImageRef(str(path), partial(Path.read_bytes, path), path.name))
