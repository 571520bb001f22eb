"""Validate existing exports on the machine they are for: run, compare, audit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from compressor.device import choose_device
from compressor.errors import CheckFailed, EnvironmentProblem, Problem, input_error
from compressor.evaluation.reference import Reference
from compressor.families import FAMILIES
from compressor.files import sha256, staged
from compressor.models.steps import StepModel
from compressor.progress import QUIET, Progress
from compressor.values import Value
from exporters.checks.audit import Audit
from exporters.checks.divergence import starts_at
from exporters.checks.parity import parity_failure, versions_of
from exporters.checks.records import Certificate, Comparison, Parity, record_of
from exporters.checks.validate import judge
from exporters.folder import Export, ExportsFolder, remove_export
from exporters.graph.inputs import Fixed, first_rows, with_text_length
from exporters.graph.precision import PRECISIONS, Precision
from exporters.runtimes.runtime import ModelSource, Runtime, Trial


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
    """What was verified in ``folder``: on ``device``, or in a runtime without it on the runtime's own."""

    schema_version: int = 2
    folder: str
    device: str
    exports: tuple[Verified, ...]


@dataclass(frozen=True)
class _Subject:
    """An export with the batch sizes it is tried with, and the axes it takes one size of."""

    export: Export
    sizes: tuple[int, ...]
    fixed: Fixed

    @property
    def precision(self) -> Precision:
        return PRECISIONS[self.export.record.precision]


def runtime_device(name: str | None, runtimes: Collection[Runtime]) -> str:
    """Return where ``runtimes`` are to run: ``name``, else "cuda" where it really works in them, else "cpu".

    Those of a single kind of device have no say.

    Raises:
        UsageError: neither "cpu" nor "cuda".
        EnvironmentProblem: one of them does not work on the device that was asked for.
    """
    device = choose_device(name).type
    try:
        for runtime in runtimes:
            if device in runtime.devices and len(runtime.devices) > 1:
                runtime.check(device)
    except EnvironmentProblem:
        if name:
            raise
        return "cpu"
    return device


def verify(
    model: StepModel,
    samples: Mapping[str, Tensor],
    reference: Reference,
    folder: ExportsFolder,
    runtimes: Collection[Runtime],
    progress: Progress = QUIET,
    *,
    device: str = "cpu",
) -> VerifyReport:
    """Run every export in ``folder`` against ``model``, and rewrite its record and an engine's metadata.

    Exports are not written to. What cannot run here is "not verified", with the reason, and its record stays as it was.
    Of an export that fails only the record is left.

    Args:
        model: the slim model, in eval mode.
        samples: a few real inputs, (N, ...) by name, which are run in all the sizes that an export takes.
        reference: many real samples, for the certificates.
        folder: a run's exports.
        runtimes: those whose exports are meant.
        progress: told about each export.
        device: where runtimes run that have a choice, "cpu" or "cuda".

    Raises:
        InputError: nothing for these runtimes is there, or a file of an export is missing or damaged; nothing was run.
        EnvironmentProblem: a record cannot be written.
    """
    exports = [
        export
        for export in folder.entries()
        if export.runtime in runtimes and (export.exists or export.record.status != "failed")
    ]
    if not exports:
        names = ", ".join(runtime.format for runtime in runtimes)
        fix = f"das export {folder.path.parent}"
        raise input_error("export-missing", f"no export ({names}) in {folder.path}", "an export with its record", fix)
    for export in exports:
        export.require_files()
    family = FAMILIES[model.family]
    subjects = [_Subject(export, *export.runtime.takes(export.path, family)) for export in exports]
    verified = tuple(_verify(model, samples, reference, subject, device, progress) for subject in subjects)
    return VerifyReport(folder=str(folder.path), device=device, exports=verified)


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


