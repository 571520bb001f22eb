"""What das has to know of a runtime. A subclass with one value of it in a file beside this one makes a runtime known.

These files are imported wherever a runtime is named, ``das --help`` too: what is heavy they import where they use it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from compressor.models.steps import StepModel
    from exporters.runtimes.runner import Runner


@dataclass(frozen=True)
class Source:
    """A model to be run: how to load it, and the file that was exported from it, where the runtime executes one."""

    load: Callable[[], StepModel]
    file: Path | None = None


class Runtime(ABC):
    """A way to run models.

    Attributes:
        name: as users type it.
        aliases: other names that users may type.
        title: for people to read.
        module: what has to be imported to run a model.
        packages: distributions whose versions decide how fast it is.
        devices: kinds of device it runs on, of "cpu" and "cuda".
        format: of its exports, as JSON documents call it; empty where it executes the model itself.
        suffix: of the names of the files it executes, ".onnx"; empty where it executes the model itself.
        seen_by_torch: whether PyTorch's CUDA events and memory counters see its work.
        by_default: whether models are timed in it when no runtime is named.
        built_on_demand: whether a missing file of the slim model is built when it is to be timed, or by ``das export``.
        times_layers: whether single layers are opened and timed in it, which latency budgets are made of.
    """

    name: str
    aliases: tuple[str, ...] = ()
    title: str
    module: str
    packages: tuple[str, ...]
    devices: tuple[str, ...] = ("cpu", "cuda")
    format: str = ""
    suffix: str = ""
    seen_by_torch: bool = False
    by_default: bool = False
    built_on_demand: bool = True
    times_layers: bool = False

    @abstractmethod
    def check(self, device: str) -> None:
        """Try whether it can run on ``device`` ("cpu" or "cuda").

        Raises:
            EnvironmentProblem: it cannot; names what is missing and the command that fixes it.
        """

    @abstractmethod
    def open(self, source: Source, device: str, threads: int | None = None) -> Runner:
        """Return a runner, still to be entered, on ``device`` ("cpu" or "cuda") with so many CPU threads.

        Without ``threads`` it uses as many as PyTorch does.
        """
