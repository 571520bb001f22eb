"""Files that appear whole, under their final name, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from safetensors import SafetensorError

from compressor.errors import DasError, environment_problem

TOKENIZER_FILE = "tokenizer.json"  # beside a checkpoint, and in a run folder
TUNED_FILE = "tuned.json"  # what a folder of das tune says of itself
PARTIAL = ".partial-"  # and the number of the process that writes there
WRITE_ERRORS = (OSError, SafetensorError)


@contextmanager
def atomic_file(path: Path, fix: str = "") -> Iterator[Path]:
    """Yield the path of a temporary file beside ``path``, which takes its place when the block ends.

    After an exception the temporary file is gone and ``path`` is as it was.

    Args:
        path: the file; an earlier one is replaced.
        fix: advice to the user where the file cannot be written.

    Raises:
        EnvironmentProblem: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # on the disk before it takes the old file's place
        temporary.replace(path)
    except WRITE_ERRORS as error:
        _remove(temporary)
        raise cannot_write(path.parent, error, fix or f"free some space, or make {path.parent} writable") from None
    except BaseException:
        _remove(temporary)
        raise


@contextmanager
def atomic_folder(path: Path, fix: str = "") -> Iterator[Path]:
    """Yield a new temporary folder beside ``path``, which is renamed to it when the block ends.

    After an exception nothing is left behind.

    Args:
        path: the folder; its parents are made, and it must not exist.
        fix: advice to the user where the folder cannot be written.

    Raises:
        EnvironmentProblem: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    _remove(temporary)  # of a process that was killed while writing
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(path)
    except WRITE_ERRORS as error:
        _remove(temporary)
        raise cannot_write(path, error, fix or f"free some space, or make {path.parent} writable") from None
    except BaseException:
        _remove(temporary)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document, whole or not at all.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    write_text(path, json.dumps(value, indent=2))


def read_settings(path: Path) -> dict[str, Any]:
    """Return what a JSON file of settings by name holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("JSON too deep to be settings") from None
    if not isinstance(content, dict):
        raise ValueError(f"JSON that holds {type(content).__name__}, not settings by name")
    return content


def link_to(link: Path, folder: Path) -> None:
    """Make ``link`` a relative link to ``folder``, replacing an earlier link in one step.

    On a file system without symbolic links (exFAT, many network drives) it is a text file that holds where the link
    would lead, as git checks links out there; :func:`follow_link` reads both.

    Raises:
        OSError: neither can be written.
    """
    target = os.path.relpath(folder.resolve(), link.parent.resolve())
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    _remove(temporary)
    try:
        try:
            temporary.symlink_to(target)
        except OSError:
            temporary.write_text(target, encoding="utf-8")
        temporary.replace(link)
    finally:
        _remove(temporary)


def follow_link(link: Path) -> Path:
    """Return where a link that :func:`link_to` made leads; of anything else the path itself."""
    try:
        return link.parent / link.read_text(encoding="utf-8").strip() if link.is_file() else link
    except (OSError, ValueError):  # not a text
        return link


def cannot_write(
    folder: Path, error: Exception, fix: str = "free some space, or choose another folder with --out"
) -> DasError:
    """Return the error for a folder that does not take what is written to it."""
    reason = getattr(error, "strerror", None) or str(error)
    return environment_problem(
        "cannot-write", f"cannot write {folder} ({reason})", "a writable folder with enough free space", fix
    )


def _remove(path: Path) -> None:
    """Remove a temporary file or folder, where there is one and it can be removed."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def sha256(path: Path) -> str:
    """Return the hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def staged(path: Path, companions: Iterable[str] = ()) -> Iterator[Path]:
    """Give a path of the same file name in a hidden folder; what is written beside it moves to ``path``'s folder.

    It moves when the block ends without an exception, and replaces an earlier export of that name as a whole: every
    file whose name begins with ``path``'s, or with one of ``companions``. JSON records move last, so an export with its
    record is a finished one. Hidden folders of processes that were killed are removed first.

    Raises:
        EnvironmentProblem: the disk is full, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        with TemporaryDirectory(prefix=f"{PARTIAL}{os.getpid()}-", dir=path.parent) as folder:
            yield Path(folder) / path.name
            for old in (file for name in (path.name, *companions) for file in path.parent.glob(f"{name}*")):
                old.unlink()
            for new in sorted(Path(folder).iterdir(), key=_order):
                new.replace(path.parent / new.name)
    except OSError as error:
        raise cannot_write(path, error, f"free some space, or make {path.parent} writable") from error


def _remove_abandoned(folder: Path) -> None:
    for partial in folder.glob(f"{PARTIAL}*"):
        process = partial.name.removeprefix(PARTIAL).partition("-")[0]
        if not (process.isdigit() and psutil.pid_exists(int(process))):
            shutil.rmtree(partial, ignore_errors=True)


def _order(file: Path) -> tuple[bool, bool]:
    """Return a sort key: weights, then the graph that reads them, then records."""
    return file.suffix == ".json", file.suffix not in (".data", ".bin")


def parts_of(path: Path) -> tuple[Path, ...]:
    """Return the files of an export: itself and, where it has them, its weights beside it.

    They are ``<name>.data`` of an ONNX file, and ``<stem>.bin`` of OpenVINO's ``<stem>.xml``.
    """
    outside = path.with_suffix(".bin") if path.suffix == ".xml" else path.with_name(f"{path.name}.data")
    return (path, outside) if outside.exists() else (path,)


def hashes_of(path: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of an export, by file name."""
    return {part.name: sha256(part) for part in parts_of(path)}
