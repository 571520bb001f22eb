"""MACs by formula, from sizes alone: the independent check of what the counters say.

With N tokens of width d, M tokens of the other stream, feed-forward width f and bottleneck b, in one row of a stream:

- LN(N) = 5 N d
- encoder layer = (4 d^2 + 2 d f) N + 2 N^2 d + 2 LN(N); for f = 4 d the familiar 12 N d^2 + 2 N^2 d + 2 LN(N)
- fusion layer = (6 d^2 + 2 d f) N + 2 d^2 M + 2 N^2 d + 2 N M d + 3 LN(N): self-attention, cross-attention whose keys
  and values come from the other stream, feed-forward
- adapter = 2 N d b + LN(N); parallel ones in each kept layer (three in METER's fusion, two in ViLT's, one beside a text
  encoder's), one skip adapter in place of a layer
- a layer trimmed to one token, with h heads: 4 d^2 + 2 h N d for each attention to N tokens
  (``compressor.models.trims.single_query``); all else on one token

A text is one row until it meets the images of its sample, each of which is a row of its own. 1 MAC = 2 FLOPs. Softmax,
activations, additions, biases and embedding lookups are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from compressor.costs.layer_macs import (
    ByKind,
    ModelMacs,
    adapter_macs,
    encoder_layer_macs,
    fusion_layer_macs,
    multiply_macs,
)
from compressor.costs.part_names import BRIDGES, HEAD, PARALLEL, PROLOGUE, SKIP
from compressor.models.layer_parts import layer_of, part_of
from compressor.models.rounds import Rounds, steps_of

if TYPE_CHECKING:
    from torch import Tensor

    from compressor.architectures.architecture import Architecture
    from compressor.families.family import Family
    from compressor.models.steps import StepModel

NO_SKIPS: Mapping[str, int] = {}
LEFT_OUT = ("activations", "additions", "biases", "embedding lookups", "softmax")  # by the formulas


@dataclass(frozen=True)
class Term:
    """MACs of one kind of operator in one step of a model, and the part they count to (``compressor.costs.parts``).

    The prologue and the head are steps here, too.
    """

    part: str
    step: str
    kind: str
    macs: int


def count_adapter(tokens: int, width: int, bottleneck: int) -> int:
    """Return the MACs of LayerNorm, down and up projection."""
    return sum(adapter_macs(tokens, width, bottleneck).values())


def count_encoder_layer(tokens: int, width: int, ffn: int) -> int:
    """Return the MACs of self-attention and feed-forward with a norm each."""
    return sum(encoder_layer_macs(tokens, width, ffn).values())


def count_fusion_layer(tokens: int, others: int, width: int, ffn: int) -> int:
    """Return the MACs of self-attention, cross-attention to the other stream, feed-forward, with a norm each."""
    return sum(fusion_layer_macs(tokens, others, width, ffn, width).values())


def iterate_terms(
    sizes: ModelMacs, rounds: Rounds, parallel: int, skip: Mapping[str, int], one_token: Collection[str] = ()
) -> Iterator[Term]:
    """Yield the MACs of one sample, term by term.

    Args:
        sizes: of the full model.
        rounds: the steps that it has, trimmed or not; those that only move rows about cost nothing.
        parallel: bottleneck of the parallel adapters, 0 without them.
        skip: skipped layers, each with the bottleneck of its skip adapter, 0 where nothing stands in its place.
        one_token: steps that compute one token alone.
    """

    def spread(part: str, step: str, macs: ByKind) -> Iterator[Term]:
        return (Term(part, step, kind, value) for kind, value in macs.items())

    yield from spread(PROLOGUE, PROLOGUE, sizes.prologue)
    for step in steps_of(rounds):
        place = sizes.places.get(layer_of(step.name), sizes.places.get(str(step.pool)))
        if place is None:
            continue
        tokens = 1 if step.name in one_token else place.tokens
        if step.name in skip:
            if skip[step.name]:
                replacement = adapter_macs(tokens, place.width, skip[step.name])
                yield from spread(SKIP, step.name, multiply_macs(place.rows, replacement))
            continue
        whole, one = place.parts[part] if (part := part_of(step.name)) else (place.whole, place.one_token)
        layer_macs = one if step.name in one_token else whole
        yield from spread(step.pool or BRIDGES, step.name, multiply_macs(place.rows, layer_macs))
        if parallel:
            adapters = multiply_macs(place.rows * place.parallel, adapter_macs(tokens, place.width, parallel))
            yield from spread(PARALLEL, step.name, adapters)
    yield from spread(HEAD, HEAD, sizes.head)


def sum_terms(entries: Iterable[Term], of: str) -> dict[str, int]:
    """Sum MACs by one of the fields of :class:`Term`: ``part``, ``step`` or ``kind``."""
    totals: Counter[str] = Counter()
    for term in entries:
        totals[attrgetter(of)(term)] += term.macs
    return dict(totals)


def apply_formula(model: StepModel, inputs: Mapping[str, Tensor]) -> tuple[Term, ...] | None:
    """Return the MACs of one forward pass of a full, slim or trimmed model, from its structure alone.

    None for families without a formula, and for samples with more texts than images.
    """
    from compressor.families import FAMILIES
    from compressor.models.trims.simplify import OneToken

    family = FAMILIES[model.family]
    text, image = family.sizes_of("text", inputs), family.sizes_of("image", inputs)
    rows = {sizes["batch"] for sizes in (text, image) if sizes}
    if family.formula is None or len(rows) > 1:
        return None
    patches = (image["height"] // model.dims.patch, image["width"] // model.dims.patch) if image else (0, 0)
    dims = model.dims.model_copy(update={"text_length": text.get("length", 0)})
    count = next(iter(rows))
    one_token = {name: block.block for name, block in model.blocks.items() if isinstance(block, OneToken)}
    skip: dict[str, Any] = {name: one_token.get(name, model.blocks[name]).width for name in model.skipped}
    sizes = family.formula(dims, model.task, patches)
    one = iterate_terms(sizes, model.rounds, dims.parallel_width, skip, one_token)
    return tuple(Term(term.part, term.step, term.kind, count * term.macs) for term in one)


def count_by_part(
    family: Family | Architecture,
    dims: Any,
    task: str,
    skip: Mapping[str, int] = NO_SKIPS,
    patches: tuple[int, int] | None = None,
) -> dict[str, int]:
    """Return the MACs of a model of a family with a formula, under the names of ``compressor.costs.parts``.

    Args:
        family: of the model.
        dims: its sizes; ``text_length`` tokens and ``image_size`` pixels are what is counted, parallel adapters as wide
            as ``parallel_width`` says.
        task: whose head it has.
        skip: skipped layers, each with the bottleneck of its skip adapter.
        patches: rows and columns of an image's patches; None is those of a square of ``image_size``.
    """
    assert family.formula
    side = 0 if patches else dims.image_size // dims.patch
    one = iterate_terms(
        family.formula(dims, task, patches or (side, side)), family.rounds(dims), dims.parallel_width, skip
    )
    parts = (PROLOGUE, *(pool.name for pool in family.pools), BRIDGES, PARALLEL, SKIP, HEAD)
    return dict.fromkeys(parts, 0) | sum_terms(one, "part")


def count_encoder(
    layers: int,
    tokens: int,
    width: int,
    ffn: int,
    parallel: tuple[int, int] = (0, 0),
    skip: Mapping[str, int] = NO_SKIPS,
) -> int:
    """Return the MACs of the layers of an encoder with one stream (ViLT, RoBERTa, BERT).

    Args:
        layers: of the full model.
        tokens: of the sequence; ViLT's holds the text, the image's class token and its patches.
        width: of the stream.
        ffn: width of the feed-forward.
        parallel: how many parallel adapters a kept layer carries, and their bottleneck.
        skip: skipped layers, each with the bottleneck of its skip adapter.
    """
    adapters, bottleneck = parallel
    layer_macs = count_encoder_layer(tokens, width, ffn) + (
        adapters * count_adapter(tokens, width, bottleneck) if adapters else 0
    )
    return (layers - len(skip)) * layer_macs + sum(count_adapter(tokens, width, size) for size in skip.values())


def count_additional(family: Family, dims: Any, task: str, skip: Mapping[str, int] = NO_SKIPS) -> int:
    """Return a model's MACs on top of the plain full one, without adapters; negative where skipping saves."""
    plain = dims.model_copy(update={"parallel_width": 0})
    return sum(count_by_part(family, dims, task, skip).values()) - sum(count_by_part(family, plain, task).values())
