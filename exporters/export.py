"""Export a model, run what was exported, and call it done only when it answers as the model does."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from compressor.errors import InputError, Problem, UsageError
from compressor.evaluation.reference import Reference
from compressor.families import FAMILIES
from compressor.families.family import Input
from compressor.files import bytes_of, hashes_of, parts_of, staged
from compressor.models.steps import StepModel
from compressor.progress import QUIET, Progress
from compressor.values import Value
from exporters.checks.certificate import Certificate
from exporters.checks.divergence import locate, locate_in_engine, starts_at
from exporters.checks.parity import Comparison, Parity, parity_failure, read_record, record, record_of
from exporters.checks.validate import CHECKED_SIZES, judge
from exporters.graph.attention import FORMS, AttentionForm
from exporters.graph.inputs import VARYING, Fixed, any_size, image_sides, with_text_length
from exporters.graph.metadata import embed, facts_of
from exporters.graph.onnx import check_opset, export_onnx, opset_of
from exporters.graph.precision import PRECISIONS, Precision
from exporters.graph.quantise import nodes_of, quantise_dynamic, quantise_static, quantised, sensitivities
from exporters.graph.vision_split import check_splittable, export_split
from exporters.runtimes import RUNTIMES, find_runtimes
from exporters.runtimes.runner import Runner
from exporters.runtimes.sessions import OnnxRunner, import_onnxruntime
from exporters.runtimes.tensorrt_audit import Audit
from exporters.runtimes.tensorrt_engine import Shapes, Target, build_engine, find_target, passport_of
from exporters.runtimes.tensorrt_runner import TensorRTRunner

EXPORTS = "exports"  # a run's folder for them
QDQ = ".qdq"  # in the name of the int8 graph that TensorRT reads
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")


class Exported(Value):
    """One finished export: its files in the folder, their size, how long it took, and its parity with PyTorch."""

    format: str
    files: tuple[str, ...]
    bytes: int
    seconds: float
    opset: int
    parity: Parity
    notes: tuple[str, ...] = ()


class ExportReport(Value):
    """What an export left in ``folder``."""

    schema_version: int = 2
    folder: str
    family: str
    task: str
    precision: str
    exports: tuple[Exported, ...]


@dataclass(frozen=True)
class _Job:
    """What every format is made from."""

    model: StepModel
    samples: Mapping[str, Tensor]
    reference: Reference | None
    folder: Path
    precision: Precision
    opset: int | None
    form: AttentionForm
    fixed: Fixed
    batch: tuple[int, int, int]
    workspace: int | None
    progress: Progress

    def file(self, infix: str = "") -> Path:
        return self.folder / file_name(self.precision, self.fixed, infix)

    @property
    def in_float(self) -> _Job:
        """The same in fp32: what a quantised export is made from."""
        return replace(self, precision=PRECISIONS["fp32"])

    @property
    def tolerance(self) -> float:
        return FAMILIES[self.model.family].tolerances[self.precision.name]


def file_name(precision: Precision, fixed: Fixed = VARYING, infix: str = "") -> str:
    """Of an ONNX file: ``model.onnx``, ``model.int8.onnx``, ``model.b1.t40.onnx``."""
    return f"model{precision.suffix}{infix}{fixed.suffix}.onnx"


def plan_name(precision: Precision, target: Target, fixed: Fixed = VARYING) -> str:
    """Of a TensorRT engine: ``model.fp16.sm90.plan``, ``model.fp32.b1.rtx.plan``."""
    return f"model.{precision.name}{fixed.suffix}.{target.tag}.plan"


def export(
    model: StepModel,
    samples: Mapping[str, Tensor],
    folder: Path,
    formats: Sequence[str],
    *,
    reference: Reference | None = None,
    precision: str = "fp32",
    opset: int | None = None,
    attention: str = "composed",
    batch: tuple[int, int, int] = (1, 8, 32),
    fixed: Fixed = VARYING,
    workspace: int | None = None,
    split: bool = False,
    progress: Progress = QUIET,
) -> ExportReport:
    """Export ``model`` to ``folder`` and compare every export with it.

    Every export is run on a few ``samples`` in all the sizes that its axes allow, and on all of ``reference``, which
    makes its certificate.

    Args:
        model: full or slim, in eval mode.
        samples: real inputs, (N, ...) by name; the text at the length it is padded to.
        folder: gets ``model.onnx``, ``model.<precision>.onnx``, ``model.<precision>.<target>.plan``, and
            ``<file>.parity.json`` beside each.
        formats: names or aliases of runtimes that execute files, "onnx", "trt". A TensorRT engine is built from an
            ONNX file, made on the way where ``folder`` has none that answers as the model does.
        reference: many real samples with the models' own answers; None compares on ``samples`` alone.
        precision: a key of ``PRECISIONS``.
        opset: of the ONNX file; None leaves the choice to the exporter.
        attention: a key of ``FORMS``.
        batch: smallest, usual and largest batch that a TensorRT engine takes.
        fixed: axes of the ONNX file that take one size only.
        workspace: bytes a TensorRT layer may use for itself; None leaves the limit to TensorRT.
        split: the vision tower apart, too, as two more ONNX files.
        progress: told about each stage.

    Raises:
        UsageError: an unknown format, precision, form or opset, impossible batches, or a model that does not split.
        InputError: an input of the family is missing from ``samples``.
        CheckFailed: an export does not answer as the model does; only its parity record is left.
        EnvironmentProblem: a runtime is missing or refuses the model, or the folder cannot be written.
    """
    check_request(formats, precision=precision, opset=opset, attention=attention, batch=batch, fixed=fixed, split=split)
    formats = [runtime.format for runtime in find_runtimes(formats, "--to", executes_files=True)]
    if split:
        check_splittable(model.family, model.rounds)
    import_onnxruntime()  # every way leads through it: better to know before the minutes of tracing
    target = find_target() if "trt" in formats else None
    given = {name: samples[name] for name in FAMILIES[model.family].input_names if name in samples}
    job = _Job(
        model,
        with_text_length(FAMILIES[model.family], given, fixed.text_length),
        reference,
        folder,
        PRECISIONS[precision],
        opset,
        FORMS[attention],
        fixed,
        (fixed.batch,) * 3 if fixed.batch else batch,
        workspace,
        progress,
    )
    exports = list(_quantised_exports(job, formats) if job.precision.quantised else _plain_export(job, formats))
    if target:
        exports.append(_export_tensorrt(job, job.file(QDQ if job.precision.quantised else ""), target))
    if split:
        exports.append(_export_split(job))
    return ExportReport(
        folder=str(folder), family=model.family, task=model.task, precision=precision, exports=tuple(exports)
    )


def check_request(
    formats: Sequence[str],
    *,
    precision: str = "fp32",
    opset: int | None = None,
    attention: str = "composed",
    batch: tuple[int, int, int] = (1, 8, 32),
    fixed: Fixed = VARYING,
    split: bool = False,
    **others: object,
) -> None:
    """Refuse what :func:`export` cannot be asked for, before a model is loaded.

    Raises:
        UsageError: everything that is wrong, at once.
    """

    def unknown(code: str, what: str, names: Collection[str], known: Collection[str], fix: str) -> list[Problem]:
        expected = f"one of: {', '.join(known)}"
        return [Problem(code, f"{what} {name!r}", expected, fix) for name in names if name not in known]

    problems, for_tensorrt = list[Problem](), False
    try:
        for_tensorrt = "trt" in [runtime.format for runtime in find_runtimes(formats, "--to", executes_files=True)]
    except UsageError as error:
        problems += error.problems
    if not formats:
        names = [runtime.name for runtime in RUNTIMES if runtime.suffix]
        problems.append(
            Problem(
                "no-runtime-named",
                "no runtime to export for",
                f"at least one of: {', '.join(names)}",
                f"--to {names[0]}",
            )
        )
    problems += unknown("unknown-precision", "precision", [precision], PRECISIONS, "--precision fp32")
    problems += unknown("unknown-attention", "attention", [attention], FORMS, "leave --attention out")
    if attention in FORMS and for_tensorrt and not FORMS[attention].standard:
        found = f"attention {attention!r} for TensorRT, which knows no operators of ONNX Runtime"
        problems.append(Problem("attention-not-standard", found, "standard operators", "--attention composed"))
    if not 1 <= batch[0] <= batch[1] <= batch[2]:
        found = ":".join(str(size) for size in batch)
        problems.append(
            Problem("batch-out-of-order", f"batch {found}", "smallest <= usual <= largest, from 1", "--batch 1:8:32")
        )
    for option, size in (("--batch", fixed.batch), ("--text-length", fixed.text_length)):
        if size is not None and size < 1:
            problems.append(Problem("size-too-small", f"{option} {size}", "at least 1", f"{option} 1"))
    if split and (precision != "fp32" or fixed != VARYING or opset is not None or for_tensorrt):
        found = "--split with --trt, a precision, a fixed size or an opset"
        expected = "--split alone: ONNX in fp32, any batch and text length, the exporter's opset"
        problems.append(Problem("split-not-alone", found, expected, "two commands, one of them with --split"))
    if problems:
        raise UsageError(*problems)
    check_opset(opset, FORMS[attention], PRECISIONS[precision])


def _plain_export(job: _Job, formats: Sequence[str]) -> list[Exported]:
    return [_export_onnx(job) if "onnx" in formats else _find_onnx(job) or _export_onnx(job)]


def _quantised_exports(job: _Job, formats: Sequence[str]) -> list[Exported]:
    """int8 from the fp32 file: with scales found as it runs for ONNX Runtime, with calibrated ones for TensorRT."""
    source = _find_onnx(job.in_float) or _export_onnx(job.in_float)
    made = [source]
    if "onnx" in formats:
        made.append(_quantise(job, job.file(), calibrated=False))
    if "trt" in formats:
        made.append(_quantise(job, job.file(QDQ), calibrated=True))
    return made


def _export_onnx(job: _Job) -> Exported:
    path = job.file()
    with staged(path) as temporary:
        with job.progress.stage("exporting to ONNX"):
            made = export_onnx(
                job.model,
                temporary,
                job.samples,
                job.opset,
                form=job.form,
                precision=job.precision,
                fixed=job.fixed,
            )
        parity = _settle(job, temporary, _onnx_parity(job, temporary))
    _require(parity, path)
    return _onnx_exported(path, made.seconds, parity)


def _quantise(job: _Job, path: Path, calibrated: bool) -> Exported:
    source, started = job.in_float.file(), time.perf_counter()
    with staged(path) as temporary:
        modules = nodes_of(source)

        def make(held: tuple[str, ...]) -> Parity:
            kept = [node for node, module in modules.items() if module in held]
            with job.progress.stage("rounding to int8" + (f", {len(held)} layers left in float" if held else "")):
                if calibrated:
                    quantise_static(source, temporary, job.samples, kept)
                else:
                    quantise_dynamic(source, temporary, kept)
            return _onnx_parity(job, temporary)

        parity, held = quantised(
            make,
            lambda made: made.status != "failed",
            partial(sensitivities, job.model, job.samples, calibrated, job.progress),
        )
        parity = _settle(job, temporary, parity.model_copy(update={"held_back": held}))
    _require(parity, path)
    return _onnx_exported(path, time.perf_counter() - started, parity)


def _find_onnx(job: _Job) -> Exported | None:
    """The ONNX file that is there already, if it is this model's, of the wanted opset and as it was recorded."""
    path = job.file()
    try:
        found = read_record(path)
        same = path.exists() and job.opset in (None, opset_of(path)) and found.sha256 == hashes_of(path)
    except InputError:  # none, or a damaged one
        return None
    certified = found.certificate is not None or job.reference is None or not job.precision.on_cpu
    if not (same and certified) or found.status == "failed" or found.attention != job.form.name:
        return None
    if _onnx_parity(replace(job, reference=None), path).status == "failed":
        return None
    return _onnx_exported(path, 0.0, found, "exported before; compared again on a few samples")


