"""Finishing on the machine an export is for what could not be done where it was made: run it, compare it, audit it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from compressor.checkpoints.read import sha256
from compressor.device import choose_device
from compressor.errors import CheckFailed, EnvironmentProblem, Problem, environment_problem, input_error
from compressor.evaluation.reference import Reference
from compressor.families import FAMILIES
from compressor.files import staged
from compressor.models.steps import StepModel
from compressor.progress import QUIET, Progress
from compressor.values import Value
from exporters.checks.certificate import Certificate
from exporters.checks.divergence import Locate, locate, locate_in_engine, starts_at
from exporters.checks.parity import RECORD, Comparison, Parity, parity_failure, read_record, record_of, versions_of
from exporters.checks.validate import CHECKED_SIZES, judge
from exporters.graph.inputs import Fixed, with_text_length
from exporters.graph.onnx import load_graph
from exporters.graph.precision import PRECISIONS, Precision
from exporters.graph.vision_split import REST, locate_in_parts, split_runner
from exporters.runtimes.runner import Runner
from exporters.runtimes.sessions import PROVIDERS, OnnxRunner, require_provider
from exporters.runtimes.tensorrt_audit import Audit
from exporters.runtimes.tensorrt_engine import audit_plan, passport_of, read_passport
from exporters.runtimes.tensorrt_runner import TensorRTRunner


class Verified(Value):
    """One export: its file, its record as it is now, and, of an engine, the audit of its precision.

    ``certificate`` was made here; the record keeps an earlier one that is on more samples. ``notes`` are for people.
    """

    file: str
    parity: Parity
    certificate: Certificate | None
    audit: Audit | None
    notes: tuple[str, ...] = ()


class VerifyReport(Value):
    """What was verified in ``folder``, with ONNX Runtime on ``device``."""

    schema_version: int = 2
    folder: str
    device: str
    exports: tuple[Verified, ...]


@dataclass(frozen=True)
class _Kind:
    """A kind of export.

    Attributes:
        pattern: of its files' names.
        format: "onnx" or "trt".
        runtime: what runs it on a device, for people to read; empty where its record says so beforehand.
        runner: opens a file of some precision on a device.
        takes: the batches and the fixed axes of a file.
        locate: finds where the error of one that failed starts.
    """

    pattern: str
    format: str
    runtime: str
    runner: Callable[[Path, Precision, str], Runner]
    takes: Callable[[Path], tuple[tuple[int, ...], Fixed]]
    locate: Locate


@dataclass(frozen=True)
class _Export:
    """An export with all its files: the one that is run, its record, and the batches and axes it takes."""

    path: Path
    kind: _Kind
    record: Parity
    sizes: tuple[int, ...]
    fixed: Fixed

    @property
    def precision(self) -> Precision:
        return PRECISIONS[self.record.precision]


def runtime_device(asked: str | None = None) -> str:
    """Where ONNX Runtime is to run: as asked, else "cuda" where its CUDA provider really works, else "cpu".

    Raises:
        UsageError: neither "cpu" nor "cuda".
        EnvironmentProblem: CUDA was asked for and does not work here.
    """
    device = choose_device(asked).type
    try:
        require_provider(PROVIDERS[device])
    except EnvironmentProblem:
        if asked:
            raise
        return "cpu"
    return device


def verify(
    model: StepModel,
    samples: Mapping[str, Tensor],
    reference: Reference,
    folder: Path,
    formats: Collection[str],
    progress: Progress = QUIET,
    *,
    device: str = "cpu",
) -> VerifyReport:
    """Run every export in ``folder`` against ``model``, and rewrite its record and an engine's passport.

    Exports are not written to. What cannot run here is "not verified", with the reason, and its record stays as it was.
    Of an export that fails only the record is left.

    Args:
        model: the slim model, in eval mode.
        samples: a few real inputs, (N, ...) by name, which are run in all the sizes that an export takes.
        reference: many real samples, for the certificates.
        folder: a run's exports.
        formats: of "onnx" and "trt".
        progress: told about each export.
        device: where ONNX Runtime runs, "cpu" or "cuda"; engines run on the GPU.

    Raises:
        InputError: nothing of these formats is there, or a file of an export is missing or damaged; nothing was run.
        EnvironmentProblem: a record cannot be written.
    """
    exports = _exports(folder, formats)
    if not exports:
        raise input_error(
            "export-missing",
            f"no export ({', '.join(formats)}) in {folder}",
            "an export with its record",
            f"das export {folder.parent}",
        )
    found = [_verify(model, samples, reference, export, device, progress) for export in exports]
    return VerifyReport(folder=str(folder), device=device, exports=tuple(found))


def require_verified(report: VerifyReport) -> None:
    """Hold that nothing failed and something ran.

    Raises:
        CheckFailed: an export does not answer as the model does.
        EnvironmentProblem: none of the exports can be run here.
    """
    failures = [parity_failure(entry.parity, entry.file) for entry in report.exports if entry.parity.status == "failed"]
    if failures:
        raise CheckFailed(*(problem for failure in failures for problem in failure.problems))
    if all(entry.parity.status == "not verified" for entry in report.exports):
        raise EnvironmentProblem(
            *(
                Problem(
                    "export-cannot-run-here",
                    f"{entry.file} cannot be run here: {entry.parity.reason}",
                    "the machine it was built for",
                    "das verify there; das doctor shows what this machine has",
                )
                for entry in report.exports
            )
        )


def _exports(folder: Path, formats: Collection[str]) -> list[_Export]:
    """All that are there, in order; those that failed before are not."""
    found = []
    for file in sorted(folder.glob(f"*{RECORD}")):
        path = file.with_name(file.name.removesuffix(RECORD))
        kind = next((kind for kind in KINDS if path.match(kind.pattern)), None)
        if kind is None or kind.format not in formats:
            continue
        record = read_record(path)
        if record.status != "failed" or path.exists():
            _require_files(path, record)
            found.append(_Export(path, kind, record, *kind.takes(path)))
    return found


def _require_files(path: Path, record: Parity) -> None:
    missing = [name for name in {path.name: "", **record.sha256} if not path.with_name(name).is_file()]
    if missing:
        raise input_error(
            "export-incomplete",
            f"no {', '.join(missing)} in {path.parent}",
            f"every file that {record_of(path).name} names",
            "copy it from where it was made, or das export again",
        )


def _verify(
    model: StepModel,
    samples: Mapping[str, Tensor],
    reference: Reference,
    export: _Export,
    device: str,
    progress: Progress,
) -> Verified:
    path, earlier = export.path, export.record
    given = with_text_length(FAMILIES[model.family], samples, export.fixed.text_length)
    with progress.stage(f"running {path.name}"):
        found, made = _compare(model, given, reference, export, device, progress)
    outcome = {name: getattr(found, name) for name in type(found).model_fields}
    if found.status == "not verified":
        parity = earlier.model_copy(update=outcome)
        return Verified(file=path.name, parity=parity, certificate=None, audit=_audit(export, found))
    hashes = {name: sha256(path.with_name(name)) for name in earlier.sha256}
    same = hashes == earlier.sha256
    kept = _better(earlier, made) if same else None
    changes = {
        "certificate": kept or made,
        "runtime": export.kind.runtime.format(device=device.upper()) or earlier.runtime,
        "versions": versions_of(tuple(earlier.versions)),
        "sha256": hashes,
        "graph_sha256": earlier.graph_sha256 if same else None,
        "starts_at": "",
    }
    if found.status == "failed" and found.samples:  # it ran, and its answers are off
        tolerance, rows = FAMILIES[model.family].tolerances[earlier.precision], export.fixed.batch or 1
        changes["starts_at"] = starts_at(model, path, given, rows, tolerance, progress, export.kind.locate)
    parity = earlier.model_copy(update=outcome | changes)
    with staged(record_of(path)) as temporary:
        temporary.write_text(parity.model_dump_json(indent=2))
    audit = _audit(export, found)
    if parity.status == "failed":
        for file in (path, *(path.with_name(name) for name in hashes), passport_of(path)):
            file.unlink(missing_ok=True)
    notes = [] if same else [f"not what was exported: {record_of(path).name} named another SHA-256"]
    notes += [_keeping(kept, made)] if kept and made else []
    return Verified(file=path.name, parity=parity, certificate=made, audit=audit, notes=tuple(notes))


def _compare(
    model: StepModel,
    samples: Mapping[str, Tensor],
    reference: Reference,
    export: _Export,
    device: str,
    progress: Progress,
) -> tuple[Comparison, Certificate | None]:
    try:
        return judge(
            export.kind.runner(export.path, export.precision, device),
            model,
            samples,
            export.sizes,
            reference=reference,
            precision=export.precision,
            fixed=export.fixed,
            progress=progress,
        )
    except EnvironmentProblem as error:
        tolerance = FAMILIES[model.family].tolerances[export.precision.name]
        return Comparison(status="not verified", reason=error.problems[0].found, tolerance=tolerance), None


def _better(earlier: Parity, made: Certificate | None) -> Certificate | None:
    """The certificate that stays: one on more samples, marked with the runtime it was made in; None when none does."""
    before = earlier.certificate
    if before is None or made is None or not made.passed or not before.passed or made.samples >= before.samples:
        return None
    return before.model_copy(update={"note": before.note or f"made earlier, in {earlier.runtime}"})


def _keeping(kept: Certificate, made: Certificate) -> str:
    why = f" ({made.note})" if made.note else ""
    return f"ran here on {made.samples} samples{why}; its record keeps the certificate on {kept.samples}"


def _audit(export: _Export, found: Comparison) -> Audit | None:
    """Of the engine where it passed, else what its passport says."""
    if export.kind.format != "trt":
        return None
    passport = (
        audit_plan(export.path, export.precision.name) if found.status == "passed" else read_passport(export.path)
    )
    return passport.audit


def _onnx_runner(path: Path, precision: Precision, device: str) -> Runner:
    if device == "cpu" and not precision.on_cpu:
        raise environment_problem(
            "kernels-missing",
            f"ONNX Runtime has no {precision.name} kernels for CPUs",
            "a GPU that it can use",
            "das verify there",
        )
    return OnnxRunner(path, PROVIDERS[device])


def _onnx_takes(path: Path) -> tuple[tuple[int, ...], Fixed]:
    inputs = load_graph(path).graph.input
    (shape,) = (value.type.tensor_type.shape.dim for value in inputs if value.name == "input_ids")
    batch, length = (axis.dim_value or None for axis in shape)
    return (batch,) if batch else CHECKED_SIZES, Fixed(batch, length)


def _plan_takes(path: Path) -> tuple[tuple[int, ...], Fixed]:
    shapes = read_passport(path).profile["input_ids"]
    sizes, lengths = (tuple(dict.fromkeys(shape[axis] for shape in shapes)) for axis in (0, 1))
    return sizes, Fixed(*(axis[0] if len(axis) == 1 else None for axis in (sizes, lengths)))


KINDS = (
    _Kind(
        REST,
        "onnx",
        "ONNX Runtime, {device}, vision tower apart",
        lambda path, precision, device: split_runner(path.parent, PROVIDERS[device]),
        _onnx_takes,
        locate_in_parts,
    ),
    _Kind("*.onnx", "onnx", "ONNX Runtime, {device}", _onnx_runner, _onnx_takes, locate),
    _Kind("*.plan", "trt", "", lambda path, precision, device: TensorRTRunner(path), _plan_takes, locate_in_engine),
)
