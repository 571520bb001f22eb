"""Rows of JSON files: documents, lists, and lines of objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from compressor.data.reading.rows import Placed, Unreadable, number_rows
from compressor.data.reading.text_files import Reread, Tape, lines, open_text, reread
from compressor.errors import input_error


def load_json(path: Path, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Return a JSON document; ``hook`` sees every object in it, as in :func:`json.load`.

    Raises:
        InputError: it is no JSON.
    """
    try:
        with open_text(path) as file:
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
    return ((place, row) for place, row, _ in rereadable_json_rows(path))


def rereadable_json_rows(path: Path) -> Iterator[Reread]:
    """Yield the rows of :func:`json_rows`, each with how to read it again."""
    first = next((line for line in lines(path) if line.strip()), "").lstrip()
    if first.startswith("["):
        for place, row in number_rows(path, map(_object, load_json(path))):
            yield place, row, partial(_same, row)
    else:
        tape = Tape(path)
        for number, line in enumerate(tape, 1):
            span = tape.cut()
            if line.strip():
                yield f"{path.name}, line {number}", parse_line(line), partial(reread, path, span, json.loads)


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
