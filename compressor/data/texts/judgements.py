"""What people said of the texts of a split: how alike two are, or which documents answer a query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Similarities:
    """Pairs of texts, and how alike people find them.

    Attributes:
        pairs: the numbers of two samples each.
        scores: of each pair, on any scale; larger is more alike.
    """

    pairs: tuple[tuple[int, int], ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Relevances:
    """Queries and documents, and how well some documents answer a query.

    Attributes:
        queries: the number of the sample of each query.
        documents: the number of the sample of each document; documents of one text have one sample.
        grades: for each query the grades of its relevant documents, above 0, by their place in ``documents``.
        own: for each query the places of the documents that are the query itself, and not to be found.
    """

    queries: tuple[int, ...]
    documents: tuple[int, ...]
    grades: tuple[Mapping[int, float], ...]
    own: tuple[tuple[int, ...], ...]


Judgements = Similarities | Relevances
