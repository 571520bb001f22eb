"""Reading the checkpoints people have, safely: Lightning files, plain state dicts, Hugging Face folders and names."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from compressor.checkpoints.safe_pickle import RefusedCall, foreign_name, load_plain, module_of_old_format
from compressor.checkpoints.sources.file_kinds import SAVE, refuse_file
from compressor.checkpoints.sources.locate import CONFIG, locate, read_config, unreadable, weight_files
from compressor.checkpoints.sources.sentence_modules import read_sentence_folder
from compressor.checkpoints.sources.weight_sets import gather_tensors
from compressor.errors import InputError, first_line, input_error
from compressor.families.key_mapping import SENTENCE_MODULES
from compressor.files import sha256

# What checkpoints converted from TensorFlow call the parameters of a LayerNorm (bert-base-uncased is one).
_OLD_NORM = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of a checkpoint under their public names, and the configuration saved with them.

    Attributes:
        path: a file, or the local folder of a Hugging Face model.
        state: the tensors; of a file with several sets of them, each key starts with the name of its set and "/".
        config: what the file itself says of its model; otherwise config.json.
        beside: config.json of the folder, or beside the file; {} without one. Of an embedder it says of the modules
            behind the transformer, too.
        behind: tensors of these modules, by the number of the module and its name; {} of all others.

    """

    path: Path
    state: Mapping[str, Tensor]
    config: Mapping[str, Any]
    beside: Mapping[str, Any] = field(default_factory=dict)
    behind: Mapping[str, Tensor] = field(default_factory=dict)


def read_checkpoint(source: str | Path) -> Checkpoint:
    """Read a checkpoint without running anything in it.

    Accepts Lightning files (``state_dict`` and ``hyper_parameters``) and state dicts, plain or in a dict of several
    things, in the zip format or the one before it; ``.safetensors`` files; an index of several files; Hugging Face
    folders; and Hugging Face names, which are downloaded. A file is read with the config.json beside it. Foreign
    classes become inert placeholders.

    Raises:
        InputError: missing, empty, truncated, incomplete, no checkpoint, or a pickle that would run code.

    """
    path = locate(source)
    files = weight_files(path)
    contents = [_read_file(file) for file in files]
    sentences = read_sentence_folder(path)
    beside = read_config(path) | ({SENTENCE_MODULES: sentences.config} if sentences.config else {})
    behind = {
        f"{place}.{key}": tensor
        for place, file in sentences.weights.items()
        for key, tensor in gather_tensors(_read_file(file)).items()
    }
    hyper = contents[0].get("hyper_parameters") if len(files) == 1 else None
    config = hyper.get("config", hyper) if isinstance(hyper, Mapping) else {}
    state = {key: tensor for content in contents for key, tensor in gather_tensors(content).items()}
    state = {_current_name(key): tensor for key, tensor in state.items()}
    return Checkpoint(path, state, config if isinstance(config, Mapping) and config else beside, beside, behind)


def checkpoint_sha256(path: Path) -> str:
    """Return the hex digest of a checkpoint: of a file, or of all files of a folder or an index that are read."""
    files = weight_files(path)
    if files == (path,):
        return sha256(path)
    config = path / CONFIG if path.is_dir() else path.with_name(CONFIG)
    named = {file.name: file for file in (config, *files) if file.exists()}
    named |= read_sentence_folder(path).files
    listing = "".join(f"{name} {sha256(file)}\n" for name, file in named.items())
    return hashlib.sha256(listing.encode()).hexdigest()


def _current_name(key: str) -> str:
    for old, new in _OLD_NORM.items():
        key = key.replace(old, new)
    return key


def _read_file(path: Path) -> Mapping[Any, Any]:
    """Return what was saved in a file: tensors by name, at some depth."""
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if isinstance(content, Mapping) and gather_tensors(content):
        return content
    values = {str(name): value for name, value in content.items()} if isinstance(content, Mapping) else {"it": content}
    modules = [f"{name} is a whole {whole}" for name, value in values.items() if (whole := foreign_name(value))]
    if modules:
        raise _holds_a_module(path, ", ".join(modules))
    raise refuse_file(
        "checkpoint-without-tensors", path, f"a file that holds {type(content).__name__}, without tensors by name", SAVE
    )


def _holds_a_module(path: Path, found: str) -> InputError:
    """Return the error for ``torch.save(model)``: a module is code, and das runs none that comes with a checkpoint."""
    return input_error(
        "module-instead-of-weights",
        f"{path} holds no weights by name: {found}",
        "tensors by name, which need no code",
        SAVE,
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except OSError as error:
        raise unreadable(path, error) from None
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        found = f"a truncated or damaged file ({first_line(error)})"
        raise refuse_file("checkpoint-damaged", path, found) from None


def _read_pickle(path: Path) -> Any:
    try:
        start = path.open("rb").read(2)
    except OSError as error:
        raise unreadable(path, error) from None
    if not start:
        raise refuse_file("checkpoint-empty", path, "an empty file")
    if start == b"PK" and not zipfile.is_zipfile(path):
        raise refuse_file("checkpoint-damaged", path, "a truncated checkpoint (its zip directory is missing)")
    try:
        return _load(path)
    except RefusedCall as refused:
        raise input_error(
            "checkpoint-unsafe",
            f"{path} would call {refused} when it is unpickled; nothing in it has run",
            "a checkpoint that holds tensors and plain values only",
            "do not load this file; get the checkpoint again from a source you trust",
        ) from None
    except Exception as error:  # torch and pickle raise anything on damaged bytes
        if whole := module_of_old_format(path):
            raise _holds_a_module(path, f"it is a whole {whole}") from None
        raise refuse_file("checkpoint-damaged", path, f"a file PyTorch cannot read ({first_line(error)})") from None


def _load(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the pickle's age, which is no concern of the user's
        return load_plain(path)
