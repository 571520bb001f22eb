"""Queries and passages: read in any order, kept together by query, and left out where nothing can be ranked."""

import numpy as np
import pytest

from compressor.data.candidates.candidate_split import CandidateSplit
from compressor.data.read_data import read_data
from compressor.data.read_unlabelled import read_unlabelled
from compressor.data.roles import make_splits, make_unlabelled_splits
from compressor.data.splits import describe_dropped
from compressor.data.types import Records, Sample
from compressor.errors import InputError
from compressor.tasks import TASKS
from compressor.tasks.task import teacher_agreement
from tests.support.command_line import refused
from tests.support.data_files import transforms, write_columns

TASK = TASKS["reranking"]


def rows(*cells, columns=("query", "passage", "label")):
    return [dict(zip(columns, cell, strict=True)) for cell in cells]


def write(root, **splits):
    for split, cells in splits.items():
        write_columns(root, f"{split}.csv", rows(*cells))


def lists(queries, passages=4, relevant=1):
    """Cells of some queries, whose passages stand far apart in the file."""
    return [(f"query {q}", f"passage {q} {p}", int(p < relevant)) for p in range(passages) for q in range(queries)]


def split_of(samples):
    return CandidateSplit("train", Records((), tuple(samples)), transforms(), 1, 0)


def test_queries_are_gathered_and_those_that_cannot_be_ranked_are_left_out(tmp_path):
    cells = [("a", "1", 1), ("b", "2", 0), ("c", "3", 2), ("a", "4", 0), ("b", "5", 0), ("c", "6", 1), ("a", "7", 0)]
    write(tmp_path, train=lists(3), val=lists(2), test=cells)
    data = make_splits(read_data(tmp_path, TASK.name), tmp_path, TASK, transforms(), 1)
    assert [(s.text, s.second, s.scores) for s in data.evaluation.samples] == [
        ("a", "1", (1.0,)), ("a", "4", (0.0,)), ("a", "7", (0.0,)),
    ]  # fmt: skip
    assert data.evaluation.targets([0, 2]).tolist() == [[1.0, 0.0], [0.0, 0.0]]
    told = data.evaluation.describe()
    assert told["dropped"] == 4 and "answers" not in told
    assert describe_dropped(told["dropped"], told["rows"], told["left_out"]).startswith(
        "4 left out: of queries without"
    )
    assert data.labels == ("relevance",)


def test_names_of_columns_that_are_known_or_given(tmp_path):
    known = ("qtext", "label", "atext")
    write_columns(tmp_path, "test.csv", rows(("q", "0", "no"), ("q", "1", "yes"), columns=known))
    assert [s.second for s in read_data(tmp_path, TASK.name).splits["test"].samples] == ["no", "yes"]
    other = tmp_path / "other"
    write_columns(other, "test.csv", rows(("q", "0", "no"), ("q", "1", "yes"), columns=("ask", "grade", "reply")))
    given = {"text": "ask", "second": "reply", "label": "grade"}
    assert len(read_data(other, TASK.name, columns=given).splits["test"].samples) == 2


@pytest.mark.parametrize("grade", ("often", "-2", "inf", ""))
def test_a_relevance_that_is_none(tmp_path, grade):
    write(tmp_path, train=lists(2), test=[("q", "no", 0), ("q", "yes", 1), ("q", "what", grade)])
    dataset = read_data(tmp_path, TASK.name)
    (reason,) = dataset.splits["test"].unreadable
    assert "relevance" in reason or "label" in reason
    with refused(InputError, "too-many-unusable-rows"):
        make_splits(dataset, tmp_path, TASK, transforms(), 1)


def test_no_query_is_in_two_parts(tmp_path):
    """Neither where a tenth of the training is held out, nor of inputs without answers."""
    write(tmp_path, train=lists(30), test=lists(3))
    data = make_splits(read_data(tmp_path, TASK.name), tmp_path, TASK, transforms(), 1)
    held_out, train = ({s.text for s in split.samples} for split in (data.held_out, data.train))
    assert len(held_out) == 3 and len(train) == 27 and not held_out & train
    agreement = teacher_agreement(TASK)
    inputs = make_unlabelled_splits(read_unlabelled(tmp_path, agreement), tmp_path, agreement, transforms(), 1)
    parts = [{s.text for s in split.samples} for split in inputs.splits]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 30
    assert inputs.evaluation.describe()["answers"] == "the full model's own"
    write_columns(tmp_path / "few", "a.csv", rows(*lists(15)))
    with refused(InputError, "too-few-inputs", "60 different inputs, 15 of them without a text in common"):
        make_unlabelled_splits(read_unlabelled(tmp_path / "few", agreement), tmp_path, agreement, transforms(), 1)


def test_batches_keep_queries_together():
    """In training, too, where the passages of a query come in an order of chance."""
    samples = [Sample(query, passage, labels=(0,), scores=(float(g),)) for query, passage, g in lists(40)]
    split = split_of(samples)
    assert [s.text for s in split.samples[:5]] == ["query 0"] * 4 + ["query 1"]
    order = split.training_order(8, seed=0)
    batches = [order.batch(step) for step in range(order.steps)]
    assert sorted(np.concatenate(batches)) == list(range(160))
    assert all(len(set(split.groups[batch])) == 2 for batch in batches)
    assert sum((np.diff(batch) < 0).any() for batch in batches) > 10
    drawn = split.draw(50, seed=1)
    assert len(drawn) == 48 and set(np.bincount(drawn.groups)) == {0, 4}
    assert drawn.targets([0])[0, 1] == drawn.groups[0]


def test_queries_of_one_passage_cannot_be_ranked():
    with refused(InputError, "passages-alone", "each of the 2 queries of train has a single passage"):
        split_of([Sample("a", "1"), Sample("b", "2")])
