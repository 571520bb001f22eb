"""Several processes at one compression, each with its share of the work: what the rest needs of ``accelerate``.

``torchrun`` and ``accelerate launch`` start the processes and say so in the environment. With one process every
function hands back what it was given, and accelerate has no part in it.
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


def processes() -> int:
    """How many there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def number() -> int:
    """Which one this is, from 0."""
    return int(os.environ.get("RANK", "0")) if processes() > 1 else 0


def is_main() -> bool:
    """Whether this is the process that prints and writes files."""
    return number() == 0


def join(kind: str) -> torch.device:
    """Meet the other processes; returns this one's device.

    Args:
        kind: ``cpu`` or ``cuda``; of several GPUs each process takes the one of its number on the machine.

    Raises:
        EnvironmentProblem: fewer GPUs than processes.
    """
    import torch

    if processes() == 1:
        return torch.device(kind)
    from accelerate import PartialState

    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if kind == "cuda" and here > torch.cuda.device_count():
        raise environment_problem(
            f"{here} processes on {torch.cuda.device_count()} GPUs",
            "a GPU for each",
            "fewer processes, or --device cpu",
        )
    with _together():
        return PartialState(cpu=kind == "cpu").device


def share(items: Items) -> Items:
    """This process's part of ``items``, a slice; the parts of all lie one behind the other."""
    first, last = (len(items) * at // processes() for at in (number(), number() + 1))
    return items[first:last]  # type: ignore[return-value]


def even_share(items: Items) -> Items:
    """As :func:`share`, but as long as everybody's: where the items do not go round, parts overlap."""
    length = math.ceil(len(items) / processes())
    first = min(number() * length, len(items) - length)
    return items[first : first + length]  # type: ignore[return-value]


def gathered(found: list[T]) -> list[T]:
    """The lists of all processes, one behind the other."""
    if processes() == 1:
        return found
    from accelerate.utils import gather_object

    with _together():
        return gather_object(found)


def from_main(make: Callable[[], T]) -> T:
    """What ``make`` returns on the main process; nobody else calls it."""
    if processes() == 1:
        return make()
    from accelerate.utils import broadcast_object_list

    made = [make() if is_main() else None]
    with _together():
        return broadcast_object_list(made)[0]


def copy_from_main(parameters: Iterable[Tensor]) -> None:
    """Set ``parameters`` to the main process's values, where the last bits of a computation may differ."""
    if processes() == 1:
        return
    from accelerate.utils import broadcast

    with _together():
        for parameter in parameters:
            broadcast(parameter.detach())


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add up the gradients of all processes; parameters without one must lack it everywhere."""
    if processes() == 1:
        return
    from accelerate.utils import reduce
    from torch.nn.utils import parameters_to_vector, vector_to_parameters

    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    with _together():
        vector_to_parameters(reduce(parameters_to_vector(gradients), "sum"), gradients)


@contextmanager
def _together() -> Iterator[None]:
    """Around what needs every process.

    Raises:
        EnvironmentProblem: another one has gone.
    """
    try:
        yield
    except RuntimeError as error:
        raise environment_problem(
            f"another process has stopped ({textwrap.shorten(str(error), 100, placeholder='...')})",
            f"all {processes()} processes to the end",
            "its own message says why; then the same command with --resume",
        ) from error
