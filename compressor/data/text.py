"""Texts to token ids."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer, processors
from torch import Tensor

from compressor.errors import input_error, usage_error

PAD_TOKENS = ("<pad>", "[PAD]")
TYPES = "token_type_ids"
MASK = "attention_mask"
INPUTS = {"input_ids": "ids", MASK: "attention_mask", TYPES: "type_ids"}
AT_ONCE = 1024  # texts that are tokenised together: as long as one of them are all, for a moment
TRAINED_WITH = "the tokenizer that the model was trained with"
OTHER_TOKENIZER = "--tokenizer FILE, FOLDER or Hugging Face name"
Text = str | tuple[str, str]
"""A text, or a pair of texts."""
Tokens = np.ndarray
"""Of one text or pair, (inputs, n) int32: the model's text inputs in their order, without padding."""


class TextTransform:
    """Texts, or pairs of texts, to token ids, padded at the end to the longest of a batch.

    The tokenizer's own padding token is taken, and long texts lose tokens at the side that it says. A model without an
    attention mask is not told what is padding: it gets all texts at the full length.

    Args:
        tokenizer: a fast tokenizer that adds its own special tokens.
        length: most tokens of a text; of a pair the longer text is cut first.
        vocabulary: rows of the model's embedding; ids beyond it are an error.
        inputs: the model's text inputs, keys of ``INPUTS``.
        types: token types that the model embeds; None leaves it to the tokenizer. A model of one type has seen pairs
            with both texts of that type, as its embedding has no other row.
        padding: id of the padding token in the model's configuration; None where it has none.

    Attributes:
        padding: id of the tokenizer's padding token.
        notes: sentences the user should see.

    Raises:
        InputError: more tokens than the model embeds, or none to pad with.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        length: int,
        vocabulary: int,
        inputs: Sequence[str] = ("input_ids", "attention_mask"),
        types: int | None = None,
        padding: int | None = None,
    ) -> None:
        if tokenizer.get_vocab_size() > vocabulary:
            raise input_error(
                "tokenizer-too-large",
                f"a tokenizer with {tokenizer.get_vocab_size()} tokens for a model that embeds {vocabulary}",
                TRAINED_WITH,
                OTHER_TOKENIZER,
            )
        self.tokenizer, self.inputs, self.length, self.types = tokenizer, tuple(inputs), length, types
        self._check_room(pairs=False)
        pad, self.padding = _padding_token(tokenizer)
        self.notes = (
            *_different_padding(self.padding, padding),
            *("the model has one token type: both texts of a pair get it",) * (TYPES in inputs and types == 1),
        )
        tokenizer.enable_padding(pad_id=self.padding, pad_token=pad)  # to the longest of a batch
        self.cut_to(length)

    def __call__(self, texts: Sequence[Text], length: int | None = None) -> dict[str, Tensor]:
        """Return the model's text inputs of texts or pairs, as :meth:`tokenise` and :meth:`pad` make them."""
        return self.pad(self.tokenise(texts), length)

    def cut_to(self, length: int) -> None:
        """Let texts have ``length`` tokens at most, from now on."""
        cut = self.tokenizer.truncation
        self.length = length
        self.tokenizer.enable_truncation(length, direction=cut["direction"] if cut else "right")

    def tokenise(self, texts: Sequence[Text]) -> list[Tokens]:
        """Return the tokens of each text or pair.

        Raises:
            InputError: a text that is no Unicode, pairs of more token types than the model can be given, or a
                tokenizer that fails on a text or makes too many tokens of it.
        """
        self._check_room(pairs=any(isinstance(text, tuple) for text in texts))
        for text in texts:
            for part in (text,) if isinstance(text, str) else text:
                _check_unicode(part)
        parts = (texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE))
        return [self._inputs_of(entry) for part in parts for entry in self._encode(part)]

    def cuts(self, texts: Sequence[Text]) -> list[bool]:
        """Return which texts or pairs lose tokens, as they have more than ``length``."""
        return [bool(entry.overflowing) for entry in self._encode(texts)]

    def first_tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return of each text, whose words blanks divide, the number of each word's first token, (words,).

        It is -1 where the text is cut before the word, or the word has no token.
        """
        parts = (texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE))
        return [
            _first_tokens(text, entry) for part in parts for text, entry in zip(part, self._encode(part), strict=True)
        ]

    def pad(self, tokens: Sequence[Tokens], length: int | None = None) -> dict[str, Tensor]:
        """Return the model's text inputs, (B, length) int64 each; None is the length of the longest text."""
        if length is None:
            longest = max((entry.shape[1] for entry in tokens), default=0)
            length = max(1, longest) if MASK in self.inputs else self.length
        padded = {name: np.zeros((len(tokens), length), dtype=np.int64) for name in self.inputs}
        padded["input_ids"] += self.padding
        for row, entry in enumerate(tokens):
            for name, values in zip(self.inputs, entry, strict=True):
                padded[name][row, : len(values)] = values
        return {name: torch.from_numpy(values) for name, values in padded.items()}

    def _inputs_of(self, encoded: Encoding) -> Tokens:
        length = sum(encoded.attention_mask)
        made = np.array([getattr(encoded, INPUTS[name])[:length] for name in self.inputs], dtype=np.int32)
        if TYPES in self.inputs and self.types == 1:
            made[self.inputs.index(TYPES)] = 0
        return made

    def _encode(self, texts: Sequence[Text]) -> Sequence[Encoding]:
        """Return the tokens of texts or pairs, padded to the longest.

        Raises:
            InputError: the tokenizer does not do what it says: its parts do not fit together.
        """
        try:
            encoded = self.tokenizer.encode_batch(texts)
            longest = max((len(entry.ids) for entry in encoded), default=0)
            too_many = longest > self.length
            failed = f"makes {longest} tokens of a text that was to get {self.length} at most" if too_many else ""
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # tokenizers raises plain Exception; a panic of Rust's is not even that
            failed = f"fails on a text ({error})"
        if failed:
            raise input_error("tokenizer-fails", f"a tokenizer that {failed}", TRAINED_WITH, OTHER_TOKENIZER)
        self._check_types(encoded)
        return encoded

    def _check_room(self, pairs: bool) -> None:
        special = self.tokenizer.num_special_tokens_to_add(pairs)
        if self.length <= special:
            raise usage_error(
                "text-length-too-small",
                f"a text length of {self.length}",
                f"more than the {special} special tokens of {'a pair' if pairs else 'a text'}",
                f"--text-length {4 * special}",
            )

    def _check_types(self, encoded: Sequence[Encoding]) -> None:
        """Refuse token types that the model has no row for, or that it has but is never given."""
        given = 1 + max((kind for entry in encoded for kind in entry.type_ids), default=0)
        readable = self.types if TYPES in self.inputs else 1
        if self.types not in (None, 1) and readable is not None and given > readable:
            raise input_error(
                "tokenizer-token-types",
                f"a tokenizer that gives {given} token types for a model that is given {readable}",
                TRAINED_WITH,
                OTHER_TOKENIZER,
            )


