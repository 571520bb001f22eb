"""The files that runtimes execute: of slim as the user exported it, of full made in the same way."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path

from torch import Tensor

from compressor.errors import InputError, input_error
from compressor.models.steps import StepModel
from compressor.progress import Progress
from exporters.export import export
from exporters.folder import ExportsFolder
from exporters.runtimes.runtime import Runtime
from exporters.usage import Usage


def make_slim(
    runtime: Runtime,
    model: StepModel,
    samples: Mapping[str, Tensor],
    folder: ExportsFolder,
    progress: Progress,
    usage: Usage | None = None,
) -> None:
    """Export slim where nobody did.

    Args:
        runtime: which is to execute it.
        model: the slim model.
        samples: real inputs, (N, ...) by name.
        folder: of its exports.
        progress: told about it.
        usage: what is written into ONNX files for those who use them.

    Raises:
        InputError: there is no engine. It may need options that only the user knows.
    """
    path = folder.path_for(runtime)
    if path.exists():
        return
    if not runtime.built_on_demand:
        raise input_error(
            "export-missing", f"no {path}", f"the slim model for {runtime.title}", f"das export --to {runtime.name}"
        )
    progress.say(f"exporting the slim model to {path.name}, to time it")
    export(model, samples, folder.path, [runtime.name], usage=usage, progress=progress)


def make_full(
    runtime: Runtime,
    model: StepModel,
    samples: Mapping[str, Tensor],
    folder: ExportsFolder,
    slim: ExportsFolder,
    progress: Progress,
    usage: Usage | None = None,
) -> None:
    """Export full the way slim was exported, unless ``folder`` has such a file.

    Args:
        runtime: which is to execute it.
        model: the full model.
        samples: real inputs, (N, ...) by name.
        folder: of its exports.
        slim: of the slim model's.
        progress: told about it.
        usage: what is written into ONNX files for those who use them.

    Raises:
        InputError: how slim was exported is not known.
    """
    path, making = folder.path_for(runtime), runtime.making(slim.path_for(runtime))
    if path.exists() and _traits(runtime, path) == making.traits:
        return
    progress.say(f"exporting the full model to {path.name}, to time it")
    export(model, samples, folder.path, [runtime.name], usage=usage, **making.options, progress=progress)


def _traits(runtime: Runtime, path: Path) -> Hashable:
    try:
        return runtime.making(path).traits
    except InputError:  # a damaged record: made anew
        return None
