"""Scores of pairs of a query and a passage, and losses over the passages of a query.

``targets`` are those of a :class:`compressor.data.candidates.candidate_split.CandidateSplit`: relevance and query,
(B, 2).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from compressor.data.types import Batch


def relevance(logits: Tensor) -> Tensor:
    """Return how relevant a model says passages are, (B,): its one logit, or the log-odds of its last class.

    Args:
        logits: (B, 1), or (B, classes), of which the last is that of relevant passages.
    """
    if logits.shape[-1] == 1:
        return logits[:, 0]
    return logits[:, -1] - logits[:, :-1].logsumexp(-1)


def list_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the cross-entropy of each query's relevance with the softmax over its passages, the mean over queries.

    It is ListNet's (Cao et al., ICML 2007) with a query's grades, divided by their sum, as probabilities; for one
    relevant passage the contrastive loss of Gao et al. (ECIR 2021). A query counts for those of its passages that are
    in the batch, and not without a relevant one.
    """
    said, (grades, queries) = relevance(logits), batch["targets"].unbind(-1)
    together = queries[:, None] == queries[None]
    share = grades / (together * grades).sum(-1).clamp(min=torch.finfo(grades.dtype).tiny)
    log_softmax = said - torch.where(together, said[None], -torch.inf).logsumexp(-1)
    return -(share * log_softmax).sum() / share.sum().clamp(min=1)


def score_distillation(logits: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Return the mean squared difference from the teacher's scores: the slim model's stay comparable with them."""
    return F.mse_loss(relevance(logits), relevance(teacher))


def pairs_in_order(logits: Tensor, batch: Batch) -> Tensor:
    """Return for each passage the share of its query's other passages that it is ranked rightly against, (B,).

    Passages of one grade need no order, and a tie is half right; where the batch has none to compare with, it is 1.
    """
    said, (grades, queries) = relevance(logits), batch["targets"].unbind(-1)
    difference = grades[:, None] - grades[None]
    compared = (queries[:, None] == queries[None]) & (difference != 0)
    right = ((said[:, None] - said[None]).sign() * difference.sign() + 1) / 2
    return torch.where(compared.any(-1), (right * compared).sum(-1) / compared.sum(-1).clamp(min=1), 1.0)


def as_grades(logits: Tensor) -> Tensor:
    """Return what a model says of pairs, (n, classes) -> (n, 1), as grades of relevance between 0 and 1."""
    return relevance(logits).double().sigmoid()[:, None]
