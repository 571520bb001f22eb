"""A corpus, queries, and which documents answer which query, in the layout of BEIR (Thakur et al., NeurIPS 2021).

``corpus.jsonl`` has ``_id``, ``title`` and ``text``, ``queries.jsonl`` has ``_id`` and ``text``, and ``qrels`` a file
for each split with ``query-id``, ``corpus-id`` and ``score``. The text of a document is its title and its text.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

from compressor.data.layouts.split_files import SPLITS
from compressor.data.reading.csv_files import csv_rows
from compressor.data.reading.json_files import json_rows
from compressor.data.reading.rows import Row, Unreadable, read_rows, text_cell, titled_text
from compressor.data.texts.judgements import Relevances
from compressor.data.types import RawDataset, Reading, Records, Sample

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels"
QUERY, DOCUMENT, GRADE = "query-id", "corpus-id", "score"


class Beir:
    """A folder in the layout of BEIR; what is trained on are the documents, and the queries of ``qrels/train.tsv``."""

    name = "BEIR"
    looks_for = f"{CORPUS}, {QUERIES} and {QRELS}/{{train,dev,test}}.tsv"

    def recognises(self, root: Path) -> bool:
        """Return whether all three are there."""
        return (root / CORPUS).is_file() and (root / QUERIES).is_file() and bool(_judged_files(root))

    def read(self, root: Path, reading: Reading) -> RawDataset:
        """Return for each split its queries, then all documents; the training split may have documents alone.

        Documents without a text and judgements of what is not there cannot be used; queries that no document answers
        are left out.

        Raises:
            InputError: a file cannot be used as a whole.
        """
        corpus = read_rows([root / CORPUS], json_rows(root / CORPUS), partial(_text, _document), reading)
        queries = read_rows([root / QUERIES], json_rows(root / QUERIES), partial(_text, _query), reading)
        found = _judged_files(root)
        wanted = {split: path for split, path in found.items() if reading.wants(split)}
        judged = {split: _judge(corpus, queries, path, reading) for split, path in wanted.items()}
        unanswered = [
            f"{wanted[split].name}: {count} queries that no document answers are left out"
            for split, (_, count) in judged.items()
            if count
        ]
        splits = {split: records for split, (records, _) in judged.items()}
        if reading.wants("train") and "train" not in found:
            splits["train"] = _documents(corpus)
        files = {split: f"{QRELS}/{names[0]}.tsv" for split, names in SPLITS.items()}
        return RawDataset(self.name, splits, (), files=files, notes=tuple(unanswered))


def _judged_files(root: Path) -> dict[str, Path]:
    """Return the file of judgements of each split that is there."""
    paths = ((split, root / QRELS / f"{name}.tsv") for split, names in SPLITS.items() for name in names)
    return {split: path for split, path in paths if path.is_file()}


def _text(read: Callable[[Row], str], row: Row) -> list[Sample]:
    """Return the text of a document or a query, under its id.

    Raises:
        Unreadable: it has no id or no text.
    """
    if row.get("_id") is None:
        raise Unreadable("no _id")
    return [Sample(read(row), id=str(row["_id"]))]


def _query(row: Row) -> str:
    return text_cell(row, "text")


def _document(row: Row) -> str:
    return titled_text(row, "title", "text")


def _documents(corpus: Records) -> Records:
    """Return every text of a corpus once."""
    return Records(corpus.files, tuple(dict.fromkeys(map(_as_document, corpus.samples))), corpus.unreadable)


def _as_document(sample: Sample) -> Sample:
    return Sample(sample.text, role="document")


def _judge(corpus: Records, queries: Records, path: Path, reading: Reading) -> tuple[Records, int]:
    """Return the queries that a file judges and all documents, each text once, with the judgements.

    Beside them the number of queries that no document answers, which are left out.
    """
    text_of_query = {sample.id: sample.text for sample in queries.samples}
    place_of_document = {sample.id: place for place, sample in enumerate(corpus.samples)}
    graded: dict[str, dict[int, float]] = {}

    def grade(row: Row) -> list[Sample]:
        query, document = str(row.get(QUERY)), str(row.get(DOCUMENT))
        if query not in text_of_query or document not in place_of_document:
            raise Unreadable(f"query {query}, document {document}: there is no such text")
        score = _number(row)
        graded.setdefault(query, {}).update({place_of_document[document]: score} if score > 0 else {})
        return []

    judged = read_rows([path], csv_rows(path), grade, reading)
    answered = {query: grades for query, grades in graded.items() if grades}
    asked = [Sample(text_of_query[query], role="query") for query in answered]
    documents = list(map(_as_document, corpus.samples))
    numbers = {sample: number for number, sample in enumerate(dict.fromkeys((*asked, *documents)))}
    places: dict[str, list[int]] = {}
    for place, document in enumerate(documents):
        places.setdefault(document.text, []).append(place)
    records = Records(
        (*corpus.files, *queries.files, path),
        tuple(numbers),
        (*corpus.unreadable, *queries.unreadable, *judged.unreadable),
        judgements=Relevances(
            tuple(numbers[query] for query in asked),
            tuple(numbers[document] for document in documents),
            tuple(answered.values()),
            tuple(tuple(places.get(query.text, ())) for query in asked),
        ),
    )
    return records, len(graded) - len(answered)


def _number(row: Row) -> float:
    """Return the grade in a row.

    Raises:
        Unreadable: it is no number.
    """
    try:
        grade = float(row.get(GRADE))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        grade = math.nan
    if not math.isfinite(grade):
        raise Unreadable(f"{GRADE} {str(row.get(GRADE))[:40]!r} is no number")
    return grade
