"""Export a model, run what was exported, and call it done only when it answers as the model does."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from compressor.costs.macs import linear_share
from compressor.errors import InputError, usage_error
from compressor.evaluation.reference import Reference
from compressor.families import FAMILIES
from compressor.files import cannot_write, hashes_of, parts_of, sha256, staged
from compressor.models.steps import StepModel
from compressor.progress import QUIET, Progress
from compressor.training.expected_time import LONG
from compressor.values import Value
from exporters.check_request import check_request
from exporters.checks.divergence import starts_at
from exporters.checks.parity import LEAST_SHARE, falls_short, parity_failure, precision_failure, record
from exporters.checks.records import Comparison, Parity, read_record, record_of
from exporters.checks.validate import Worth, always, judge
from exporters.export_time import expect_export
from exporters.folder import remove_export
from exporters.graph.artifacts import split_graphs
from exporters.graph.attention import FORMS
from exporters.graph.inputs import VARYING, Fixed, first_rows, with_text_length
from exporters.graph.metadata import embed, facts_of, usage_facts
from exporters.graph.onnx import join_weights, opset_of
from exporters.graph.precision import PRECISIONS
from exporters.graph.sensitivity import quantise_until_passing
from exporters.graph.vision_split import check_splittable
from exporters.request import Request
from exporters.runtimes import find_runtime, find_runtimes
from exporters.runtimes.runtime import Artifact, ModelSource, Runtime, Trial
from exporters.usage import Usage, write_usage


class Exported(Value):
    """One finished export: its files in the folder, their size, how long it took, and its parity with PyTorch.

    ``seconds`` is of writing; of a quantised file of every attempt, with what chooses the layers left in float.
    ``opset`` is that of the ONNX file, or of the one it was built from; None where there is none.
    """

    format: str
    files: tuple[str, ...]
    bytes: int
    seconds: float
    opset: int | None
    parity: Parity
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draft:
    """A file that was written once.

    Attributes:
        parity: what it was compared with came to.
        notes: remarks of its runtime.
        seconds: of writing.
        answered: what it answered so far, see :class:`exporters.runtimes.runner.Remembering`.
    """

    parity: Parity
    notes: tuple[str, ...]
    seconds: float
    answered: dict[str, Tensor] = field(default_factory=dict)


class ExportReport(Value):
    """Files and notes of an export in ``folder``; ``beside`` are the files that transformers reads beside graphs."""

    schema_version: int = 2
    folder: str
    family: str
    task: str
    precision: str
    exports: tuple[Exported, ...]
    beside: tuple[str, ...] = ()


def export(
    model: StepModel,
    samples: Mapping[str, Tensor],
    folder: Path,
    formats: Sequence[str],
    *,
    reference: Reference | None = None,
    usage: Usage | None = None,
    precision: str = "fp32",
    opset: int | None = None,
    attention: str | None = None,
    batch: tuple[int, int, int] = (1, 8, 32),
    fixed: Fixed = VARYING,
    workspace: int | None = None,
    split: bool = False,
    device: str = "cpu",
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
        formats: names or aliases of runtimes that execute files, "onnx", "trt". What a runtime's file is built from
            is made on the way where ``folder`` has none that answers as the model does.
        reference: many real samples with the models' own answers; None compares on ``samples`` alone.
        usage: what is written into ONNX files, and beside them, for those who use them; None leaves it out.
        precision: a key of ``PRECISIONS``.
        opset: of the ONNX file; None leaves the choice to the exporter.
        attention: a key of ``FORMS``; None is each runtime's own on the device.
        batch: smallest, usual and largest batch that a TensorRT engine takes.
        fixed: axes of the ONNX file that take one size only.
        workspace: bytes a TensorRT layer may use for itself; None leaves the limit to TensorRT.
        split: the vision tower apart, too, as two more ONNX files.
        device: that the files are made for and compared on, "cpu" or "cuda"; a runtime of one kind has no say.
        progress: told about each stage.

    Raises:
        UsageError: an unknown format, precision, form or opset, impossible batches, or a model that does not split.
        InputError: an input of the family is missing from ``samples``.
        CheckFailed: an export does not answer as the model does; only its parity record is left.
        EnvironmentProblem: a runtime is missing or refuses the model, or the folder cannot be written.
    """
    check_request(formats, precision=precision, opset=opset, attention=attention, batch=batch, fixed=fixed, split=split)
    if split:
        check_splittable(model.family, model.rounds)
    inputs = {name: samples[name] for name in FAMILIES[model.family].input_names if name in samples}
    request = Request(
        model,
        with_text_length(FAMILIES[model.family], inputs, fixed.text_length),
        folder,
        reference,
        usage,
        PRECISIONS[precision],
        opset,
        fixed=fixed,
        batch=(fixed.batch,) * 3 if fixed.batch else batch,
        workspace=workspace,
        device=device,
        progress=progress,
    )
    artifacts: list[Artifact] = []
    runtimes = find_runtimes(formats, "--to", executes_files=True)
    if attention is None and (attention := shared_form(runtimes, device)):
        progress.say(f"attention is {attention}, which all of these read; their own are made with one --to each")
    for runtime in runtimes:
        artifacts += runtime.artifacts(replace(request, form=FORMS[attention or runtime.attention_on(device)]))
    if split:
        artifacts.append(split_graphs(replace(request, form=artifacts[0].request.form)))
    _say_expected(artifacts, request)
    exports = make_all(artifacts)
    return ExportReport(
        folder=str(folder),
        family=model.family,
        task=model.task,
        precision=precision,
        exports=exports,
        beside=write_usage(folder, model, usage) if usage else (),
    )


