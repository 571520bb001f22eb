"""Tokenizers: from a file beside the checkpoint, a folder, a Hugging Face name, or a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from compressor.errors import input_error

FILE_NAME = "tokenizer.json"
PAD_TOKENS = ("<pad>", "[PAD]")


class TextTransform:
    """Questions to token ids of one fixed length, padded as METER pads.

    Args:
        tokenizer: a fast tokenizer that adds its own special tokens.
        length: tokens per text, padding included.
        vocabulary: rows of the model's embedding; ids beyond it are an error.
    """

    def __init__(self, tokenizer: Tokenizer, length: int, vocabulary: int) -> None:
        if tokenizer.get_vocab_size() > vocabulary:
            raise input_error(
                f"a tokenizer with {tokenizer.get_vocab_size()} tokens for a model that embeds {vocabulary}",
                "the tokenizer that the model was trained with",
                "--tokenizer FILE, FOLDER or Hugging Face name",
            )
        pads = {pad: tokenizer.token_to_id(pad) for pad in PAD_TOKENS if tokenizer.token_to_id(pad) is not None}
        if not pads:
            raise input_error(
                f"a tokenizer without the token {' or '.join(PAD_TOKENS)}",
                "the tokenizer that the model was trained with, which pads",
                "--tokenizer FILE, FOLDER or Hugging Face name",
            )
        self.tokenizer = tokenizer
        pad, number = next(iter(pads.items()))
        self.tokenizer.enable_padding(length=length, pad_id=number, pad_token=pad)
        self.tokenizer.enable_truncation(length)

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """``input_ids`` and ``attention_mask``, both (B, length) int64."""
        encoded = self.tokenizer.encode_batch(list(texts))
        return {
            "input_ids": torch.tensor([entry.ids for entry in encoded]),
            "attention_mask": torch.tensor([entry.attention_mask for entry in encoded]),
        }


def find_tokenizer(source: str | None, checkpoint: Path, named: str | None) -> Tokenizer:
    """The tokenizer of a checkpoint.

    Args:
        source: what the user named: a tokenizer.json, a folder, or a Hugging Face name; None to look around.
        checkpoint: looked beside: ``tokenizer.json`` in its folder, or a folder ``tokenizer``.
        named: the name in the checkpoint's configuration (``roberta-base``), looked up last.

    Raises:
        InputError: nothing found, with the list of places looked at.
    """
    beside = [checkpoint.parent / FILE_NAME, checkpoint.parent / "tokenizer"]
    places = [source] if source else [*(str(path) for path in beside if path.exists()), *([named] if named else [])]
    problems = []
    for place in places:
        try:
            return _open(place)
        except Exception as error:  # transformers and tokenizers raise anything
            problems.append(f"{place} ({str(error).splitlines()[0][:100] if str(error) else type(error).__name__})")
    looked = [*problems, *([] if source else [str(path) for path in beside if not path.exists()])]
    raise input_error(
        f"no tokenizer; looked at: {'; '.join(looked)}",
        "the tokenizer the checkpoint was trained with",
        f"put its tokenizer.json beside {checkpoint.name}, or --tokenizer FILE, FOLDER or Hugging Face name",
    )


def _open(place: str) -> Tokenizer:
    path = Path(place)
    if path.is_file():
        return Tokenizer.from_file(str(path))
    if (path / FILE_NAME).is_file():
        return Tokenizer.from_file(str(path / FILE_NAME))
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(place, use_fast=True, trust_remote_code=False).backend_tokenizer
