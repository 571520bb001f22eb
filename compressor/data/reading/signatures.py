"""What a file holds, by its first bytes: for messages about files that are not what their name says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from compressor.errors import input_error

HEAD = 512  # bytes that are looked at


@dataclass(frozen=True)
class Signature:
    """One kind of content.

    Attributes:
        name: for messages, after "is".
        fix: what the user can do where this was not expected.
        marks: bytes, any of which it has at the offset ``at``.
        at: where.
        start: bytes that it begins with besides.
    """

    name: str
    fix: str
    marks: tuple[bytes, ...]
    at: int = 0
    start: bytes = b""


UNPACK = "unpack it"
OTHER_NAME = "give it the name and the place of its own kind (docs/data.md)"
AS_PNG = "convert it to PNG or JPEG"

TEXTS = (
    Signature(
        "a Git LFS pointer, in place of the file itself",
        "fetch the file: git lfs pull",
        (b"version https://git-lfs.github.com/",),
    ),
    Signature("a web page", "download the file itself, not its page", (b"<!DOCTYPE html", b"<!doctype html", b"<html")),
)
"""What is text, and still no table."""

IMAGES = (
    Signature("a PNG image", AS_PNG, (b"\x89PNG\r\n\x1a\n",)),
    Signature("a JPEG image", AS_PNG, (b"\xff\xd8\xff",)),
    Signature("a GIF image", AS_PNG, (b"GIF87a", b"GIF89a")),
    Signature("a WebP image", AS_PNG, (b"WEBPVP8",), at=8, start=b"RIFF"),
    Signature("a TIFF image", AS_PNG, (b"II*\x00", b"MM\x00*")),
    Signature("a BMP image", AS_PNG, (bytes(4),), at=6, start=b"BM"),
    Signature("an AVIF image", AS_PNG, (b"ftypavif", b"ftypavis"), at=4),
    Signature("a HEIC image", AS_PNG, (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc"), at=4),
    Signature("a JPEG 2000 image", AS_PNG, (b"jP  \r\n\x87\n",), at=4),
)

OTHERS = (
    Signature("compressed by gzip", UNPACK, (b"\x1f\x8b",)),
    Signature("a zip archive", UNPACK, (b"PK\x03\x04", b"PK\x05\x06")),
    Signature("compressed by bzip2", UNPACK, (b"BZh",)),
    Signature("compressed by xz", UNPACK, (b"\xfd7zXZ\x00",)),
    Signature("compressed by zstd", UNPACK, (b"\x28\xb5\x2f\xfd",)),
    Signature("a 7z archive", UNPACK, (b"7z\xbc\xaf\x27\x1c",)),
    Signature("a tar archive", UNPACK, (b"ustar",), at=257),
    Signature("an arrow file", OTHER_NAME, (b"ARROW1\x00\x00",)),
    Signature("an arrow stream", OTHER_NAME, (b"\xff\xff\xff\xff",)),
    Signature("a Parquet file", OTHER_NAME, (b"PAR1",)),
    Signature("a Feather file of version 1", "read it with pyarrow.feather, and write it as Parquet", (b"FEA1",)),
    Signature("an ORC file", "write it as Parquet", (b"ORC",)),
    Signature("an SVG drawing", "draw it as PNG", (b"<svg", b"<?xml")),
    Signature("a PDF document", AS_PNG, (b"%PDF-",)),
)


def find_signature(head: bytes) -> Signature | None:
    """Return what content begins with these bytes; None for anything else."""
    if not head:
        return Signature("empty", "copy it again", ())
    return next((kind for kind in (*TEXTS, *IMAGES, *OTHERS) if _begins(head, kind)), None)


def find_text_signature(head: bytes) -> Signature | None:
    """Return what text begins with these bytes and is no table all the same."""
    return next((kind for kind in TEXTS if _begins(head.lstrip(), kind)), None)


def is_image(head: bytes) -> bool:
    """Return whether content that begins with these bytes (at least 16) is an image, by its signature."""
    return any(_begins(head, kind) for kind in IMAGES)


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file.

    Raises:
        InputError: it may not be read, is a folder, or a link to nothing.
    """
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise input_error(
            "data-unreadable", f"{path} cannot be read: {error.strerror or error}", "a readable file", f"ls -ld {path}"
        ) from None


def wide_encoding(head: bytes) -> str | None:
    """Return UTF-16 or UTF-32 where text begins with these bytes of it; None for UTF-8 and its likes."""
    found = json.detect_encoding(head[:4])
    return None if found.startswith("utf-8") else found.upper()[:6]


def _begins(head: bytes, kind: Signature) -> bool:
    return head.startswith(kind.start) and head[kind.at :].startswith(kind.marks)