def shared_form(runtimes: Iterable[Runtime], device: str) -> str | None:
    """Return the form of attention for runtimes that share graphs and prefer several; None where they agree."""
    return Runtime.attention if len({runtime.attention_on(device) for runtime in runtimes}) > 1 else None


def _say_expected(artifacts: Sequence[Artifact], request: Request) -> None:
    """Say how long it will take, where that is long and someone listens."""
    progress = request.progress
    if progress is QUIET or request.device != "cpu":  # a GPU is not what is timed
        return
    with progress.stage("Timing a few samples"):
        expected = expect_export(artifacts, request, LONG)
    if expected and expected.total >= LONG:
        progress.say(expected.describe())


def export_split(
    model: StepModel,
    samples: Mapping[str, Tensor],
    folder: Path,
    progress: Progress = QUIET,
    usage: Usage | None = None,
    device: str = "cpu",
) -> Exported:
    """Export ``model`` to ``folder`` with the vision tower apart, ``vision.onnx`` and ``rest.onnx``, compared together.

    What ``usage`` says is written into both.

    Raises:
        UsageError: as :func:`exporters.graph.vision_split.check_splittable`.
        CheckFailed: the two do not answer as the model does; only their record is left.
        EnvironmentProblem: ONNX Runtime is missing, or the folder cannot be written.
    """
    check_splittable(model.family, model.rounds)
    form = FORMS[find_runtime("onnxruntime").attention_on(device)]
    request = Request(model, samples, folder, usage=usage, form=form, device=device, progress=progress)
    (exported,) = make_all([split_graphs(request)])
    return exported


def make_all(artifacts: Sequence[Artifact]) -> tuple[Exported, ...]:
    """Make files, run and compare each, in order and each path once; those that can be reused are only compared.

    Raises:
        UsageError: two runtimes share a file and write attention into it in different forms.
        CheckFailed: one does not answer as the model does; its record alone is left.
        EnvironmentProblem: a runtime refuses the model, or the folder cannot be written.
    """
    _require_one_form(artifacts)
    exports = dict[Path, Exported]()
    for artifact in artifacts:
        if artifact.path not in exports:
            exports[artifact.path] = (_reuse(artifact) if artifact.reuse else None) or _make(artifact)
    return tuple(exports.values())


def draft(artifact: Artifact, worth: Worth = always) -> Draft:
    """Write the file of ``artifact`` and compare it; it gets no record, as it may not be kept.

    Args:
        artifact: what to make.
        worth: called with the runner of the file; where it says no, the file is not compared.

    Raises:
        CheckFailed: it does not answer as the model does; it is removed.
        EnvironmentProblem: a runtime refuses the model, or the folder cannot be written.
    """
    try:
        made = _write_until_passing(artifact, artifact.path, worth)
    except OSError as error:
        raise cannot_write(artifact.path, error) from error
    if made.parity.status == "failed":
        parity = _locate(artifact, artifact.path, made.parity)
        remove_export(artifact.path, parity)
        raise parity_failure(parity, artifact.path.name)
    return made


