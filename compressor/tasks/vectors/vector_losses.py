"""Losses and scores of vectors that are to be those of the full model: a slim model stays in its space."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from compressor.data.types import Batch

PRODUCTS = 10.0  # weight of the inner products, whose squared differences are small beside those of the cosines


def vector_loss(vectors: Tensor, batch: Batch) -> Tensor:
    """Return :func:`distance` to the targets, which are the full model's vectors."""
    return distance(vectors, batch["targets"])


def vector_distillation(vectors: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Return :func:`distance` to the teacher's vectors."""
    return distance(vectors, teacher)


def distance(vectors: Tensor, full: Tensor) -> Tensor:
    """Return how far vectors (B, width) are from the full model's of the same texts, a scalar; 0 where they are equal.

    It is 1 - cosine, and the squared error of the inner products with the full model's vectors of all texts of the
    batch, in units of their mean square length: what an index of the full model's vectors is searched by.
    """
    products = (vectors - full) @ full.T / full.square().sum(-1).mean()
    turned = (1 - F.cosine_similarity(vectors, full)).clamp(min=0)  # equal vectors may be less than 0 apart by rounding
    return turned.mean() + PRODUCTS * products.square().mean()


def closeness(vectors: Tensor, batch: Batch) -> Tensor:
    """Return the cosine with the target of each text, (B,), in [0, 1]; below 0 it is 0, above 1 by rounding it is 1."""
    return F.cosine_similarity(vectors, batch["targets"]).clamp(0, 1)
