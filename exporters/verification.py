"""Finishing on the machine an export is for what could not be done where it was made: run it, compare it, audit it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from compressor.checkpoints import sha256
from compressor.errors import CheckFailed, EnvironmentProblem, InputError, Problem, input_error
from compressor.families import FAMILIES
from compressor.progress import QUIET, Progress
from compressor.reference import Reference
from compressor.steps import StepModel
from exporters.audit import Audit
from exporters.certificate import Certificate
from exporters.export import CHECKED_SIZES
from exporters.inputs import Fixed, with_text_length
from exporters.judging import judge
from exporters.metadata import embed, facts_of
from exporters.onnx import load_graph
from exporters.parity import Comparison, Parity, Status, versions_of
from exporters.precision import PRECISIONS, Precision
from exporters.runners import OnnxRunner, Runner, TensorRTRunner
from exporters.split import REST, split_runner
from exporters.staging import staged
from exporters.tensorrt import audit_plan, passport_of, read_passport

RECORD = ".parity.json"
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class Verified(BaseModel):
    """One export: its file, what was found here, and, of an engine, the audit of its precision."""

    model_config = ConfigDict(frozen=True)

    file: str
    parity: Parity
    audit: Audit | None


class VerifyReport(BaseModel):
    """What was verified in ``folder``."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = 1
    folder: str
    exports: tuple[Verified, ...]


@dataclass(frozen=True)
class _Kind:
    """A kind of export: the names of its files, its format, how it is opened, and the batches and axes it takes."""

    pattern: str
    format: str
    runner: Callable[[Path, str], Runner]
    takes: Callable[[Path], tuple[tuple[int, ...], Fixed]]


def verify(
    model: StepModel,
    samples: Mapping[str, Tensor],
    reference: Reference,
    folder: Path,
    formats: Collection[str],
    progress: Progress = QUIET,
) -> VerifyReport:
    """Run every export in ``folder`` against ``model``, and rewrite its record and an engine's passport.

    What cannot run here is "not verified", with the reason, and its record stays as it was. Of an export that fails
    only the record is left.

    Args:
        model: the slim model, in eval mode.
        samples: a few real inputs, (N, ...) by name, which are run in all the sizes that an export takes.
        reference: many real samples, for the certificates.
        folder: a run's exports.
        formats: of "onnx" and "trt".
        progress: told about each export.

    Raises:
        InputError: nothing of these formats is there, or a record is damaged.
        EnvironmentProblem: a record cannot be written.
    """
    records = sorted(folder.glob(f"*{RECORD}"))
    exports = [record.with_name(record.name.removesuffix(RECORD)) for record in records]
    wanted = [path for path in exports if path.exists() and _kind_of(path).format in formats]
    if not wanted:
        raise input_error(
            f"no export ({', '.join(formats)}) in {folder}", "an export with its record", f"das export {folder.parent}"
        )
    found = [_verify(model, samples, reference, path, progress) for path in wanted]
    return VerifyReport(folder=str(folder), exports=tuple(found))


def require_verified(report: VerifyReport) -> None:
    """Hold that nothing failed and something ran.

    Raises:
        CheckFailed: an export does not answer as the model does.
        EnvironmentProblem: none of the exports can be run here.
    """
    failed = [entry for entry in report.exports if entry.parity.status == "failed"]
    if failed:
        raise CheckFailed(
            *(
                Problem(
                    f"{entry.file} does not answer as the model does: {entry.parity.reason}",
                    f"every logit within {entry.parity.tolerance:.1g} of PyTorch's",
                    f"see {entry.file}{RECORD}; the export was removed: das export makes it again",
                )
                for entry in failed
            )
        )
    if all(entry.parity.status == "not verified" for entry in report.exports):
        raise EnvironmentProblem(
            *(
                Problem(
                    f"{entry.file} cannot be run here: {entry.parity.reason}",
                    "the machine it was built for",
                    "das verify there; das doctor shows what this machine has",
                )
                for entry in report.exports
            )
        )


