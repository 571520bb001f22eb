"""Every caption and every image of a split through its encoder once; and, where both meet, every pair of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from compressor.data.batches import batches_of_like_length
from compressor.data.splits import RankedSplit, Split
from compressor.distributed import all_gather, deal
from compressor.families import FAMILIES
from compressor.models.padding import join_streams
from compressor.models.steps import StepModel, Streams, split_where_modalities_meet
from compressor.progress import Progress

ENCODED_AT_ONCE = 64


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


def encode_apart(model: StepModel, split: Split, progress: Progress) -> Tensor:
    """Return the vectors of the text and of the image of every sample, (n, 2, width), on the CPU.

    Each different text and each image goes through its tower once.

    Args:
        model: of two towers, in eval mode.
        split: texts and their images.
        progress: told about both passes.
    """
    numbers = {split.text_of(sample): number for number, sample in reversed([*enumerate(split.samples)])}
    texts, gallery = np.array(sorted(numbers.values())), split.gallery
    row_of = {number: row for row, number in enumerate(texts.tolist())}
    rows = [row_of[numbers[split.text_of(sample)]] for sample in split.samples]
    of_texts = _encode_each(
        model, split.lengths[texts], lambda batch: split.texts(texts[batch]), progress, "Encoding texts once"
    )
    of_images = _encode_each(
        model,
        np.ones(len(gallery)),
        lambda batch: split.pixels([gallery[i] for i in batch]),
        progress,
        "Encoding images once",
    )
    return torch.stack([of_texts[rows], of_images[split.owners]], dim=1)


def _encode_each(
    model: StepModel,
    lengths: np.ndarray,
    read: Callable[[np.ndarray], Mapping[str, Tensor]],
    progress: Progress,
    label: str,
) -> Tensor:
    """Return the vector of every text or image, (n, width); ``read`` returns the inputs of those of these numbers."""
    device = next(model.parameters()).device
    batches, rows = deal(batches_of_like_length(lengths, ENCODED_AT_ONCE)), []
    with torch.inference_mode():
        for batch in progress.track(batches, label, len(batches)):
            inputs = {name: value.to(device) for name, value in read(batch).items()}
            rows.append(model(**inputs)[:, 0].float().cpu())
    order = np.concatenate(all_gather(batches))
    return torch.cat(all_gather(rows))[order.argsort()]
