"""The declaration of a runtime. A subclass with one value of it in a file beside this one makes a runtime known.

These files are imported wherever a runtime is named, ``das --help`` too: what is heavy they import where they use it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from compressor.families.family import Family
    from compressor.models.steps import StepModel
    from exporters.checks.audit import Audit
    from exporters.checks.divergence import Located
    from exporters.graph.inputs import Fixed
    from exporters.graph.precision import Precision
    from exporters.request import Request
    from exporters.runtimes.runner import Runner

SHARED = "shared"  # what several layers read from and belongs to none of them


def _fp32() -> Precision:
    from exporters.graph.precision import PRECISIONS

    return PRECISIONS["fp32"]


@dataclass(frozen=True)
class ModelSource:
    """A model to be run.

    Attributes:
        load: returns the step model, or a module that is called by the names of its inputs and returns one tensor.
        file: exported from it, where the runtime executes one.
        inputs: names of the module's inputs; those of a step model are declared by its family.
        precision: that the model is to compute in, where the runtime executes the model itself; a file has its own.
    """

    load: Callable[[], nn.Module]
    file: Path | None = None
    inputs: tuple[str, ...] = ()
    precision: Precision = field(default_factory=_fp32)


@dataclass(frozen=True)
class Watched:
    """A model with its inputs, called by itself, and called with its layers watched.

    ``taken`` returns milliseconds of the watched calls so far, by name of the layer: "prologue", the steps, "head". It
    takes those of a call alone.
    """

    alone: Callable[[], object]
    watched: Callable[[], object]
    taken: Callable[[float], Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class Probe:
    """One thing that a runtime needs: ``found`` says what is there, ``fix`` is a command when something is missing."""

    name: str
    ok: bool
    found: str
    fix: str | None = None


@dataclass(frozen=True)
class Trial:
    """What an export ran with here, and answered as the model does: the model, inputs by name, "cpu" or "cuda"."""

    model: nn.Module
    inputs: Mapping[str, Tensor]
    device: str

    @property
    def parameters(self) -> int:
        """Of the model; those that two layers share count once."""
        return sum(parameter.numel() for parameter in self.model.parameters())


@dataclass(frozen=True)
class Making:
    """Settings an export was made with: what another must have in common to be compared, and options to make it with.

    The options are those of :func:`exporters.export.export`.
    """

    traits: Hashable
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Artifact:
    """A file that a runtime needs, still to be written; it is called done when it answers as the model does.

    Attributes:
        request: what it is made from.
        path: of the file.
        runtime: what executes it for the comparison.
        write: writes it, and files that belong to it beside it, to a path. Modules of the model that are to stay in
            float are given to it, too; it returns remarks for the user.
        runs_on: what the comparison is made in, for people: "ONNX Runtime, CPU".
        packages: distributions whose versions the record names.
        batches: sizes it is tried with, the largest last.
        unable: why it cannot be executed here; empty where it can.
        graph: the ONNX file whose opset is reported; None where there is none.
        companions: names of files beside it that are part of it and are not named after it.
        reuse: whether a file that is there, and is what is asked for, need not be made anew.
        sensitivities: of a quantised file, what rounding does to each layer, by module; the worst ones stay in float
            where the file fails otherwise.
    """

    request: Request
    path: Path
    runtime: Runtime
    write: Callable[[Path, Collection[str]], tuple[str, ...]]
    runs_on: str
    packages: tuple[str, ...]
    batches: tuple[int, ...]
    unable: str = ""
    graph: Path | None = None
    companions: tuple[str, ...] = ()
    reuse: bool = False
    sensitivities: Callable[[], Mapping[str, float]] | None = None

    @property
    def device(self) -> str:
        """Where it is compared, "cpu" or "cuda"."""
        return self.runtime.place(self.request.device)

    @property
    def rounds(self) -> bool:
        """Whether it is made from a float file by rounding."""
        return self.sensitivities is not None


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
        names_fp32: whether the names of its files say fp32, too.
        attention: form that attention is written in for a CPU where nobody says, a key of ``FORMS``.
        precisions: of the models it takes, keys of ``PRECISIONS``.
        casts: those of them that it makes of the model itself, without a file.
        standard_operators: whether it knows the standard operators of ONNX alone.
        runs_split: whether it executes a model with the vision tower apart.
        seen_by_torch: whether PyTorch's CUDA events and memory counters see its work.
        by_default: whether models are timed in it when no runtime is named.
        built_on_demand: whether a missing file of the slim model is built when it is to be timed, or by ``das export``.
        times_layers: whether single layers are opened and timed in it, which latency budgets are made of.
        between: name of what a call takes beyond its layers, "between kernels"; empty where layers are not seen.
    """

    name: str
    aliases: tuple[str, ...] = ()
    title: str
    module: str
    packages: tuple[str, ...]
    devices: tuple[str, ...] = ("cpu", "cuda")
    format: str = ""
    suffix: str = ""
    names_fp32: bool = False
    attention: str = "composed"
    precisions: tuple[str, ...] = ("fp32", "fp16", "bf16", "int8")
    casts: tuple[str, ...] = ()
    standard_operators: bool = False
    runs_split: bool = False
    seen_by_torch: bool = False
    by_default: bool = False
    built_on_demand: bool = True
    times_layers: bool = False
    between: str = ""

    @abstractmethod
    def check(self, device: str) -> None:
        """Try whether it can run on ``device`` ("cpu" or "cuda").

        Raises:
            EnvironmentProblem: it cannot; names what is missing and the command that fixes it.
        """

    @abstractmethod
    def open(self, source: ModelSource, device: str, threads: int | None = None) -> Runner:
        """Return a runner, still to be entered, on ``device`` ("cpu" or "cuda") with so many CPU threads.

        Without ``threads`` it uses as many as PyTorch does.
        """

    def ending(self) -> str:
        """Return the ending of the names of its files.

        Raises:
            EnvironmentProblem: that depends on something which is not here.
        """
        return self.suffix

    def file_name(self, precision: Precision, fixed: Fixed, infix: str = "") -> str:
        """Return the name of the file that it executes: ``model.onnx``, ``model.fp16.b1.sm90.plan``.

        Raises:
            EnvironmentProblem: as :meth:`ending`.
        """
        name = f".{precision.name}" if self.names_fp32 else precision.suffix
        return f"model{name}{infix}{fixed.suffix}{self.ending()}"

    def attention_on(self, device: str) -> str:
        """Return the form that attention is written in for ``device`` ("cpu" or "cuda") where nobody says."""
        return self.attention

    def place(self, device: str) -> str:
        """Return where it runs, of "cpu" and "cuda", where ``device`` is meant: that, or the only one it has."""
        return device if device in self.devices else self.devices[0]

    def refuses(self, precision: Precision, device: str) -> str:
        """Return the reason why it cannot execute a model in ``precision`` on ``device``; empty where it can."""
        return ""

    def artifacts(self, request: Request) -> tuple[Artifact, ...]:
        """Return the files to be made, each after those that it is made from; the last is what the runtime executes.

        Raises:
            EnvironmentProblem: what builds them is missing.
        """
        return ()

    def artifact(self, request: Request, write: Callable[[Path, Collection[str]], tuple[str, ...]]) -> Artifact:
        """Return the file that it executes, compared with the model in the runtime itself.

        Args:
            request: what the file is made from.
            write: writes the file to a path; see :class:`Artifact`.
        """
        from exporters.checks.validate import CHECKED_SIZES

        path = request.folder / self.file_name(request.precision, request.fixed)
        return Artifact(
            request,
            path,
            self,
            write,
            runs_on=self.runs_on(path, self.place(request.device)),
            packages=("torch", *self.packages),
            batches=(request.fixed.batch,) if request.fixed.batch else CHECKED_SIZES,
        )

    def making(self, path: Path) -> Making:
        """Return the settings that the export ``path`` was made with.

        Raises:
            InputError: its record is missing or damaged.
        """
        from exporters.checks.records import read_record

        form = read_record(path).attention or self.attention
        return Making(form, {"attention": form})

    def takes(self, path: Path, family: Family) -> tuple[tuple[int, ...], Fixed]:
        """Return batch sizes to try the export ``path`` with, the largest last, and the axes it takes one size of.

        ``family`` is that of the model.

        Raises:
            InputError: it cannot be read.
        """
        from exporters.checks.validate import CHECKED_SIZES
        from exporters.graph.inputs import VARYING

        return CHECKED_SIZES, VARYING

    def runs_on(self, path: Path, device: str) -> str:
        """Return what executes ``path`` on ``device``, for people; empty where the record of the export says so."""
        return f"{self.title}, {device.upper()}"

    def locate(self, model: StepModel, path: Path, inputs: Mapping[str, Tensor], tolerance: float) -> Located:
        """Find where the error of the export ``path`` starts, as :func:`exporters.checks.divergence.locate` does."""
        from exporters.checks.divergence import Located

        return Located(divergence=None, reason=f"{self.title} does not show it")

    def audit(self, path: Path, precision: Precision, trial: Trial | None) -> Audit | None:
        """Audit how much of the file computes in the requested precision; None where nobody knows.

        Args:
            path: the export.
            precision: that was asked for.
            trial: what it ran with; None where it was not run here, or does not answer as the model does.
        """
        return None

    def hides_layers(self, device: str) -> str:
        """Return why layers cannot be told apart on ``device``, where they are seen on others; empty where they can."""
        return ""

    def write_part(self, module: nn.Module, path: Path, inputs: Mapping[str, Tensor]) -> Path | None:
        """Write a model, or a layer alone, to time it, and return the file; None where it executes modules themselves.

        Args:
            module: called by the names of its inputs.
            path: of the file, where it writes one.
            inputs: of the sizes it is timed at, by name.
        """
        return None

    def watch(
        self, source: ModelSource, inputs: Mapping[str, Tensor], device: str, threads: int, stack: ExitStack
    ) -> Watched:
        """Open a model to time its layers; ``stack`` closes it. Only of a runtime that shows layers."""
        raise NotImplementedError(f"{self.name} does not show its layers")

    def product(self, side: int, device: str, threads: int) -> Callable[[], object]:
        """Return a call that multiplies two float32 squares of ``side``. Only of a runtime that shows layers."""
        raise NotImplementedError(f"{self.name} has no product of its own to time")

    def probe(self) -> Iterator[Probe]:
        """Look whether it can be used here, and what is missing."""
        from compressor.errors import DasError

        for device in self.devices:
            try:
                self.check(device)
            except DasError as error:
                problem = error.problems[0]
                yield Probe(f"{self.name} on {device}", False, problem.found, problem.fix)
            else:
                yield Probe(f"{self.name} on {device}", True, "can be used")


def version_of(package: str) -> str | None:
    """Return the installed version of a distribution; None without one."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
