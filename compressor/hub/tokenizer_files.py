"""A tokenizer as transformers keeps it: the files as they came where they do what das did with them, or made anew."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from compressor.checkpoints.sources.source_files import SETTINGS, TOKENIZER_FILES
from compressor.data.text import PAD_TOKENS, TextTransform
from compressor.errors import CheckFailed, Problem, first_line
from compressor.files import TOKENIZER_FILE, write_json
from compressor.saved_run.run_folder import Run

# Names that transformers has for special tokens, and the tokens that usually are these.
SPECIAL = {
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
    "bos_token": ("<s>",),
    "eos_token": ("</s>",),
    "pad_token": PAD_TOKENS,
}
TEXTS = ("a text", "A Text in CAPITALS: déjà vu", "two  spaces\tand a\nline", "東京 2026", "it's 1,000.5")


def write_tokenizer(run: Run, folder: Path) -> bool:
    """Write the run's tokenizer into a folder that holds its config.json; return whether its files are as they came.

    They are not where transformers would make other tokens with them than das did: it guesses what nothing says, as
    whether a vocabulary is of lower case. Then the run's own tokenizer.json is written, and settings beside it that
    have transformers take it as it is.

    Raises:
        CheckFailed: of that, too, transformers makes other tokens.
    """
    text = run.transforms().text
    samples = [*TEXTS, *_texts_of(run, text.tokenizer)]
    came = {name: path for name in TOKENIZER_FILES if (path := run.source_file(name))}
    for name, path in came.items():
        shutil.copyfile(path, folder / name)
    if SETTINGS in came and not _find_difference(folder, text, samples):
        return True
    for name in came:
        (folder / name).unlink()
    _write_anew(text, run.dims.longest_text, folder)
    if differing := _find_difference(folder, text, samples):
        raise CheckFailed(
            Problem(
                "saved-tokenizer-differs",
                f"transformers makes other tokens of the folder's {TOKENIZER_FILE} than das ({differing})",
                "the same tokens",
                "das export RUN --onnx, with the run's own tokenizer.json; nothing was kept of the folder",
            )
        )
    return False


def _texts_of(run: Run, tokenizer: Tokenizer) -> list[str]:
    """Return the texts of the samples that the run keeps, as far as their tokens say: without those of which none does.

    The library takes an empty second text for none.
    """
    special = {tokenizer.token_to_id(token) for tokens in SPECIAL.values() for token in tokens}
    rows = run.samples()["input_ids"].flatten(0, -2).tolist()
    texts = (tokenizer.decode([number for number in row if number not in special]) for row in rows)
    return [text for text in texts if text]


def _find_difference(folder: Path, text: TextTransform, samples: Sequence[str]) -> str:
    """Return a text, or a pair, of which transformers makes other tokens than das, or its error; "" without any."""
    try:
        theirs = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        for first, second in (*((sample, None) for sample in samples), *pairwise(samples)):
            encoded = text.tokenizer.encode(first, second)
            ours = [number for number, real in zip(encoded.ids, encoded.attention_mask, strict=True) if real]
            if list(theirs(first, second, truncation=True, max_length=text.length)["input_ids"]) != ours:
                return repr(first if second is None else (first, second))
    except Exception as error:  # transformers and tokenizers raise anything
        return first_line(error)
    return ""


def _write_anew(text: TextTransform, longest: int, folder: Path) -> None:
    """Write tokenizer.json without a padding or length of its own, and the settings that go with it."""
    bare = Tokenizer.from_str(text.tokenizer.to_str())
    bare.no_padding()
    bare.no_truncation()
    bare.save(str(folder / TOKENIZER_FILE))
    write_json(folder / SETTINGS, describe_tokenizer(text, longest))


def describe_tokenizer(text: TextTransform, longest: int) -> dict[str, Any]:
    """Return tokenizer_config.json: tokenizer.json is taken as it is, and texts are cut at ``longest`` tokens."""
    tokenizer = text.tokenizer
    cut, padding = tokenizer.truncation or {}, tokenizer.padding or {}
    known = {
        name: [token for token in tokens if tokenizer.token_to_id(token) is not None]
        for name, tokens in SPECIAL.items()
    }
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",  # takes tokenizer.json as it is, in transformers 4 and 5
        "model_max_length": longest,
        "model_input_names": list(text.inputs),
        "padding_side": "right",
        "truncation_side": cut["direction"],
        **{name: tokens[0] for name, tokens in known.items() if tokens},
        "pad_token": padding["pad_token"],
    }
