"""MAP, MRR@10 and NDCG@10 of the passages of queries, against figures worked out by hand and scikit-learn's."""

from itertools import permutations

import numpy as np
import pytest
import torch

from compressor.data.candidates.candidate_split import CandidateSplit
from compressor.data.types import Records, Sample
from compressor.tasks.reranking.list_measures import (
    average_precision,
    gain,
    measure_lists,
    random_order,
    reciprocal_rank,
)
from tests.support.data_files import transforms


def split_of(*rows, classes=1):
    """A split of pairs: query, and grade of the passage; None without a label."""
    label = {None: {}} | {grade: {"labels": (0,), "scores": (float(grade),)} for _, grade in rows if grade is not None}
    samples = [Sample(query, f"passage {n}", **label[grade]) for n, (query, grade) in enumerate(rows)]
    return CandidateSplit("test", Records((), tuple(samples)), transforms(), classes, 0)


def scores(*values):
    return torch.tensor(values)[:, None]


def test_two_queries_by_hand():
    """Relevant at ranks 1 and 3 of 4, and at rank 2 of 2; the rows of a query stand apart in the file."""
    split = split_of(("a", 1), ("b", 0), ("a", 0), ("a", 1), ("b", 1), ("a", 0))
    in_order = [split.samples[n].second for n in range(6)]
    assert in_order == [f"passage {n}" for n in (0, 2, 3, 5, 1, 4)]
    found = measure_lists(scores(4.0, 3.0, 2.0, 1.0, 9.0, 8.0), split)
    assert found.each.tolist() == [pytest.approx((1 + 2 / 3) / 2), 0.5]
    assert found.value == pytest.approx((5 / 6 + 0.5) / 2) and found.samples == 2
    second = 1 / np.log2(3)
    assert found.parts["MRR@10"] == pytest.approx(0.75)
    assert found.parts["NDCG@10"] == pytest.approx(((1 + 0.5) / (1 + second) + second) / 2)


def test_the_last_of_several_classes_is_that_of_relevant_passages():
    split = split_of(("a", 0), ("a", 1), ("a", 0), classes=2)
    logits = torch.tensor([[5.0, 4.0], [0.0, 0.5], [3.0, -9.0]])  # log-odds -1, 0.5 and -12
    assert measure_lists(logits, split).value == 1.0


def test_equal_scores_are_ranked_against_the_model():
    """A model that says the same of all is not rewarded for the order of the file."""
    split = split_of(("a", 1), ("a", 0), ("a", 0))
    assert measure_lists(scores(1.0, 1.0, 1.0), split).value == pytest.approx(1 / 3)


def test_beyond_the_tenth_passage_only_map_counts():
    ranked = np.array([0.0] * 10 + [1.0])
    assert (average_precision(ranked), reciprocal_rank(ranked), gain(ranked)) == (pytest.approx(1 / 11), 0.0, 0.0)


@pytest.mark.slow
def test_scikit_learn_agrees():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for _ in range(20):
        grades, said = rng.integers(0, 4, 15).astype(float), rng.normal(size=15)
        ranked = grades[np.argsort(-said)]
        assert gain(ranked) == pytest.approx(metrics.ndcg_score([grades], [said], k=10))
        assert average_precision(ranked) == pytest.approx(metrics.average_precision_score(grades > 0, said))


@pytest.mark.parametrize("relevant", (1, 2, 3))
def test_chance_is_the_mean_over_all_orders(relevant):
    grades = np.array([1.0] * relevant + [0.0] * (5 - relevant))
    split = split_of(*(("a", grade) for grade in grades))
    expected = np.mean([average_precision(np.array(order)) for order in permutations(grades)])
    assert random_order(split, split) == pytest.approx(expected)


def test_without_labels_the_passage_that_the_full_model_finds_best_is_relevant():
    """Queries of one passage do not count."""
    rows = [("a", None), ("a", None), ("b", None), ("b", None), ("c", None)]
    split = split_of(*rows).with_targets(scores(0.9, 0.1, 0.4, 0.3, 0.9))
    found = measure_lists(scores(8.0, 1.0, 2.0, 3.0, 0.0), split)
    assert found.each.tolist() == [1.0, 0.5] and random_order(split, split) == 0.75
