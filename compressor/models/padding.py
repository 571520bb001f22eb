"""Streams of samples of different length, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from compressor.models.steps import Streams, is_mask

MASKED = -10000.0  # added to the scores of padding: their softmax is 0


def join_streams(samples: Sequence[Mapping[str, Tensor]]) -> Streams:
    """Concatenate tensors by name, (r, ...) of each sample, shorter ones padded: their masks leave the padding out."""
    return {name: join_rows([rows[name] for rows in samples], _padding_of(name, samples[0])) for name in samples[0]}


def join_rows(rows: Sequence[Tensor], padding: float = 0) -> Tensor:
    """Concatenate tensors (r, ...), shorter ones padded at the end of every axis."""
    shapes = {row.shape[1:] for row in rows}
    if len(shapes) == 1:
        return torch.cat(list(rows))
    largest = [max(sizes) for sizes in zip(*shapes, strict=True)]
    joined = rows[0].new_full((sum(len(row) for row in rows), *largest), padding)
    start = 0
    for row in rows:
        joined[(slice(start, start + len(row)), *map(slice, row.shape[1:]))] = row
        start += len(row)
    return joined


def zero_padding(logits: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    """Return logits (B, classes) as they are, and (B, L, classes) of tokens with 0 at padding, as das's models do."""
    return logits * inputs["attention_mask"][..., None] if logits.ndim > 2 else logits


def _padding_of(name: str, streams: Mapping[str, Tensor]) -> float:
    """Return 0, which a mask of bool or of 0 and 1 leaves out as well; a mask that is added to scores does not."""
    return MASKED if is_mask(name) and streams[name].is_floating_point() else 0