class NoTexts(TextTransform):
    """Nothing of texts, for models that read none."""

    def __init__(self) -> None:
        self.inputs, self.length, self.types, self.padding, self.notes = (), 0, None, 0, ()

    def cut_to(self, length: int) -> None:
        """Do nothing."""

    def tokenise(self, texts: Sequence[Text]) -> list[Tokens]:
        """Return no tokens for each."""
        return [np.zeros((0, 0), dtype=np.int32) for _ in texts]

    def cuts(self, texts: Sequence[Text]) -> list[bool]:
        """Return that none is cut."""
        return [False for _ in texts]

    def pad(self, tokens: Sequence[Tokens], length: int | None = None) -> dict[str, Tensor]:
        """Return no inputs."""
        return {}


def _first_tokens(text: str, encoded: Encoding) -> np.ndarray:
    starts = [word.start() for word in re.finditer(r"\S+", text)]
    first = np.full(len(starts), -1)
    for number, ((start, end), special) in enumerate(zip(encoded.offsets, encoded.special_tokens_mask, strict=True)):
        start = end - len(text[start:end].lstrip())
        word = bisect_right(starts, start) - 1
        if not special and start < end and first[word] < 0:
            first[word] = number
    return first


def give_one_type(tokenizer: Tokenizer) -> None:
    """Make ``tokenizer`` give every token type 0, in pairs too; the ids stay what they are."""
    made = tokenizer.post_processor
    state: dict[str, Any] = json.loads(made.__getstate__(), object_hook=_of_type_0) if made else {}
    if state.get("type") == "BertProcessing":
        first, last = state["cls"][0], state["sep"][0]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {last}",
            pair=f"{first} $A {last} $B {last}",
            special_tokens=[tuple(state["cls"]), tuple(state["sep"])],
        )
    elif made is None:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    else:
        made.__setstate__(json.dumps(state).encode())
        tokenizer.post_processor = made


def _of_type_0(part: dict[str, Any]) -> dict[str, Any]:
    return part | {"type_id": 0} if "type_id" in part else part


def _padding_token(tokenizer: Tokenizer) -> tuple[str, int]:
    """Return the padding token and its id: the one that the tokenizer is set to, else one of ``PAD_TOKENS``."""
    own = [tokenizer.padding["pad_token"]] if tokenizer.padding else []
    for pad in (*own, *PAD_TOKENS):
        number = tokenizer.token_to_id(pad)
        if number is not None:
            return pad, number
    raise input_error(
        "tokenizer-without-padding",
        f"a tokenizer without the token {' or '.join(PAD_TOKENS)}",
        f"{TRAINED_WITH}, which pads",
        OTHER_TOKENIZER,
    )


def _different_padding(number: int, configured: int | None) -> tuple[str, ...]:
    if configured in (None, number):
        return ()
    return (
        f"the tokenizer pads with token {number}, and the model's configuration names {configured}: padding is masked,"
        " so this matters only where the tokenizer is another model's",
    )


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise input_error(
            "text-not-unicode",
            f"a text with half of a character ({error.object[error.start]!a}) at place {error.start}: {text[:60]!a}",
            "Unicode text, in UTF-8",
            "replace it: it comes from bytes that are no UTF-8, or from a damaged JSON escape",
        ) from None
