"""Reading pickled checkpoints of strangers: tensors and plain values come out, nothing in the file ever runs.

``torch.load(weights_only=True)`` refuses files in which Lightning 1.x left references to its own classes. Here such
references become inert placeholders, while a file that *calls* anything but the rebuilding of tensors is refused.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

# What a tensor or a plain value needs in order to be rebuilt; every other name is foreign.
_REBUILDERS = frozenset(
    {
        ("torch._utils", "_rebuild_tensor"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch.serialization", "_get_layout"),
        ("torch", "Size"),
        ("torch", "device"),
        ("collections", "OrderedDict"),
        ("_codecs", "encode"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "scalar"),
    }
    | {("torch", name) for name in dir(torch) if name.endswith("Storage")}
    | {("torch", name) for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)}
)


class RefusedCall(Exception):
    """The pickle asked for a call that das will not make; the message names it."""


class _Foreign(type):
    """A class we do not have and do not want: it may be referred to and instantiated empty, never called."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise RefusedCall(cls.__qualname__)


def _placeholder(module: str, name: str) -> type:
    # object.__new__ is what NEWOBJ reaches; the state that BUILD brings is dropped unread.
    members = {
        "__module__": module,
        "__qualname__": f"{module}.{name}",
        "__new__": lambda cls, *args, **kwargs: object.__new__(cls),
        "__setstate__": lambda self, state: None,
    }
    return _Foreign(name, (), members)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _REBUILDERS:
            return super().find_class(module, name)
        return _placeholder(module, name)


class _Pickle:
    """The part of the ``pickle`` module's interface that ``torch.load`` uses."""

    Unpickler = _Unpickler

    @staticmethod
    def load(file: Any, **kwargs: Any) -> Any:
        return _Unpickler(file, **kwargs).load()


def load_plain(path: Path) -> Any:
    """What ``torch.save`` wrote to ``path``, with foreign classes as inert placeholders.

    Raises:
        RefusedCall: the file would run code; nothing in it has run.

    """
    return torch.load(path, map_location="cpu", weights_only=False, pickle_module=_Pickle)