def certify_draft(artifact: Artifact, made: Draft, reference: Reference) -> Parity:
    """Return the record of a draft, with its certificate on the samples of ``reference``; nothing is written.

    The draft is not asked again what it has answered.
    """
    parity = _parity(artifact, artifact.path, reference, answered=made.answered)
    parity = parity.model_copy(update={"held_back": made.parity.held_back})
    return _with_shares(artifact, artifact.path, parity) if parity.status == "passed" else parity


def keep(artifact: Artifact, made: Draft, parity: Parity, folder: Path) -> Exported:
    """Move a draft to ``folder``, in place of an earlier file, with the record ``parity``.

    Raises:
        EnvironmentProblem: the folder cannot be written.
    """
    target = folder / artifact.path.name
    with staged(target, artifact.companions) as temporary:
        for part in parts_of(artifact.path):
            part.replace(temporary.with_name(part.name))
        join_weights(temporary)
        settled = _settle(replace(artifact, path=target), temporary, parity)
    graph = target if artifact.graph == artifact.path else artifact.graph
    return _describe_export(replace(artifact, path=target, graph=graph), settled, made.seconds, made.notes)


def _require_one_form(artifacts: Iterable[Artifact]) -> None:
    forms: dict[Path, str] = {}
    for artifact in artifacts:
        form = artifact.request.form.name
        first = forms.setdefault(artifact.path, form)
        if form != first:
            found = f"{artifact.path.name} with attention in two forms, {first} and {form}"
            fix = f"--attention {first}, or one --to at a time"
            raise usage_error("attention-forms-differ", found, "one form for all that read the file", fix)


def _make(artifact: Artifact) -> Exported:
    """Write, run and compare; a quantised file again, with more in float, while it fails."""
    with staged(artifact.path, artifact.companions) as temporary:
        made = _write_until_passing(artifact, temporary)
        parity = made.parity
        if parity.status == "passed":
            parity = _with_shares(artifact, temporary, parity)
        parity = _settle(artifact, temporary, parity)
    if parity.status == "failed":
        fail = precision_failure if parity.shares else parity_failure
        raise fail(parity, artifact.path.name)
    return _describe_export(artifact, parity, made.seconds, made.notes)


def _write_until_passing(artifact: Artifact, path: Path, worth: Worth = always) -> Draft:
    """Write ``path`` and compare it; a quantised file again, with more in float, while it fails."""

    def attempt(in_float: tuple[str, ...] = ()) -> Draft:
        begun = time.perf_counter()
        notes = artifact.write(path, in_float)
        seconds = time.perf_counter() - begun
        answered = dict[str, Tensor]()
        return Draft(_parity(artifact, path, artifact.request.reference, worth, answered), notes, seconds, answered)

    if artifact.sensitivities is None:
        return attempt()
    started = time.perf_counter()
    last, in_float = quantise_until_passing(
        attempt, lambda made: made.parity.status != "failed", artifact.sensitivities
    )
    parity = last.parity.model_copy(update={"held_back": in_float})
    return replace(last, parity=parity, seconds=time.perf_counter() - started)


def _reuse(artifact: Artifact) -> Exported | None:
    """Return the existing file if it is this model's, of the requested opset and as it was recorded."""
    request, path = artifact.request, artifact.path
    try:
        earlier = read_record(path)
        same = path.exists() and request.opset in (None, opset_of(path)) and earlier.sha256 == hashes_of(path)
    except InputError:  # none, or a damaged one
        return None
    certified = earlier.certificate is not None or request.reference is None or artifact.unable
    if not (same and certified) or earlier.status == "failed" or earlier.attention != request.form.name:
        return None
    if _parity(artifact, path, None).status == "failed":
        return None
    return _describe_export(artifact, earlier, 0.0, ("exported before; compared again on a few samples",))


