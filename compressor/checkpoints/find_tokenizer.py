"""Tokenizers: in or beside the checkpoint, in a folder, by a Hugging Face name; read as transformers reads them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, normalizers

from compressor.checkpoints.sources.downloads import download, is_downloaded
from compressor.checkpoints.sources.locate import CONFIG, TOKENIZER
from compressor.checkpoints.sources.sentence_modules import OF_TEXTS, read_text_settings
from compressor.checkpoints.sources.source_files import MERGED, MERGES, SETTINGS, VOCABULARIES, WORDS
from compressor.data.text import give_one_type
from compressor.errors import InputError, first_line, input_error, usage_error
from compressor.files import TOKENIZER_FILE, read_settings

UNBOUNDED = 1_000_000  # tokens: transformers writes 1e30 where a tokenizer knows no limit
# What tokenizer_config.json says of the parts of a tokenizer.json, and what it is called there.
STATED = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
    "add_prefix_space": "add_prefix_space",
}


@dataclass(frozen=True)
class FoundTokenizer:
    """A tokenizer and what its files say beside the tokens.

    Attributes:
        tokenizer: its padding token and the side that long texts lose tokens at are part of it, and saved with it.
        longest: most tokens of a text (``model_max_length``, and of an embedder ``max_seq_length``); None where nothing
            is said.
        notes: sentences the user should see.
        folder: where its files lie; None for a file of another name than theirs.
    """

    tokenizer: Tokenizer | None
    longest: int | None = None
    notes: tuple[str, ...] = ()
    folder: Path | None = None


def find_tokenizer(source: str | None, checkpoint: Path, named: str | None, reads_text: bool = True) -> FoundTokenizer:
    """Return the tokenizer of a checkpoint; none of a model that reads no text.

    Args:
        source: what the user named: a tokenizer.json, a folder, or a Hugging Face name; None to look around.
        checkpoint: a folder, looked into, or a file, looked beside: for ``tokenizer.json``, the vocabulary files of a
            Hugging Face folder, or a folder ``tokenizer`` that has them.
        named: the name in the checkpoint's configuration (``roberta-base``), looked up last.
        reads_text: whether the model reads any.

    Raises:
        UsageError: one is named for a model that reads no text.
        InputError: nothing found, with the list of places looked at; or what is found cannot be used.
    """
    if not reads_text:
        if source:
            raise usage_error(
                "tokenizer-without-texts", f"--tokenizer {source}", "none: the model reads no text", "leave it out"
            )
        return FoundTokenizer(None)
    home = checkpoint if checkpoint.is_dir() else checkpoint.parent
    around = {folder: _has_vocabulary(folder) for folder in (home, home / "tokenizer")}
    nearby = [str(folder) for folder, there in around.items() if there]
    places = [source] if source else [*nearby, *([named] if named else [])]
    problems, unusable = [], []
    for place in places:
        try:
            found = _open(place)
        except InputError as error:
            unusable.append(error)
            problems.append(f"{place} ({error.problems[0].found})")
        except Exception as error:  # transformers and tokenizers raise anything
            problems.append(f"{place} ({first_line(error)})")
        else:
            passed = tuple(f"the tokenizer is that of {place}; not used: {problem}" for problem in problems)
            return replace(found, notes=(*passed, *found.notes))
    if unusable:
        raise unusable[0]
    empty = [f"{folder / TOKENIZER_FILE} (not there)" for folder, there in around.items() if not there]
    put = f"put its tokenizer.json {'in' if checkpoint.is_dir() else 'beside'} {checkpoint.name}"
    renew = "pip install --upgrade tokenizers transformers, where newer ones wrote it"
    raise input_error(
        "tokenizer-missing",
        f"no tokenizer; looked at: {'; '.join(problems if source else problems + empty)}",
        "the tokenizer the checkpoint was trained with",
        f"{renew if nearby else put}, or --tokenizer FILE, FOLDER or Hugging Face name",
    )


def _has_vocabulary(folder: Path) -> bool:
    return any((folder / name).is_file() for name in VOCABULARIES)


def _open(place: str) -> FoundTokenizer:
    path = Path(place)
    if path.is_file() and path.name != TOKENIZER_FILE:
        return FoundTokenizer(Tokenizer.from_file(place))
    folder = path.parent if path.is_file() else path if path.is_dir() else _download(place)
    if not _has_vocabulary(folder):
        raise FileNotFoundError(f"none of {', '.join(VOCABULARIES)} in it")
    return _as_an_embedder_takes_texts(_open_folder(folder), folder)


def _open_folder(folder: Path) -> FoundTokenizer:
    whole = Tokenizer.from_file(str(folder / TOKENIZER_FILE)) if (folder / TOKENIZER_FILE).is_file() else None
    if whole and not (folder / SETTINGS).is_file():
        return FoundTokenizer(whole, folder=folder)
    settings = read_settings(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    found = _open_with_settings(folder, settings)
    if whole:
        assert found.tokenizer
        _check_agreement(folder, whole, found.tokenizer, settings)
    return replace(found, folder=folder)


def _as_an_embedder_takes_texts(found: FoundTokenizer, folder: Path) -> FoundTokenizer:
    """Return a tokenizer that does to texts what sentence-transformers says of its transformer's, if the folder is its.

    Raises:
        InputError: what it says is damaged, or no length.
    """
    said = read_text_settings(folder)
    if said.get("do_lower_case"):
        assert found.tokenizer
        own = found.tokenizer.normalizer
        found.tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([own] if own else [])])
    longest = said.get("max_seq_length")
    if longest is None:
        return found
    if not isinstance(longest, int) or longest < 1:
        raise input_error(
            "text-length-impossible",
            f"{folder / OF_TEXTS} has max_seq_length {longest!r}",
            "a number of tokens",
            "correct it",
        )
    return replace(found, longest=min(longest, found.longest or longest))


def _download(name: str) -> Path:
    if not is_downloaded(name):
        raise FileNotFoundError("not there")
    return download(name, [CONFIG, *TOKENIZER])


def _open_with_settings(folder: Path, settings: Mapping[str, Any]) -> FoundTokenizer:
    """Return the tokenizer of a folder as transformers opens it.

    Raises:
        InputError: it has no fast form, or no words.
    """
    unsaid, notes = _unsaid(folder, settings)
    try:
        opened = _class_of(folder, settings).from_pretrained(str(folder), trust_remote_code=False, **unsaid)
    except (ValueError, ImportError) as error:
        if (folder / TOKENIZER_FILE).is_file():
            raise
        raise _slow_only(folder, settings, str(error)) from None
    tokenizer = getattr(opened, "backend_tokenizer", None)
    if tokenizer is None:
        raise _slow_only(folder, settings, f"{type(opened).__name__} has no fast form")
    if set(tokenizer.get_vocab()) <= set(opened.all_special_tokens):
        raise _slow_only(folder, settings, f"{type(opened).__name__} finds nothing but special tokens")
    longest = int(opened.model_max_length) if 0 < opened.model_max_length < UNBOUNDED else None
    tokenizer.enable_truncation(longest or UNBOUNDED, direction=opened.truncation_side)
    if opened.pad_token is not None:
        tokenizer.enable_padding(pad_id=opened.pad_token_id, pad_token=opened.pad_token)
    if "token_type_ids" not in settings.get("model_input_names", ["token_type_ids"]):
        give_one_type(tokenizer)
    if opened.padding_side == "left":
        notes = (*notes, "the tokenizer pads on the left; das pads on the right, which answers as a text alone does")
    return FoundTokenizer(tokenizer, longest, notes)


def _slow_only(folder: Path, settings: Mapping[str, Any], reason: str) -> InputError:
    files = ", ".join(name for name in VOCABULARIES if (folder / name).is_file())
    kind = settings.get("tokenizer_class") or "its class"
    convert = f"from transformers import AutoTokenizer as T; T.from_pretrained('{folder}').save_pretrained('{folder}')"
    return input_error(
        "tokenizer-without-fast-form",
        f"{folder} has {files}, of which transformers makes no fast tokenizer for {kind} ({' '.join(reason.split())})",
        f"a {TOKENIZER_FILE} that holds the same tokenizer",
        f'write it where sentencepiece and tiktoken are installed: python -c "{convert}"; a class that has no fast form'
        f" (BertJapaneseTokenizer) writes none, and das cannot read it",
    )


def _class_of(folder: Path, settings: Mapping[str, Any]) -> Any:
    """Return the library's class: the one that is said, else the one whose vocabulary files these are."""
    from transformers import AutoTokenizer, BertTokenizer, RobertaTokenizer

    if "tokenizer_class" in settings or any((folder / name).is_file() for name in (CONFIG, TOKENIZER_FILE)):
        return AutoTokenizer
    kinds = {MERGES: RobertaTokenizer, WORDS: BertTokenizer}
    return next((kind for file, kind in kinds.items() if (folder / file).is_file()), AutoTokenizer)


