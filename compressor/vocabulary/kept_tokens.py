"""Which tokens of a vocabulary texts can need.

A word is what the pre-tokenizer leaves whole. Its tokens are chosen among the entries of the vocabulary that occur in
it: WordPiece takes the longest that fits, BPE merges two into one that is there, Unigram weighs all ways through them.
So where all entries stay that occur in a word, it is cut as before, and no other entry matters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tokenizers import Tokenizer

BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def keep_tokens(tokenizer: Tokenizer, words: Iterable[str]) -> set[str]:
    """Return the tokens that ``words`` can be cut into, and those that any text may need: see :func:`_margin`."""
    state = json.loads(tokenizer.to_str())
    prefix, suffix = _marks(state["model"])
    there = tokenizer.get_vocab(with_added_tokens=False)
    longest = max(map(len, there), default=0)
    kept = set(_margin(state, there))
    for word in words:
        kept.update(piece for piece in _pieces(word, longest, prefix, suffix) if piece in there)
    return kept


def find_words(tokenizer: Tokenizer, texts: Iterable[str]) -> set[str]:
    """Return the words of texts, as the normaliser and the pre-tokenizer make them; tokens written out are none."""
    added = [re.escape(token.content) for token in tokenizer.get_added_tokens_decoder().values()]
    between = re.compile("|".join(added) or "(?!)")
    normalizer, splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
    words: set[str] = set()
    for part in (part for text in texts for part in between.split(text)):
        normal = normalizer.normalize_str(part) if normalizer else part
        words.update((word for word, _ in splitter.pre_tokenize_str(normal)) if splitter else (normal,))
    return words


def find_strings(value: Any) -> Iterator[str]:
    """Yield every string in a document of JSON but the names of its fields."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from find_strings(entry)


def _marks(model: Mapping[str, Any]) -> tuple[str, str]:
    """Return what stands in front of a piece that begins within a word, and behind one that ends it."""
    return model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""


def _pieces(word: str, longest: int, prefix: str, suffix: str) -> Iterator[str]:
    for start in range(len(word)):
        mark = prefix if start else ""
        for stop in range(start + 1, min(len(word), start + longest) + 1):
            yield mark + word[start:stop] + (suffix if stop == len(word) else "")


def _margin(state: Mapping[str, Any], there: Mapping[str, int]) -> Iterator[str]:
    """Return what stays whatever the texts are.

    These are added tokens, those that the post-processor adds, padding, the unknown token, bytes, and single characters
    (of byte-level vocabularies the 256 bytes): so any text can be cut. Of Unigram also the token of the lowest score,
    as the score of an unknown character is counted from that.
    """
    model = state["model"]
    yield from (token["content"] for token in state["added_tokens"])
    yield from (name for name in find_strings(state["post_processor"]) if name in there)
    if state["padding"]:
        yield state["padding"]["pad_token"]
    if model.get("unk_token") in there:
        yield model["unk_token"]
    if model["type"] == "Unigram":
        pieces = model["vocab"]
        yield min(pieces, key=lambda piece: piece[1])[0]
        if model["unk_id"] is not None:
            yield pieces[model["unk_id"]][0]
    prefix, suffix = _marks(model)
    for token in there:
        if len(token.removeprefix(prefix).removesuffix(suffix)) <= 1 or BYTE.fullmatch(token):
            yield token
