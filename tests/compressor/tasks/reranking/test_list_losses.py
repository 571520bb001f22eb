"""Losses and scores over the passages of queries in a batch."""

import pytest
import torch

from compressor.tasks.reranking.list_losses import as_grades, list_loss, pairs_in_order, relevance, score_distillation

TARGETS = torch.tensor([[1.0, 7], [0.0, 3], [0.0, 7], [2.0, 3], [2.0, 3], [0.0, 9]])  # grade, query


def test_the_loss_is_the_cross_entropy_within_each_query():
    """The query without a relevant passage does not count, and another query's passages change nothing."""
    logits = torch.tensor([[2.0], [0.5], [1.0], [-1.0], [0.0], [99.0]], requires_grad=True)
    first = -torch.tensor([2.0, 1.0]).log_softmax(0)[0]
    second = -(torch.tensor([0.5, -1.0, 0.0]).log_softmax(0) * torch.tensor([0.0, 0.5, 0.5])).sum()
    loss = list_loss(logits, {"targets": TARGETS})
    loss.backward()
    assert loss.item() == pytest.approx((first + second).item() / 2)
    assert logits.grad[5] == 0 and logits.grad[:5].ne(0).all()


def test_a_batch_without_relevant_passages_has_no_loss_and_finite_gradients():
    logits = torch.zeros(2, 1, requires_grad=True)
    loss = list_loss(logits, {"targets": torch.zeros(2, 2)})
    loss.backward()
    assert loss.item() == 0 and logits.grad.eq(0).all()


def test_pairs_in_order():
    logits = torch.tensor([[2.0], [0.5], [1.0], [-1.0], [0.5], [99.0]])
    found = pairs_in_order(logits, {"targets": TARGETS})
    assert found.tolist() == [1.0, 0.25, 1.0, 0.0, 0.5, 1.0]


def test_several_logits_are_the_log_odds_of_the_last():
    logits = torch.tensor([[1.0, 3.0], [0.0, 0.0]])
    assert relevance(logits).tolist() == [2.0, 0.0]
    assert as_grades(logits)[:, 0].tolist() == pytest.approx([1 / (1 + 2.718281828**-2), 0.5])


def test_distillation_moves_towards_the_teachers_scores():
    student, teacher = torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [3.0]])
    assert float(score_distillation(student, teacher, {})) == 0.5
