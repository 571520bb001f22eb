"""Full and slim in every precision they were exported in: the files, and the models of a runtime timed in turns."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from compressor.costs.model_costs import Pair
from compressor.errors import CheckFailed
from compressor.evaluation.reference import Reference, of_full, open_reference
from compressor.models.steps import StepModel
from compressor.progress import Progress
from compressor.run_folder import Run
from exporters.checks.records import MetricChange
from exporters.export import export_split
from exporters.folder import ExportsFolder, count_bytes
from exporters.graph.precision import PRECISIONS, Precision
from exporters.runtimes.runtime import ModelSource, Runtime
from exporters.usage import usage_of
from profiles.comparison.full_vs_slim import (
    NOT_EXPORTED,
    MemoryPair,
    NotMeasured,
    RuntimeProfile,
    Scores,
    StartedPair,
    Variant,
)
from profiles.comparison.matching_exports import Wanted, make_full, make_slim, precisions_of
from profiles.comparison.variant_scores import read_score, score_in_pytorch
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
    """The settings shared by all runtimes of a profile."""

    run: Run
    models: Mapping[str, Model]
    batch: int
    threads: int
    seconds: float
    device: str
    progress: Progress
    questions: int | None

    def precisions(self, runtime: Runtime) -> tuple[Precision, ...]:
        """Return the precisions to measure in ``runtime``."""
        return precisions_of(runtime, self.models[SLIM].exports, self.device)

    @cached_property
    def reference(self) -> Reference:
        """Real samples, with the answers of both models in PyTorch."""
        return open_reference(self.run)


@dataclass(frozen=True)
class _Subject:
    """A model to be timed: full or slim, in a precision, from a file where the runtime executes one."""

    which: str
    precision: Precision
    file: Path | None


def export_missing(runtimes: Sequence[Runtime], bench: Bench) -> list[NotMeasured]:
    """Export what the runtimes execute and nobody made; return the precisions that the full model does not pass in."""
    full, slim, refused = bench.models[FULL], bench.models[SLIM], list[NotMeasured]()
    reading_files = tuple(dict.fromkeys(runtime for runtime in runtimes if runtime.suffix))
    if not reading_files:
        return []
    samples, usage = bench.run.samples(), usage_of(bench.run)
    for runtime in reading_files:
        first, *others = bench.precisions(runtime)
        for precision in (*others, first):  # quantising makes the first on the way, and not always as slim's was made
            wanted = partial(Wanted, runtime, precision, samples=samples, progress=bench.progress, usage=usage)
            make_slim(wanted(model=slim.model, folder=slim.exports, reference=lambda: bench.reference))
            try:
                make_full(
                    wanted(
                        model=full.model, folder=full.exports, reference=lambda: of_full(bench.run, bench.reference)
                    ),
                    slim.exports,
                )
            except CheckFailed as error:
                if precision is first:
                    raise
                refused.append(
                    NotMeasured(what=f"full {precision.name} in {runtime.name}", why=error.problems[0].found)
                )
    for which, model in bench.models.items():
        if bench.questions and not model.exports.split():
            bench.progress.say(f"exporting the {which} model in two parts, to time questions on one image")
            export_split(model.model, samples, model.exports.path, bench.progress, usage)
    return refused


def _subjects(runtime: Runtime, bench: Bench) -> dict[str, _Subject]:
    """Return what is timed in ``runtime``, by name: full and slim in the first precision, then those in others."""
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
    """Measure full and slim in one runtime, and list the quantities that could not be measured there."""
    subjects = _subjects(runtime, bench)
    requests = {name: _request(subject, runtime, bench) for name, subject in subjects.items()}
    measurement = time_models(requests, bench.seconds, bench.progress)
    sizes = {
        name: count_bytes(subject.file) if subject.file else _rounded(weights[subject.which], subject.precision)
        for name, subject in subjects.items()
    }
    memory, energy = _memory(measurement), _energy(measurement)
    scores, unscored = _scores(subjects, bench)
    profile = RuntimeProfile(
        name=runtime.name,
        precision=subjects[FULL].precision.name,
        full=measurement.times[FULL],
        slim=measurement.times[SLIM],
        speedup=measurement.speedup(),
        file_bytes=Pair(full=sizes[FULL], slim=sizes[SLIM]),
        scores=Scores(full=scores[FULL], slim=scores[SLIM]),
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
                score=scores[name],
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
        *unscored,
    ]


def _rounded(weight_bytes: int, precision: Precision) -> int:
    """Return the bytes of weights of ``weight_bytes`` in fp32, in the precision that a runtime casts them to."""
    return weight_bytes * precision.dtype.itemsize // PRECISIONS["fp32"].dtype.itemsize


def _scores(subjects: Mapping[str, _Subject], bench: Bench) -> tuple[dict[str, MetricChange | None], list[NotMeasured]]:
    """Return the score of each subject, and why some have none."""
    own = score_in_pytorch(bench.run)
    found = {
        name: read_score(bench.run, subject.which, subject.file) if subject.file else getattr(own, subject.which)
        for name, subject in subjects.items()
    }
    missing = [entry for entry in found.values() if isinstance(entry, NotMeasured)]
    return {name: None if isinstance(entry, NotMeasured) else entry for name, entry in found.items()}, missing


def list_not_timed(runtime: Runtime, bench: Bench) -> Iterator[NotMeasured]:
    """List the exports of slim for ``runtime`` that are not timed, and the precision that was not exported."""
    folder, precisions = bench.models[SLIM].exports, bench.precisions(runtime)
    timed = {folder.path_for(runtime, precision) for precision in precisions} if runtime.suffix else set()
    for entry in folder.entries(skip=lambda name, error: None):
        if entry.runtime is runtime and entry.executable and entry.exists and entry.path not in timed:
            precision = PRECISIONS.get(entry.record.precision)
            refused = runtime.refuses(precision, bench.device) if precision else ""
            why = refused or "of one batch or text length only, or for another GPU"
            yield NotMeasured(what=f"{entry.path.name} in {runtime.name}", why=why)
    int8 = PRECISIONS["int8"]
    if runtime.suffix and not runtime.refuses(int8, bench.device) and not folder.path_for(runtime, int8).exists():
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


def _request(subject: _Subject, runtime: Runtime, bench: Bench) -> WorkerRequest:
    return WorkerRequest(
        run=bench.run.path,
        which=subject.which,
        runtime=runtime.name,
        file=subject.file,
        threads=bench.threads,
        device=bench.device,
        setting=Setting(batch=bench.batch),
        precision=subject.precision.name,
    )


def first_pair(runtime: Runtime, bench: Bench) -> dict[str, WorkerRequest]:
    """Return the requests for full and slim in the runtime's first precision."""
    subjects = _subjects(runtime, bench)
    return {which: _request(subjects[which], runtime, bench) for which in (FULL, SLIM)}