def _onnx_parity(job: _Job, path: Path) -> Parity:
    if job.precision.on_cpu:
        with job.progress.stage("comparing ONNX Runtime with PyTorch"):
            found = _judged(job, OnnxRunner(path), (job.fixed.batch,) if job.fixed.batch else CHECKED_SIZES)
    else:
        reason = f"ONNX Runtime has no {job.precision.name} kernels for CPUs"
        found = Comparison(status="not verified", reason=reason, tolerance=job.tolerance), None
    return _recorded(path, "ONNX Runtime, CPU", job, found, PACKAGES)


def _onnx_exported(path: Path, seconds: float, parity: Parity, *notes: str) -> Exported:
    held = (f"left in float32: {', '.join(parity.held_back)}",) if parity.held_back else ()
    return Exported(
        format="onnx",
        files=tuple(part.name for part in parts_of(path)),
        bytes=bytes_of(path),
        seconds=seconds,
        opset=opset_of(path),
        parity=parity,
        notes=(*notes, *held),
    )


def _export_tensorrt(job: _Job, onnx: Path, target: Target) -> Exported:
    plan = job.folder / plan_name(job.precision, target, job.fixed)
    with staged(plan) as temporary:
        engine = build_engine(
            onnx,
            temporary,
            _shapes(job),
            target,
            job.progress,
            precision=job.precision.name,
            workspace=job.workspace,
        )
        if target.gpu:
            with job.progress.stage("comparing TensorRT with PyTorch"):
                found = _judged(job, TensorRTRunner(temporary), tuple(dict.fromkeys(job.batch)))
        else:
            reason = f"no GPU here: built ahead of time ({target}) and not run"
            found = Comparison(status="not verified", reason=reason, tolerance=job.tolerance), None
        parity = _recorded(temporary, str(target), job, found, ("torch", target.package))
        parity = _settle(job, temporary, parity)
    _require(parity, plan)
    return Exported(
        format="trt",
        files=(plan.name, passport_of(plan).name),
        bytes=engine.bytes,
        seconds=engine.seconds,
        opset=opset_of(onnx),
        parity=parity,
        notes=_audited(engine.passport.audit),
    )


