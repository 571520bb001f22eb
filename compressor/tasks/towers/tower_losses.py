"""Losses of vectors of texts and images that are to be those of the full model, and to rank as those do."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from compressor.data.types import Batch

SCALE = 20.0  # of cosines, in the softmax over a batch


def tower_loss(vectors: Tensor, batch: Batch) -> Tensor:
    """Return :func:`distance` to the targets, which are the full model's vectors."""
    return distance(vectors, batch["targets"])


def tower_distillation(vectors: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Return :func:`distance` to the teacher's vectors."""
    return distance(vectors, teacher)


def distance(vectors: Tensor, full: Tensor) -> Tensor:
    """Return how far vectors (B, 2, width) of texts and images are from the full model's, a scalar; 0 where equal.

    It is 1 - cosine, and in-batch contrast: the divergence of how each text chooses among the images of the batch, and
    each image among the texts, from how the full model's choose (Yang et al., CVPR 2024, contrastive relational
    distillation). So texts alike are not taught to be unlike, and no pair needs to be right.
    """
    turned = (1 - F.cosine_similarity(vectors, full, dim=-1)).clamp(min=0)  # rounding may leave less than 0
    ours, theirs = (SCALE * x[:, 0] @ x[:, 1].T for x in (vectors, full))
    return turned.mean() + (_divergence(ours, theirs) + _divergence(ours.T, theirs.T)) / 2


def _divergence(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return the mean divergence of rows of scores, (B, B) each."""
    return F.kl_div(ours.log_softmax(-1), theirs.log_softmax(-1), reduction="batchmean", log_target=True)


def tower_closeness(vectors: Tensor, batch: Batch) -> Tensor:
    """Return the mean cosine of text and image with their targets, (B,), in [0, 1]."""
    return F.cosine_similarity(vectors, batch["targets"], dim=-1).mean(-1).clamp(0, 1)


def cosine(vectors: Tensor) -> Tensor:
    """Return how alike text and image are, (B,), of their vectors of length 1, (B, 2, width)."""
    return (vectors[:, 0] * vectors[:, 1]).sum(-1)
