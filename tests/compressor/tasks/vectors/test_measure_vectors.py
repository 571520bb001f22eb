"""What vectors are worth, by hand-worked figures."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from compressor.data.texts.embedded_split import EmbeddedSplit
from compressor.data.texts.judgements import Relevances, Similarities
from compressor.data.types import Records, Sample
from compressor.tasks.vectors.across_models import NEAREST, RELEVANT, recall_across
from compressor.tasks.vectors.correlation import average_ranks, spearman
from compressor.tasks.vectors.measure_vectors import guess, measure_vectors
from compressor.tasks.vectors.vector_losses import closeness, distance
from tests.support.data_files import transforms


def split(texts, judgements=None):
    return EmbeddedSplit("test", Records((), tuple(map(Sample, texts)), judgements=judgements), transforms(), 2, 0)


def angles(*degrees):
    """Vectors of two numbers at these angles; lengths differ, and mean nothing."""
    turns = torch.tensor(degrees) * math.pi / 180
    return torch.stack([turns.cos(), turns.sin()], 1) * torch.arange(1, len(degrees) + 1)[:, None]


def test_equal_values_share_their_ranks():
    assert average_ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]
    assert spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0])) == pytest.approx(1)
    assert spearman(np.array([1.0, 2.0, 3.0]), np.zeros(3)) == 0


def test_pairs_are_scored_by_the_order_of_their_cosines():
    """Four pairs, two of which people rank the other way round: 1 - 6 * 2 / (4 * 15)."""
    judged = Similarities(((0, 1), (0, 2), (0, 3), (0, 4)), (5.0, 3.0, 4.0, 0.5))
    found = measure_vectors(angles(0, 10, 30, 60, 90), split("abcde", judged))
    assert found.value == pytest.approx(0.8) and found.metric == "Spearman" and found.samples == 4
    assert len(found.each) == 4 and 0 < found.parts["Pearson"] < 1


def test_ndcg_and_recall_are_those_of_trec_eval():
    """The query at 0 degrees finds 10, 20, 30 in this order: grades 0, 1, 3 of the ideal 3, 1."""
    judged = Relevances((0,), (1, 2, 3), ({1: 1.0, 2: 3.0},), ((),))
    found = measure_vectors(angles(0, 10, 20, 30), split("qabc", judged))
    gained, ideal = 1 / math.log2(3) + 3 / math.log2(4), 3 + 1 / math.log2(3)
    assert found.value == pytest.approx(gained / ideal) and found.metric == "NDCG@10"
    assert found.parts == {"recall@10": 1.0, "recall@100": 1.0}


def test_only_ten_documents_count_and_not_the_query_itself():
    """The twelfth nearest is the answer; the query's own text would else be the first found."""
    texts, answer = [str(n) for n in range(13)], ({12: 1.0},)
    judged = Relevances((0,), tuple(range(13)), answer, ((0,),))
    found = measure_vectors(angles(*range(0, 65, 5)), split(texts, judged))
    assert found.value == 0 and found.parts == {"recall@10": 0.0, "recall@100": 1.0}
    found = measure_vectors(angles(*range(0, 65, 5)), split(texts, replace(judged, grades=({10: 1.0},))))
    assert found.value == pytest.approx(1 / math.log2(11))


def test_without_judgements_the_full_models_vectors_are_the_measure():
    plain = split("ab").with_targets(angles(0, 90))
    found = measure_vectors(angles(60, 90), plain)
    assert found.each.tolist() == pytest.approx([0.5, 1.0]) and found.value == pytest.approx(0.75)
    assert guess(plain, plain) == pytest.approx(math.cos(math.pi / 4))


def test_words_in_common_are_the_trivial_guess():
    texts = ["the circle", "the circle", "what color", "is the"]
    assert guess(split("a"), split(texts, Similarities(((0, 1), (0, 3), (0, 2)), (5.0, 2.0, 1.0)))) == 1


def test_recall_on_the_full_models_index():
    """Slim has turned all its texts by 40 degrees: nothing is lost among them, and all on the full model's index."""
    judged = Relevances((0,), tuple(range(1, 13)), ({0: 1.0},), ((),))
    full = angles(0, 5, *range(20, 75, 5))
    turned = angles(40, 45, *range(60, 115, 5))
    found = recall_across(full, turned, split([str(n) for n in range(13)], judged))
    assert (found.full_on_full, found.slim_on_full, found.slim_on_slim) == (1, 0, 1) and found.sought == RELEVANT
    assert (found.queries, found.documents, found.at) == (1, 12, 10)


def test_without_queries_the_full_models_nearest_are_sought():
    full = angles(*range(0, 120, 10))
    found = recall_across(full, full.flip(0), split([str(n) for n in range(12)]))
    assert found.sought == NEAREST and found.full_on_full == 1 and found.queries == 12
    assert found.slim_on_full == pytest.approx(0.9) and found.slim_on_slim == 1  # the mirror keeps all angles


def test_the_distance_is_of_cosines_and_of_products_with_the_batch():
    """Two texts a right angle apart, one of them turned by 60 degrees towards the other."""
    full, slim = torch.eye(2), torch.tensor([[0.5, math.sqrt(0.75)], [0.0, 1.0]])
    products = torch.tensor([[-0.5, math.sqrt(0.75)], [0.0, 0.0]])
    assert float(distance(slim, full)) == pytest.approx(0.25 + 10 * float(products.square().mean()))
    assert float(distance(full, full)) == 0
    assert closeness(slim, {"targets": full}).tolist() == pytest.approx([0.5, 1.0])
