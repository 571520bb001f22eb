"""Full and slim in every precision they were exported in: the files, and the models of a runtime timed in turns."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from compressor.costs.model_costs import Pair
from compressor.errors import CheckFailed, EnvironmentProblem, Problem
from compressor.evaluation.reference import Reference, of_full, open_reference
from compressor.models.steps import StepModel
from compressor.progress import Progress
from compressor.saved_run.run_folder import Run
from exporters.export import export_split
from exporters.folder import ExportsFolder, count_bytes
from exporters.graph.precision import PRECISIONS, Precision
from exporters.runtimes.runtime import ModelSource, Runtime
from exporters.usage import usage_of
from profiles.comparison.full_vs_slim import (
    NOT_EXPORTED,
    AnswersPair,
    MemoryPair,
    NotMeasured,
    RuntimeProfile,
    Scores,
    StartedPair,
    Variant,
)
from profiles.comparison.matching_exports import (
    Wanted,
    make_full,
    make_slim,
    precisions_of,
    slower_form,
    why_not_measured,
)
from profiles.comparison.variant_scores import Answered, answered_in_pytorch, ask_cast, read_answered
from profiles.deployment.ways import why_not
from profiles.machine.energy import EnergyPair
from profiles.timing.paired import Timed, time_models
from profiles.timing.worker import FULL, SLIM, Setting, WorkerRequest


@dataclass(frozen=True)
class Model:
    """Full or slim, on the CPU, and where its exports are or will be."""

    model: StepModel
    exports: ExportsFolder

    def in_runtime(self, runtime: Runtime) -> ModelSource:
        """Return the model in fp32, as ``runtime`` opens it."""
        return ModelSource(lambda: copy.deepcopy(self.model), self.file(runtime, PRECISIONS["fp32"]))

    def file(self, runtime: Runtime, precision: Precision) -> Path | None:
        """Return the file that ``runtime`` executes, existing or not; None for the model itself."""
        return self.exports.path_for(runtime, precision) if runtime.suffix else None


@dataclass(frozen=True)
class Bench:
    """The settings shared by all runtimes of a profile; ``asked`` is empty where no precision was asked for."""

    run: Run
    models: Mapping[str, Model]
    batch: int
    threads: int
    seconds: float
    device: str
    progress: Progress
    questions: int | None
    asked: tuple[Precision, ...] = ()

    def precisions(self, runtime: Runtime) -> tuple[Precision, ...]:
        """Return the precisions to measure in ``runtime``."""
        return precisions_of(runtime, self.models[SLIM].exports, self.device, self.asked)

    @cached_property
    def reference(self) -> Reference:
        """Real samples, with the answers of both models in PyTorch."""
        return open_reference(self.run)

    def reference_of(self, which: str) -> Reference:
        """Return these samples as "full" or "slim" is compared on them."""
        return of_full(self.run, self.reference) if which == FULL else self.reference


@dataclass(frozen=True)
class _Subject:
    """A model to be timed: full or slim, in a precision, from a file where the runtime executes one."""

    which: str
    precision: Precision
    file: Path | None


def export_missing(runtimes: Sequence[Runtime], bench: Bench) -> list[NotMeasured]:
    """Export what the runtimes execute and nobody made; return the precisions that a model does not pass in.

    Raises:
        CheckFailed: full or slim does not pass in the first precision of a runtime.
        EnvironmentProblem: what makes a file is missing; of a precision that was asked for beside others it is a gap.
    """
    refused = list[NotMeasured]()
    for runtime in dict.fromkeys(runtime for runtime in runtimes if runtime.suffix):
        first, *others = bench.precisions(runtime)
        for precision in (*others, first):  # quantising makes the first on the way, and not always as slim's was made
            which = SLIM
            try:
                make_slim(_wanted(SLIM, runtime, precision, bench))
                which = FULL
                make_full(_wanted(FULL, runtime, precision, bench), bench.models[SLIM].exports)
            except (CheckFailed, EnvironmentProblem) as error:
                if precision is first or not (bench.asked or isinstance(error, CheckFailed)):
                    raise
                what = f"{which} {precision.name} in {runtime.name}"
                refused.append(NotMeasured(what=what, why=error.problems[0].found))
    for which, model in bench.models.items():
        if bench.questions and not model.exports.split():
            bench.progress.say(f"exporting the {which} model in two parts, to time questions on one image")
            samples, usage = bench.run.samples(), usage_of(bench.run)
            export_split(model.model, samples, model.exports.path, bench.progress, usage, bench.device)
    return refused


def _wanted(which: str, runtime: Runtime, precision: Precision, bench: Bench) -> Wanted:
    model = bench.models[which]
    return Wanted(
        runtime,
        precision,
        model.model,
        bench.run.samples(),
        model.exports,
        partial(bench.reference_of, which),
        bench.progress,
        usage_of(bench.run),
        bench.device,
    )


def _subjects(runtime: Runtime, bench: Bench) -> dict[str, _Subject]:
    """Return what can be timed in ``runtime``, by name: full and slim in the first precision, then those in others."""
    first, *others = bench.precisions(runtime)
    subjects = {which: _Subject(which, first, model.file(runtime, first)) for which, model in bench.models.items()}
    for precision in others:
        for which, model in bench.models.items():
            file = model.file(runtime, precision)
            if file is None or file.exists():
                subjects[f"{which} {precision.name}"] = _Subject(which, precision, file)
    return subjects


def time_variants(
    runtime: Runtime, bench: Bench, weights: Mapping[str, int]
) -> tuple[RuntimeProfile, list[NotMeasured]]:
    """Measure full and slim in one runtime, and list the quantities that could not be measured there.

    Raises:
        CheckFailed: in the first precision, a runtime that needs no file does not answer as the model does.
    """
    subjects = _subjects(runtime, bench)
    answered, unanswered = _ask(subjects, runtime, bench)
    subjects = {name: subject for name, subject in subjects.items() if name in answered}
    requests = {
        name: request_of(subject.which, runtime, subject.precision, bench) for name, subject in subjects.items()
    }
    measurement = time_models(requests, bench.seconds, bench.progress)
    sizes = {
        name: count_bytes(subject.file) if subject.file else _rounded(weights[subject.which], subject.precision)
        for name, subject in subjects.items()
    }
    memory, energy = _memory(measurement), _energy(measurement)
    profile = RuntimeProfile(
        name=runtime.name,
        precision=subjects[FULL].precision.name,
        full=measurement.times[FULL],
        slim=measurement.times[SLIM],
        speedup=measurement.speedup(),
        file_bytes=Pair(full=sizes[FULL], slim=sizes[SLIM]),
        scores=Scores(full=answered[FULL].score, slim=answered[SLIM].score),
        answers=AnswersPair(full=answered[FULL].answers, slim=answered[SLIM].answers),
        memory=memory,
        started=StartedPair(full=measurement.started[FULL], slim=measurement.started[SLIM]),
        energy=energy,
        conditions=measurement.conditions,
        remark=measurement.remark,
        others=tuple(
            Variant(
                which=subject.which,
                precision=subject.precision.name,
                latency=measurement.times[name],
                file_bytes=sizes[name],
                speedup=measurement.speedup(name),
                score=answered[name].score,
                answers=answered[name].answers,
                memory=measurement.memory[name],
                started=measurement.started[name],
                joules=None if isinstance(measurement.joules, str) else measurement.joules[name],
            )
            for name, subject in subjects.items()
            if name not in (FULL, SLIM)
        ),
    )
    missing = {} if memory else {"memory": "on the GPU, and PyTorch's counters do not see it"}
    missing |= {"energy": measurement.joules} if isinstance(measurement.joules, str) else {}
    return profile, [
        *(NotMeasured(what=f"{what} in {runtime.name}", why=why) for what, why in missing.items()),
        *unanswered,
    ]


def _rounded(weight_bytes: int, precision: Precision) -> int:
    """Return the bytes of weights of ``weight_bytes`` in fp32, in the precision that a runtime casts them to."""
    return weight_bytes * precision.dtype.itemsize // PRECISIONS["fp32"].dtype.itemsize


def _ask(
    subjects: Mapping[str, _Subject], runtime: Runtime, bench: Bench
) -> tuple[dict[str, Answered], list[NotMeasured]]:
    """Return how each subject answers, without those that fail, and what is not known of them."""
    in_pytorch, fp32 = answered_in_pytorch(bench.run), PRECISIONS["fp32"]
    answered, missing = dict[str, Answered](), list[NotMeasured]()
    for name, subject in subjects.items():
        if subject.file:
            found = read_answered(bench.run, subject.which, subject.file)
        elif subject.precision == fp32:
            found = in_pytorch[subject.which]
        else:
            found = _ask_cast(subject, runtime, bench)
        if isinstance(found, Answered):
            answered[name] = found
            continue
        missing.append(found)
        if subject.file:
            answered[name] = Answered()
        elif name in (FULL, SLIM):
            raise CheckFailed(
                Problem(
                    "cast-answers-otherwise",
                    f"{found.what}: {found.why}",
                    "the answers of the model in float32",
                    "--precision fp32",
                )
            )
    return answered, missing


def _ask_cast(subject: _Subject, runtime: Runtime, bench: Bench) -> Answered | NotMeasured:
    return ask_cast(
        runtime,
        subject.which,
        bench.models[subject.which].model,
        subject.precision,
        bench.reference_of(subject.which),
        bench.device,
        bench.progress,
    )


def list_not_timed(runtime: Runtime, bench: Bench) -> Iterator[NotMeasured]:
    """List the exports of slim for ``runtime`` that are not timed, and the precisions that are not.

    These are the ones that were asked for and cannot be; without asking int8, where it was not exported.
    """
    folder, precisions = bench.models[SLIM].exports, bench.precisions(runtime)
    timed = {folder.path_for(runtime, precision) for precision in precisions} if runtime.suffix else set()
    for entry in folder.entries(skip=lambda name, error: None):
        if entry.runtime is runtime and entry.executable and entry.exists and entry.path not in timed:
            precision = PRECISIONS.get(entry.record.precision)
            refused = runtime.refuses(precision, bench.device) if precision else ""
            other = "not asked for" if bench.asked and precision not in bench.asked else ""
            why = refused or other or "of one batch or text length only, or for another GPU"
            yield NotMeasured(what=f"{entry.path.name} in {runtime.name}", why=why)
    for path in timed:
        if form := slower_form(runtime, path, bench.device):
            best = runtime.attention_on(bench.device)
            why = f"{path.name} has it {form}, slower on a GPU: das export --to {runtime.name} --attention {best}"
            yield NotMeasured(what=f"{best} attention in {runtime.name}", why=why)
    for precision in bench.asked:
        if why := why_not_measured(runtime, precision, folder, bench.device):
            yield NotMeasured(what=f"{precision.name} in {runtime.name}", why=why)
    int8 = PRECISIONS["int8"]
    if runtime.suffix and not bench.asked and not why_not(runtime, int8, bench.device) and int8 not in precisions:
        why = f"{NOT_EXPORTED}: das export --to {runtime.name} --precision int8"
        yield NotMeasured(what=f"int8 in {runtime.name}", why=why)


def _memory(measurement: Timed) -> MemoryPair | None:
    full, slim = (measurement.memory[which] for which in (FULL, SLIM))
    return MemoryPair(full=full, slim=slim) if full and slim else None


def _energy(measurement: Timed) -> EnergyPair | None:
    joules = measurement.joules
    return (
        None if isinstance(joules, str) else EnergyPair(meter=measurement.meter, full=joules[FULL], slim=joules[SLIM])
    )


def request_of(which: str, runtime: Runtime, precision: Precision, bench: Bench) -> WorkerRequest:
    """Return what the process of full or slim is to run in ``runtime`` and ``precision``."""
    return WorkerRequest(
        run=bench.run.path,
        which=which,
        runtime=runtime.name,
        file=bench.models[which].file(runtime, precision),
        threads=bench.threads,
        device=bench.device,
        setting=Setting(batch=bench.batch),
        precision=precision.name,
    )


def first_pair(runtime: Runtime, bench: Bench) -> dict[str, WorkerRequest]:
    """Return the requests for full and slim in the runtime's first precision."""
    first, *_ = bench.precisions(runtime)
    return {which: request_of(which, runtime, first, bench) for which in (FULL, SLIM)}
