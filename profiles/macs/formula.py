"""MACs by formula, from sizes alone: the independent check of what the counters say.

With N tokens of width d, M tokens of the other stream, feed-forward width f and bottleneck b, in one row of a stream:

- LN(N) = 5 N d
- encoder layer = (4 d^2 + 2 d f) N + 2 N^2 d + 2 LN(N); for f = 4 d the familiar 12 N d^2 + 2 N^2 d + 2 LN(N)
- fusion layer = (6 d^2 + 2 d f) N + 2 d^2 M + 2 N^2 d + 2 N M d + 3 LN(N): self-attention, cross-attention whose keys
  and values come from the other stream, feed-forward
- adapter = 2 N d b + LN(N); parallel ones in each kept layer (three in METER's fusion, two in ViLT's, one beside a text
  encoder's), one skip adapter in place of a layer
- a layer trimmed to token 0, with h heads: 4 d^2 + 2 h N d for each attention to N tokens
  (``compressor.models.single_query``); all else on one token

A text is one row until it meets the images of its sample, each of which is a row of its own. 1 MAC = 2 FLOPs. Softmax,
activations, additions, biases and embedding lookups are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from compressor.families import FAMILIES
from compressor.models.macs import ATTENTION, CONVOLUTION, NORMS, PRODUCTS
from compressor.models.parts import BRIDGES, HEAD, PARALLEL, PROLOGUE, SKIP
from compressor.models.simplify import OneToken
from compressor.models.steps import Rounds, StepModel, steps_of

if TYPE_CHECKING:
    from torch import Tensor

    from compressor.families.meter import MeterDims
    from compressor.families.text_encoder import TextDims
    from compressor.families.vilt import ViltDims

NO_SKIPS: Mapping[str, int] = {}
LINEAR_HEADS = ("irtr", "itm")  # tasks whose head is one projection; the others' are two with a norm between

ByKind = Mapping[str, int]
"""MACs by kind of operator."""


@dataclass(frozen=True)
class Term:
    """MACs of one kind of operator in one step of a model, and the part they count to (``compressor.models.parts``).

    The prologue and the head are steps here, too.
    """

    part: str
    step: str
    kind: str
    macs: int


@dataclass(frozen=True)
class Place:
    """What stands in one place of a model: a layer of a pool, or a bridge.

    Attributes:
        rows: of the stream that it writes, for one sample.
        tokens: of a row.
        width: of a token.
        whole: MACs of one row.
        first: the same where token 0 alone is computed.
        parallel: parallel adapters in it, where the model has any.
    """

    rows: int
    tokens: int
    width: int
    whole: ByKind
    first: ByKind
    parallel: int = 0


@dataclass(frozen=True)
class Sizes:
    """What one sample costs: ``places`` by the pool of a step, or by its name where it is in none."""

    prologue: ByKind
    places: Mapping[str, Place]
    head: ByKind


def norm(tokens: int, width: int) -> int:
    """LayerNorm, counted at 5 per element as fvcore does."""
    return 5 * tokens * width


def adapter(tokens: int, width: int, bottleneck: int) -> int:
    """LayerNorm, down, up."""
    return sum(_adapter(tokens, width, bottleneck).values())


def encoder_layer(tokens: int, width: int, ffn: int) -> int:
    """Self-attention and feed-forward with a norm each."""
    return sum(_encoder_layer(tokens, width, ffn).values())


def fusion_layer(tokens: int, others: int, width: int, ffn: int) -> int:
    """Self-attention, cross-attention to the other stream's tokens, feed-forward, with a norm each."""
    return sum(_fusion_layer(tokens, others, width, ffn).values())


def _adapter(tokens: int, width: int, bottleneck: int) -> ByKind:
    return {PRODUCTS: 2 * tokens * width * bottleneck, NORMS: norm(tokens, width)}


def _projection(tokens: int, width: int, target: int, normed: bool = False) -> ByKind:
    return {PRODUCTS: tokens * width * target, NORMS: norm(tokens, width) if normed else 0}


def _encoder_layer(tokens: int, width: int, ffn: int) -> ByKind:
    products = tokens * (4 * width**2 + 2 * width * ffn)
    return {PRODUCTS: products, ATTENTION: 2 * tokens**2 * width, NORMS: 2 * norm(tokens, width)}


