"""Reading pickled checkpoints of strangers: tensors and plain values come out, nothing in the file ever runs.

PyTorch's ``weights_only`` unpickler does the work. It refuses files in which Lightning 1.x left references to its own
classes, so every foreign name of a file is first given an inert stand-in: it may be referred to and instantiated empty,
while a call is refused by name.
"""

from __future__ import annotations

import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

# Plain values that Python pickles as a call. The call is not made: an empty stand-in takes the value's place.
_VALUES = frozenset(
    {
        "datetime.datetime",
        "datetime.timedelta",
        "numpy.dtype",
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "pathlib.PosixPath",
        "pathlib.WindowsPath",
        "pathlib._local.PosixPath",
        "pathlib._local.WindowsPath",
    }
)
# Modules of the operating system: PyTorch knows no stand-in for them, and no checkpoint needs them.
_SYSTEM = frozenset({"os", "posix", "nt", "sys", "subprocess"})
_PICKLES_BEFORE_PYTORCH_1_6 = 5  # magic number, protocol version, platform, content, storage keys; then raw bytes


class RefusedCall(Exception):
    """The pickle asked for a call that das will not make; the message names it."""


class _Foreign(type):
    """A class we do not have and do not want; its qualified name is the one in the file."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls.__qualname__ in _VALUES:
            return super().__call__()
        raise RefusedCall(cls.__qualname__)


def _stand_in(name: str) -> Any:
    # object.__new__ is what NEWOBJ reaches; the state that BUILD brings is dropped unread.
    members = {
        "__qualname__": name,
        "__new__": lambda cls, *args, **kwargs: object.__new__(cls),
        "__setstate__": lambda self, state: None,
        "__repr__": lambda self: f"<{name}, not read>",
    }
    return _Foreign(name.rpartition(".")[2], (), members)


def _empty_dict(*_: Any) -> dict[Any, Any]:
    """Return an empty dict, which a ``defaultdict`` becomes; its items follow in the file."""
    return {}


def load_plain(path: Path) -> Any:
    """Load what ``torch.save`` wrote to ``path``, with foreign classes as inert stand-ins.

    Raises:
        RefusedCall: the file would run code; nothing in it has run.
        Exception: whatever PyTorch raises on bytes it does not accept.

    """
    zipped = zipfile.is_zipfile(path)
    names = set(get_unsafe_globals_in_checkpoint(path) if zipped else _globals_of_old_format(path))
    for name in sorted(names):
        if name.partition(".")[0] in _SYSTEM:
            raise RefusedCall(name)
    stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]]
    stand_ins = [(_empty_dict if name == "collections.defaultdict" else _stand_in(name), name) for name in names]
    with safe_globals(stand_ins):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)


def foreign_name(value: object) -> str | None:
    """Return the qualified name of the class that an inert stand-in is an instance of; None of any other value."""
    return type(value).__qualname__ if isinstance(type(value), _Foreign) else None


def module_of_old_format(path: Path) -> str | None:
    """Return the class of the first whole module in a file of the old format, which PyTorch refuses; None without."""
    marked = False
    for name, argument in _opcodes_of_old_format(path):
        if name == "GLOBAL" and marked:
            return str(argument).replace(" ", ".", 1)
        marked = argument == "module" or (marked and "PUT" in name)
    return None


def _globals_of_old_format(path: Path) -> Iterator[str]:
    """Yield the names that a file's pickles refer to."""
    for opcode, argument in _opcodes_of_old_format(path):
        if opcode == "GLOBAL":
            module, name = str(argument).split(" ", 1)
            yield f"{module}.{name}"
            # PyTorch knows some, not all, of the Python 2 names that protocol 2 writes (__builtin__).
            yield ".".join(NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name)))


def _opcodes_of_old_format(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield names and arguments of a file's opcodes, up to the first damaged pickle, which PyTorch will refuse."""
    with path.open("rb") as file:
        try:
            for _ in range(_PICKLES_BEFORE_PYTORCH_1_6):
                for opcode, argument, _position in pickletools.genops(file):
                    yield opcode.name, argument
        except ValueError:
            return
