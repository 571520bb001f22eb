"""Which images and captions find each other, of scores of all pairs: recall at 1, 5 and 10 both ways."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

RANKS = (1, 5, 10)


def recalls(scores: Tensor, owners: Tensor) -> dict[str, float]:
    """Return IR and TR R@1, 5 and 10 of match scores (images, captions); ``owners``, (captions,), numbers the images.

    IR is the share of captions whose image is among the k best images; TR the share of images with one of their own
    captions among the k best captions.
    """
    return name_recalls(*hits(scores, owners))


def name_recalls(images: Mapping[int, Tensor], captions: Mapping[int, Tensor]) -> dict[str, float]:
    """Return the same of what :func:`hits` returns."""
    found = {f"IR R@{k}": float(captions[k].double().mean()) for k in RANKS}
    return found | {f"TR R@{k}": float(images[k].double().mean()) for k in RANKS}


def hits(scores: Tensor, owners: Tensor) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Return for each k the images that find one of their captions, (images,), and the captions that find theirs."""
    by_image, by_caption = scores.argsort(dim=1, descending=True), scores.argsort(dim=0, descending=True)
    own = owners[by_image] == torch.arange(len(scores))[:, None]
    return (
        {k: own[:, :k].any(1) for k in RANKS},
        {k: (by_caption[:k] == owners[None]).any(0) for k in RANKS},
    )