def _verify(
    model: StepModel,
    samples: Mapping[str, Tensor],
    reference: Reference,
    subject: _Subject,
    device: str,
    progress: Progress,
) -> Verified:
    path, earlier, runtime = subject.export.path, subject.export.record, subject.export.runtime
    place = runtime.place(device)
    inputs = with_text_length(FAMILIES[model.family], samples, subject.fixed.text_length)
    with progress.stage(f"running {path.name}"):
        comparison, certificate = _compare(model, inputs, reference, subject, place, progress)
    outcome = {name: getattr(comparison, name) for name in type(comparison).model_fields}
    if comparison.status == "not verified":
        parity = earlier.model_copy(update=outcome)
        audit = runtime.audit(path, subject.precision, None)
        return Verified(file=path.name, parity=parity, certificate=None, audit=audit)
    hashes = {name: sha256(path.with_name(name)) for name in earlier.sha256}
    same = hashes == earlier.sha256
    longer = _longer_certificate(earlier, certificate) if same else None
    changes: dict[str, object] = {
        "certificate": longer or certificate,
        "runtime": runtime.runs_on(path, place) or earlier.runtime,
        "versions": versions_of(tuple(earlier.versions)),
        "sha256": hashes,
        "graph_sha256": earlier.graph_sha256 if same else None,
        "starts_at": "",
    }
    if comparison.status == "failed" and comparison.samples:  # it ran, and its answers are off
        tolerance, rows = FAMILIES[model.family].tolerances[earlier.precision], subject.fixed.batch or 1
        changes["starts_at"] = starts_at(model, path, inputs, rows, tolerance, progress, runtime.locate)
    trial = Trial(model, first_rows(inputs, subject.sizes[0]), place) if comparison.status == "passed" else None
    audit = runtime.audit(path, subject.precision, trial)
    changes["shares"] = audit.shares if audit else None
    parity = earlier.model_copy(update=outcome | changes)
    with staged(record_of(path)) as temporary:
        temporary.write_text(parity.model_dump_json(indent=2))
    if parity.status == "failed":
        remove_export(path, parity)
    notes = [] if same else [f"not what was exported: {record_of(path).name} named another SHA-256"]
    notes += [_describe_longer(longer, certificate)] if longer and certificate else []
    notes += _compare_instructions(earlier.certificate, certificate)
    return Verified(file=path.name, parity=parity, certificate=certificate, audit=audit, notes=tuple(notes))


def _compare(
    model: StepModel,
    samples: Mapping[str, Tensor],
    reference: Reference,
    subject: _Subject,
    device: str,
    progress: Progress,
) -> tuple[Comparison, Certificate | None]:
    export, precision = subject.export, subject.precision
    reason = export.runtime.refuses(precision, device)
    if not reason:
        try:
            return judge(
                export.runtime.open(ModelSource(lambda: model, export.path), device),
                model,
                samples,
                subject.sizes,
                reference=reference,
                precision=precision,
                fixed=subject.fixed,
                progress=progress,
                device=device,
            )
        except EnvironmentProblem as error:
            reason = error.problems[0].found
    tolerance = FAMILIES[model.family].tolerances[precision.name]
    return Comparison(status="not verified", reason=reason, tolerance=tolerance), None


def _longer_certificate(earlier: Parity, certificate: Certificate | None) -> Certificate | None:
    """Return the earlier certificate where it has more samples, marked with its runtime; else None."""
    before = earlier.certificate
    if (
        before is None
        or certificate is None
        or not certificate.passed
        or not before.passed
        or certificate.samples >= before.samples
    ):
        return None
    return before.model_copy(update={"note": before.note or f"made earlier, in {earlier.runtime}"})


def _describe_longer(longer: Certificate, certificate: Certificate) -> str:
    why = f" ({certificate.note})" if certificate.note else ""
    return f"ran here on {certificate.samples} samples{why}; its record keeps the certificate on {longer.samples}"


def _compare_instructions(earlier: Certificate | None, certificate: Certificate | None) -> list[str]:
    """Say where the CPU here multiplies integers otherwise than the one of the earlier certificate."""
    before, here = (made.instructions if made else "" for made in (earlier, certificate))
    if not before or not here or before == here:
        return []
    return [f"the CPU here has {here}, the one that it was certified on {before}"]