def _encoder_first(tokens: int, width: int, ffn: int, heads: int, normed: int) -> ByKind:
    """``normed`` tokens pass the first norm: all of them where it stands in front of the attention, else one."""
    products = 4 * width**2 + 2 * width * ffn + 2 * heads * tokens * width
    return {PRODUCTS: products, NORMS: norm(normed + 1, width)}


def _fusion_layer(tokens: int, others: int, width: int, ffn: int) -> ByKind:
    products = tokens * (6 * width**2 + 2 * width * ffn) + 2 * others * width**2
    attention = 2 * tokens * (tokens + others) * width
    return {PRODUCTS: products, ATTENTION: attention, NORMS: 3 * norm(tokens, width)}


def _fusion_first(tokens: int, others: int, width: int, ffn: int, heads: int) -> ByKind:
    products = 8 * width**2 + 2 * width * ffn + 2 * heads * (tokens + others) * width
    return {PRODUCTS: products, NORMS: 3 * norm(1, width)}


def _classifier(task: str, joined: int, inner: int, classes: int) -> ByKind:
    """METER's and ViLT's head on ``joined`` numbers: those pooled of all images of a sample."""
    if task in LINEAR_HEADS:
        return {PRODUCTS: joined * classes}
    return {PRODUCTS: joined * inner + inner * classes, NORMS: norm(1, inner)}


def _plus(*all_macs: ByKind) -> ByKind:
    return sum(map(Counter, all_macs), Counter())


def _times(factor: int, macs: ByKind) -> ByKind:
    return {kind: factor * value for kind, value in macs.items()}


def meter_sizes(dims: MeterDims, task: str, patches: tuple[int, int]) -> Sizes:
    """METER: an encoder for each modality, a projection behind it, fusion layers on both sides."""
    d, text, image, images = dims.hidden, dims.text_length, patches[0] * patches[1] + 1, dims.images
    words, pixels = dims.text_hidden, dims.vision_width

    def fusion(tokens: int, others: int) -> Place:
        whole = _fusion_layer(tokens, others, d, dims.fusion_ffn)
        return Place(images, tokens, d, whole, _fusion_first(tokens, others, d, dims.fusion_ffn, dims.heads), 3)

    language = _encoder_layer(text, words, dims.text_ffn)
    language_first = _encoder_first(text, words, dims.text_ffn, dims.text_heads, normed=1)
    vision = _encoder_layer(image, pixels, dims.vision_ffn)
    vision_first = _encoder_first(image, pixels, dims.vision_ffn, dims.vision_heads, normed=image)
    embedded = {CONVOLUTION: (image - 1) * 3 * dims.patch**2 * pixels, NORMS: norm(image, pixels)}
    return Sizes(
        prologue=_plus(_times(images, embedded), {NORMS: norm(text, words)}),
        places={
            "language": Place(1, text, words, language, language_first),
            "vision": Place(images, image, pixels, vision, vision_first),
            "text_bridge": Place(1, text, d, _projection(text, words, d), _projection(1, words, d)),
            "image_bridge": Place(
                images, image, d, _projection(image, pixels, d, normed=True), _projection(1, pixels, d, normed=True)
            ),
            "fusion-language": fusion(text, image),
            "fusion-vision": fusion(image, text),
        },
        head=_plus({PRODUCTS: images * 2 * d**2}, _classifier(task, images * 2 * d, 2 * d, dims.classes)),
    )


def vilt_sizes(dims: ViltDims, task: str, patches: tuple[int, int]) -> Sizes:
    """ViLT: text and image in one sequence; the stored grid of positions is interpolated to each image's own size."""
    d, (rows, columns), images = dims.hidden, patches, dims.images
    tokens = dims.text_length + 1 + rows * columns
    embedded = {
        CONVOLUTION: rows * columns * 3 * dims.patch**2 * d,
        PRODUCTS: rows * dims.position_grid * (dims.position_grid + columns) * d,
    }
    whole = _encoder_layer(tokens, d, dims.ffn)
    first = _encoder_first(tokens, d, dims.ffn, dims.heads, normed=tokens)
    return Sizes(
        prologue=_plus(_times(images, embedded), {NORMS: norm(dims.text_length, d)}),
        places={"encoder": Place(images, tokens, d, whole, first, 2)},
        head=_plus(
            _times(images, _projection(1, d, d, normed=True)), _classifier(task, images * d, 2 * d, dims.classes)
        ),
    )


