"""Every text of files and folders, whatever task they are for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from compressor.data.layouts.split_files import kind_of
from compressor.data.reading.rows import Unreadable
from compressor.data.reading.text_files import check_text, lines
from compressor.errors import input_error
from compressor.progress import QUIET, Progress

PLAIN = ".txt"


def read_texts(paths: Sequence[Path], progress: Progress = QUIET) -> list[str]:
    """Return the texts of files, each once, in the order they come.

    Of a table (.csv, .tsv, .jsonl, .json, .parquet, .arrow) every cell of text counts, whatever its column; of any
    other file every line. Of a folder the tables and ``.txt`` files in it are read, those in its folders, too. What is
    blank is no text.

    Args:
        paths: of files and folders.
        progress: told of rows that cannot be read.

    Raises:
        InputError: one is not there, is neither a table nor UTF-8 text, or there is no text in any.
    """
    texts: dict[str, None] = {}
    for path in paths:
        files = _files_in(path)
        for file in files:
            texts.update(dict.fromkeys(text for text in _read(file, progress) if text.strip()))
    if not texts:
        raise input_error(
            "texts-empty",
            f"no text in {' and '.join(map(str, paths))}",
            "texts of the kind that the model will be given",
            "give a file of a text a line, a table, or a folder of them: --texts",
        )
    return list(texts)


def _files_in(path: Path) -> list[Path]:
    if not path.exists():
        raise input_error(
            "texts-missing", f"no file or folder {path}", "a text a line, a table, or a folder", "--texts corpus.txt"
        )
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and (kind_of(file) or file.suffix == PLAIN))


def _read(file: Path, progress: Progress) -> Iterator[str]:
    kind = kind_of(file)
    if kind is None:
        check_text(file)
        yield from (line.rstrip("\n") for line in lines(file))
        return
    source, broken = kind.open([file]), 0
    for _, row in progress.track(source.rows(source.columns), f"reading {file.name}", source.total):
        if isinstance(row, Unreadable):
            broken += 1
        else:
            yield from (text for cell in row.values() for text in _texts_in(cell))
    if broken:
        progress.say(f"{file.name}: {broken:,} rows cannot be read, and count for nothing")


def _texts_in(cell: Any) -> Iterator[str]:
    """Return the text of a cell, or the texts of a list in it."""
    if isinstance(cell, str):
        yield cell
    elif isinstance(cell, list):
        for entry in cell:
            yield from _texts_in(entry)
