"""Words with a tag each: lists in two columns, or a word and its tag in a line (CoNLL-2003)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from compressor.data.layouts.columns import NamedColumns
from compressor.data.layouts.label_columns import Classes
from compressor.data.layouts.split_files import SplitFiles
from compressor.data.reading.class_labels import class_names, find_class, read_label
from compressor.data.reading.row_source import RowSource
from compressor.data.reading.rows import Labels, Placed, Unreadable, find_files, listed, read_rows
from compressor.data.reading.text_files import lines
from compressor.data.types import RawDataset, Reading, Sample

FILES = ("{}.txt", "{}.conll", "eng.{}")
CONLL = {"train": ("train", "train"), "val": ("valid", "testa"), "test": ("test", "testb")}
START = "-DOCSTART-"  # of a document, in CoNLL-2003


@dataclass(frozen=True)
class TaggedColumns(NamedColumns):
    """Files with named columns, two of which hold lists of equal length: the words of a sentence, and their tags."""

    name: str = "lists of words and tags"

    def open(self, files: SplitFiles) -> RowSource:
        """Return the rows of a split, the words as one text."""
        source = super().open(files)
        of_words = {name for form in self.forms for name in form.columns["text"]}
        of_tags = {name for form in self.forms for name in form.columns["label"]}
        words = next((column for column in source.columns if column.lower() in of_words), None)
        tags = next((column for column in source.columns if column.lower() in of_tags), None)
        return replace(source, rows=partial(_join_words, source, words, tags)) if words and tags else source

    def _read(self, found: Mapping[str, SplitFiles], root: Path, reading: Reading) -> RawDataset:
        return name_tags(super()._read(found, root, reading))


def _join_words(source: RowSource, words: str, tags: str, wanted: Sequence[str]) -> Placed:
    for place, row in source.rows(wanted):
        if isinstance(row, Unreadable) or words not in wanted:
            yield place, row
            continue
        try:
            text = join_words(row.get(words), row.get(tags) if tags in wanted else None)
        except Unreadable as error:
            yield place, error
        else:
            yield place, {**row, words: text}


def join_words(words: Any, tags: Any = None) -> str:
    """Return words as one text; where ``tags`` are given there have to be as many.

    Raises:
        Unreadable: they are no list of words, a word is empty or has a blank in it, or there are more or fewer tags.
    """
    given, said = listed(words), listed(tags)
    if not isinstance(given, list) or not all(isinstance(word, str) for word in given):
        raise Unreadable(f"words {str(words)[:40]!r} are no list of texts")
    if wrong := [word for word in given if len(word.split()) != 1]:
        raise Unreadable(f"word {wrong[0][:40]!r} is empty, or more than one")
    if isinstance(said, list) and len(said) != len(given):
        raise Unreadable(f"{len(given)} words and {len(said)} tags")
    return " ".join(given)


def tag_lists(train: RowSource, column: str, root: Path) -> Classes:
    """Return the tags that the training split's file names, or that occur in it."""
    named = train.class_names.get(column, ())
    cells = (row.get(column) for _, row in train.rows([column]) if not isinstance(row, Unreadable))
    names = named or class_names(tag for cell in cells if isinstance(given := listed(cell), list) for tag in given)
    numbered_here = not named and not all(name.isdecimal() for name in names)
    return Classes(names, partial(parse_tags, names), numbered_here)


def parse_tags(names: tuple[str, ...], cell: Any) -> Labels:
    """Return the numbers of the tags in a list, in order.

    Raises:
        Unreadable: there is no list, an empty one, or a tag that is none of ``names``.
    """
    given = listed(cell)
    if not isinstance(given, list) or not given:
        raise Unreadable(f"tags {str(cell)[:40]!r} are no list of tags")
    tags = tuple(find_class(read_label(tag), names) for tag in given)
    return tags, (1.0,) * len(tags)


def name_tags(dataset: RawDataset) -> RawDataset:
    """Return the same data; its records know what the tags are called, which tells where an entity begins and ends."""
    splits = {name: replace(records, names=dataset.labels) for name, records in dataset.splits.items()}
    return replace(dataset, splits=splits)


class ConllFiles:
    """A word in a line, its tag the last of the line; an empty line ends a sentence."""

    name = "CoNLL's columns"
    looks_for = "train.txt, valid.txt, test.txt; or .conll; or eng.train, eng.testa, eng.testb"

    def recognises(self, root: Path) -> bool:
        """Return whether the first of the files has lines of a word and a tag."""
        first = next(iter(self._find(root).values()), None)
        some = [line.split() for _, line in zip(range(50), lines(first), strict=False)] if first else []
        return any(some) and all(len(cells) != 1 for cells in some)

    def read(self, root: Path, reading: Reading) -> RawDataset:
        """Return the sentences of the splits that are wanted; tags are numbered in alphabetical order.

        Raises:
            InputError: a file is no text.
        """
        found = self._find(root)
        paths = {split: path for split, path in found.items() if reading.wants(split)}
        of_tags = found.get("train") or next(iter(found.values()))
        names = class_names(tag for _, (_, tags) in _sentences(of_tags) for tag in tags)
        numbered_here = not all(name.isdecimal() for name in names)
        splits = {
            split: read_rows([path], _sentences(path), partial(_sample, names), reading)
            for split, path in paths.items()
        }
        files = {split: path.name for split, path in found.items()}
        return name_tags(RawDataset(self.name, splits, names, numbered_here=numbered_here, files=files))

    def _find(self, root: Path) -> dict[str, Path]:
        for form, place in zip(FILES, (0, 0, 1), strict=True):
            if found := find_files(root, {split: form.format(names[place]) for split, names in CONLL.items()}):
                return found
        return {}


def _sentences(path: Path) -> Iterator[tuple[str, tuple[list[str], list[str]]]]:
    """Yield the place, the words and the tags of each sentence."""
    words: list[str] = []
    tags: list[str] = []
    first = 1
    for number, line in enumerate([*lines(path), ""], 1):
        cells = line.split()
        if not cells or cells[0] == START:
            if words:
                yield f"{path.name}, line {first}", (words, tags)
            words, tags, first = [], [], number + 1
        else:
            words.append(cells[0])
            tags.append(cells[-1] if len(cells) > 1 else "")


def _sample(names: tuple[str, ...], sentence: tuple[list[str], list[str]]) -> list[Sample]:
    words, tags = sentence
    labels, scores = parse_tags(names, tags)
    return [Sample(join_words(words), labels=labels, scores=scores)]
