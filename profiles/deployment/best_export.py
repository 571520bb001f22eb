"""``das export --to best``: slim in every runtime and precision that runs here, and of these the one to deploy.

All are made in a hidden folder, int8 first. A first timing leaves behind what is clearly slower; the others are
compared with PyTorch on a few samples, and those which are close, and the best of each runtime, take turns in fresh
processes. Then the fastest is certified, and kept unless it costs too much of the answers: then it is the next one's
turn.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from compressor.errors import CheckFailed, DasError, EnvironmentProblem, Problem, environment_problem
from compressor.evaluation.reference import Reference
from compressor.families import FAMILIES
from compressor.files import PARTIAL, cannot_write, write_json
from compressor.models.steps import StepModel
from compressor.progress import QUIET, Progress
from compressor.saved_run.run_folder import Run
from compressor.unneeded_memory import give_back, page_out
from exporters.checks.records import Parity
from exporters.export import Draft, ExportReport, certify_draft, draft, keep
from exporters.folder import count_bytes, exports_of
from exporters.graph.attention import FORMS
from exporters.graph.precision import PRECISIONS, Precision
from exporters.request import Request
from exporters.runtimes import RUNTIMES, obstacles
from exporters.runtimes.runner import Runner
from exporters.runtimes.runtime import Artifact, Runtime
from exporters.usage import usage_of, write_usage
from profiles.comparison.full_vs_slim import NotMeasured
from profiles.deployment.best import BEST, Best, Tried
from profiles.deployment.fastest import costs_too_much, describe_loss
from profiles.deployment.ways import why_not
from profiles.machine.environment import describe_environment
from profiles.timing.latency import Latency, measure
from profiles.timing.paired import Timed, time_models
from profiles.timing.sample_batches import make_inputs
from profiles.timing.template import Template
from profiles.timing.worker import COMMAND, SLIM, Setting, WorkerRequest

CLOSE = 1.3  # times the fastest: what takes longer in a first timing is left behind, but for the best of a runtime
FIRST_SECONDS, FIRST_TURNS = 0.5, 1  # of the first timing of each
COMPARED, ROUNDED = 8, 16  # samples that a file is compared on, beside other sizes; of int8, which may hold layers back
SECONDS = 6.0  # that those which are left take turns for, all together
Stages = Mapping[str, Latency]


@dataclass(frozen=True)
class Candidate:
    """What a runtime executes in a precision, in the hidden folder, and the first timing of it."""

    runtime: Runtime
    precision: Precision
    artifact: Artifact
    made: Draft
    first: Latency

    @property
    def name(self) -> str:
        """Return the name of its file, which no other has."""
        return self.artifact.path.name


def export_best(
    run: Run,
    model: StepModel,
    reference: Reference,
    batch: int = 1,
    progress: Progress = QUIET,
    *,
    device: str = "cpu",
) -> tuple[ExportReport, Best]:
    """Export slim so that it is the fastest on this machine, and keep that one export alone.

    Earlier exports of other names stay; what the others of this one's candidates left is removed.

    Args:
        run: whose slim model it is.
        model: slim, in eval mode.
        reference: many real samples, for certificates.
        batch: samples of the calls that are timed; the export takes any number.
        progress: told about it.
        device: that it is to be fast on, "cpu" or "cuda".

    Raises:
        CheckFailed: none of them answers as the model does.
        EnvironmentProblem: nothing that is exported can run here, or the folder cannot be written.
    """
    folder, threads = exports_of(run).path, torch.get_num_threads()
    place = describe_environment(device, threads)  # its load is that before the work
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None
    with TemporaryDirectory(prefix=f"{PARTIAL}{os.getpid()}-", dir=folder) as hidden, Template(COMMAND) as starts:
        starts.prepare()  # beside the tracing, which takes one core
        candidates, left_out = _make_candidates(run, model, reference, Path(hidden), device, batch, progress)
        timed = _time_finalists(run, _find_close(candidates), device, threads, batch, progress, starts)
        times = {**{one.name: one.first for one in candidates}, **(timed.times if timed else {})}
        order = sorted(
            candidates, key=lambda one: (bool(timed and one.name not in timed.times), times[one.name].p50_ms)
        )
        chosen, records = _choose(order, reference, progress)
        sizes = {one.name: count_bytes(one.artifact.path) for one in candidates}
        exported = keep(chosen.artifact, chosen.made, records[chosen.name], folder)
    usage = usage_of(run)
    best = Best(
        tried=tuple(
            _describe(candidate, chosen, sizes[candidate.name], times, timed, records.get(candidate.name))
            for candidate in sorted(order, key=lambda one: one is not chosen)
        ),
        batch=batch,
        text_length=FAMILIES[model.family].sizes_of("text", make_inputs(run, 1)).get("length"),
        left_out=tuple(left_out),
        environment=place,
    )
    report = ExportReport(
        folder=str(folder),
        family=model.family,
        task=model.task,
        precision=chosen.precision.name,
        exports=(exported,),
        beside=write_usage(folder, model, usage),
    )
    write_json(folder / BEST, best.model_dump(mode="json"))
    return report, best


def list_ways(device: str) -> tuple[list[tuple[Runtime, Precision]], list[NotMeasured]]:
    """Return what can be exported for ``device`` and run there, and why the rest is left out."""
    blocked, ways, left_out = obstacles(device), list[tuple[Runtime, Precision]](), list[NotMeasured]()
    for runtime in (runtime for runtime in RUNTIMES if runtime.suffix):
        if problem := blocked.get(runtime.name):
            left_out.append(NotMeasured(what=runtime.name, why=f"{problem.found}; {problem.fix}"))
            continue
        if not runtime.built_on_demand:
            left_out.append(NotMeasured(what=runtime.name, why=f"takes options: das export --to {runtime.name}"))
            continue
        for precision in reversed(tuple(PRECISIONS.values())):  # the fastest first: what is slower need not be compared
            if why := why_not(runtime, precision, device) or _never_faster(precision, device):
                left_out.append(NotMeasured(what=f"{precision.name} in {runtime.name}", why=why))
            else:
                ways.append((runtime, precision))
    return ways, left_out


def _never_faster(precision: Precision, device: str) -> str:
    """Return why a precision is not worth a try."""
    return "not faster than fp32 on CPUs" if precision.name == "fp16" and device == "cpu" else ""


def _make_candidates(
    run: Run, model: StepModel, reference: Reference, folder: Path, device: str, batch: int, progress: Progress
) -> tuple[list[Candidate], list[NotMeasured]]:
    """Make every file in ``folder``, time it, and compare it on a few samples where it may be the one to keep.

    What others are made from is always compared. Returned are those that did not fail, and what failed with the reason.
    """
    ways, left_out = list_ways(device)
    samples, calls = run.samples(), make_inputs(run, batch)
    inputs = {name: samples[name] for name in FAMILIES[model.family].input_names if name in samples}
    base = Request(model, inputs, folder, usage=usage_of(run), apart=True, device=device, progress=progress)
    drafts, times = dict[Path, Draft](), dict[Path, Latency]()
    candidates, errors = list[Candidate](), list[DasError]()

    def make(artifact: Artifact, runtime: Runtime | None) -> None:
        def worth(runner: Runner) -> bool:
            call = {artifact.path.name: runner.bind(calls)}
            timed = measure(call, seconds=FIRST_SECONDS, batch=batch, least_turns=FIRST_TURNS)
            first = times[artifact.path] = timed[artifact.path.name]
            return runtime is None or _may_be_close(first, runtime, candidates)

        request = artifact.request
        few = replace(reference, samples=min(reference.samples, ROUNDED if request.precision.quantised else COMPARED))
        drafts[artifact.path] = draft(replace(artifact, request=replace(request, reference=few)), worth)
        give_back()
        page_out(model.parameters())  # PyTorch has answered: the next file's maker needs the room

    for runtime, precision in ways:
        form = FORMS[runtime.attention_on(device)]
        try:
            artifacts = runtime.artifacts(replace(base, precision=precision, form=form))
            for artifact in artifacts:
                if artifact.path not in drafts:
                    make(artifact, runtime if artifact is artifacts[-1] else None)
        except (CheckFailed, EnvironmentProblem) as error:
            left_out.append(NotMeasured(what=f"{precision.name} in {runtime.name}", why=error.problems[0].found))
            errors.append(error)
            continue
        path = artifacts[-1].path
        candidates.append(Candidate(runtime, precision, artifacts[-1], drafts[path], times[path]))
    if not candidates:
        reasons = "; ".join(f"{entry.what}: {entry.why}" for entry in left_out)
        expected, fix = "a runtime that executes files, as ONNX Runtime", "pip install 'das-toolkit[cpu]'; das doctor"
        nothing = environment_problem("nothing-to-deploy", f"no export runs here ({reasons})", expected, fix)
        raise errors[0] if errors else nothing
    return candidates, left_out


def _may_be_close(first: Latency, runtime: Runtime, candidates: Sequence[Candidate]) -> bool:
    """Return whether a file of ``runtime`` with this first timing would be among those that are close, so far."""
    faster = [one for one in candidates if one.first.min_ms < first.min_ms]
    limit = CLOSE * min((one.first.min_ms for one in candidates), default=first.min_ms)
    return first.min_ms <= limit or all(one.runtime is not runtime for one in faster)


def _find_close(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return those that may be the fastest, by the shortest call of each: close ones, and the best of each runtime."""
    ordered = sorted(candidates, key=lambda candidate: candidate.first.min_ms)
    limit = CLOSE * ordered[0].first.min_ms
    best = {candidate.runtime.name: candidate.name for candidate in reversed(ordered)}
    return [one for one in ordered if one.first.min_ms <= limit or one.name in best.values()]