def text_sizes(dims: TextDims, task: str, patches: tuple[int, int]) -> Sizes:
    """RoBERTa, BERT: an encoder, a dense layer on token 0, a classifier."""
    d, tokens = dims.hidden, dims.text_length
    whole = _encoder_layer(tokens, d, dims.ffn)
    first = _encoder_first(tokens, d, dims.ffn, dims.heads, normed=1)
    return Sizes(
        prologue={NORMS: norm(tokens, d)},
        places={"encoder": Place(1, tokens, d, whole, first, 1)},
        head={PRODUCTS: d**2 + d * dims.classes},
    )


FORMULAS: Mapping[str, Callable[[Any, str, tuple[int, int]], Sizes]] = {
    "meter": meter_sizes,
    "vilt": vilt_sizes,
    "roberta": text_sizes,
    "bert": text_sizes,
}
"""Dims, task, and rows and columns of an image's patches to the sizes of a model, by family."""


def terms(
    sizes: Sizes, rounds: Rounds, parallel: int, skip: Mapping[str, int], first: Collection[str] = ()
) -> Iterator[Term]:
    """MACs of one sample, piece by piece.

    Args:
        sizes: of the full model.
        rounds: the steps that it has, trimmed or not; those that only move rows about cost nothing.
        parallel: bottleneck of the parallel adapters, 0 without them.
        skip: skipped layers, each with the bottleneck of its skip adapter.
        first: steps that compute token 0 alone.
    """

    def spread(part: str, step: str, macs: ByKind) -> Iterator[Term]:
        return (Term(part, step, kind, value) for kind, value in macs.items())

    yield from spread(PROLOGUE, PROLOGUE, sizes.prologue)
    for step in steps_of(rounds):
        place = sizes.places.get(step.pool or step.name)
        if place is None:
            continue
        tokens = 1 if step.name in first else place.tokens
        if step.name in skip:
            yield from spread(SKIP, step.name, _times(place.rows, _adapter(tokens, place.width, skip[step.name])))
            continue
        own = place.first if step.name in first else place.whole
        yield from spread(step.pool or BRIDGES, step.name, _times(place.rows, own))
        if parallel:
            beside = _times(place.rows * place.parallel, _adapter(tokens, place.width, parallel))
            yield from spread(PARALLEL, step.name, beside)
    yield from spread(HEAD, HEAD, sizes.head)


def sums(found: Iterable[Term], of: str) -> dict[str, int]:
    """MACs by one of the fields of :class:`Term`: ``part``, ``step`` or ``kind``."""
    totals: Counter[str] = Counter()
    for term in found:
        totals[attrgetter(of)(term)] += term.macs
    return dict(totals)


def formula(model: StepModel, inputs: Mapping[str, Tensor]) -> tuple[Term, ...] | None:
    """MACs of one forward pass of a full, slim or trimmed model; only its structure is looked at, not its weights.

    None for families without a formula, and for samples with more texts than images.
    """
    text, pixels = inputs["input_ids"], inputs.get("pixel_values")
    if model.family not in FORMULAS or (pixels is not None and len(text) != len(pixels)):
        return None
    patches = (0, 0) if pixels is None else tuple(side // model.dims.patch for side in pixels.shape[-2:])
    dims = model.dims.model_copy(update={"text_length": text.shape[1]})
    skip = {name: _unwrapped(model.blocks[name]).width for name in model.skipped}
    first = {name for name, block in model.blocks.items() if isinstance(block, OneToken)}
    one = terms(FORMULAS[model.family](dims, model.task, patches), model.rounds, dims.parallel_width, skip, first)
    return tuple(Term(term.part, term.step, term.kind, len(text) * term.macs) for term in one)


def _unwrapped(block: Any) -> Any:
    return block.block if isinstance(block, OneToken) else block


def meter_macs(dims: MeterDims, skip: Mapping[str, int] = NO_SKIPS) -> dict[str, int]:
    """MACs of a METER with a VQA head by part, under the names of ``compressor.models.parts``.

    Args:
        dims: its sizes; ``text_length`` tokens and ``image_size`` pixels are what is counted, parallel adapters as wide
            as ``parallel_width`` says.
        skip: skipped layers, each with the bottleneck of its skip adapter.
    """
    family, side = FAMILIES["meter"], dims.image_size // dims.patch
    found = terms(meter_sizes(dims, "vqa", (side, side)), family.rounds(dims), dims.parallel_width, skip)
    parts = (PROLOGUE, *(pool.name for pool in family.pools), BRIDGES, PARALLEL, SKIP, HEAD)
    return dict.fromkeys(parts, 0) | sums(found, "part")


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
