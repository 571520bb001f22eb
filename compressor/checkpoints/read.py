"""Reading the checkpoints people have, safely: Lightning files, plain state dicts, Hugging Face folders and names."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from compressor.checkpoints.safe_pickle import RefusedCall, load_plain
from compressor.errors import InputError, input_error
from compressor.files import sha256

CONFIG = "config.json"
# The weights of a Hugging Face folder: one file, or an index of several; the first that is there is read.
SAFE, PICKLED = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
TOKENIZER = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model")
IMAGES = "*processor_config.json"

_EXPECTED = "a checkpoint file, a Hugging Face folder (config.json and weights) or a Hugging Face name"
_FILE_SUFFIXES = frozenset({".ckpt", ".pt", ".pth", ".bin", ".safetensors"})
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
# What checkpoints converted from TensorFlow call the parameters of a LayerNorm (bert-base-uncased is one).
_OLD_NORM = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of a checkpoint under their public names, and the configuration saved with them.

    ``path`` is a file, or the local folder of a Hugging Face model, whose config.json is then the ``config``.
    """

    path: Path
    state: Mapping[str, Tensor]
    config: Mapping[str, Any]


def read_checkpoint(source: str | Path) -> Checkpoint:
    """Read a checkpoint without running anything in it.

    Accepts Lightning files (``state_dict`` and ``hyper_parameters``) and plain state dicts, in the zip format or the
    one before it; ``.safetensors`` files, with the config.json beside them; Hugging Face folders, with their weights in
    one file or in shards; and Hugging Face names, which are downloaded. Foreign classes become inert placeholders.

    Raises:
        InputError: missing, empty, truncated, incomplete, no checkpoint, or a pickle that would run code.

    """
    path = _locate(source)
    if not path.is_dir():
        return _read_file(path)
    state = {key: tensor for file in _weight_files(path) for key, tensor in _read_file(file).state.items()}
    return Checkpoint(path, state, _read_json(path / CONFIG))


def checkpoint_sha256(path: Path) -> str:
    """Return the hex digest of a checkpoint: of a file, or of a folder's config.json and the weights that are read."""
    if not path.is_dir():
        return sha256(path)
    listing = "".join(f"{file.name} {sha256(file)}\n" for file in (path / CONFIG, *_weight_files(path)))
    return hashlib.sha256(listing.encode()).hexdigest()


def _locate(source: str | Path) -> Path:
    path = Path(source)
    if path.exists():
        return path
    if path.suffix not in _FILE_SUFFIXES and _HUB_NAME.fullmatch(str(source)):
        return _download(str(source))
    raise input_error(
        "checkpoint-missing",
        f"no file {path}",
        _EXPECTED,
        _near(path) or "give the path of a checkpoint; das demo makes one",
    )


def _near(path: Path) -> str:
    """Return the checkpoints in the folder of a path that is not there, as a hint; '' without any."""
    files = sorted(str(file) for file in path.parent.glob("*.ckpt")) if path.parent.is_dir() else []
    return f"there is {', '.join(files)}" if files else ""


