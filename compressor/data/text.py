"""Tokenizers: in or beside the checkpoint, in a folder, by a Hugging Face name; and texts to token ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from compressor.errors import input_error, usage_error

FILE_NAME = "tokenizer.json"
VOCABULARIES = (FILE_NAME, "vocab.txt", "vocab.json")  # any of them makes a folder one of a tokenizer
PAD_TOKENS = ("<pad>", "[PAD]")
INPUTS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


class TextTransform:
    """Texts, or pairs of texts, to token ids of one fixed length, padded at the end.

    Args:
        tokenizer: a fast tokenizer that adds its own special tokens.
        length: tokens per text, padding included; of a pair the longer text is cut first.
        vocabulary: rows of the model's embedding; ids beyond it are an error.
        inputs: the model's text inputs, keys of ``INPUTS``.

    Raises:
        InputError: more tokens than the model embeds, or none to pad with.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        length: int,
        vocabulary: int,
        inputs: Sequence[str] = ("input_ids", "attention_mask"),
    ) -> None:
        if tokenizer.get_vocab_size() > vocabulary:
            raise input_error(
                "tokenizer-too-large",
                f"a tokenizer with {tokenizer.get_vocab_size()} tokens for a model that embeds {vocabulary}",
                "the tokenizer that the model was trained with",
                "--tokenizer FILE, FOLDER or Hugging Face name",
            )
        pads = {pad: tokenizer.token_to_id(pad) for pad in PAD_TOKENS if tokenizer.token_to_id(pad) is not None}
        if not pads:
            raise input_error(
                "tokenizer-without-padding",
                f"a tokenizer without the token {' or '.join(PAD_TOKENS)}",
                "the tokenizer that the model was trained with, which pads",
                "--tokenizer FILE, FOLDER or Hugging Face name",
            )
        self.tokenizer, self.inputs, self.length = tokenizer, tuple(inputs), length
        self._check_room(pairs=False)
        pad, number = next(iter(pads.items()))
        self.tokenizer.enable_padding(length=length, pad_id=number, pad_token=pad)
        self.tokenizer.enable_truncation(length)

    def __call__(self, texts: Sequence[str], seconds: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the model's text inputs, (B, length) int64 each; ``seconds`` are the second texts of pairs."""
        inputs = list(texts) if seconds is None else list(zip(texts, seconds, strict=True))
        self._check_room(pairs=seconds is not None)
        encoded = self.tokenizer.encode_batch(inputs)
        return {name: torch.tensor([getattr(entry, INPUTS[name]) for entry in encoded]) for name in self.inputs}

    def _check_room(self, pairs: bool) -> None:
        special = self.tokenizer.num_special_tokens_to_add(pairs)
        if self.length <= special:
            raise usage_error(
                "text-length-too-small",
                f"a text length of {self.length}",
                f"more than the {special} special tokens of {'a pair' if pairs else 'a text'}",
                f"--text-length {4 * special}",
            )


def find_tokenizer(source: str | None, checkpoint: Path, named: str | None) -> Tokenizer:
    """Return the tokenizer of a checkpoint.

    Args:
        source: what the user named: a tokenizer.json, a folder, or a Hugging Face name; None to look around.
        checkpoint: a folder, looked into, or a file, looked beside: for ``tokenizer.json``, the vocabulary files of a
            Hugging Face folder, or a folder ``tokenizer`` that has them.
        named: the name in the checkpoint's configuration (``roberta-base``), looked up last.

    Raises:
        InputError: nothing found, with the list of places looked at.
    """
    home = checkpoint if checkpoint.is_dir() else checkpoint.parent
    around = {folder: _has_vocabulary(folder) for folder in (home, home / "tokenizer")}
    nearby = [str(folder) for folder, there in around.items() if there]
    places = [source] if source else [*nearby, *([named] if named else [])]
    problems = []
    for place in places:
        try:
            return _open(place)
        except Exception as error:  # transformers and tokenizers raise anything
            problems.append(f"{place} ({str(error).splitlines()[0][:100] if str(error) else type(error).__name__})")
    empty = [f"{folder / FILE_NAME} (not there)" for folder, there in around.items() if not there]
    place = "in" if checkpoint.is_dir() else "beside"
    raise input_error(
        "tokenizer-missing",
        f"no tokenizer; looked at: {'; '.join(problems if source else problems + empty)}",
        "the tokenizer the checkpoint was trained with",
        f"put its tokenizer.json {place} {checkpoint.name}, or --tokenizer FILE, FOLDER or Hugging Face name",
    )


def _has_vocabulary(folder: Path) -> bool:
    return any((folder / name).is_file() for name in VOCABULARIES)


def _open(place: str) -> Tokenizer:
    path = Path(place)
    if path.is_file():
        return Tokenizer.from_file(str(path))
    if (path / FILE_NAME).is_file():
        return Tokenizer.from_file(str(path / FILE_NAME))
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(place, use_fast=True, trust_remote_code=False).backend_tokenizer
