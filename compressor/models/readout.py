"""Readouts, the tokens of a stream that an epilogue reads: one function for all families, which trims rely on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from compressor.models.steps import valid_tokens

Readout = Literal["first", "last", "mean", "all"]
"""Token 0, the last valid token, the mean of the valid tokens, or all tokens with their padding."""
ONE: tuple[Readout, ...] = ("first", "last")


def read_tokens(streams: Mapping[str, Tensor], name: str, readout: Readout) -> Tensor:
    """Return what is read of the stream ``name``, (B, N, D): all of it, (B, N, D), or one token, (B, 1, D)."""
    x = streams[name]
    if readout == "all":
        return x
    if readout == "first" or x.shape[1] == 1:  # of a trimmed model the one token that is read may be left
        return first_token(x)
    valid = valid_tokens(streams, name)
    return last_token(x, valid) if readout == "last" else mean_token(x, valid)


def first_token(x: Tensor) -> Tensor:
    """Return token 0, (B, 1, D), of ``x``, (B, N, D)."""
    return x[:, :1]


def last_token(x: Tensor, valid: Tensor) -> Tensor:
    """Return the last valid token, (B, 1, D), of ``x``, (B, N, D); ``valid`` is (B, N) bool, padding anywhere."""
    last = (valid * torch.arange(1, valid.shape[1] + 1, device=valid.device)).argmax(1)
    return x.gather(1, last[:, None, None].expand(-1, 1, x.shape[2]))


def mean_token(x: Tensor, valid: Tensor) -> Tensor:
    """Return the mean of the valid tokens, (B, 1, D), of ``x``, (B, N, D); ``valid`` is (B, N) bool."""
    weights = valid.to(x.dtype)[:, :, None]
    return (x * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp(min=1)
