"""Files that appear whole, under their final name, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from compressor.checkpoints.read import sha256
from compressor.errors import environment_problem

PARTIAL = ".partial-"  # and the number of the process that writes there


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Give a path of the same file name in a hidden folder; what is written beside it moves to ``path``'s folder.

    It moves when the block ends without an exception, and replaces an earlier export of that name as a whole: every
    file whose name begins with ``path``'s. JSON records move last, so an export with its record is a finished one.
    Hidden folders of processes that were killed are removed first.

    Raises:
        EnvironmentProblem: the disk is full, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        with TemporaryDirectory(prefix=f"{PARTIAL}{os.getpid()}-", dir=path.parent) as folder:
            yield Path(folder) / path.name
            for old in path.parent.glob(f"{path.name}*"):
                old.unlink()
            for new in sorted(Path(folder).iterdir(), key=_order):
                new.replace(path.parent / new.name)
    except OSError as error:
        raise environment_problem(
            f"cannot write {path} ({error.strerror or error})",
            "a folder that can be written, with enough free space",
            f"free some space, or make {path.parent} writable",
        ) from error


def _remove_abandoned(folder: Path) -> None:
    for left in folder.glob(f"{PARTIAL}*"):
        process = left.name.removeprefix(PARTIAL).partition("-")[0]
        if not (process.isdigit() and psutil.pid_exists(int(process))):
            shutil.rmtree(left, ignore_errors=True)


def _order(file: Path) -> tuple[bool, bool]:
    """Weights, then the graph that reads them, then records."""
    return file.suffix == ".json", file.suffix != ".data"


def parts_of(path: Path) -> tuple[Path, ...]:
    """The files of an export: itself and, where its weights are kept outside, ``<name>.data``."""
    data = path.with_name(f"{path.name}.data")
    return (path, data) if data.exists() else (path,)


def hashes_of(path: Path) -> dict[str, str]:
    """SHA-256 of every file of an export, by file name."""
    return {part.name: sha256(part) for part in parts_of(path)}


def bytes_of(path: Path) -> int:
    """Size of all files of an export."""
    return sum(part.stat().st_size for part in parts_of(path))
