"""How well queries find the documents that answer them: NDCG@10 and recall, as BEIR counts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

AT_ONCE = 256  # queries that are compared with all documents together


def nearest(queries: Tensor, documents: Tensor, most: int, same: Sequence[Sequence[int]]) -> np.ndarray:
    """Return the ``most`` documents nearest to each query by cosine, the best first, (queries, most).

    Args:
        queries: vectors (queries, width).
        documents: vectors (documents, width).
        most: fewer where there are fewer documents.
        same: for each query the documents that are the query itself, and not to be found.
    """
    index, found = F.normalize(documents.float(), dim=-1).T, []
    for start in range(0, len(queries), AT_ONCE):
        alike = F.normalize(queries[start : start + AT_ONCE].float(), dim=-1) @ index
        for row, own in enumerate(same[start : start + AT_ONCE]):
            alike[row, list(own)] = -torch.inf
        found.append(alike.topk(min(most, len(documents)), dim=-1).indices)
    return torch.cat(found).numpy()


def ndcg(found: np.ndarray, grades: Sequence[Mapping[int, float]], at: int) -> np.ndarray:
    """Return the normalised discounted cumulative gain of each query, (queries,), in [0, 1].

    The gain of a document is its grade, as in trec_eval and BEIR.

    Args:
        found: documents for each query, the best first.
        grades: of its relevant documents, for each query.
        at: how many of the found documents count.
    """
    discount = 1 / np.log2(np.arange(2, at + 2))
    gains = [
        [graded.get(int(document), 0.0) for document in row[:at]] for row, graded in zip(found, grades, strict=True)
    ]
    best = [sorted(graded.values(), reverse=True)[:at] for graded in grades]
    return np.array([_dot(gain, discount) / _dot(ideal, discount) for gain, ideal in zip(gains, best, strict=True)])


def recall(found: np.ndarray, grades: Sequence[Mapping[int, float]], at: int) -> np.ndarray:
    """Return the share of each query's relevant documents among the first ``at`` found, (queries,)."""
    return np.array(
        [len(graded.keys() & set(map(int, row[:at]))) / len(graded) for row, graded in zip(found, grades, strict=True)]
    )


def _dot(gains: Sequence[float], discount: np.ndarray) -> float:
    return float(np.dot(gains, discount[: len(gains)]))
