"""The score of the vectors of a whole split, as its data judges them, and that of a guesser without a model."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from compressor.data.splits import Split
from compressor.data.texts.embedded_split import EmbeddedSplit
from compressor.data.texts.judgements import Relevances, Similarities
from compressor.tasks.measured import Measured, resample
from compressor.tasks.vectors.correlation import pearson, spearman
from compressor.tasks.vectors.nearest import ndcg, nearest, recall

AT, FURTHER = 10, 100  # documents that count: of NDCG and recall, and of the further recall
BUCKETS = 1024  # that the words of the guesser fall into
COSINE = "cosine with the full model"


def measure_vectors(vectors: Tensor, split: Split) -> Measured:
    """Return what vectors (n, width) of the texts of a split are worth, as its data judges them.

    It is Spearman's correlation of the cosines of pairs with what people say of them; or NDCG@10 of queries against
    all documents; or, where nothing is judged, the mean cosine with the targets, the full model's vectors.
    """
    assert isinstance(split, EmbeddedSplit)
    judgements = split.judgements
    if isinstance(judgements, Similarities):
        return _measure_pairs(vectors, judgements)
    if isinstance(judgements, Relevances):
        return _measure_queries(vectors, judgements)
    each = F.cosine_similarity(vectors, split.targets(range(len(split)))).clamp(0, 1).double().numpy()
    return Measured(float(each.mean()), each, len(each), metric=COSINE)


def guess(train: Split, evaluation: Split) -> float:
    """Return the score of counting words, or, where nothing is judged, of one vector for all texts.

    Words are tokens that fall into 1,024 buckets; the one vector is the mean of those that training has.
    """
    assert isinstance(evaluation, EmbeddedSplit)
    if evaluation.judgements is None:
        mean = F.normalize(train.targets(range(len(train))), dim=-1).mean(0)
        vectors = mean.expand(len(evaluation), -1)
    else:
        vectors = torch.stack([_count_words(ids) for ids in evaluation.token_ids()])
    return max(0.0, measure_vectors(vectors, evaluation).value)


def _count_words(ids: np.ndarray) -> Tensor:
    return torch.from_numpy(np.bincount(ids % BUCKETS, minlength=BUCKETS)).float()


def _measure_pairs(vectors: Tensor, judged: Similarities) -> Measured:
    first, second = (vectors[list(side)].float() for side in zip(*judged.pairs, strict=True))
    alike, scores = F.cosine_similarity(first, second).double().numpy(), np.array(judged.scores)
    value, each = resample(lambda rows: spearman(alike[rows], scores[rows]), len(scores))
    return Measured(value, each, len(scores), {"Pearson": pearson(alike, scores)}, metric="Spearman", unit="pairs")


def _measure_queries(vectors: Tensor, judged: Relevances) -> Measured:
    found = find_documents(vectors, vectors, judged, FURTHER)
    each = ndcg(found, judged.grades, AT)
    parts = {f"recall@{at}": float(recall(found, judged.grades, at).mean()) for at in (AT, FURTHER)}
    return Measured(float(each.mean()), each, len(each), parts, metric=f"NDCG@{AT}", unit="queries")


def find_documents(queries: Tensor, index: Tensor, judged: Relevances, most: int) -> np.ndarray:
    """Return the documents nearest to each query, the best first, (queries, most).

    Documents that are the query itself are not found.

    Args:
        queries: vectors of the texts of the split by the model that asks, (n, width).
        index: the same by the model that made the index.
        judged: which texts are queries and documents.
        most: how many.
    """
    return nearest(queries[list(judged.queries)], index[list(judged.documents)], most, judged.own)
