"""A folder of transformers with a smaller vocabulary: written, loaded again, and compared before it counts."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from compressor.checkpoints.declared import ADAPTERS
from compressor.checkpoints.sources.locate import CONFIG, PICKLED, SAFE, weight_files
from compressor.checkpoints.sources.sentence_modules import MODULES, read_sentence_folder
from compressor.checkpoints.sources.source_files import SETTINGS, TOKENIZER_FILES
from compressor.errors import shorten
from compressor.files import TOKENIZER_FILE, atomic_folder, read_settings, write_json, write_text
from compressor.hub.hub_folder import CARD
from compressor.hub.tokenizer_files import describe_tokenizer
from compressor.progress import QUIET, Progress
from compressor.values import Value
from compressor.vocabulary.kept_tokens import find_strings, find_words, keep_tokens
from compressor.vocabulary.trim_tokenizer import old_numbers, trim_tokenizer
from compressor.vocabulary.vocabulary_checks import compare_outputs, compare_tokens
from compressor.vocabulary.vocabulary_source import LoadedModel, Source

RECORD = "vocabulary.json"
ROWS, TOKEN_ID = "vocab_size", "_token_id"  # what config.json says of the vocabulary
PLAIN = (CARD, "LICENSE", "modeling_das.py")  # files that say nothing of tokens


class TrimmedVocabulary(Value):
    """What was written.

    Attributes:
        folder, source: paths.
        architecture: class that config.json names.
        loader: class of transformers whose ``from_pretrained`` loads the folder.
        trust_remote_code: whether it has code of its own, for its adapters, and so must be told to.
        tokenizer: kind of its model: WordPiece, BPE, Unigram, WordLevel.
        texts: different ones that were read, and the prompts of an embedder.
        used: different tokens of these texts.
        tokens, full_tokens: rows of the embedding, now and before.
        parameters, full_parameters: of the model.
        weight_bytes, full_weight_bytes: of its files of weights.
        samples: of the texts, that the model, loaded again, was compared with the full one on.
        max_abs_error: largest difference of a number of its output.
        not_copied: files and folders of the source that the folder is without, as they may depend on the tokens.
    """

    schema_version: int = 1
    folder: str
    source: str
    architecture: str
    loader: str
    trust_remote_code: bool
    tokenizer: str
    texts: int
    used: int
    tokens: int
    full_tokens: int
    parameters: int
    full_parameters: int
    weight_bytes: int
    full_weight_bytes: int
    samples: int
    max_abs_error: float
    not_copied: tuple[str, ...] = ()


def trim_folder(
    source: Source,
    texts: Sequence[str],
    folder: Path,
    write_card: Callable[[TrimmedVocabulary], str] | None = None,
    progress: Progress = QUIET,
) -> TrimmedVocabulary:
    """Write a model with the tokens that ``texts`` can need and no others, whole or not at all.

    Each of the texts is cut into the same tokens as before, numbered anew, and the model's output is the same.

    Args:
        source: the full model.
        texts: different ones; an embedder's prompts count as well.
        folder: new, or empty.
        write_card: returns the text of README.md; None copies that of the source.
        progress: told about each stage.

    Raises:
        InputError: the source's files lack tensors.
        CheckFailed: a text gets other tokens, or an output differs; nothing is left of the folder.
        EnvironmentProblem: it cannot be written.
    """
    with progress.stage("Loading the model"):
        full = source.load()
    if full.unread:
        progress.say(f"left out, as {type(full.model).__name__} does not read them: {shorten(full.unread)}")
    texts = list(dict.fromkeys((*texts, *_prompts(source.folder))))
    ids, tokenizer = _named_tokens(full.model.config), _without_limits(source.text.tokenizer)
    settings = _tokenizer_settings(source)
    with progress.stage("Choosing the tokens"):
        named = {str(tokenizer.id_to_token(number)) for number in ids.values()} | set(find_strings(settings))
        kept = keep_tokens(tokenizer, find_words(tokenizer, texts)) | named
        trimmed = trim_tokenizer(tokenizer, kept, ids.get(f"pad{TOKEN_ID}"))
        old = old_numbers(tokenizer, trimmed)
    used = compare_tokens(tokenizer, trimmed, old, texts, progress)
    rows = torch.tensor(old)
    with atomic_folder(folder.absolute()) as temporary:
        with progress.stage("Writing the folder"):
            state = _trim_state(full, rows)
            save_file(state, temporary / SAFE[0], metadata={"format": "pt"})
            write_json(temporary / CONFIG, source.config | {ROWS: len(old)} | _renumber(ids, old, source.config))
            write_json(temporary / SETTINGS, settings)
            trimmed.save(str(temporary / TOKENIZER_FILE))
            not_copied = _copy_others(source.folder, temporary)
        with progress.stage("Loading it again"):
            samples, error = compare_outputs(source, full, rows, texts, temporary)
        found = TrimmedVocabulary(
            folder=str(folder),
            source=source.name,
            architecture=type(full.model).__name__,
            loader=source.loader,
            trust_remote_code=ADAPTERS in source.config,
            tokenizer=type(tokenizer.model).__name__,
            texts=len(texts),
            used=used,
            tokens=len(old),
            full_tokens=full.model.config.vocab_size,
            parameters=sum(tensor.numel() for tensor in state.values()),
            full_parameters=sum(parameter.numel() for parameter in full.model.parameters()),
            weight_bytes=(temporary / SAFE[0]).stat().st_size,
            full_weight_bytes=sum(file.stat().st_size for file in weight_files(source.folder)),
            samples=samples,
            max_abs_error=error,
            not_copied=not_copied,
        )
        write_json(temporary / RECORD, {**found.model_dump(), "rows": old})
        if write_card:
            write_text(temporary / CARD, write_card(found))
    return found


def _prompts(folder: Path) -> list[str]:
    """Return what sentence-transformers puts in front of texts."""
    settings = read_sentence_folder(folder).config.get("settings", {})
    return [prompt for prompt in (settings.get("prompts") or {}).values() if prompt]


def _without_limits(tokenizer: Tokenizer) -> Tokenizer:
    """Return a copy of a tokenizer that neither cuts nor pads."""
    bare = Tokenizer.from_str(tokenizer.to_str())
    bare.no_padding()
    bare.no_truncation()
    return bare


def _named_tokens(config: Any) -> dict[str, int]:
    """Return the numbers of the tokens that a configuration names, its class's defaults included."""
    return {name: value for name, value in config.to_dict().items() if name.endswith(TOKEN_ID) and type(value) is int}


