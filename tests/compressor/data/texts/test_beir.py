"""A corpus, queries and judgements in BEIR's layout."""

import pytest

from compressor.data.read_data import read_data
from compressor.data.roles import make_scored, make_splits
from compressor.errors import InputError
from compressor.tasks import TASKS
from tests.support.command_line import refused
from tests.support.data_files import transforms, write_beir


def read(root):
    return read_data(root, "embedding")


def test_queries_come_first_and_each_text_once(tmp_path):
    """Titles belong to the texts, two documents of one text are one sample, and grades of 0 say nothing."""
    write_beir(
        tmp_path,
        corpus={"a": ("wings", "lift"), "b": ("", "heat"), "c": ("", "heat")},
        queries={"1": "what lifts?", "2": "wings lift", "3": "what else?"},
        test=[("1", "a", 2), ("2", "b", 1), ("2", "c", 4), ("3", "a", 0)],
    )
    data = read(tmp_path)
    assert [sample.text for sample in data.splits["train"].samples] == ["wings lift", "heat"]
    records = data.splits["test"]
    assert [sample.text for sample in records.samples] == ["what lifts?", "wings lift", "wings lift", "heat"]
    assert [sample.role for sample in records.samples] == ["query", "query", "document", "document"]
    assert records.judgements.queries == (0, 1) and records.judgements.documents == (2, 3, 3)
    assert records.judgements.grades == ({0: 2.0}, {1: 1.0, 2: 4.0}) and records.judgements.own == ((), (0,))
    assert data.notes == ("test.tsv: 1 queries that no document answers are left out",)
    assert records.dropped == 0 and records.unreadable == ()


def test_judgements_of_what_is_not_there_are_counted_and_too_many_refused(tmp_path):
    write_beir(
        tmp_path,
        corpus={"a": ("", "lift"), "b": ("", " ")},
        queries={"1": "what lifts?"},
        test=[("1", "a", 1), ("1", "b", 1), ("9", "a", 1), ("1", "a", "high")],
    )
    assert [reason.partition(": ")[2] for reason in read(tmp_path).splits["test"].unreadable] == [
        "text is empty",
        "query 1, document b: there is no such text",
        "query 9, document a: there is no such text",
        "score 'high' is no number",
    ]
    with refused(InputError, "too-many-unusable-rows", "corpus.jsonl, line 2"):
        make_scored(read(tmp_path), tmp_path, TASKS["embedding"], transforms(), 3)


def test_what_layers_are_chosen_on_is_not_trained_on(tmp_path):
    """A corpus is in every split: a tenth of it is held out, and the queries of dev with it."""
    corpus = {str(n): ("", f"text {n}") for n in range(40)}
    write_beir(tmp_path, corpus, {"1": "one?", "2": "two?"}, dev=[("1", "3", 1)], test=[("2", "5", 1)])
    data = make_splits(read(tmp_path), tmp_path, TASKS["embedding"], transforms(), 3)
    trained, held_out = ({sample.text for sample in split.samples} for split in (data.train, data.held_out))
    assert not trained & held_out and "one?" in held_out
    assert len(trained) == 36 and len(held_out) == 5
    assert len(data.evaluation) == 41 and data.evaluation.judgements and not data.held_out.judgements
    assert data.labels == ()


@pytest.mark.parametrize("missing", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_part_of_it_is_not_the_layout(tmp_path, missing):
    write_beir(tmp_path, {"a": ("", "lift")}, {"1": "what?"}, test=[("1", "a", 1)])
    (tmp_path / missing).unlink()
    with refused(InputError, "data-not-of-task", "corpus.jsonl, queries.jsonl and qrels"):
        read(tmp_path)
