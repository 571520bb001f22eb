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
from exporters.runtimes.runtime import Runtime
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


def executed_file(runtime: Runtime, folder: Path) -> Path | None:
    """The file of ``folder`` that ``runtime`` executes in fp32, there or not; None where it executes the model itself.

    Raises:
        EnvironmentProblem: no TensorRT can be used here, and engines are named after what they are for.
    """
    return folder / _NAMES[runtime.format]() if runtime.format else None


def graph_in(folder: Path) -> Path:
    """The ONNX file in fp32 of ``folder``, there or not."""
    return folder / file_name(PRECISIONS["fp32"])


def make_slim(
    runtime: Runtime, model: StepModel, samples: Mapping[str, Tensor], folder: Path, progress: Progress
) -> None:
    """Export slim where nobody did.

    Args:
        runtime: which is to execute it.
        model: the slim model.
        samples: real inputs, (N, ...) by name.
        folder: of its exports.
        progress: told about it.

    Raises:
        InputError: there is no engine. It may need options that only the user knows.
    """
    path = executed_file(runtime, folder)
    assert path
    if path.exists():
        return
    if not runtime.built_on_demand:
        raise input_error(
            "export-missing", f"no {path}", f"the slim model for {runtime.title}", f"das export --to {runtime.name}"
        )
    progress.say(f"exporting the slim model to {path.name}, to time it")
    export(model, samples, folder, [runtime.format], progress=progress)


def make_full(
    runtime: Runtime,
    model: StepModel,
    samples: Mapping[str, Tensor],
    folder: Path,
    slim: Path,
    progress: Progress,
) -> None:
    """Export full the way the file ``slim`` was made, unless ``folder`` has such a file.

    Args:
        runtime: which is to execute it.
        model: the full model.
        samples: real inputs, (N, ...) by name.
        folder: of its exports.
        slim: folder of the slim model's exports.
        progress: told about it.

    Raises:
        InputError: how ``slim`` was made is not known.
    """
    path, of_slim = executed_file(runtime, folder), executed_file(runtime, slim)
    assert path and of_slim
    wanted = _MAKINGS[runtime.format](of_slim)
    if path.exists() and _traits(runtime, path) == wanted.traits:
        return
    progress.say(f"exporting the full model to {path.name}, to time it")
    export(model, samples, folder, [runtime.format], **wanted.options, progress=progress)


def _traits(runtime: Runtime, path: Path) -> Hashable:
    try:
        return _MAKINGS[runtime.format](path).traits
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


_NAMES: Mapping[str, Callable[[], str]] = {
    "onnx": lambda: file_name(PRECISIONS["fp32"]),
    "trt": lambda: plan_name(PRECISIONS["fp32"], find_target()),
}
_MAKINGS = {"onnx": _making_of_graph, "trt": _making_of_engine}
