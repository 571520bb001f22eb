"""A tokenizer with some of its tokens, numbered anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer


def trim_tokenizer(tokenizer: Tokenizer, kept: Collection[str], pinned: int | None = None) -> Tokenizer:
    """Return the tokenizer with the tokens ``kept``, all added ones among them, in the order of their numbers.

    Args:
        tokenizer: of any kind: WordPiece, BPE, Unigram, or whole words.
        kept: tokens; for BPE with what they are merged of.
        pinned: a token that keeps its number, where there are as many tokens: RoBERTa and its relatives count their
            positions from that of padding.
    """
    state = json.loads(tokenizer.to_str())
    order = tokenizer.get_vocab(with_added_tokens=False)
    tokens = sorted((token for token in order if token in kept), key=lambda token: order[token])
    still = [token for token in tokens if order[token] == pinned]
    if pinned is not None and pinned < len(tokens) and still:
        tokens.remove(still[0])
        tokens.insert(pinned, still[0])
    numbers = {token: number for number, token in enumerate(tokens)}
    state["model"] |= _trim_model(state["model"], numbers)
    added = sorted(state["added_tokens"], key=lambda token: token["id"])
    for token in added:
        numbers.setdefault(token["content"], len(numbers))
        token["id"] = numbers[token["content"]]
    state["added_tokens"] = sorted(added, key=lambda token: token["id"])
    state["post_processor"] = _renumber(state["post_processor"], numbers.__getitem__)
    if state["padding"]:
        state["padding"]["pad_id"] = numbers[state["padding"]["pad_token"]]
    return Tokenizer.from_str(json.dumps(state))


def old_numbers(tokenizer: Tokenizer, trimmed: Tokenizer) -> list[int]:
    """Return for each token of ``trimmed``, in order, the number that it has in ``tokenizer``."""
    before = tokenizer.get_vocab()
    return [before[str(trimmed.id_to_token(number))] for number in range(trimmed.get_vocab_size())]


def _trim_model(model: Mapping[str, Any], numbers: Mapping[str, int]) -> dict[str, Any]:
    """Return what of a model's state is about its tokens."""
    if model["type"] == "Unigram":
        scores, unknown = dict(map(tuple, model["vocab"])), model["unk_id"]
        names = [name for name, _ in model["vocab"]]
        return {
            "vocab": [[token, scores[token]] for token in numbers],
            "unk_id": None if unknown is None else numbers[names[unknown]],
        }
    if "merges" not in model:
        return {"vocab": dict(numbers)}
    prefix = model.get("continuing_subword_prefix") or ""
    merges = [pair for pair in model["merges"] if _is_whole(pair, prefix, numbers)]
    return {"vocab": dict(numbers), "merges": merges}


def _is_whole(pair: Sequence[str], prefix: str, numbers: Mapping[str, int]) -> bool:
    first, second = pair
    return all(token in numbers for token in (first, second, first + second.removeprefix(prefix)))


def _renumber(part: Any, number: Callable[[str], int]) -> Any:
    """Return a post-processor's state with the numbers of the tokens that it adds."""
    if isinstance(part, list):
        return [_renumber(entry, number) for entry in part]
    if not isinstance(part, dict):
        return part
    if "ids" in part and "tokens" in part:
        return {**part, "ids": [number(token) for token in part["tokens"]]}
    pairs = {name: [part[name][0], number(part[name][0])] for name in ("sep", "cls") if name in part}
    return {name: _renumber(value, number) for name, value in part.items()} | pairs
