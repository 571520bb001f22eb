"""What ``das predict`` is asked, typed or in a file or the standard input, and what it answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from compressor.data.images import why_not_decoded
from compressor.data.layouts.columns import NamedColumns
from compressor.data.layouts.input_forms import IMAGES, InputForm, bind, image_in_cell, list_columns, name_columns
from compressor.data.layouts.split_files import kind_of
from compressor.data.read_unlabelled import samples_in_row
from compressor.data.reading.image_refs import ImageFiles
from compressor.data.reading.json_files import parse_line
from compressor.data.reading.row_source import RowSource
from compressor.data.reading.rows import Placed, Row, Unreadable
from compressor.data.reading.text_files import check_text
from compressor.data.types import ImageRef, Sample
from compressor.errors import InputError, Problem, UsageError, input_error
from compressor.tasks.task import Task
from compressor.values import Value

TEXT, PAIR = '--text "..."', '--pair "..." "..."'
STDIN = Path("-")


@dataclass(frozen=True)
class Questions:
    """What is asked.

    Attributes:
        texts: questions, statements, captions or sentences.
        pairs: of sentences.
        images: that all of the texts are about, as many as the task has; none where the file names each its own. Where
            a task has no texts, each is a question.
        file: more of them: a text a line, or a table of named columns; "-" is the standard input, in which a first line
            that is a JSON object says that all are.
    """

    texts: tuple[str, ...] = ()
    pairs: tuple[tuple[str, ...], ...] = ()
    images: tuple[Path, ...] = ()
    file: Path | None = None

    def check(self) -> None:
        """Hold that a model reads what was typed.

        Raises:
            UsageError: a text is empty or no Unicode, or a pair has one text.
        """
        typed = (*self.texts, *chain.from_iterable(self.pairs))
        problems = []
        if any(len(pair) != 2 for pair in self.pairs):
            problems.append(Problem("pair-of-one-text", "--pair with one text", "two texts", PAIR))
        if any(not text.strip() for text in typed):
            problems.append(Problem("text-empty", "an empty text", "a question, statement, caption or sentence", TEXT))
        if broken := [text for text in typed if text.encode(errors="ignore").decode() != text]:
            problems.append(
                Problem("text-not-utf8", f"--text {broken[0]!a}", "UTF-8 text", "type it in a UTF-8 terminal")
            )
        if problems:
            raise UsageError(*problems)

    def check_files(self) -> None:
        """Hold that the images and the file are there.

        Raises:
            InputError: names those that are not.
        """
        problems = [
            Problem("image-missing", f"no file {image}", "an image", "--image FILE")
            for image in self.images
            if not image.is_file()
        ]
        if self.file and self.file != STDIN and not self.file.is_file():
            found, expected = f"no file {self.file}", "a text a line, or a table"
            problems.append(Problem("questions-missing", found, expected, "--file FILE, or - for the standard input"))
        if problems:
            raise InputError(*problems)

    def check_against(self, task: Task, paired: bool) -> None:
        """Hold that a run's model can be asked this.

        Args:
            task: of the run.
            paired: its data had pairs of texts.

        Raises:
            UsageError: other images than the task has, no texts, or single ones for a model of pairs or the reverse.
        """
        if not task.texts:
            return self._check_images(task)
        problems = []
        if len(self.images) != task.images and (self.images or not self.file):
            found = f"{len(self.images)} images for {task.name}"
            fix = " ".join(["--image FILE"] * task.images) or "leave --image out"
            expected = f"{task.images} image{'s' * (task.images != 1)}"
            problems.append(Problem("wrong-number-of-images", found, expected, fix))
        if not (self.texts or self.pairs or self.file):
            fix = f"{PAIR if paired else TEXT}, or --file FILE"
            problems.append(Problem("wrong-number-of-texts", f"0 texts for {task.name}", "one or more", fix))
        if self.texts and paired:
            found = "--text for a run of pairs of texts"
            problems.append(Problem("single-texts-for-pairs", found, "two texts that belong together", PAIR))
        if self.pairs and not paired:
            found = "--pair for a run of single texts"
            problems.append(Problem("pairs-for-single-texts", found, "one text, which has its own answer", TEXT))
        if problems:
            raise UsageError(*problems)

    def _check_images(self, task: Task) -> None:
        """Hold that a model is asked about images alone."""
        problems = []
        if self.texts or self.pairs:
            found = f"{TEXT if self.texts else PAIR} for {task.name}"
            problems.append(Problem("text-for-images", found, "images alone", "--image FILE"))
        if not (self.images or self.file):
            fix = "--image FILE, or --file FILE"
            problems.append(Problem("wrong-number-of-images", f"0 images for {task.name}", "one or more", fix))
        if problems:
            raise UsageError(*problems)

    def open(self, task: Task, paired: bool, columns: Mapping[str, str]) -> Placed:
        """Return the samples with their places, one after the other; an :class:`Unreadable` where there is none.

        Args:
            task: of the run.
            paired: its data had pairs of texts.
            columns: that have names of their own in its data; a file may have them, too.

        Raises:
            InputError: the file is not there, or cannot be read as a whole.
        """
        images = tuple(ImageRef(str(image), image.read_bytes, str(image)) for image in self.images)
        typed = [Sample(text, None, images) for text in self.texts]
        typed += [Sample(first, second, images) for first, second in self.pairs]
        if not task.texts:
            typed, images = [Sample("", images=(image,)) for image in images], ()
        rest = _open_file(self.file, _forms(task, paired, columns, images), images) if self.file else ()
        return chain((("--text" if task.texts else "--image", sample) for sample in typed), rest)


def _forms(task: Task, paired: bool, columns: Mapping[str, str], images: tuple[ImageRef, ...]) -> list[InputForm]:
    """Return the columns that questions may have: those of the task's data, without images where these are given."""
    named = (layout.unlabelled for layout in task.layouts if isinstance(layout, NamedColumns))
    forms = [form for form in task.unlabelled or next(named, ()) if paired == ("second" in form.columns)]
    own = {role: name for role, name in columns.items() if role != "label"}
    forms = [*name_columns(forms, own), *forms] if own else forms
    return [replace(form, columns=_without_images(form)) for form in forms] if images else forms