def _download(name: str) -> Path:
    """Return the local folder of a Hugging Face model; pickled weights are taken only where there are no others."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(name, allow_patterns=[CONFIG, *TOKENIZER, IMAGES, "model*.safetensors", SAFE[1]])
        )
        if any((folder / file).exists() for file in SAFE):
            return folder
        return Path(snapshot_download(name, allow_patterns=["pytorch_model*.bin", PICKLED[1]]))
    except Exception as error:  # the client raises anything
        raise input_error(
            "model-not-found",
            f"no file or folder {name}, and no model of that name from Hugging Face ({_reason(error)})",
            _EXPECTED,
            _near(Path(name)) or "check the name; without a network, give the folder that the model was saved in",
        ) from None


def _weight_files(folder: Path) -> tuple[Path, ...]:
    if (folder / "manifest.json").exists():
        raise input_error(
            "run-instead-of-checkpoint",
            f"{folder} is a run, a model that das has compressed",
            _EXPECTED,
            "give the checkpoint that the run names",
        )
    weights = next((folder / name for name in (*SAFE, *PICKLED) if (folder / name).exists()), None)
    if weights is None:
        raise input_error(
            "weights-missing",
            f"{folder} is a folder without weights (none of {', '.join((*SAFE, *PICKLED))})",
            _EXPECTED,
            _near(folder / CONFIG) or "give the checkpoint itself, or download the model's files again",
        )
    return _shards(weights) if weights.suffix == ".json" else (weights,)


def _shards(index: Path) -> tuple[Path, ...]:
    listed = _read_json(index).get("weight_map")
    if not isinstance(listed, Mapping) or not listed or not all(isinstance(name, str) for name in listed.values()):
        raise _not_a_checkpoint("index-empty", index, "an index that names no files of weights")
    shards = tuple(index.parent / name for name in sorted(set(listed.values())))
    if missing := [shard.name for shard in shards if not shard.exists()]:
        raise input_error(
            "shard-missing",
            f"{index} names {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not there",
            "all files of weights in the folder",
            "download the model's files again",
        )
    return shards


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise input_error(
            "config-missing", f"no {path.name} in {path.parent}", _EXPECTED, "download the model's files again"
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError as error:
        raise _not_a_checkpoint("config-not-json", path, f"no JSON ({_reason(error)})") from None
    if not isinstance(content, dict):
        raise _not_a_checkpoint(
            "config-not-json", path, f"JSON that holds {type(content).__name__}, not settings by name"
        )
    return content


def _read_file(path: Path) -> Checkpoint:
    if path.suffix == ".safetensors":
        beside = path.with_name(CONFIG)
        return Checkpoint(path, _read_safetensors(path), _read_json(beside) if beside.exists() else {})
    content = _read_pickle(path)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not any(isinstance(value, Tensor) for value in state.values()):
        raise _not_a_checkpoint(
            "checkpoint-without-tensors", path, f"a file that holds {type(content).__name__}, without tensors by name"
        )
    hyper = content.get("hyper_parameters")
    config = hyper.get("config", hyper) if isinstance(hyper, Mapping) else {}
    tensors = {_current_name(str(key)): value for key, value in state.items() if isinstance(value, Tensor)}
    return Checkpoint(path, tensors, config if isinstance(config, Mapping) else {})


def _current_name(key: str) -> str:
    for old, new in _OLD_NORM.items():
        key = key.replace(old, new)
    return key


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise _not_a_checkpoint("checkpoint-damaged", path, f"a truncated or damaged file ({_reason(error)})") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if not tensors:
        raise _not_a_checkpoint("checkpoint-without-tensors", path, "a file without tensors")
    return {_current_name(key): tensor for key, tensor in tensors.items()}


def _read_pickle(path: Path) -> Any:
    if path.stat().st_size == 0:
        raise _not_a_checkpoint("checkpoint-empty", path, "an empty file")
    try:
        start = path.open("rb").read(2)
    except OSError as error:
        raise _unreadable(path, error) from None
    if start == b"PK" and not zipfile.is_zipfile(path):
        raise _not_a_checkpoint("checkpoint-damaged", path, "a truncated checkpoint (its zip directory is missing)")
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
        raise _not_a_checkpoint("checkpoint-damaged", path, f"a file PyTorch cannot read ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    """Return the first line of what went wrong, without PyTorch's advice to load the file unsafely."""
    lines = str(error).rpartition("WeightsUnpickler error:")[2].strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def _load(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the pickle's age, which is no concern of the user's
        return load_plain(path)


def _unreadable(path: Path, error: OSError) -> InputError:
    return input_error(
        "file-unreadable", f"{path} cannot be read: {error.strerror or error}", "a readable file", f"ls -l {path}"
    )


def _not_a_checkpoint(code: str, path: Path, found: str) -> InputError:
    return input_error(code, f"{path}: {found}", "a checkpoint as it was saved, whole", "copy or download it again")
