"""The files that runtimes execute: of slim as the user exported it, of full made in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from compressor.errors import InputError, input_error
from compressor.evaluation.reference import Reference
from compressor.models.steps import StepModel
from compressor.progress import Progress
from exporters.checks.records import read_record
from exporters.export import export
from exporters.folder import ExportsFolder
from exporters.graph.precision import PRECISIONS, Precision
from exporters.runtimes.runtime import Runtime
from exporters.usage import Usage


def make_slim(
    runtime: Runtime,
    precision: Precision,
    model: StepModel,
    samples: Mapping[str, Tensor],
    folder: ExportsFolder,
    reference: Callable[[], Reference],
    progress: Progress,
    usage: Usage | None = None,
) -> None:
    """Export slim where nobody did.

    Args:
        runtime: which is to execute it.
        precision: of the file.
        model: the slim model.
        samples: real inputs, (N, ...) by name.
        folder: of its exports.
        reference: opens many real samples with the model's answers.
        progress: told about it.
        usage: what is written into ONNX files for those who use them.

    Raises:
        InputError: there is no engine. It may need options that only the user knows.
    """
    path = folder.path_for(runtime, precision)
    if path.exists():
        return
    if not runtime.built_on_demand:
        raise input_error(
            "export-missing", f"no {path}", f"the slim model for {runtime.title}", f"das export --to {runtime.name}"
        )
    progress.say(f"exporting the slim model to {path.name}, to time it")
    export(
        model,
        samples,
        folder.path,
        [runtime.name],
        precision=precision.name,
        reference=reference(),
        usage=usage,
        progress=progress,
    )


def make_full(
    runtime: Runtime,
    precision: Precision,
    model: StepModel,
    samples: Mapping[str, Tensor],
    folder: ExportsFolder,
    slim: ExportsFolder,
    reference: Callable[[], Reference],
    progress: Progress,
    usage: Usage | None = None,
) -> None:
    """Export full the way slim was exported, and certify it on the same samples, unless ``folder`` has such a file.

    Args:
        runtime: which is to execute it.
        precision: of the file.
        model: the full model.
        samples: real inputs, (N, ...) by name.
        folder: of its exports.
        slim: of the slim model's.
        reference: opens many real samples with the full model's answers.
        progress: told about it.
        usage: what is written into ONNX files for those who use them.

    Raises:
        InputError: how slim was exported is not known.
        CheckFailed: the full model does not answer in this precision as it does in PyTorch.
    """
    path, slim_path = folder.path_for(runtime, precision), slim.path_for(runtime, precision)
    making = runtime.making(slim_path)
    if path.exists() and _made_alike(runtime, path, slim_path):
        return
    progress.say(f"exporting the full model to {path.name}, to time it")
    export(
        model,
        samples,
        folder.path,
        [runtime.name],
        precision=precision.name,
        reference=reference(),
        usage=usage,
        **making.options,
        progress=progress,
    )


def precisions_of(runtime: Runtime, slim: ExportsFolder, device: str) -> tuple[Precision, ...]:
    """Return the precisions to measure: those that slim was exported in for the runtime, and that it executes here.

    fp32 is always among them where a missing file is built on demand, and where the runtime executes the model itself.
    """
    if not runtime.suffix:
        return (PRECISIONS["fp32"],)
    return tuple(
        precision
        for precision in PRECISIONS.values()
        if (precision.name == "fp32" and runtime.built_on_demand)
        or (slim.path_for(runtime, precision).exists() and not runtime.refuses(precision, device))
    ) or (PRECISIONS["fp32"],)


def _made_alike(runtime: Runtime, path: Path, slim: Path) -> bool:
    """Return whether the full model's file was made as slim's, and certified if that was."""
    try:
        alike = runtime.making(path).traits == runtime.making(slim).traits
        certified = read_record(path).certificate is not None or read_record(slim).certificate is None
        return alike and certified
    except InputError:  # a damaged record: made anew
        return False
