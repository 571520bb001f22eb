"""The files that runtimes execute: of slim as the user exported it, of full made in the same way."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from compressor.errors import InputError, input_error
from compressor.models.steps import StepModel
from compressor.progress import Progress
from exporters.checks.parity import read_record
from exporters.export import export, file_name, plan_name
from exporters.graph.precision import PRECISIONS
from exporters.runtimes.tensorrt_engine import find_target, read_passport


@dataclass(frozen=True)
class Making:
    """How an export was made.

    Attributes:
        traits: what two exports must have in common for their times to be compared.
        options: of :func:`exporters.export.export`, to make another like it.
    """

    traits: Hashable
    options: Mapping[str, Any]


@dataclass(frozen=True)
class ExportedFile:
    """What a runtime executes that does not run the model itself.

    Attributes:
        format: of ``exporters.export.FORMATS``.
        name: of such a file in fp32, in a folder of exports.
        making: how one was made; raises an InputError where that is not known.
        on_the_way: whether slim's is made where there is none, or is to be exported by the user.
    """

    format: str
    name: Callable[[], str]
    making: Callable[[Path], Making]
    on_the_way: bool


def make_slim(
    executed: ExportedFile, model: StepModel, samples: Mapping[str, Tensor], folder: Path, progress: Progress
) -> None:
    """Export slim where nobody did.

    Args:
        executed: which file is wanted.
        model: the slim model.
        samples: real inputs, (N, ...) by name.
        folder: of its exports.
        progress: told about it.

    Raises:
        InputError: there is no engine. It may need options that only the user knows.
    """
    path = folder / executed.name()
    if path.exists():
        return
    if not executed.on_the_way:
        raise input_error(f"no {path}", "an engine of the slim model", f"das export --{executed.format}")
    progress.say(f"exporting the slim model to {path.name}, to time it")
    export(model, samples, folder, [executed.format], progress=progress)


def make_full(
    executed: ExportedFile,
    model: StepModel,
    samples: Mapping[str, Tensor],
    folder: Path,
    slim: Path,
    progress: Progress,
) -> None:
    """Export full the way the file ``slim`` was made, unless ``folder`` has such a file.

    Args:
        executed: which file is wanted.
        model: the full model.
        samples: real inputs, (N, ...) by name.
        folder: of its exports.
        slim: what the slim model was exported to.
        progress: told about it.

    Raises:
        InputError: how ``slim`` was made is not known.
    """
    path, wanted = folder / executed.name(), executed.making(slim)
    if path.exists() and _traits(executed, path) == wanted.traits:
        return
    progress.say(f"exporting the full model to {path.name}, to time it")
    export(model, samples, folder, [executed.format], **wanted.options, progress=progress)


def _traits(executed: ExportedFile, path: Path) -> Hashable:
    try:
        return executed.making(path).traits
    except InputError:  # a damaged record: made anew
        return None


def _making_of_graph(path: Path) -> Making:
    form = read_record(path).attention or "composed"
    return Making(form, {"attention": form})


def _making_of_engine(path: Path) -> Making:
    passport, form = read_passport(path), read_record(path).attention or "composed"
    shapes = passport.profile
    batch = tuple(shape[0] for shape in next(iter(shapes.values())))
    return Making(
        (passport.package, passport.version, tuple(sorted(shapes.items())), passport.workspace, form),
        {"batch": batch, "workspace": passport.workspace, "attention": form},
    )


ONNX = ExportedFile("onnx", lambda: file_name(PRECISIONS["fp32"]), _making_of_graph, on_the_way=True)
ENGINE = ExportedFile("trt", lambda: plan_name(PRECISIONS["fp32"], find_target()), _making_of_engine, on_the_way=False)
