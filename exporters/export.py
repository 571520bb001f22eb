"""Export a model, run what was exported, and call it done only when it answers as the model does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from compressor.errors import InputError, Problem, UsageError
from compressor.families import FAMILIES
from compressor.progress import QUIET, Progress
from compressor.steps import StepModel
from exporters.inputs import IMAGE_INPUTS, TEXT_INPUTS, any_size, image_sides
from exporters.onnx import check_opset, export_onnx, opset_of
from exporters.parity import Comparison, Parity, check, parity_failure, record, tried
from exporters.runners import OnnxRunner, Runner, TensorRTRunner, TorchRunner, import_onnxruntime
from exporters.staging import bytes_of, parts_of, staged
from exporters.tensorrt import Shapes, Target, build_engine, find_target, passport_of

FORMATS = ("onnx", "trt")
EXPORTS = "exports"  # a run's folder for them
ONNX_FILES: Mapping[str, str] = {"fp32": "model.onnx"}
"""The ONNX file of every precision that can be exported."""
CHECKED_SIZES = (1, 2, 8)  # batch sizes that ONNX Runtime is checked with


class Exported(BaseModel):
    """One finished export: its files in the folder, their size, how long it took, and its parity with PyTorch."""

    model_config = ConfigDict(frozen=True)

    format: str
    files: tuple[str, ...]
    bytes: int
    seconds: float
    opset: int
    parity: Parity
    notes: tuple[str, ...] = ()


class ExportReport(BaseModel):
    """What an export left in ``folder``."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = 1
    folder: str
    family: str
    task: str
    precision: str
    exports: tuple[Exported, ...]


@dataclass(frozen=True)
class _Job:
    """What both formats are made from."""

    model: StepModel
    samples: Mapping[str, Tensor]
    folder: Path
    precision: str
    opset: int | None
    batch: tuple[int, int, int]
    progress: Progress

    @property
    def onnx(self) -> Path:
        return self.folder / ONNX_FILES[self.precision]

    @property
    def tolerance(self) -> float:
        return FAMILIES[self.model.family].tolerances[self.precision]


def export(
    model: StepModel,
    samples: Mapping[str, Tensor],
    folder: Path,
    formats: Sequence[str],
    *,
    precision: str = "fp32",
    opset: int | None = None,
    batch: tuple[int, int, int] = (1, 8, 32),
    progress: Progress = QUIET,
) -> ExportReport:
    """Export ``model`` to ``folder`` and compare every export with it on ``samples``.

    Args:
        model: full or slim, in eval mode.
        samples: real inputs, (N, ...) by name; the text at the length it is padded to.
        folder: gets ``model.onnx``, ``model.<precision>.<target>.plan``, and ``<file>.parity.json`` beside each.
        formats: of "onnx" and "trt". A TensorRT engine is built from the ONNX file, made on the way where ``folder``
            has none that answers as the model does.
        precision: a key of ``ONNX_FILES``.
        opset: of the ONNX file; None leaves the choice to the exporter.
        batch: smallest, usual and largest batch that a TensorRT engine takes.
        progress: told about each stage.

    Raises:
        UsageError: an unknown format, precision or opset, or impossible batches.
        InputError: an input of the family is missing from ``samples``.
        CheckFailed: an export does not answer as the model does; only its parity record is left.
        EnvironmentProblem: a runtime is missing or refuses the model, or the folder cannot be written.
    """
    _check_request(formats, precision, opset, batch)
    import_onnxruntime()  # every way leads through it: better to know before the minutes of tracing
    target = find_target() if "trt" in formats else None
    given = {name: samples[name] for name in FAMILIES[model.family].inputs if name in samples}
    job = _Job(model, given, folder, precision, opset, batch, progress)
    exports = [_export_onnx(job) if "onnx" in formats else _find_onnx(job) or _export_onnx(job)]
    if target:
        exports.append(_export_tensorrt(job, target))
    return ExportReport(
        folder=str(folder), family=model.family, task=model.task, precision=precision, exports=tuple(exports)
    )


def _check_request(formats: Sequence[str], precision: str, opset: int | None, batch: tuple[int, int, int]) -> None:
    problems = [
        Problem(f"format {name!r}", f"one of: {', '.join(FORMATS)}", "--onnx or --trt")
        for name in formats
        if name not in FORMATS
    ]
    if not formats:
        problems.append(Problem("no format", f"at least one of: {', '.join(FORMATS)}", "--onnx or --trt"))
    if precision not in ONNX_FILES:
        available = ", ".join(ONNX_FILES)
        problems.append(Problem(f"precision {precision!r}", f"one of: {available}", f"--precision {available}"))
    if not 1 <= batch[0] <= batch[1] <= batch[2]:
        found = ":".join(str(size) for size in batch)
        problems.append(Problem(f"batch {found}", "smallest <= usual <= largest, from 1", "--batch 1:8:32"))
    if problems:
        raise UsageError(*problems)
    check_opset(opset)


