"""Where the files of a checkpoint are: a file, a Hugging Face folder, the index of several files, or a name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.checkpoints.sources.downloads import WEIGHTS, download, is_downloaded
from compressor.checkpoints.sources.file_kinds import (
    describe_folder,
    refuse_adapter,
    refuse_file,
    refuse_part,
    refuse_tuned,
)
from compressor.checkpoints.sources.sentence_modules import check_transformer
from compressor.errors import InputError, first_line, input_error, shorten
from compressor.files import read_settings

CONFIG = "config.json"
ADAPTER = "adapter_config.json"
# The weights of a Hugging Face folder: one file, or an index of several; the first that is there is read.
SAFE, PICKLED = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
TOKENIZER = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model")
IMAGES = "*processor_config.json"
# What sentence-transformers writes, and the folders of its modules (1_Pooling, 2_Dense).
SENTENCES = ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json", "[0-9]_*/*")

_EXPECTED = "a checkpoint file, a Hugging Face folder (config.json and weights) or a Hugging Face name"


def locate(source: str | Path, weights: bool = True) -> Path:
    """Return the file or folder of a checkpoint; a Hugging Face name is downloaded.

    Args:
        source: of the checkpoint.
        weights: of a Hugging Face model; else only what says what it is.

    Raises:
        InputError: there is none.
    """
    path = Path(source)
    if path.exists():
        return path
    if is_downloaded(source):
        return _download(str(source), weights)
    raise input_error(
        "checkpoint-missing",
        f"no file {path}",
        _EXPECTED,
        _near(path.parent) or "give the path of a checkpoint; das demo makes one",
    )


def weight_files(path: Path) -> tuple[Path, ...]:
    """Return the files that hold the weights of a checkpoint: of a folder or an index several, in order.

    Raises:
        InputError: a folder without weights, or a part of a checkpoint.
    """
    if not path.is_dir():
        refuse_part(path)
        return _shards(path) if path.name in (SAFE[1], PICKLED[1]) else (path,)
    if (path / "manifest.json").exists():
        raise input_error(
            "run-instead-of-checkpoint",
            f"{path} is a run, a model that das has compressed",
            _EXPECTED,
            "give the checkpoint that the run names",
        )
    refuse_tuned(path)
    refuse_adapter(path, ADAPTER)
    weights = next((path / name for name in (*SAFE, *PICKLED) if (path / name).exists()), None)
    if weights is not None:
        return _shards(weights) if weights.suffix == ".json" else (weights,)
    check_transformer(path)
    if problem := describe_folder(path):
        raise InputError(problem)
    raise input_error(
        "weights-missing",
        f"{path} is a folder without weights (none of {', '.join((*SAFE, *PICKLED))})",
        _EXPECTED,
        _near(path) or _runs_in(path) or "give the checkpoint itself, or download the model's files again",
    )


def read_config(path: Path) -> dict[str, Any]:
    """Return the config.json of a folder, or the one beside a file, where there may be none: {}.

    Raises:
        InputError: a folder without one, or one that is no JSON.
    """
    config = path / CONFIG if path.is_dir() else path.with_name(CONFIG)
    return _read(config) if path.is_dir() or config.exists() else {}


def _runs_in(folder: Path) -> str:
    """Return that one of the runs in a folder be given, or their checkpoint; '' without any."""
    runs = [str(found.parent) for found in sorted(folder.glob("*/manifest.json"))]
    return f"give the checkpoint of its runs, or where a run will do one of {shorten(runs)}" if runs else ""


def _near(folder: Path) -> str:
    """Return that one of the checkpoints in a folder be given; '' without any."""
    files = sorted(str(file) for file in folder.glob("*") if file.suffix in WEIGHTS) if folder.is_dir() else []
    return f"give {'one of ' * (len(files) > 1)}{shorten(files)}" if files else ""


def _download(name: str, weights: bool) -> Path:
    """Return the local folder of a Hugging Face model; pickled weights are taken only where there are no others."""
    try:
        if not weights:
            return download(name, [CONFIG])
        folder = download(name, [CONFIG, ADAPTER, *TOKENIZER, IMAGES, *SENTENCES, "model*.safetensors", SAFE[1]])
        if any((folder / file).exists() for file in SAFE):
            return folder
        return download(name, ["pytorch_model*.bin", PICKLED[1]])
    except Exception as error:  # the client raises anything
        raise input_error(
            "model-not-found",
            f"no file or folder {name}, and no model of that name from Hugging Face ({first_line(error)})",
            _EXPECTED,
            _near(Path(name).parent)
            or "check the name; without a network, give the folder that the model was saved in",
        ) from None


def _shards(index: Path) -> tuple[Path, ...]:
    listed = _read(index).get("weight_map")
    if not isinstance(listed, Mapping) or not listed or not all(isinstance(name, str) for name in listed.values()):
        raise refuse_file("index-empty", index, "an index that names no files of weights")
    shards = tuple(index.parent / name for name in sorted(set(listed.values())))
    if missing := [shard.name for shard in shards if not shard.exists()]:
        raise input_error(
            "shard-missing",
            f"{index} names {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not there",
            "all files of weights in the folder",
            "download the model's files again",
        )
    return shards


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_settings(path)
    except FileNotFoundError:
        raise input_error(
            "config-missing", f"no {path.name} in {path.parent}", _EXPECTED, "download the model's files again"
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None
    except ValueError as error:
        raise refuse_file("config-not-json", path, f"no JSON of settings ({first_line(error)})") from None


def unreadable(path: Path, error: OSError) -> InputError:
    """Return the error for a file that the system does not let das read."""
    return input_error(
        "file-unreadable", f"{path} cannot be read: {error.strerror or error}", "a readable file", f"ls -l {path}"
    )
