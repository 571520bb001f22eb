"""How well the passages of queries are ranked: MAP, MRR@10 and NDCG@10, and what any order reaches."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from compressor.data.candidates.candidate_split import CandidateSplit
from compressor.data.splits import Split
from compressor.tasks.measured import Measured
from compressor.tasks.reranking.list_losses import relevance
from compressor.tasks.vectors.nearest import ndcg

AT = 10  # passages that count for MRR and NDCG
MRR, NDCG = f"MRR@{AT}", f"NDCG@{AT}"


def measure_lists(logits: Tensor, split: Split) -> Measured:
    """Return the mean average precision of the queries of a split, with MRR@10 and NDCG@10 beside it.

    Passages of equal score are ranked against the model, the less relevant first.

    Args:
        logits: of every pair of the split, (n, classes).
        split: says what is relevant, as :func:`_graded_lists` has it.
    """
    said = relevance(logits.double()).numpy()
    ranked = [grades[np.lexsort((grades, -said[rows]))] for rows, grades in _graded_lists(split)]
    each = np.array([average_precision(some) for some in ranked])
    parts = {MRR: [reciprocal_rank(some) for some in ranked], NDCG: [gain(some) for some in ranked]}
    means = {name: float(np.mean(values)) for name, values in parts.items()}
    return Measured(float(each.mean()), each, len(each), means, unit="queries")


def random_order(train: Split, evaluation: Split) -> float:
    """Return the expected mean average precision of passages in an order of chance.

    For R relevant of n passages it is (H + (R - 1) (n - H) / (n - 1)) / n with the harmonic number H of n: at each rank
    k a relevant one stands with probability R / n, and before it (R - 1) / (n - 1) of k - 1 are relevant.
    """
    return float(np.mean([_by_chance(grades > 0) for _, grades in _graded_lists(evaluation)]))


def _graded_lists(split: Split) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for each query with several passages the numbers of its pairs and their relevance.

    Without labels the passage that the full model finds best is the relevant one.
    """
    assert isinstance(split, CandidateSplit)
    queries, grades = split.groups, split.targets(range(len(split)))[:, 0].double().numpy()
    order = np.argsort(queries, kind="stable")
    lists = np.split(order, np.flatnonzero(np.diff(queries[order])) + 1)
    graded = [(rows, grades[rows]) for rows in lists if len(rows) > 1]
    return graded if split.judged else [(rows, (some == some.max()).astype(float)) for rows, some in graded]


def average_precision(ranked: np.ndarray) -> float:
    """Return the mean, over the relevant passages, of the precision at the rank of each.

    Args:
        ranked: grades of a query's passages in the order of a model, (passages,), above 0 where they are relevant.
    """
    found = ranked > 0
    return float((found.cumsum() / np.arange(1, len(ranked) + 1))[found].mean())


def reciprocal_rank(ranked: np.ndarray) -> float:
    """Return one over the rank of the first relevant passage; 0 where the first ten have none."""
    found = np.flatnonzero(ranked[:AT] > 0)
    return 1 / (found[0] + 1) if len(found) else 0.0


def gain(ranked: np.ndarray) -> float:
    """Return the normalised discounted cumulative gain of the first ten; the gain of a passage is its grade."""
    return float(ndcg(np.arange(len(ranked))[None], [dict(enumerate(ranked))], AT)[0])


def _by_chance(relevant: np.ndarray) -> float:
    n, share = len(relevant), (relevant.sum() - 1) / (len(relevant) - 1)
    harmonic = (1 / np.arange(1, n + 1)).sum()
    return float((harmonic + share * (n - harmonic)) / n)
