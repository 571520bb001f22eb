"""What a slim embedder finds in an index that the full model made: queries of the one, documents of the other."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from compressor.data.splits import Split
from compressor.data.texts.embedded_split import EmbeddedSplit
from compressor.data.texts.judgements import Relevances
from compressor.evaluation.score import IndexRecall
from compressor.evaluation.significance import margin_of
from compressor.tasks.vectors.measure_vectors import AT, find_documents
from compressor.tasks.vectors.nearest import recall

MOST_QUERIES = 1000  # that texts without queries among them are searched for
RELEVANT, NEAREST = "relevant documents", f"the full model's {AT} nearest texts"


def recall_across(full: Tensor, slim: Tensor, split: Split | None) -> IndexRecall:
    """Return the recall@10 of both models' queries on both models' indexes.

    Where the data has no queries, each of up to 1,000 texts is one, all others are the index, and what is to be found
    are the full model's ten nearest texts.

    Args:
        full: the full model's vectors of texts, (n, width).
        slim: the slim model's, (n, width).
        split: whose texts they are, with what people said of them; None where they are a few of it.
    """
    judged, sought = split.judgements if isinstance(split, EmbeddedSplit) else None, RELEVANT
    if not isinstance(judged, Relevances):
        judged, sought = _neighbours(full), NEAREST

    def search(queries: Tensor, index: Tensor) -> np.ndarray:
        return recall(find_documents(queries, index, judged, AT), judged.grades, AT)

    on_full, across, on_slim = search(full, full), search(slim, full), search(slim, slim)
    return IndexRecall(
        sought=sought,
        at=AT,
        full_on_full=float(on_full.mean()),
        slim_on_full=float(across.mean()),
        slim_on_slim=float(on_slim.mean()),
        margin=margin_of(across - on_full),
        queries=len(judged.queries),
        documents=len(judged.documents),
    )


def _neighbours(full: Tensor) -> Relevances:
    """Return texts as queries, all texts as documents, and each query's nearest others as what answers it."""
    texts = tuple(range(len(full)))
    queries = tuple(map(int, np.unique(np.linspace(0, len(full) - 1, min(len(full), MOST_QUERIES)).astype(int))))
    own = tuple((number,) for number in queries)
    found = find_documents(full, full, Relevances(queries, texts, ({},) * len(queries), own), AT)
    return Relevances(queries, texts, tuple(dict.fromkeys(map(int, row), 1.0) for row in found), own)
