"""How many tokens each layer merges: as many in each, so that a share of the layers' MACs is saved; without PyTorch."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from compressor.costs.layer_macs import Place, encoder_token_macs, merging_layer_macs
from compressor.errors import Problem, UsageError, usage_error
from compressor.models.rounds import Rounds, Step, steps_of

if TYPE_CHECKING:
    from compressor.architectures.architecture import Architecture
    from compressor.families.family import Family

EXAMPLE = "--merge-tokens 0.3x"


def tokens_along(tokens: int, counts: Sequence[int]) -> tuple[int, ...]:
    """Return the tokens in front of each layer, and behind the last, where each merges as many as ``counts`` says."""
    return tuple(accumulate(counts, int.__sub__, initial=tokens))


def most_merged(tokens: int) -> int:
    """Return how many of so many tokens a layer can merge: half of them, but for token 0."""
    return (tokens - 1) // 2


def merging_rounds(layers: int, counts: Sequence[int], pool: str) -> Rounds:
    """Return the layers ``VEn0..`` on the stream ``image``, each a round, which merge ``counts`` tokens or none.

    Where they do, ``image_mask`` is the log of how many patches each token stands for.
    """
    seen = ("image", "image_mask") if counts else ("image",)
    return tuple((Step(f"VEn{i}", seen, seen if counts and counts[i] else ("image",), pool),) for i in range(layers))


def merging_places(rows: int, tokens: int, counts: Sequence[int], sizes: tuple[int, int, int]) -> dict[str, Place]:
    """Return the MACs of the layers ``VEn0..`` that merge ``counts`` tokens; none where that is empty.

    Args:
        rows: of a sample.
        tokens: in front of the first.
        counts: of merged tokens.
        sizes: width, feed-forward width and heads of a layer.
    """
    return {
        f"VEn{i}": Place(
            rows,
            before,
            sizes[0],
            merging_layer_macs(before, count, *sizes),
            encoder_token_macs(before, *sizes, normed=before),
        )
        for i, (before, count) in enumerate(zip(tokens_along(tokens, counts), counts, strict=False))
    }


def check_counts(tokens: int, layers: int, counts: Sequence[int]) -> None:
    """Hold that ``counts`` of merged tokens are those of so many layers, or none.

    Raises:
        ValueError: they are not.
    """
    if counts and len(counts) != layers:
        raise ValueError(f"merged tokens of {len(counts)} layers, of which there are {layers}")
    for number, (before, count) in enumerate(zip(tokens_along(tokens, counts), counts, strict=False)):
        if count > most_merged(before):
            raise ValueError(f"layer {number} merges {count} of {before} tokens, at most {most_merged(before)}")


def parse_share(text: str | float) -> float:
    """Read ``0.3x``: the share of the layers' MACs that merging is to save.

    Raises:
        UsageError: it is no share.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)x", str(text).strip())
    if not match or not 0 < float(match[1]) < 1:
        expected = "a share of the vision layers' MACs to save, more than 0x and less than 1x"
        raise usage_error("merge-share-wrong", f"--merge-tokens {text}", expected, EXAMPLE)
    return float(match[1])


def check_merging(kind: Family | Architecture, known: Iterable[str]) -> None:
    """Refuse a family whose layers merge no tokens.

    Args:
        kind: the family.
        known: names of those that do.

    Raises:
        UsageError: it is none of them.
    """
    if not kind.merging:
        raise usage_error(
            "merging-unsupported",
            f"--merge-tokens for {kind.name}, which has no layers of an image alone that das merges tokens in",
            f"a family that has: {', '.join(known)}",
            "drop --merge-tokens",
        )


def schedule_merging(kind: Family | Architecture, dims: Any, task: str, skipped: Collection[str], share: float) -> Any:
    """Return ``dims`` with the tokens that each layer merges: as many in each, the fewest that save the share.

    Layers that are skipped merge none and are not counted; a layer that is left with too few tokens merges half. The
    last one merges none: where the class token alone is read behind it, it computes no other.

    Args:
        kind: a family that merges, of square images.
        dims: sizes of a model that does not.
        task: whose head it has.
        skipped: names of layers.
        share: of the MACs of the layers that are left, in (0, 1).

    Raises:
        UsageError: so much cannot be saved; names what can.
    """
    side = dims.image_size // dims.patch
    layers = [step.name for step in steps_of(kind.rounds(dims)) if step.pool == kind.merging]
    kept = [name for name in layers if name not in skipped]
    assert kind.formula

    def count(counts: Sequence[int]) -> tuple[Any, int]:
        merging = dims.model_copy(update={"merged_tokens": tuple(counts)})
        places = kind.formula(merging, task, (side, side)).places  # type: ignore[misc]
        left = [places.get(name, places[kind.merging]) for name in kept]
        return merging, sum(place.rows * sum(place.whole.values()) for place in left)

    tokens = kind.formula(dims, task, (side, side)).places[kind.merging].tokens
    _, whole = count(())
    saved = 0.0
    for each in range(1, most_merged(tokens) + 1):
        merging, macs = count(_spread(tokens, [name in kept[:-1] for name in layers], each))
        saved = 1 - macs / whole if whole else 0.0
        if saved >= share:
            return merging
    raise UsageError(_out_of_reach(kind.merging, share, saved))


def _spread(tokens: int, merges: Sequence[bool], each: int) -> list[int]:
    counts = []
    for merging in merges:
        counts.append(min(each, most_merged(tokens)) if merging else 0)
        tokens -= counts[-1]
    return counts


def _out_of_reach(pool: str, share: float, most: float) -> Problem:
    return Problem(
        "merge-share-out-of-reach",
        f"--merge-tokens {share:g}x: merging half of the tokens in each layer saves {max(most, 0):.0%} of the MACs of "
        f"the {pool} layers that are left",
        "a share that can be saved",
        f"--merge-tokens {0.9 * most:.2f}x" if most > 0.02 else "drop --merge-tokens",
    )