def _parity(
    artifact: Artifact,
    path: Path,
    reference: Reference | None,
    worth: Worth = always,
    answered: dict[str, Tensor] | None = None,
) -> Parity:
    """Compare the file ``path`` where it can be run, and return its record, still without hashes."""
    request, runtime = artifact.request, artifact.runtime
    if artifact.unable:
        comparison = Comparison(status="not verified", reason=artifact.unable, tolerance=request.tolerance)
        certificate = None
    else:
        with request.progress.stage(f"comparing {runtime.title} with PyTorch"):
            comparison, certificate = judge(
                runtime.open(ModelSource(lambda: request.model, path), artifact.device),
                request.model,
                request.samples,
                artifact.batches,
                reference=reference,
                precision=request.precision,
                fixed=request.fixed,
                progress=request.progress,
                device=artifact.device,
                known=request.known,
                answered=answered,
                worth=worth,
            )
    parity = record(artifact.runs_on, request.precision.name, comparison, artifact.packages)
    return parity.model_copy(update={"certificate": certificate, "attention": request.form.name})


def _with_shares(artifact: Artifact, path: Path, parity: Parity) -> Parity:
    """Add to the record how much of the file runs in its precision; one that was quantised in vain has failed."""
    request, runtime = artifact.request, artifact.runtime
    with request.progress.stage(f"counting what runs in {request.precision.name}"):
        trial = Trial(request.model, first_rows(request.samples, artifact.batches[0]), artifact.device)
        audit = runtime.audit(path, request.precision, trial)
    if audit is None or audit.shares is None:
        return parity
    update: dict[str, object] = {"shares": audit.shares}
    if request.precision.quantised:
        least = 0.0 if parity.held_back else LEAST_SHARE * linear_share(request.model, trial.inputs)
        if reason := falls_short(audit.shares, least):
            update |= {"status": "failed", "reason": reason}
    return parity.model_copy(update=update)


def _settle(artifact: Artifact, temporary: Path, parity: Parity) -> Parity:
    """Put the record beside the export and into ONNX files; of one that failed, leave nothing but the record."""
    request, folder = artifact.request, temporary.parent
    if parity.status == "failed":
        parity = _locate(artifact, temporary, parity.model_copy(update={"sha256": _hashes(folder)}))
        remove_export(temporary, parity)
    else:
        facts = facts_of(request.model, parity)
        facts |= usage_facts(request.model, request.usage) if request.usage else {}
        digests = {graph: embed(graph, facts) for graph in sorted(folder.glob("*.onnx"))}
        update = {"graph_sha256": digests.get(temporary), "sha256": _hashes(folder)}
        parity = parity.model_copy(update=update)
    record_of(temporary).write_text(parity.model_dump_json(indent=2))
    return parity


def _locate(artifact: Artifact, path: Path, parity: Parity) -> Parity:
    """Add to the record of a file that failed where its error starts, if it ran and its answers are off."""
    request = artifact.request
    if not parity.samples or parity.shares:
        return parity
    rows, locate = request.fixed.batch or 1, artifact.runtime.locate
    where = starts_at(request.model, path, request.samples, rows, request.tolerance, request.progress, locate)
    return parity.model_copy(update={"starts_at": where})


def _hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the files of an export, by name; its metadata is rewritten by audits and not among them."""
    return {file.name: sha256(file) for file in sorted(folder.iterdir()) if file.suffix != ".json"}


def _describe_export(artifact: Artifact, parity: Parity, seconds: float, notes: tuple[str, ...]) -> Exported:
    path = artifact.path
    own = [part.name for part in parts_of(path)]
    companions = [name for name in parity.sha256 if name not in own]
    names = (*companions, *own)
    weights, metadata = [path.with_name(name) for name in names], path.with_name(f"{path.name}.json")
    in_float = (f"left in float32: {', '.join(parity.held_back)}",) if parity.held_back else ()
    return Exported(
        format=artifact.runtime.format,
        files=(*names, *([metadata.name] if metadata.exists() else [])),
        bytes=sum(file.stat().st_size for file in weights),
        seconds=seconds,
        opset=opset_of(artifact.graph) if artifact.graph else None,
        parity=parity,
        notes=(*notes, *in_float),
    )
