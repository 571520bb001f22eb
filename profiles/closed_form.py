"""MACs by formula, from sizes alone: the independent check of what the traced graph says.

With N tokens of width d, M tokens of the other stream, feed-forward width f and bottleneck b, at batch 1:

- LN(N) = 5 N d
- encoder layer = (4 d^2 + 2 d f) N + 2 N^2 d + 2 LN(N); for f = 4 d the familiar 12 N d^2 + 2 N^2 d + 2 LN(N)
- fusion layer = (6 d^2 + 2 d f) N + 2 d^2 M + 2 N^2 d + 2 N M d + 3 LN(N): self-attention, cross-attention whose keys
  and values come from the other stream, feed-forward
- adapter = 2 N d b + LN(N); three parallel ones in each kept fusion layer, one skip adapter in place of a layer

1 MAC = 2 FLOPs. Softmax, activations, additions, biases and embedding lookups are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compressor.families.meter import MeterDims

NO_SKIPS: Mapping[str, int] = {}


def norm(tokens: int, width: int) -> int:
    """LayerNorm, counted at 5 per element as fvcore does."""
    return 5 * tokens * width


def adapter(tokens: int, width: int, bottleneck: int) -> int:
    """LayerNorm, down, up."""
    return 2 * tokens * width * bottleneck + norm(tokens, width)


def encoder_layer(tokens: int, width: int, ffn: int) -> int:
    """Self-attention and feed-forward with a norm each."""
    products = tokens * (4 * width**2 + 2 * width * ffn) + 2 * tokens**2 * width
    return products + 2 * norm(tokens, width)


def fusion_layer(tokens: int, others: int, width: int, ffn: int) -> int:
    """Self-attention, cross-attention to the other stream's tokens, feed-forward, with a norm each."""
    products = tokens * (6 * width**2 + 2 * width * ffn) + 2 * others * width**2
    return products + 2 * tokens * (tokens + others) * width + 3 * norm(tokens, width)


def meter_macs(dims: MeterDims, skip: Mapping[str, int] = NO_SKIPS) -> dict[str, int]:
    """MACs of a METER by part, under the names of ``profiles.parts``.

    Args:
        dims: its sizes; ``text_length`` tokens and ``image_size`` pixels are what is counted, parallel adapters as wide
            as ``parallel_width`` says.
        skip: skipped layers, each with the bottleneck of its skip adapter.
    """
    text, image, d = dims.text_length, dims.image_tokens, dims.hidden
    words, pixels, ffn = dims.text_hidden, dims.vision_width, dims.fusion_ffn
    three = 3 if dims.parallel_width else 0
    pools = (  # part, prefix, layers, tokens, width, parallel adapters in each, MACs of each without them
        ("vision", "VEn", dims.vision_layers, image, pixels, 0, encoder_layer(image, pixels, dims.vision_ffn)),
        ("language", "LEn", dims.text_layers, text, words, 0, encoder_layer(text, words, dims.text_ffn)),
        ("fusion-language", "FL", dims.fusion_layers, text, d, three, fusion_layer(text, image, d, ffn)),
        ("fusion-vision", "FV", dims.fusion_layers, image, d, three, fusion_layer(image, text, d, ffn)),
    )
    macs = {
        "prologue": (image - 1) * 3 * dims.patch**2 * pixels + norm(image, pixels) + norm(text, words),
        "bridges": text * words * d + norm(image, pixels) + image * pixels * d,
        "parallel-adapters": 0,
        "skip-adapters": 0,
        "head": 2 * d**2 + (2 * d) ** 2 + norm(1, 2 * d) + 2 * d * dims.classes,
    }
    for part, prefix, layers, tokens, width, beside, cost in pools:
        skipped = [skip[name] for name in (f"{prefix}{i}" for i in range(layers)) if name in skip]
        kept = layers - len(skipped)
        macs[part] = kept * cost
        macs["parallel-adapters"] += kept * beside * adapter(tokens, width, dims.parallel_width)
        macs["skip-adapters"] += sum(adapter(tokens, width, bottleneck) for bottleneck in skipped)
    return macs


def encoder_macs(
    layers: int,
    tokens: int,
    width: int,
    ffn: int,
    parallel: tuple[int, int] = (0, 0),
    skip: Mapping[str, int] = NO_SKIPS,
) -> int:
    """MACs of the layers of an encoder with one stream (ViLT, RoBERTa, BERT).

    Args:
        layers: of the full model.
        tokens: of the sequence; ViLT's holds the text, the image's class token and its patches.
        width: of the stream.
        ffn: width of the feed-forward.
        parallel: how many parallel adapters a kept layer carries, and their bottleneck.
        skip: skipped layers, each with the bottleneck of its skip adapter.
    """
    beside, bottleneck = parallel
    kept = encoder_layer(tokens, width, ffn) + (beside * adapter(tokens, width, bottleneck) if beside else 0)
    return (layers - len(skip)) * kept + sum(adapter(tokens, width, size) for size in skip.values())


def additional_macs(dims: MeterDims, skip: Mapping[str, int] = NO_SKIPS) -> int:
    """A METER's MACs on top of the plain full model, which has no adapters; negative where skipping saves."""
    plain = dims.model_copy(update={"parallel_width": 0})
    return sum(meter_macs(dims, skip).values()) - sum(meter_macs(plain).values())
