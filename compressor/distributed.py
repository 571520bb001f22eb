"""Data-parallel execution with the results of a single process, on top of ``accelerate``.

``torchrun`` and ``accelerate launch`` start the processes and say so in the environment. With one process every
function returns what it was given, and accelerate is not imported.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from compressor.errors import environment_problem

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

T = TypeVar("T")
Items = TypeVar("Items", bound="Sequence[Any] | np.ndarray")


def world_size() -> int:
    """Return the number of processes (world size)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the rank of this process, from 0."""
    return int(os.environ.get("RANK", "0")) if world_size() > 1 else 0


def is_main() -> bool:
    """Return True on the process that prints and writes files, rank 0."""
    return rank() == 0


def join_processes(kind: str) -> torch.device:
    """Meet the other processes and return this one's device.

    Args:
        kind: ``cpu`` or ``cuda``; of several GPUs each process takes the one of its local rank.

    Raises:
        EnvironmentProblem: fewer GPUs than processes.
    """
    import torch

    if world_size() == 1:
        return torch.device(kind)
    from accelerate import PartialState

    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if kind == "cuda" and local > torch.cuda.device_count():
        raise environment_problem(
            "too-few-gpus",
            f"{local} processes on {torch.cuda.device_count()} GPUs",
            "a GPU for each",
            "fewer processes, or --device cpu",
        )
    with _together():
        return PartialState(cpu=kind == "cpu").device


def share(items: Items) -> Items:
    """Return this process's slice of ``items``; the slices of all ranks, in order, are ``items``."""
    first, last = (len(items) * at // world_size() for at in (rank(), rank() + 1))
    return items[first:last]  # type: ignore[return-value]


def deal(items: Sequence[T]) -> list[T]:
    """Return this process's part of ``items``, every n-th: of work that shrinks from item to item about as much."""
    return list(items[rank() :: world_size()])


def even_share(items: Items) -> Items:
    """Return a slice of the same length on every rank; the slices overlap where ``items`` do not divide evenly."""
    length = math.ceil(len(items) / world_size())
    first = min(rank() * length, len(items) - length)
    return items[first : first + length]  # type: ignore[return-value]


def all_gather(items: list[T]) -> list[T]:
    """Return the lists of all ranks, concatenated in order."""
    if world_size() == 1:
        return items
    from accelerate.utils import gather_object

    with _together():
        return gather_object(items)


def from_main(make: Callable[[], T]) -> T:
    """Call ``make`` on the main process only, and return its result on every process."""
    if world_size() == 1:
        return make()
    from accelerate.utils import broadcast_object_list

    results = [make() if is_main() else None]
    with _together():
        return broadcast_object_list(results)[0]


def copy_from_main(parameters: Iterable[Tensor]) -> None:
    """Set ``parameters`` in place to the main process's values; the last bits of a computation may differ by rank."""
    if world_size() == 1:
        return
    from accelerate.utils import broadcast

    with _together():
        for parameter in parameters:
            broadcast(parameter.detach())


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum gradients over all processes in place; a parameter without a gradient must lack it on every rank."""
    if world_size() == 1:
        return
    from accelerate.utils import reduce
    from torch.nn.utils import parameters_to_vector, vector_to_parameters

    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    with _together():
        vector_to_parameters(reduce(parameters_to_vector(gradients), "sum"), gradients)


@contextmanager
def _together() -> Iterator[None]:
    """Wrap a collective operation.

    Raises:
        EnvironmentProblem: another process has stopped.
    """
    try:
        yield
    except RuntimeError as error:
        raise environment_problem(
            "process-stopped",
            f"another process has stopped ({textwrap.shorten(str(error), 100, placeholder='...')})",
            f"all {world_size()} processes to the end",
            "its own message says why; then the same command with --resume",
        ) from error
