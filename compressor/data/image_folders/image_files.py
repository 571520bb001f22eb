"""Which files are images by their names, and all of a folder as rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from compressor.data.reading.row_source import RowSource

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def is_image_name(path: Path) -> bool:
    """Return whether a file is an image by its suffix."""
    return path.suffix.lower() in SUFFIXES


def image_source(root: Path) -> RowSource:
    """Return the images anywhere below a folder, one in each row, by their paths."""
    found = sorted(_paths(root))

    def rows(columns: Sequence[str]) -> Iterator[tuple[str, Any]]:
        return ((place, {"image": place}) for place in found)

    return RowSource((root,), ("image",) * bool(found), rows, total=len(found))


def _paths(root: Path) -> Iterator[str]:
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".")]
        paths = (Path(folder, name) for name in files if not name.startswith("."))
        yield from (str(path.relative_to(root)) for path in paths if is_image_name(path))
