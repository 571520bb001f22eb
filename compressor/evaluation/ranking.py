"""Retrieval scored as it is published: every image of a split against every caption, each encoder run once on each."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from compressor.data.batches import batches_of_like_length
from compressor.data.splits import RankedSplit
from compressor.distributed import all_gather, deal
from compressor.families import FAMILIES
from compressor.models.padding import join_streams
from compressor.models.steps import StepModel, Streams, split_where_modalities_meet
from compressor.progress import Progress

ENCODED_AT_ONCE = 64
RANKS = (1, 5, 10)


def match_scores(model: StepModel, split: RankedSplit, batch_size: int, progress: Progress, label: str) -> Tensor:
    """Score every image of ``split`` with every caption, (images, captions), on the CPU.

    Encoders run once for each image and each caption; only what reads both runs for every pair.

    Args:
        model: in eval mode.
        split: captions and their images.
        batch_size: captions that one image is matched with at a time.
        progress: told about both passes.
        label: what it calls the second.
    """
    device = next(model.parameters()).device
    _, late = split_where_modalities_meet(model.rounds, FAMILIES[model.family].streams)
    with torch.inference_mode():
        texts, images = _encode(model, split, progress)
        columns = []
        batches = deal(batches_of_like_length(split.lengths, batch_size))
        for numbers in progress.track(batches, label, len(batches)):
            captions = _joined([texts[number] for number in numbers], device)
            rows = (model.advance({**captions, **_joined([image], device)}, late) for image in images)
            columns.append(torch.stack([model.epilogue(streams)[:, 0].cpu() for streams in rows]))
    order = np.concatenate(all_gather(batches))
    return torch.cat(all_gather(columns), 1)[:, order.argsort()]


def _encode(model: StepModel, split: RankedSplit, progress: Progress) -> tuple[list[Streams], list[Streams]]:
    """Return the streams in front of the first step that reads both, for every caption and for every image."""
    device, modalities = next(model.parameters()).device, FAMILIES[model.family].streams
    early, _ = split_where_modalities_meet(model.rounds, modalities)
    gallery = split.gallery
    parts = min(len(gallery), math.ceil(len(split) / ENCODED_AT_ONCE))
    captions_by_length = np.argsort(-split.lengths, kind="stable")
    pairs = list(
        zip(np.array_split(captions_by_length, parts), np.array_split(np.arange(len(gallery)), parts), strict=True)
    )
    encoded: dict[str, list[Streams]] = {"text": [{}] * len(split), "image": [{}] * len(gallery)}
    for captions, numbers in progress.track(pairs, "Encoding captions and images once", parts):
        inputs = {**split.texts(captions), **split.pixels([gallery[i] for i in numbers])}
        names = FAMILIES[model.family].input_names
        streams = model.advance(model.prologue(**{name: inputs[name].to(device) for name in names}), early)
        for modality, rows in encoded.items():
            found = {name: streams[name].cpu() for name in modalities[modality] if name in streams}
            for i, number in enumerate(captions if modality == "text" else numbers):
                rows[number] = {name: value[i : i + 1] for name, value in found.items()}
    return encoded["text"], encoded["image"]


def _joined(rows: list[Streams], device: torch.device) -> Streams:
    return {name: value.to(device) for name, value in join_streams(rows).items()}


def recalls(scores: Tensor, owners: Tensor) -> dict[str, float]:
    """Return IR and TR R@1, 5 and 10 of match scores (images, captions); ``owners``, (captions,), numbers the images.

    IR is the share of captions whose image is among the k best images; TR the share of images with one of their own
    captions among the k best captions.
    """
    images, captions = hits(scores, owners)
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
