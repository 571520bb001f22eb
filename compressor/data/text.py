"""Texts to token ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Encoding, Tokenizer, processors
from torch import Tensor

from compressor.errors import input_error, usage_error

FILE_NAME = "tokenizer.json"
PAD_TOKENS = ("<pad>", "[PAD]")
TYPES = "token_type_ids"
INPUTS = {"input_ids": "ids", "attention_mask": "attention_mask", TYPES: "type_ids"}
TRAINED_WITH = "the tokenizer that the model was trained with"
OTHER_TOKENIZER = "--tokenizer FILE, FOLDER or Hugging Face name"


class TextTransform:
    """Texts, or pairs of texts, to token ids of one fixed length, padded at the end.

    The tokenizer's own padding token is taken, and long texts lose tokens at the side that it says.

    Args:
        tokenizer: a fast tokenizer that adds its own special tokens.
        length: tokens per text, padding included; of a pair the longer text is cut first.
        vocabulary: rows of the model's embedding; ids beyond it are an error.
        inputs: the model's text inputs, keys of ``INPUTS``.
        types: token types that the model embeds; None leaves it to the tokenizer. A model of one type has seen pairs
            with both texts of that type, as its embedding has no other row.
        padding: id of the padding token in the model's configuration; None where it has none.

    Attributes:
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
        pad, number = _padding_token(tokenizer)
        self.notes = (
            *_different_padding(number, padding),
            *("the model has one token type: both texts of a pair get it",) * (TYPES in inputs and types == 1),
        )
        cut = tokenizer.truncation
        tokenizer.enable_padding(length=length, pad_id=number, pad_token=pad)
        tokenizer.enable_truncation(length, direction=cut["direction"] if cut else "right")

    def __call__(self, texts: Sequence[str], seconds: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the model's text inputs, (B, length) int64 each; ``seconds`` are the second texts of pairs.

        Raises:
            InputError: a text that is no Unicode, pairs of more token types than the model can be given, or a
                tokenizer that fails on a text or makes too many tokens of it.
        """
        inputs = list(texts) if seconds is None else list(zip(texts, seconds, strict=True))
        self._check_room(pairs=seconds is not None)
        for text in (*texts, *(seconds or ())):
            _check_unicode(text)
        encoded = self._encode(inputs)
        self._check_types(encoded)
        made = {name: torch.tensor([getattr(entry, INPUTS[name]) for entry in encoded]) for name in self.inputs}
        return made | ({TYPES: torch.zeros_like(made[TYPES])} if TYPES in made and self.types == 1 else {})

    def _encode(self, inputs: Sequence[str | tuple[str, str]]) -> Sequence[Encoding]:
        """Return the tokens of texts or pairs.

        Raises:
            InputError: the tokenizer does not do what it says: its parts do not fit together.
        """
        try:
            encoded = self.tokenizer.encode_batch(inputs)
            wrong = {len(entry.ids) for entry in encoded} - {self.length}
            failed = f"makes {max(wrong)} tokens of a text that was to get {self.length}" if wrong else ""
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # tokenizers raises plain Exception; a panic of Rust's is not even that
            failed = f"fails on a text ({error})"
        if failed:
            raise input_error("tokenizer-fails", f"a tokenizer that {failed}", TRAINED_WITH, OTHER_TOKENIZER)
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