def _export_onnx(job: _Job) -> Exported:
    with staged(job.onnx) as temporary:
        with job.progress.stage("exporting to ONNX"):
            made = export_onnx(job.model, temporary, job.samples, job.opset)
        parity = _onnx_parity(job, temporary)
        _settle(temporary, parity)
    _require(parity, job.onnx)
    return _onnx_exported(job, made.seconds, parity)


def _find_onnx(job: _Job) -> Exported | None:
    """The ONNX file that is there already, if it is this model's and of the wanted opset."""
    if not _record_of(job.onnx).exists() or not job.onnx.exists() or job.opset not in (None, opset_of(job.onnx)):
        return None
    parity = _onnx_parity(job, job.onnx)
    if parity.status != "passed":
        return None
    return _onnx_exported(job, 0.0, parity, "exported before; compared again")


def _onnx_parity(job: _Job, path: Path) -> Parity:
    with job.progress.stage("comparing ONNX Runtime with PyTorch"):
        found = _compare(job, OnnxRunner(path), CHECKED_SIZES)
    return record(path, "ONNX Runtime, CPU", job.precision, found, ("torch", "onnx", "onnxscript", "onnxruntime"))


def _onnx_exported(job: _Job, seconds: float, parity: Parity, *notes: str) -> Exported:
    files = tuple(part.name for part in parts_of(job.onnx))
    return Exported(
        format="onnx",
        files=files,
        bytes=bytes_of(job.onnx),
        seconds=seconds,
        opset=opset_of(job.onnx),
        parity=parity,
        notes=notes,
    )


def _export_tensorrt(job: _Job, target: Target) -> Exported:
    plan = job.folder / f"model.{job.precision}.{target.tag}.plan"
    with staged(plan) as temporary:
        engine = build_engine(job.onnx, temporary, _shapes(job), target, job.progress)
        if target.gpu:
            with job.progress.stage("comparing TensorRT with PyTorch"):
                found = _compare(job, TensorRTRunner(temporary), job.batch)
        else:
            reason = f"no GPU here: built ahead of time ({target}) and not run"
            found = Comparison(status="not verified", reason=reason, tolerance=job.tolerance)
        parity = record(temporary, str(target), job.precision, found, ("torch", target.package))
        _settle(temporary, parity)
    _require(parity, plan)
    return Exported(
        format="trt",
        files=(plan.name, passport_of(plan).name),
        bytes=engine.bytes,
        seconds=engine.seconds,
        opset=opset_of(job.onnx),
        parity=parity,
    )


def _shapes(job: _Job) -> Shapes:
    """Smallest, usual and largest shape of every input.

    Batches as asked for, texts from one token to the padded length, images from one patch to the largest there are.
    """
    sides = image_sides(job.model) if any_size(job.model) else None

    def shapes(name: str) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        rest = tuple(job.samples[name].shape[1:])
        ends = (rest, rest)
        if name in TEXT_INPUTS:
            ends = ((1, *rest[1:]), rest)
        elif name in IMAGE_INPUTS and sides:
            ends = ((*rest[:-2], sides[0], sides[0]), (*rest[:-2], sides[1], sides[1]))
        smallest, usual, largest = job.batch
        return (smallest, *ends[0]), (usual, *rest), (largest, *ends[1])

    return {name: shapes(name) for name in job.samples}


def _compare(job: _Job, candidate: Runner, sizes: Sequence[int]) -> Comparison:
    try:
        with TorchRunner(job.model, next(job.model.parameters()).device) as reference, candidate:
            found = check(reference, candidate, tried(job.model, job.samples, sizes), job.tolerance)
            return found.model_copy(update={"samples": min(found.samples, len(job.samples["input_ids"]))})
    except InputError as error:  # the runtime refuses the file, or a batch that the model takes
        return Comparison(status="failed", reason=error.problems[0].found, tolerance=job.tolerance)


def _record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.parity.json")


def _settle(temporary: Path, parity: Parity) -> None:
    """Put the record beside the export; of one that failed, leave nothing but the record."""
    if parity.status == "failed":
        for file in temporary.parent.iterdir():
            file.unlink()
    _record_of(temporary).write_text(parity.model_dump_json(indent=2))


def _require(parity: Parity, path: Path) -> None:
    if parity.status == "failed":
        raise parity_failure(parity, path.name)