def _audited(audit: Audit | None) -> tuple[str, ...]:
    if audit is None or audit.layer_share is None:
        return ()
    weights = "" if audit.weight_share is None else f", with {audit.weight_share:.1%} of the weights,"
    return (f"{audit.layer_share:.1%} of the {audit.counted_on}'s layers{weights} compute in {audit.asked}",)


def _export_split(job: _Job) -> Exported:
    made = export_split(
        job.model, job.folder, job.samples, reference=job.reference, form=job.form, progress=job.progress
    )
    return Exported(
        format="onnx",
        files=made.files,
        bytes=made.bytes,
        seconds=made.seconds,
        opset=opset_of(job.folder / made.files[0]),
        parity=made.parity,
        notes=("the vision tower apart: images that are asked several questions pass it once",),
    )


def _shapes(job: _Job) -> Shapes:
    """Smallest, usual and largest shape of every input.

    Batches as asked for, texts from one token to the padded length, images from one patch to the largest there are.
    """
    sides = image_sides(job.model) if any_size(job.model) else None

    def axis_range(axis: str, size: int) -> tuple[int, int, int]:
        if axis == "batch":
            return job.batch
        if axis == "length" and not job.fixed.text_length:
            return 1, size, size
        if axis in ("height", "width") and sides:
            return sides[0], size, sides[1]
        return size, size, size

    def shapes(entry: Input) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        shape = job.samples[entry.name].shape
        smallest, usual, largest = zip(*map(axis_range, entry.axes_of(len(shape)), shape), strict=True)
        return smallest, usual, largest

    return {entry.name: shapes(entry) for entry in FAMILIES[job.model.family].inputs if entry.name in job.samples}


