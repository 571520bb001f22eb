"""Does a model with a smaller vocabulary make the same tokens of texts, and the same of the tokens?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoTokenizer

from compressor.data.text import AT_ONCE
from compressor.errors import CheckFailed, Problem
from compressor.hub.hub_folder import load_folder
from compressor.progress import QUIET, Progress
from compressor.vocabulary.vocabulary_source import LoadedModel, Source

SAMPLES, SAMPLES_AT_ONCE = 64, 16  # texts that outputs are compared on


def compare_tokens(
    full: Tokenizer, trimmed: Tokenizer, rows: Sequence[int], texts: Sequence[str], progress: Progress = QUIET
) -> int:
    """Return how many different tokens the texts have, whole; ``rows`` are the numbers in ``full`` of those trimmed.

    Raises:
        CheckFailed: a text has other tokens than before.
    """
    used: set[int] = set()
    starts = range(0, len(texts), AT_ONCE)
    for start in progress.track(starts, "comparing the tokens of every text", len(starts)):
        part = texts[start : start + AT_ONCE]
        for text, before, after in zip(part, full.encode_batch(part), trimmed.encode_batch(part), strict=True):
            if before.ids != [rows[number] for number in after.ids]:
                raise _differs(f"the tokens of {text[:60]!r} are {after.tokens}, not {before.tokens}")
            used.update(after.ids)
    return len(used)


def compare_outputs(
    source: Source, full: LoadedModel, rows: Tensor, texts: Sequence[str], folder: Path
) -> tuple[int, float]:
    """Return on how many texts a folder's model, as transformers loads it, was compared, and the largest difference.

    Raises:
        CheckFailed: it is too large, or transformers makes other tokens of a text than das did.
    """
    tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, padding_side="right")
    trimmed, _ = load_folder(type(full.model), folder)
    for model in (full.model, trimmed):
        for name in full.absent:  # drawn at random
            model.get_parameter(name).data.zero_()
    chosen, largest = sorted(texts[:: -(-len(texts) // SAMPLES)], key=len), 0.0
    for start in range(0, len(chosen), SAMPLES_AT_ONCE):
        part = chosen[start : start + SAMPLES_AT_ONCE]
        before = source.text(part)
        ids = tokenizer(part, padding=True, truncation=True, max_length=source.text.length, return_tensors="pt")
        if not torch.equal(rows[ids["input_ids"]], before["input_ids"]):
            raise _differs(f"transformers makes other tokens than das of a text among {part}")
        with torch.inference_mode():
            expected = full.model(**before)[0]
            found = trimmed(**{**before, "input_ids": ids["input_ids"]})[0]
        if found.shape != expected.shape:  # a number for each token of the vocabulary
            expected = expected[..., rows]
        largest = max(largest, float((expected - found).abs().max()))
    if not largest <= source.tolerance:
        raise _differs(f"the model's output differs by {largest:.1e}")
    return len(chosen), largest


def _differs(what: str) -> CheckFailed:
    return CheckFailed(
        Problem(
            "vocabulary-differs",
            f"with the smaller vocabulary {what}",
            "the same tokens and the same output",
            "a tokenizer that cuts a text alike each time (without dropout); nothing was kept",
        )
    )
