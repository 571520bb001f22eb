"""Rows of a file to samples, and the rows that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from compressor.data.arrow_files import fingerprint
from compressor.data.images import why_not_decoded
from compressor.data.types import ImageRef, Reading, Records, Sample

NO_LABEL = "-"  # in SNLI and what is made of it: the annotators did not agree
MOST_CLASSES = 100_000  # numbers beyond are no classes, but dates, or keys of something
COUNTED = "index"  # ids that are the numbers of the rows, from 0: GLUE's
FOLDERS = (
    *(".", "annotations", "Annotations", "questions", "questions1.2"),
    *("karpathy", "data", "nlvr2/data", "nlvr/nlvr2/data"),
)


class Unreadable(Exception):
    """Why one row cannot be used; the others still can."""


class NoImage(Unreadable):
    """A row names an image that is not there."""


Row = Mapping[str, Any]
Labels = tuple[tuple[int, ...], tuple[float, ...]]
"""Class numbers, and how right each of them is."""
NO_LABELS: Labels = ((), ())
Placed = Iterable[tuple[str, Any]]
"""Records with their places ("train.tsv, line 7"); an :class:`Unreadable` stands where a row did not even parse."""


def read_rows(
    files: Sequence[Path],
    rows: Placed,
    samples: Callable[[Any], list[Sample]],
    reading: Reading,
    total: int | None = None,
    some_absent: bool = False,
) -> Records:
    """Return the samples of all rows, and an account of the others.

    Records for which ``samples`` raises :class:`Unreadable`, or whose image does not decode, are listed; those that it
    makes nothing of are counted. ``some_absent`` says that not all images of the data set can be had.
    """
    reasons = _known_reasons(files, reading)
    readable: list[Sample] = []
    unreadable: list[str] = []
    dropped = absent = 0
    checks: dict[ImageRef, str] = {}
    for place, row in reading.progress.track(rows, f"reading {files[0].name}", total):
        try:
            if isinstance(row, Unreadable):
                raise row
            new = samples(row)
            if reasons is None:
                _check_images(new, checks)
            elif place in reasons:
                raise NoImage(reasons[place])  # for whatever reason the compression left it out
        except Unreadable as reason:
            unreadable.append(f"{place}: {reason}")
            absent += some_absent and isinstance(reason, NoImage)
        else:
            readable += new
            dropped += not new
    return Records(tuple(files), tuple(readable), tuple(unreadable), dropped, absent)


def _known_reasons(files: Sequence[Path], reading: Reading) -> dict[str, str] | None:
    """Return why rows are unreadable, by place; None where the images of a file have not been checked."""
    if not reading.checked:
        return None
    entries = [reading.checked.get(fingerprint(path)) for path in files]
    if any(entry is None for entry in entries):
        return None
    places = (row.partition(": ") for entry in entries for row in entry or ())
    return {place: reason for place, _, reason in places}


def _check_images(samples: Sequence[Sample], checks: dict[ImageRef, str]) -> None:
    """Decode the images of samples, each once; ``checks`` remembers what was wrong with those before.

    Raises:
        Unreadable: one does not decode.
    """
    for image in dict.fromkeys(image for sample in samples for image in sample.images):
        if image not in checks:
            checks[image] = why_not_decoded(image)
        if checks[image]:
            raise Unreadable(f"{image.name} {checks[image]}")


def join(parts: Sequence[Records]) -> Records:
    """Return several files of one split as one."""
    return Records(
        tuple(path for part in parts for path in part.files),
        tuple(sample for part in parts for sample in part.samples),
        tuple(place for part in parts for place in part.unreadable),
        sum(part.dropped for part in parts),
        sum(part.absent for part in parts),
    )


def read_labels(whole: bool, parse: Callable[[], Labels]) -> Labels:
    """Return what ``parse`` makes of a row's answer; no labels where it makes nothing of it in a split read ``whole``.

    Raises:
        Unreadable: there is no usable answer, and the rows are wanted that have one.
    """
    try:
        return parse()
    except Unreadable:
        if not whole:
            raise
        return NO_LABELS


def any_labels(rows: Placed, parse: Callable[[Any], Labels]) -> bool:
    """Return whether any row of a split has an answer."""
    for _, row in rows:
        with suppress(Unreadable):
            if not isinstance(row, Unreadable) and parse(row)[0]:
                return True
    return False


def unanswered(splits: Iterable[str], reading: Reading, has_answers: Callable[[str], bool]) -> list[str]:
    """Return the splits that are left out as nobody may know their answers: a test split without any, or none."""
    return [split for split in splits if split == "test" and not reading.whole and not has_answers(split)]


def describe_unanswered(files: Iterable[Path]) -> tuple[str, ...]:
    """Say of each of these files that nothing is scored there, and what they are good for."""
    return tuple(
        f"{file.name} has no answers: not scored; das answers writes a file for a test server" for file in files
    )


def describe_counted(file: Path) -> str:
    """Say what stands for ids that are not there."""
    return f"{file.name} has no column {COUNTED}: its rows are counted from 0, as GLUE's are"


def count_rows(rows: Placed) -> Iterator[tuple[str, Any]]:
    """Return rows with their numbers, from 0, as their ids."""
    for number, (place, row) in enumerate(rows):
        yield place, row if isinstance(row, Unreadable) else {**row, COUNTED: number}


def number_rows(path: Path, rows: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Return rows with their places, counted from 0 as tables and JSON lists are."""
    return ((f"{path.name}, row {number}", row) for number, row in enumerate(rows))


def find_file(root: Path, name: str) -> Path | None:
    """Return a file in the folder, or where public instructions put it below the folder."""
    return next((root / folder / name for folder in FOLDERS if (root / folder / name).is_file()), None)


def find_files(root: Path, names: Mapping[str, str]) -> dict[str, Path]:
    """Return the file of each split that is there, in the folder or below it as :func:`find_file` looks."""
    return {split: path for split, name in names.items() if (path := find_file(root, name))}


def field(row: Row, name: str, kind: type) -> Any:
    """Return a cell of a row.

    Raises:
        Unreadable: it is not there, or of another kind.
    """
    value = row.get(name)
    if value is None:
        raise Unreadable(f"no {name}")
    if not isinstance(value, kind):
        raise Unreadable(f"{name} is {str(value)[:40]!r}, not {kind.__name__}")
    return value


def text_cell(row: Row, name: str, may_be_blank: bool = False) -> str:
    """Return a cell of a row that holds some text, or none where it ``may_be_blank``.

    Raises:
        Unreadable: it is not there, no text, or blank.
    """
    value = field(row, name, str)
    if not may_be_blank and not value.strip():
        raise Unreadable(f"{name} is empty")
    return value


def titled_text(row: Row, title: str, text: str) -> str:
    """Return the title and the text of a document as one text, as BEIR joins them; either may be missing.

    Raises:
        Unreadable: both are.
    """
    parts = [str(row[name]).strip() for name in (title, text) if row.get(name) is not None]
    return text_cell({text: " ".join(filter(None, parts))}, text)


def listed(cell: Any) -> Any:
    """Return the list that a text of JSON holds, as a cell of CSV does; None where it only looks like a list.

    Any other cell comes back as it is. Python's own spelling is not read: in an array as NumPy prints it, texts stand
    beside each other without commas, and would become one.
    """
    if isinstance(cell, str) and cell.startswith("[") and cell.endswith("]"):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return None
    return cell
