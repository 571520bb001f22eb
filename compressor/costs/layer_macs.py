"""MACs of layers by formula: the pieces that families put together, see ``profiles.macs.formula``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from compressor.models import layer_parts

PRODUCTS, ATTENTION, CONVOLUTION, NORMS = "matrix products", "attention", "convolution", "LayerNorm"


ByKind = Mapping[str, int]
"""MACs by kind of operator."""


@dataclass(frozen=True)
class Place:
    """MACs of what stands in one place of a model: a layer of a pool, or a bridge.

    Attributes:
        rows: of the stream that it writes, for one sample.
        tokens: of a row.
        width: of a token.
        whole: MACs of one row.
        one_token: the same where one token alone is computed.
        parallel: parallel adapters in it, where the model has any.
        parts: MACs of the parts that it may be taken apart into, by name: of one row, and where one token alone is
            computed.
    """

    rows: int
    tokens: int
    width: int
    whole: ByKind
    one_token: ByKind
    parallel: int = 0
    parts: Mapping[str, tuple[ByKind, ByKind]] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelMacs:
    """MACs of one sample by formula: ``places`` by the name of a step, or by its pool where all in it are alike."""

    prologue: ByKind
    places: Mapping[str, Place]
    head: ByKind


def norm_macs(tokens: int, width: int) -> int:
    """Return the MACs of a LayerNorm, counted at 5 per element as fvcore does."""
    return 5 * tokens * width


def adapter_macs(tokens: int, width: int, bottleneck: int) -> ByKind:
    """Return the MACs of an adapter: LayerNorm, down, up."""
    return {PRODUCTS: 2 * tokens * width * bottleneck, NORMS: norm_macs(tokens, width)}


def projection_macs(tokens: int, width: int, target: int, normed: bool = False) -> ByKind:
    """Return the MACs of one matrix product, with a LayerNorm in front of it when ``normed``."""
    return {PRODUCTS: tokens * width * target, NORMS: norm_macs(tokens, width) if normed else 0}


def encoder_layer_macs(tokens: int, width: int, ffn: int) -> ByKind:
    """Return the MACs of self-attention and feed-forward with a norm each."""
    products = tokens * (4 * width**2 + 2 * width * ffn)
    return {PRODUCTS: products, ATTENTION: 2 * tokens**2 * width, NORMS: 2 * norm_macs(tokens, width)}


def merging_layer_macs(tokens: int, merged: int, width: int, ffn: int, heads: int) -> ByKind:
    """Return the MACs of an encoder layer that merges some of its tokens between attention and feed-forward.

    One half of them is compared with the other, by keys that are the means of all heads; those that are merged are
    added up with the tokens that they become part of, and their sizes, too.
    """
    left, half = tokens - merged, tokens // 2
    products = 4 * tokens * width**2 + 2 * left * width * ffn
    matching = half * (tokens - 1 - half) * (width // heads) + half * merged * (width + 1) if merged else 0
    norms = norm_macs(tokens, width) + norm_macs(left, width)
    return {PRODUCTS: products + matching, ATTENTION: 2 * tokens**2 * width, NORMS: norms}


def encoder_token_macs(tokens: int, width: int, ffn: int, heads: int, normed: int) -> ByKind:
    """Return the MACs of an encoder layer that computes one token.

    ``normed`` tokens pass the first norm: all of them where it stands in front of the attention, else one.
    """
    products = 4 * width**2 + 2 * width * ffn + 2 * heads * tokens * width
    return {PRODUCTS: products, NORMS: norm_macs(normed + 1, width)}


def encoder_parts(tokens: int, width: int, ffn: int, heads: int, normed: int) -> dict[str, tuple[ByKind, ByKind]]:
    """Return the MACs of attention and feed-forward with a norm each, as ``parts`` of a :class:`Place`.

    Together they are those of :func:`encoder_layer_macs`, and of :func:`encoder_token_macs`.
    """
    attention = {PRODUCTS: 4 * tokens * width**2, ATTENTION: 2 * tokens**2 * width, NORMS: norm_macs(tokens, width)}
    one = {PRODUCTS: 4 * width**2 + 2 * heads * tokens * width, NORMS: norm_macs(normed, width)}
    return {layer_parts.ATTENTION: (attention, one), layer_parts.FEED_FORWARD: _feed_forward(tokens, width, ffn)}


def fusion_parts(
    tokens: int, others: int, width: int, ffn: int, heads: int, other_width: int
) -> dict[str, tuple[ByKind, ByKind]]:
    """Return the MACs of self-attention, cross-attention and feed-forward with a norm each, as ``parts`` of a place.

    Together they are those of :func:`fusion_layer_macs`, and of :func:`fusion_token_macs`.
    """
    attention, one = encoder_parts(tokens, width, ffn, heads, normed=1)[layer_parts.ATTENTION]
    cross = {
        PRODUCTS: 2 * tokens * width**2 + 2 * others * width * other_width,
        ATTENTION: 2 * tokens * others * width,
        NORMS: norm_macs(tokens, width),
    }
    of_one = {
        PRODUCTS: 2 * width**2 + 2 * width * other_width + 2 * heads * others * other_width,
        NORMS: norm_macs(1, width),
    }
    return {
        layer_parts.ATTENTION: (attention, one),
        layer_parts.CROSS_ATTENTION: (cross, of_one),
        layer_parts.FEED_FORWARD: _feed_forward(tokens, width, ffn),
    }


def _feed_forward(tokens: int, width: int, ffn: int) -> tuple[ByKind, ByKind]:
    one = {PRODUCTS: 2 * width * ffn, NORMS: norm_macs(1, width)}
    return multiply_macs(tokens, one), one


def fusion_layer_macs(tokens: int, others: int, width: int, ffn: int, other_width: int) -> ByKind:
    """Return the MACs of self-attention, cross-attention to the other stream's tokens and feed-forward, a norm each."""
    products = tokens * (6 * width**2 + 2 * width * ffn) + 2 * others * width * other_width
    attention = 2 * tokens * (tokens + others) * width
    return {PRODUCTS: products, ATTENTION: attention, NORMS: 3 * norm_macs(tokens, width)}


def fusion_token_macs(tokens: int, others: int, width: int, ffn: int, heads: int, other_width: int) -> ByKind:
    """Return the MACs of a fusion layer that computes one token."""
    projections = 6 * width**2 + 2 * width * other_width
    products = projections + 2 * width * ffn + 2 * heads * (tokens * width + others * other_width)
    return {PRODUCTS: products, NORMS: 3 * norm_macs(1, width)}


def add_macs(*all_macs: ByKind) -> ByKind:
    """Return the sum, kind by kind."""
    return sum(map(Counter, all_macs), Counter())


def multiply_macs(factor: int, macs: ByKind) -> ByKind:
    """Return ``factor`` times as many of each kind."""
    return {kind: factor * value for kind, value in macs.items()}


def has_linear_head(task: str, classes: int) -> bool:
    """Return whether METER's or ViLT's head is one projection: that of a score is, and of image-text matching (itm)."""
    return classes == 1 or task == "itm"


def classifier_macs(task: str, joined: int, inner: int, classes: int) -> ByKind:
    """Return the MACs of METER's or ViLT's head on ``joined`` numbers, those pooled of all images of a sample."""
    if has_linear_head(task, classes):
        return {PRODUCTS: joined * classes}
    return {PRODUCTS: joined * inner + inner * classes, NORMS: norm_macs(1, inner)}