def _unsaid(folder: Path, settings: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what vocabulary files leave open and the library would guess wrongly, and notes on it."""
    if (folder / TOKENIZER_FILE).is_file():
        return {}, ()
    if (folder / MERGES).is_file():
        return _mask(folder / MERGED, settings), ()
    return _case(folder / WORDS, settings) if (folder / WORDS).is_file() else ({}, ())


def _mask(vocabulary: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """RoBERTa's mask takes the space before it along, which of all files only a tokenizer.json would say."""
    mask = settings.get("mask_token", "<mask>")
    if not isinstance(mask, str) or mask not in json.loads(vocabulary.read_text(encoding="utf-8")):
        return {}
    return {"mask_token": AddedToken(mask, lstrip=True, normalized=False, special=True)}


def _case(vocabulary: Path, settings: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """BERT's words show whether they were made of texts in lower case, and without accents."""
    if "do_lower_case" in settings:
        return {}, ()
    words = [word for word in vocabulary.read_text(encoding="utf-8").splitlines() if not word.startswith("[")]
    lower = not any(word != word.lower() for word in words)
    stripped = lower and not any(_has_accents(word) for word in words)
    case = "no upper-case words: texts are put in lower case" if lower else "upper-case words: texts keep their case"
    accents = ", and accents: they are kept" if lower and not stripped else ""
    note = f"nothing says do_lower_case, but {vocabulary.name} has {case}{accents}"
    return {"do_lower_case": lower, "strip_accents": settings.get("strip_accents", stripped)}, (note,)


def _has_accents(word: str) -> bool:
    return any(unicodedata.category(letter) == "Mn" for letter in unicodedata.normalize("NFD", word))


def _check_agreement(folder: Path, whole: Tokenizer, opened: Tokenizer, settings: Mapping[str, Any]) -> None:
    """Refuse a tokenizer.json that is other than what transformers makes of it where the settings do not say why.

    Its classes for BERT and RoBERTa take the vocabulary from the file and build everything else anew, by default for
    texts in lower case.
    """
    stated = {name: settings[setting] for setting, name in STATED.items() if setting in settings}
    for ours, theirs in zip(_parts(whole), _parts(opened), strict=True):
        expected = {name: stated.get(name, value) for name, value in ours.items()}
        if expected != theirs:
            raise input_error(
                "tokenizer-undecided",
                f"{folder}: {TOKENIZER_FILE} has {_differing(ours, theirs)}, and of {SETTINGS} transformers makes"
                f" {_differing(theirs, ours)}",
                "files that agree",
                f"say in {SETTINGS} what the model was trained with ({', '.join(STATED)}), or remove it to have"
                f" {TOKENIZER_FILE} as it is",
            )


def _parts(tokenizer: Tokenizer) -> Iterable[dict[str, Any]]:
    """Return model, normaliser and pre-tokenizer as they are saved, without the words and what changes no id."""
    yield {"model": type(tokenizer.model).__name__}
    for part in (tokenizer.normalizer, tokenizer.pre_tokenizer):
        state = json.loads(part.__getstate__()) if part else {"type": "nothing"}
        yield {name: value for name, value in state.items() if name != "trim_offsets"}


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    shown = {name: value for name, value in ours.items() if name not in theirs or theirs[name] != value}
    said = ", ".join(f"{name} {json.dumps(value)}" for name, value in shown.items()) or "nothing of the kind"
    return re.sub(r'"([^"]{20})[^"]{20,}"', r'"\1..."', said)  # SentencePiece's table of characters has 300,000