def _time_finalists(
    run: Run,
    close: Sequence[Candidate],
    device: str,
    threads: int,
    batch: int,
    progress: Progress,
    starts: Template,
) -> Timed | None:
    """Time those that are close in turns, each in processes of its own; None where there is but one."""
    if len(close) == 1:
        return None
    requests = {
        candidate.name: WorkerRequest(
            run=run.path,
            which=SLIM,
            runtime=candidate.runtime.name,
            file=candidate.artifact.path,
            threads=threads,
            device=device,
            setting=Setting(batch=batch),
            precision=candidate.precision.name,
        )
        for candidate in close
    }
    return time_models(requests, SECONDS, progress, starts)


def _choose(
    order: Sequence[Candidate], reference: Reference, progress: Progress
) -> tuple[Candidate, dict[str, Parity]]:
    """Certify in this order until one keeps the answers; return it, and the records of all that were certified.

    Raises:
        CheckFailed: none does.
    """
    records: dict[str, Parity] = {}
    for candidate in order:
        parity = records[candidate.name] = certify_draft(candidate.artifact, candidate.made, reference)
        if not _why_refused(parity):
            return candidate, records
        progress.say(f"{candidate.name} is not kept: {_why_refused(parity)}")
    raise CheckFailed(
        *(
            Problem(
                "parity-failed",
                f"{name}: {_why_refused(parity)}",
                "the answers of the slim model in PyTorch",
                "das export --to onnxruntime, which names where the error starts",
            )
            for name, parity in records.items()
        )
    )


def _why_refused(parity: Parity) -> str:
    """Return why an export that was certified is not to be deployed; empty where it is."""
    if parity.status != "passed":
        return parity.reason or parity.status
    change = parity.certificate.metric if parity.certificate else None
    return describe_loss(change) if change and costs_too_much(change) else ""


def _describe(
    candidate: Candidate, chosen: Candidate, size: int, times: Stages, timed: Timed | None, parity: Parity | None
) -> Tried:
    certificate = parity.certificate if parity else None
    in_turns = bool(timed and {candidate.name, chosen.name} <= timed.times.keys())
    if candidate is chosen:
        outcome = "kept"
    elif parity:
        outcome = _why_refused(parity)
    else:
        outcome = "slower in turns" if in_turns else "slower in a first timing"
    return Tried(
        runtime=candidate.runtime.name,
        precision=candidate.precision.name,
        file=candidate.name,
        bytes=size,
        p50_ms=times[candidate.name].p50_ms,
        slower=timed.speedup(chosen.name, over=candidate.name)
        if timed and in_turns and candidate is not chosen
        else None,
        change=certificate.metric if certificate else None,
        agreement=certificate.against_slim.answer_agreement if certificate else None,
        outcome=outcome,
    )
