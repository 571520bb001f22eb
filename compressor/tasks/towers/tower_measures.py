"""The score of the vectors of texts and images of a whole split, and what slim texts find among full images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from compressor.data.splits import Split
from compressor.evaluation.score import IndexRecall
from compressor.evaluation.significance import margin_of
from compressor.tasks.measured import Measured
from compressor.tasks.towers.matches import hits, name_recalls

AT = 10
OWN, NEAREST = "images of captions", f"the full model's {AT} nearest images"


def measure_retrieval(vectors: Tensor, split: Split) -> Measured:
    """Return the mean of image and text R@1 of all captions and all images of a split, by one matrix product.

    Units are images: what each contributes is whether it finds a caption of its own, and how many of its captions find
    it, in units of the captions that an image has on average.

    Args:
        vectors: of the text and of the image of each sample, (n, 2, width), of length 1.
        split: which image is whose.
    """
    texts, images = vectors[:, 0], vectors[first_rows(split.owners), 1]
    owners = torch.from_numpy(split.owners)
    by_image, by_caption = hits(images @ texts.T, owners)
    found = torch.bincount(owners, by_caption[1].double()) * (len(images) / len(texts))
    each = ((by_image[1].double() + found) / 2).numpy()
    return Measured(float(each.mean()), each, len(texts), name_recalls(by_image, by_caption))


def measure_classes(vectors: Tensor, split: Split) -> Measured:
    """Return how many images are nearest to the vector of their class, among the classes of the split's images.

    That vector is the mean of those of the class's different sentences, at length 1. How often it is among the five
    nearest is a part.

    Args:
        vectors: of the text and of the image of each sample, (n, 2, width), of length 1.
        split: the class of each sample.
    """
    labels, number = torch.tensor([sample.labels[0] for sample in split.samples]).unique(return_inverse=True)
    sentences = {(sample.labels[0], sample.text): row for row, sample in enumerate(split.samples)}
    rows = torch.tensor(sorted(sentences.values()))
    classes = torch.zeros(len(labels), vectors.shape[2]).index_add(0, number[rows], vectors[rows, 0])
    nearest = (vectors[:, 1] @ F.normalize(classes, dim=-1).T).topk(min(5, len(labels)), dim=1).indices
    right = (nearest == number[:, None]).double()
    five = float(right.any(1).double().mean())
    return Measured(float(right[:, 0].mean()), right[:, 0].numpy(), len(right), {"top-5 accuracy": five})


def first_rows(owners: np.ndarray) -> np.ndarray:
    """Return for each image the number of its first sample, (images,); ``owners``, (n,), numbers the images."""
    return np.unique(owners, return_index=True)[1]


def recall_across(full: Tensor, slim: Tensor, split: Split | None) -> IndexRecall:
    """Return the recall@10 of texts by either model in an index of images by either model.

    Where it is not known which images are there once only, what is to be found are the full model's ten nearest.

    Args:
        full: the full model's vectors of samples, (n, 2, width).
        slim: the slim model's, (n, 2, width).
        split: whose samples they are; None where they are a few of it.
    """
    rows = np.arange(len(full)) if split is None else first_rows(split.owners)
    most = min(AT, len(rows))

    def search(texts: Tensor, images: Tensor) -> Tensor:
        return (texts[:, 0] @ images[rows, 1].T).topk(most, dim=1).indices

    sought = search(full, full) if split is None else torch.from_numpy(split.owners)[:, None]

    def recall(texts: Tensor, images: Tensor) -> np.ndarray:
        found = search(texts, images)
        return (sought[:, :, None] == found[:, None]).any(2).double().mean(1).numpy()

    on_full, across, on_slim = recall(full, full), recall(slim, full), recall(slim, slim)
    return IndexRecall(
        sought=NEAREST if split is None else OWN,
        at=AT,
        full_on_full=float(on_full.mean()),
        slim_on_full=float(across.mean()),
        slim_on_slim=float(on_slim.mean()),
        margin=margin_of(across - on_full),
        queries=len(full),
        documents=len(rows),
    )