def _without_images(form: InputForm) -> Mapping[str, tuple[str, ...]]:
    return {role: names for role, names in form.columns.items() if role not in IMAGES}


def _open_file(path: Path, forms: list[InputForm], images: tuple[ImageRef, ...]) -> Placed:
    """Return what a file asks about ``images``, or about those that its rows name."""
    if path == STDIN:
        name, root = "standard input", Path.cwd()
        first = sys.stdin.buffer.readline()
        lines: Iterable[bytes] = chain([first] * bool(first), sys.stdin.buffer)
        source = _json_source(name, lines, first)
    elif kind := kind_of(path):
        name, root, lines, source = path.name, path.parent, (), kind.open([path])
    else:
        check_text(path)
        name, root, lines, source = path.name, path.parent, _lines_of(path), None
    if source:
        return _read_table(source, forms, ImageFiles(root), images)
    if not any(form.columns.keys() == {"text"} for form in forms):
        shared = any(_without_images(form).keys() == {"text"} for form in forms)
        given = "--image with what all texts are about; or " if shared else ""
        raise input_error(
            "lines-for-more-than-a-text",
            f"{name} has a text in each line",
            f"named columns, as a question of this run is more than one text: {_list_columns(forms)}",
            f"{given}--file of .csv, .tsv, .jsonl or .parquet with these columns; JSON lines with --file -",
        )
    return _read_lines(name, lines, images)


def _lines_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _json_source(name: str, lines: Iterable[bytes], first: bytes) -> RowSource | None:
    """Return the rows of JSON lines on the standard input; None where its first line is no JSON object."""
    try:
        row = json.loads(first)
    except ValueError:
        return None
    if not isinstance(row, dict):
        return None
    rows = ((f"{name}, line {number}", parse_line(_decode(line))) for number, line in enumerate(lines, 1))
    return RowSource((Path(name),), tuple(row), lambda names: rows)


def _decode(line: bytes) -> str:
    """Return a line as text; bytes that are no UTF-8 as half characters, which no text has."""
    return line.decode("utf-8-sig", errors="surrogateescape").rstrip("\r\n")


def _read_lines(name: str, lines: Iterable[bytes], images: tuple[ImageRef, ...]) -> Iterator[tuple[str, Any]]:
    empty = True
    for number, line in enumerate(lines, 1):
        text, empty = _decode(line), False
        fault = "" if text.strip() else "it is empty"
        if broken := next((letter for letter in text if "\udc80" <= letter <= "\udcff"), ""):
            fault = f"no UTF-8: it holds the byte {ord(broken) - 0xDC00:#04x}"
        yield f"{name}, line {number}", Unreadable(fault) if fault else Sample(text, None, images)
    if empty:
        raise input_error("table-empty", f"{name} has no lines", "a text in each line", "write it again")


def _read_table(
    source: RowSource, forms: list[InputForm], files: ImageFiles, images: tuple[ImageRef, ...]
) -> Iterator[tuple[str, Any]]:
    bound = ((form, columns) for form in forms if (columns := bind(form.columns, source)))
    form, columns = next(bound, (None, {}))
    if form is None:
        raise input_error(
            "question-columns-missing",
            f"{source.files[0]} has the columns {', '.join(source.columns)}",
            f"the columns {_list_columns(forms)}",
            "rename the columns",
        )
    rows = source.rows(list(columns.values()))
    return chain.from_iterable(
        _samples_at(place, row, partial(samples_in_row, columns, form, files), images) for place, row in rows
    )


def _samples_at(place: str, row: Row | Unreadable, parse: Any, images: tuple[ImageRef, ...]) -> list[tuple[str, Any]]:
    """Return the samples of a row, or why there is none."""
    try:
        if isinstance(row, Unreadable):
            raise row
        samples = [replace(sample, images=images or sample.images) for sample in parse(row)]
        for image in {image for sample in samples for image in sample.images} - {*images}:
            if reason := why_not_decoded(image):
                raise Unreadable(f"{image.name} {reason}")
    except Unreadable as reason:
        return [(place, reason)]
    return [(place, sample) for sample in samples]


def _list_columns(forms: list[InputForm]) -> str:
    return list_columns([form for form in forms if form.images is image_in_cell])


class Answer(Value):
    """One answer: with its probability, or of retrieval with its score."""

    answer: str
    probability: float | None = None
    score: float | None = None


class Predicted(Value):
    """One question and its best answers.

    Attributes:
        texts: of the question, two of a pair.
        images: that it is about.
        cut: the texts have more tokens than the model reads; it read the others.
        runtime, precision: of what answered.
        answers: the best first; none where a model makes a vector of a text.
        vector: of an embedder; none of other models.
        problem: why there is neither, with the place of the question; null where there is.
    """

    schema_version: int = 2
    texts: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    cut: bool = False
    runtime: str
    precision: str
    answers: tuple[Answer, ...] = ()
    vector: tuple[float, ...] = ()
    problem: str | None = None
