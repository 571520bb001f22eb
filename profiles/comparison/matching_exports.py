"""The files that runtimes execute: of slim as the user exported it, of full made in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from profiles.comparison.full_vs_slim import NOT_EXPORTED
from profiles.deployment.ways import why_not


@dataclass(frozen=True)
class Wanted:
    """A file that is to be timed, and what it is made from.

    Attributes:
        runtime: which is to execute it.
        precision: of the file.
        model: full or slim.
        samples: real inputs, (N, ...) by name.
        folder: of the model's exports.
        reference: opens many real samples with the model's answers.
        progress: told about it.
        usage: what is written into ONNX files for those who use them.
        device: that it is to run on, "cpu" or "cuda".
    """

    runtime: Runtime
    precision: Precision
    model: StepModel
    samples: Mapping[str, Tensor]
    folder: ExportsFolder
    reference: Callable[[], Reference]
    progress: Progress
    usage: Usage | None = None
    device: str = "cpu"

    @property
    def path(self) -> Path:
        """Where it is, or will be."""
        return self.folder.path_for(self.runtime, self.precision)

    def make(self, which: str, **options: Any) -> None:
        """Export it with these options, and say so of the model ``which``."""
        self.progress.say(f"exporting the {which} model to {self.path.name}, to time it")
        export(
            self.model,
            self.samples,
            self.folder.path,
            [self.runtime.name],
            precision=self.precision.name,
            reference=self.reference(),
            usage=self.usage,
            device=self.device,
            progress=self.progress,
            **options,
        )


def make_slim(wanted: Wanted) -> None:
    """Export slim where nobody did.

    Raises:
        InputError: there is no engine. It may need options that only the user knows.
    """
    runtime = wanted.runtime
    if wanted.path.exists():
        return
    if not runtime.built_on_demand:
        found, fix = f"no {wanted.path}", f"das export --to {runtime.name}"
        raise input_error("export-missing", found, f"the slim model for {runtime.title}", fix)
    wanted.make("slim")


def make_full(wanted: Wanted, slim: ExportsFolder) -> None:
    """Export full the way slim was exported, and certify it on the same samples, unless its folder has such a file.

    Args:
        wanted: of the full model.
        slim: folder of the slim model's exports.

    Raises:
        InputError: how slim was exported is not known.
        CheckFailed: the full model does not answer in this precision as it does in PyTorch.
    """
    runtime, slim_path = wanted.runtime, slim.path_for(wanted.runtime, wanted.precision)
    making = runtime.making(slim_path)
    if not (wanted.path.exists() and _made_alike(runtime, wanted.path, slim_path)):
        wanted.make("full", **making.options)


def precisions_of(
    runtime: Runtime, slim: ExportsFolder, device: str, asked: Sequence[Precision] = ()
) -> tuple[Precision, ...]:
    """Return the precisions to measure: of those ``asked`` for, all that the runtime runs here.

    Where none is asked for they are those that slim was exported in for the runtime; fp32 is then always among them
    where a missing file is built on demand, and where the runtime executes the model itself.
    """
    if asked:
        return tuple(precision for precision in asked if not why_not_measured(runtime, precision, slim, device))
    if not runtime.suffix:
        return (PRECISIONS["fp32"],)
    return tuple(
        precision
        for precision in PRECISIONS.values()
        if (precision.name == "fp32" and runtime.built_on_demand)
        or (slim.path_for(runtime, precision).exists() and not runtime.refuses(precision, device))
    ) or (PRECISIONS["fp32"],)


def runtimes_to_measure(
    runtimes: Sequence[Runtime], slim: ExportsFolder, device: str, asked: Sequence[Precision]
) -> list[Runtime]:
    """Return those of ``runtimes`` that measure something of what was asked for.

    Raises:
        InputError: none does: what they execute is not there, and is not made without the user's options.
    """
    able = [runtime for runtime in runtimes if precisions_of(runtime, slim, device, asked)]
    if not able:
        reasons = dict.fromkeys(why_not_measured(one, each, slim, device) for one in runtimes for each in asked)
        of_files = max(runtimes, key=lambda one: bool(one.suffix))
        fix = f"das export --to {of_files.name}"
        raise input_error("export-missing", "; ".join(reasons), "an export of slim that was asked for", fix)
    return able


def why_not_measured(runtime: Runtime, precision: Precision, slim: ExportsFolder, device: str) -> str:
    """Return why slim is not measured in a precision that was asked for; empty where it is."""
    if why := why_not(runtime, precision, device):
        return why
    if runtime.built_on_demand or slim.path_for(runtime, precision).exists():
        return ""
    return f"{NOT_EXPORTED}: das export --to {runtime.name} --precision {precision.name}"


def slower_form(runtime: Runtime, path: Path, device: str) -> str:
    """Return the form of attention of the export ``path`` where the runtime prefers another on ``device``, else ""."""
    try:
        form = read_record(path).attention
    except InputError:  # none there, or a damaged record, which others complain of
        return ""
    return form if form and form != runtime.attention_on(device) and device != "cpu" else ""


def _made_alike(runtime: Runtime, path: Path, slim: Path) -> bool:
    """Return whether the full model's file was made as slim's, and certified if that was."""
    try:
        alike = runtime.making(path).traits == runtime.making(slim).traits
        certified = read_record(path).certificate is not None or read_record(slim).certificate is None
        return alike and certified
    except InputError:  # a damaged record: made anew
        return False