def _renumber(ids: dict[str, int], old: list[int], config: dict[str, Any]) -> dict[str, int | None]:
    """Return the new numbers of named tokens, those that are neither said nor changed left out; None of no token's."""
    new = {number: place for place, number in enumerate(old)}
    return {name: new.get(number) for name, number in ids.items() if name in config or new.get(number) != number}


def _trim_state(full: LoadedModel, rows: Tensor) -> dict[str, Tensor]:
    """Return the tensors of the model with the new vocabulary: what has another shape in a model of that size is cut.

    Those that are tied to others, and those that the files did not have, are left out.
    """
    model, config = full.model, copy.deepcopy(full.model.config)
    config.vocab_size = len(rows)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in type(model)(config).state_dict().items()}
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - dict(model.named_parameters()).keys()
    state = {}
    for name, tensor in model.state_dict().items():
        if name not in tied | full.absent:
            for axis, size in enumerate(shapes[name]):
                tensor = tensor if tensor.shape[axis] == size else tensor.index_select(axis, rows)
            state[name] = tensor.contiguous()
    return state


def _tokenizer_settings(source: Source) -> dict[str, Any]:
    """Return tokenizer_config.json as it came, but that tokenizer.json is to be taken as it is."""
    path = source.folder / SETTINGS
    came = read_settings(path) if path.is_file() else {}
    came.pop("added_tokens_decoder", None)  # by number
    made = describe_tokenizer(source.text, source.longest)
    return {**made, **came, "tokenizer_class": made["tokenizer_class"]}


def _copy_others(source: Path, folder: Path) -> tuple[str, ...]:
    """Copy what lies beside the weights and does not depend on tokens; return the names of what else there is."""
    of_embedder = dict(read_sentence_folder(source).files)
    modules = json.loads((source / MODULES).read_text()) if of_embedder else []
    folders = {module["path"] for module in modules} - {""}
    for name in folders:
        (folder / name).mkdir()
    named = {name: source / name for name in PLAIN if (source / name).is_file()} | of_embedder
    for name, path in named.items():
        shutil.copyfile(path, folder / name)
    written = {CONFIG, *TOKENIZER_FILES, *(file.name for file in weight_files(source)), SAFE[1], PICKLED[1]}
    known = written | folders | named.keys()
    others = (path.name for path in source.iterdir() if not path.name.startswith("."))
    return tuple(sorted(name for name in others if name not in known))