def _judged(job: _Job, candidate: Runner, sizes: Sequence[int]) -> tuple[Comparison, Certificate | None]:
    return judge(
        candidate,
        job.model,
        job.samples,
        sizes,
        reference=job.reference,
        precision=job.precision,
        fixed=job.fixed,
        progress=job.progress,
    )


def _recorded(
    path: Path, runtime: str, job: _Job, found: tuple[Comparison, Certificate | None], packages: Sequence[str]
) -> Parity:
    parity = record(path, runtime, job.precision.name, found[0], packages)
    return parity.model_copy(update={"certificate": found[1], "attention": job.form.name})


def _settle(job: _Job, temporary: Path, parity: Parity) -> Parity:
    """Put the record beside the export and into an ONNX file; of one that failed, leave nothing but the record."""
    if parity.status == "failed":
        if parity.samples:  # it ran, and its answers are off
            find, rows = locate if temporary.suffix == ".onnx" else locate_in_engine, job.fixed.batch or 1
            where = starts_at(job.model, temporary, job.samples, rows, job.tolerance, job.progress, find)
            parity = parity.model_copy(update={"starts_at": where})
        for file in temporary.parent.iterdir():
            file.unlink()
    elif temporary.suffix == ".onnx":
        digest = embed(temporary, facts_of(job.model, parity))
        parity = parity.model_copy(update={"graph_sha256": digest, "sha256": hashes_of(temporary)})
    record_of(temporary).write_text(parity.model_dump_json(indent=2))
    return parity


def _require(parity: Parity, path: Path) -> None:
    if parity.status == "failed":
        raise parity_failure(parity, path.name)
