"""Reading the checkpoints people have: Lightning ``.ckpt`` and plain state dicts, safely."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from compressor.errors import InputError, input_error
from compressor.unpickling import RefusedCall, load_plain


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of a checkpoint under their public names, and the configuration saved beside them."""

    path: Path
    state: Mapping[str, Tensor]
    config: Mapping[str, Any]


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint without running anything in it.

    Accepts Lightning files (``state_dict`` and ``hyper_parameters``) and plain state dicts, in the zip format or the
    one before it. Foreign classes become inert placeholders.

    Raises:
        InputError: missing, empty, truncated, no checkpoint, or a pickle that would run code.

    """
    path = Path(path)
    content = _read(path)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not any(isinstance(value, Tensor) for value in state.values()):
        raise _not_a_checkpoint(path, f"a file that holds {type(content).__name__}, without tensors by name")
    hyper = content.get("hyper_parameters")
    config = hyper.get("config", hyper) if isinstance(hyper, Mapping) else {}
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    return Checkpoint(path, tensors, config if isinstance(config, Mapping) else {})


def _read(path: Path) -> Any:
    if not path.exists():
        near = sorted(str(found) for found in path.parent.glob("*.ckpt")) if path.parent.is_dir() else []
        hint = f"there is {', '.join(near)}" if near else "give the path of a checkpoint; das demo makes one"
        raise input_error(f"no file {path}", "a METER checkpoint (.ckpt)", hint)
    if path.is_dir():
        raise input_error(
            f"{path} is a folder without manifest.json", "a checkpoint file or a run folder", "das inspect"
        )
    if path.stat().st_size == 0:
        raise _not_a_checkpoint(path, "an empty file")
    try:
        start = path.open("rb").read(2)
    except OSError as error:
        raise input_error(f"{path} cannot be read: {error.strerror}", "a readable file", f"ls -l {path}") from None
    if start == b"PK" and not zipfile.is_zipfile(path):
        raise _not_a_checkpoint(path, "a truncated checkpoint (its zip directory is missing)")
    try:
        return _load(path)
    except RefusedCall as refused:
        raise input_error(
            f"{path} would call {refused} when it is unpickled; nothing in it has run",
            "a checkpoint that holds tensors and plain values only",
            "do not load this file; get the checkpoint again from a source you trust",
        ) from None
    except Exception as error:  # torch and pickle raise anything on damaged bytes
        raise _not_a_checkpoint(path, f"a file PyTorch cannot read ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    """The first line of what went wrong, without PyTorch's advice to load the file unsafely."""
    lines = str(error).rpartition("WeightsUnpickler error:")[2].strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def _load(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the pickle's age, which is no concern of the user's
        return load_plain(path)


def _not_a_checkpoint(path: Path, found: str) -> InputError:
    return input_error(f"{path}: {found}", "a PyTorch checkpoint as METER or DAS wrote it", "copy or download it again")


def sha256(path: str | Path) -> str:
    """Hex digest of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
