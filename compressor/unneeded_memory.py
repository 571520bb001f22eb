"""Memory that a process holds and does not need at the moment."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PAGE_OUT = 21  # Linux' MADV_PAGEOUT, which Python's mmap module does not name


def give_back() -> None:
    """Give back what was freed: glibc keeps it, a whole model where one was closed."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def page_out(weights: Iterable[Tensor]) -> None:
    """Let go of weights that lie in a file, as those of a loaded run do: they are read from it again when needed."""
    storages = {storage.data_ptr(): storage.nbytes() for storage in (weight.untyped_storage() for weight in weights)}
    with contextlib.suppress(OSError, AttributeError):  # another system than Linux
        advise = ctypes.CDLL("libc.so.6").madvise
        for address, size in storages.items():
            inside = address % mmap.PAGESIZE
            advise(ctypes.c_void_p(address - inside), ctypes.c_size_t(size + inside), PAGE_OUT)