def _verify(
    model: StepModel, samples: Mapping[str, Tensor], reference: Reference, path: Path, progress: Progress
) -> Verified:
    record = path.with_name(path.name + RECORD)
    try:
        earlier = Parity.model_validate_json(record.read_bytes())
    except (OSError, ValidationError) as error:
        raise input_error(f"{record} cannot be read ({error})", "the record of an export", "das export again") from None
    with progress.stage(f"running {path.name}"):
        found, certificate = _compare(model, samples, reference, path, PRECISIONS[earlier.precision], progress)
    ran = found.status != "not verified"
    outcome = {name: getattr(found, name) for name in type(found).model_fields} | {"certificate": certificate}
    parity = earlier.model_copy(update=outcome)
    audit = _audit(path, earlier.precision, ran) if passport_of(path).exists() else None
    if ran:
        files = [path.with_name(name) for name in earlier.sha256]
        if parity.status == "passed" and earlier.graph_sha256:
            embed(path, facts_of(model, parity))
        now = {"versions": versions_of(tuple(earlier.versions)), "sha256": {file.name: sha256(file) for file in files}}
        parity = parity.model_copy(update=now)
        with staged(record) as temporary:
            temporary.write_text(parity.model_dump_json(indent=2))
        if parity.status == "failed":
            for file in (*files, passport_of(path)):
                file.unlink(missing_ok=True)
    return Verified(file=path.name, parity=parity, audit=audit)


def _compare(
    model: StepModel,
    samples: Mapping[str, Tensor],
    reference: Reference,
    path: Path,
    precision: Precision,
    progress: Progress,
) -> tuple[Comparison, Certificate | None]:
    kind = _kind_of(path)
    candidate = kind.runner(path, CPU if precision.on_cpu else CUDA)
    try:
        sizes, fixed = kind.takes(path)
        return judge(
            candidate,
            model,
            with_text_length(samples, fixed.text_length),
            sizes,
            reference=reference,
            precision=precision,
            fixed=fixed,
            progress=progress,
        )
    except (EnvironmentProblem, InputError) as error:  # it cannot run here; or nothing can read it
        status: Status = "failed" if isinstance(error, InputError) else "not verified"
        tolerance = FAMILIES[model.family].tolerances[precision.name]
        return Comparison(status=status, reason=error.problems[0].found, tolerance=tolerance), None


def _audit(plan: Path, precision: str, ran: bool) -> Audit | None:
    """Of the engine where it ran, else what its passport says."""
    return (audit_plan(plan, precision) if ran else read_passport(plan)).audit


def _onnx_takes(path: Path) -> tuple[tuple[int, ...], Fixed]:
    inputs = load_graph(path).graph.input
    (shape,) = (value.type.tensor_type.shape.dim for value in inputs if value.name == "input_ids")
    batch, length = (axis.dim_value or None for axis in shape)
    return (batch,) if batch else CHECKED_SIZES, Fixed(batch, length)


def _plan_takes(path: Path) -> tuple[tuple[int, ...], Fixed]:
    shapes = read_passport(path).profile["input_ids"]
    sizes, lengths = (tuple(dict.fromkeys(shape[axis] for shape in shapes)) for axis in (0, 1))
    return sizes, Fixed(*(axis[0] if len(axis) == 1 else None for axis in (sizes, lengths)))


def _kind_of(path: Path) -> _Kind:
    return next(kind for kind in KINDS if path.match(kind.pattern))


KINDS = (
    _Kind(
        REST,
        "onnx",
        lambda path, provider: split_runner(path.parent, provider),
        _onnx_takes,
    ),
    _Kind("*.onnx", "onnx", OnnxRunner, _onnx_takes),
    _Kind("*.plan", "trt", lambda path, provider: TensorRTRunner(path), _plan_takes),
)
