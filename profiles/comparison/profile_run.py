"""Profiling a run: the full model against the slim one, in every runtime that is here."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from compressor.costs.macs import Macs, count_macs
from compressor.costs.model_costs import Pair, Trims
from compressor.costs.parts import parameters, weight_bytes, without_idle
from compressor.device import choose_device
from compressor.errors import Checks, EnvironmentProblem, Problem, UsageError
from compressor.families import FAMILIES
from compressor.files import write_json
from compressor.models.simplify import trim
from compressor.models.steps import StepModel
from compressor.progress import QUIET, Progress
from compressor.run_folder import Run
from exporters.export import export_split
from exporters.folder import ExportsFolder, count_bytes, exports_of
from exporters.graph.vision_split import check_splittable
from exporters.runtimes import RUNTIMES, find_runtime, find_runtimes, obstacles
from exporters.runtimes.runtime import ModelSource, Runtime
from exporters.usage import usage_of
from profiles.comparison.full_vs_slim import (
    PROFILE,
    AgreementPair,
    MemoryPair,
    NotMeasured,
    ProfileReport,
    RuntimeProfile,
    StartedPair,
)
from profiles.comparison.matching_exports import make_full, make_slim
from profiles.machine.energy import EnergyPair
from profiles.machine.environment import describe_environment
from profiles.macs.agreement import Agreement
from profiles.macs.crosscheck import cross_check
from profiles.timing.layer_times import LayerTimes
from profiles.timing.layers_in_situ import count_work, explain_unseen, time_layers
from profiles.timing.paired import Timed, time_models, time_sweep
from profiles.timing.roofline import Peaks, measure_peaks
from profiles.timing.sample_batches import make_inputs
from profiles.timing.shared_image import Questions, measure_questions
from profiles.timing.sweeps import Sweep
from profiles.timing.worker import FULL, SLIM, Setting, WorkerRequest

QUESTIONED = "onnxruntime"  # what questions on one image are timed in
SWEEP_SHARE = 0.25  # of the time of the main comparison, for each point of a sweep


@dataclass(frozen=True)
class _Model:
    """Full or slim, on the CPU, and where its exports are or will be."""

    model: StepModel
    exports: ExportsFolder

    def in_runtime(self, runtime: Runtime) -> ModelSource:
        return ModelSource(lambda: copy.deepcopy(self.model), self.file(runtime))

    def file(self, runtime: Runtime) -> Path | None:
        """Return the file that ``runtime`` executes, existing or not; None for the model itself."""
        return self.exports.path_for(runtime) if runtime.suffix else None


@dataclass(frozen=True)
class _Bench:
    """The settings shared by all runtimes of a profile."""

    run: Run
    models: Mapping[str, _Model]
    batch: int
    threads: int
    seconds: float
    device: str
    progress: Progress
    questions: int | None


@dataclass(frozen=True)
class _Counted:
    """The static costs of one model."""

    macs: Macs
    agreement: Agreement
    parameters: dict[str, int]
    weight_bytes: int


def measure_run(
    run: Run,
    *,
    full_model: StepModel | None = None,
    runtimes: Sequence[str] = (),
    batch: int = 1,
    threads: int | None = None,
    seconds: float = 20.0,
    device: str | None = None,
    questions_per_image: int | None = None,
    sweeps: Sequence[Sweep] = (),
    layers: bool = False,
    command: str = "",
    progress: Progress = QUIET,
) -> ProfileReport:
    """Measure the gains of skipping: MACs, parameters, files, latency, throughput, memory, energy.

    Full and slim are loaded into a process of their own each and take turns. A machine so noisy that the speed-up's
    interval stays wide is measured up to three times as long, and the report says so.

    Where a runtime executes ONNX files and nobody made them yet, slim is exported to the run's ``exports`` and full to
    ``exports/full``, in fp32, each compared with PyTorch as ``das export`` does. An engine of slim must be there; the
    files of full are made like those of slim.

    Args:
        run: the run whose slim model is compared with its full checkpoint, on the run's own samples.
        full_model: the full model, on the CPU, where it is in memory; None loads it.
        runtimes: names or aliases of ``RUNTIMES``; those used by default that can run on the device when empty.
        batch: samples in one call.
        threads: CPU threads of every runtime; PyTorch's own choice when left out.
        seconds: how long full and slim are timed in each runtime.
        device: ``cpu`` or ``cuda``; None takes CUDA where there is one.
        questions_per_image: so many questions on one image are timed in ONNX Runtime, too, by the whole graph and with
            the vision tower apart; split exports are made where they are missing.
        sweeps: settings to go through, see :func:`profiles.timing.sweeps.parse_sweeps`.
        layers: whether every layer is timed, too, at batch 1.
        command: what the user typed, for the report.
        progress: told what is going on.

    Raises:
        UsageError: unknown runtime, a number that cannot be, or a model that has no vision tower to put apart.
        InputError: the full checkpoint is gone or has changed, or there is no engine of slim for TensorRT.
        EnvironmentProblem: a device or runtime that was asked for is not here, or the exports cannot be written.
        CheckFailed: an export that was made on the way does not answer as its model does.
    """
    chosen = check_settings(runtimes, device, batch, threads, seconds, questions_per_image)
    check_questions(run, questions_per_image)
    place, folder = choose_device(device).type, exports_of(run)
    # Full comes first: that its checkpoint has changed is better found out before slim is exported.
    full_model = without_idle(run.load_full() if full_model is None else full_model)
    saved = run.load_saved()
    models = {FULL: _Model(full_model, folder.full()), SLIM: _Model(trim(saved), folder)}
    with _cpu_threads(threads) as cpu_threads:
        bench = _Bench(run, models, batch, cpu_threads, seconds, place, progress, questions_per_image)
        place_of_measurement = describe_environment(place, cpu_threads)
        question_runtimes = (find_runtime(QUESTIONED),) if questions_per_image else ()
        static_costs = {which: _count(which, bench, (*question_runtimes, *chosen)) for which in (SLIM, FULL)}
        with progress.stage("counting MACs of both models without and with trims"):
            untrimmed, full_after = (
                count_macs(model, make_inputs(run, 1)).total for model in (saved, trim(full_model))
            )
        profiles = [_compare(runtime, bench, static_costs) for runtime in chosen]
        sweep_points = [
            point
            for runtime in chosen
            for sweep in sweeps
            for point in time_sweep(_requests(runtime, bench), sweep, seconds * SWEEP_SHARE, progress)
        ]
        peaks, layer_profiles, hidden_layers = _layers(chosen, bench) if layers else ((), (), [])
        questions = _questions(bench) if questions_per_image else None
    full, slim = static_costs[FULL], static_costs[SLIM]
    return ProfileReport(
        run=run.path.name,
        family=run.manifest.family,
        task=run.manifest.task,
        skipped=run.manifest.plan.layers,
        batch=batch,
        seconds=seconds,
        macs=Pair(full=full.macs.total, slim=slim.macs.total),
        macs_by_pool=_pairs(full.macs.by_pool, slim.macs.by_pool),
        trims=Trims(before=untrimmed, after=slim.macs.total, full_after=full_after),
        uncounted=_pairs(*({entry.operator: entry.calls for entry in model.macs.uncounted} for model in (full, slim))),
        parameters=Pair(full=sum(full.parameters.values()), slim=sum(slim.parameters.values())),
        parameters_by_pool=_pairs(full.parameters, slim.parameters),
        runtimes=tuple(profile for profile, _ in profiles),
        environment=place_of_measurement,
        questions=questions,
        sweeps=tuple(sweep_points),
        layers=layer_profiles,
        peaks=peaks,
        counts=AgreementPair(full=full.agreement, slim=slim.agreement),
        command=command,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        checkpoint_sha256=run.manifest.source.sha256,
        not_measured=(
            *(entry for _, missing in profiles for entry in missing),
            *hidden_layers,
            *_left_out(chosen, place),
        ),
    )


def check_settings(
    runtimes: Sequence[str],
    device: str | None,
    batch: int,
    threads: int | None,
    seconds: float,
    questions_per_image: int | None,
) -> tuple[Runtime, ...]:
    """Return the runtimes that :func:`measure_run` measures with these settings, which need no run to be checked.

    Raises:
        UsageError: an unknown runtime or device, or a number that cannot be: everything that is wrong, at once.
        EnvironmentProblem: a device or runtime that was asked for is not here.
    """
    checks = Checks()
    with checks:
        choose_device(device)
    with checks:
        chosen = choose_runtimes(runtimes, device)
    with checks:
        if questions_per_image:
            choose_runtimes([QUESTIONED], device)
    numbers = {"batch": batch, "threads": threads, "seconds": seconds, "questions-per-image": questions_per_image}
    with checks:
        _check_positive(numbers)
    checks.raise_found()
    return chosen


def check_questions(run: Run, questions_per_image: int | None) -> None:
    """Refuse questions on one image for a model that has no vision tower to put apart.

    Raises:
        UsageError: it has none.
    """
    if questions_per_image:
        family = FAMILIES[run.manifest.family]
        check_splittable(family.name, family.rounds(family.dims_type(**run.manifest.dims)))


def choose_runtimes(names: Sequence[str], device: str | None = None) -> tuple[Runtime, ...]:
    """Find the runtimes called ``names``; without names, those used by default that can run on ``device``.

    Raises:
        UsageError: a runtime or kind of device that das does not know.
        EnvironmentProblem: no such device, or a runtime that was named and cannot run on it.
    """
    requested = find_runtimes(names)
    blocked = obstacles(choose_device(device).type)
    if missing := [blocked[runtime.name] for runtime in requested if runtime.name in blocked]:
        raise EnvironmentProblem(*missing)
    return requested or tuple(runtime for runtime in RUNTIMES if runtime.by_default and runtime.name not in blocked)


def save_profile(run: Run, report: ProfileReport) -> Path:
    """Write the report into the run folder, whole or not at all.

    Raises:
        EnvironmentProblem: the folder cannot be written.
    """
    write_json(run.path / PROFILE, report.model_dump(mode="json"))
    return run.path / PROFILE


def _check_positive(numbers: Mapping[str, float | None]) -> None:
    wrong = {name: value for name, value in numbers.items() if value is not None and value <= 0}
    if wrong:
        raise UsageError(
            *(
                Problem("setting-not-positive", f"{name} {value}", "more than 0", f"--{name} 1")
                for name, value in wrong.items()
            )
        )


@contextmanager
def _cpu_threads(threads: int | None) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield threads or before
    finally:
        torch.set_num_threads(before)


def _count(which: str, bench: _Bench, runtimes: Sequence[Runtime]) -> _Counted:
    """Count one model, which is exported on the way where a file is missing that one of the runtimes executes."""
    folder, samples = bench.models[which].exports, bench.run.samples()
    model, usage = bench.models[which].model, usage_of(bench.run)
    with bench.progress.stage(f"counting MACs of the {which} model"):
        inputs = make_inputs(bench.run, 1)
        macs = count_macs(model, inputs)
        counts = cross_check(model, inputs, macs)
    for runtime in (runtime for runtime in runtimes if runtime.suffix):
        if which == SLIM:
            make_slim(runtime, model, samples, folder, bench.progress, usage)
        else:
            make_full(runtime, model, samples, folder, bench.models[SLIM].exports, bench.progress, usage)
    if bench.questions and not folder.split():
        bench.progress.say(f"exporting the {which} model in two parts, to time questions on one image")
        export_split(model, samples, folder.path, bench.progress, usage)
    return _Counted(macs, counts, parameters(model), weight_bytes(model))


def _compare(
    runtime: Runtime, bench: _Bench, static_costs: Mapping[str, _Counted]
) -> tuple[RuntimeProfile, list[NotMeasured]]:
    """Measure full and slim in one runtime, and list the quantities that could not be measured there."""
    measurement = time_models(_requests(runtime, bench), bench.seconds, bench.progress)
    files = {which: model.file(runtime) for which, model in bench.models.items()}
    memory, energy = _memory(measurement), _energy(measurement)
    profile = RuntimeProfile(
        name=runtime.name,
        full=measurement.times[FULL],
        slim=measurement.times[SLIM],
        speedup=measurement.speedup(),
        file_bytes=Pair(
            **{which: count_bytes(file) if file else static_costs[which].weight_bytes for which, file in files.items()}
        ),
        memory=memory,
        started=StartedPair(**measurement.started),
        energy=energy,
        conditions=measurement.conditions,
        remark=measurement.remark,
    )
    missing = {} if memory else {"memory": "on the GPU, and PyTorch's counters do not see it"}
    missing |= {"energy": measurement.joules} if isinstance(measurement.joules, str) else {}
    return profile, [NotMeasured(what=f"{what} in {runtime.name}", why=why) for what, why in missing.items()]


def _memory(measurement: Timed) -> MemoryPair | None:
    full, slim = (measurement.memory[which] for which in (FULL, SLIM))
    return MemoryPair(full=full, slim=slim) if full and slim else None


def _energy(measurement: Timed) -> EnergyPair | None:
    return None if isinstance(measurement.joules, str) else EnergyPair(meter=measurement.meter, **measurement.joules)


def _requests(runtime: Runtime, bench: _Bench) -> dict[str, WorkerRequest]:
    return {
        which: WorkerRequest(
            run=bench.run.path,
            which=which,
            runtime=runtime.name,
            file=model.file(runtime),
            threads=bench.threads,
            device=bench.device,
            setting=Setting(batch=bench.batch),
        )
        for which, model in bench.models.items()
    }


def _layers(
    chosen: Sequence[Runtime], bench: _Bench
) -> tuple[tuple[Peaks, ...], tuple[LayerTimes, ...], list[NotMeasured]]:
    """Measure the machine's peaks and the layers of full and slim in every runtime that shows them."""
    inputs = make_inputs(bench.run, 1)
    work = {which: count_work(model.model, inputs) for which, model in bench.models.items()}
    peaks: list[Peaks] = []
    times: list[LayerTimes] = []
    missing: list[NotMeasured] = []
    for runtime in chosen:
        if why := explain_unseen(runtime, bench.device):
            missing.append(NotMeasured(what=f"layers in {runtime.name}", why=why))
            continue
        peaks.append(measure_peaks(runtime.name, bench.device, bench.threads))
        times += time_layers(
            runtime.name,
            {which: model.in_runtime(runtime) for which, model in bench.models.items()},
            work,
            inputs,
            device=bench.device,
            threads=bench.threads,
            seconds=bench.seconds,
            progress=bench.progress,
        )
    return tuple(peaks), tuple(times), missing


def _questions(bench: _Bench) -> Questions:
    assert bench.questions
    runtime = find_runtime(QUESTIONED)
    return measure_questions(
        FAMILIES[bench.run.manifest.family],
        runtime,
        {which: model.in_runtime(runtime) for which, model in bench.models.items()},
        make_inputs(bench.run, bench.questions),
        device=bench.device,
        threads=bench.threads,
        seconds=bench.seconds,
        progress=bench.progress,
    )


def _left_out(chosen: Sequence[Runtime], device: str) -> list[NotMeasured]:
    """List the runtimes and devices that were not measured, with reasons."""
    blocked = obstacles(device)
    others = [runtime.name for runtime in RUNTIMES if runtime not in chosen]
    reasons = dict.fromkeys(others, "not asked for")
    reasons |= {name: f"{blocked[name].found}; {blocked[name].fix}" for name in others if name in blocked}
    if device == "cuda":
        reasons["CPU"] = "measured on the GPU; --device cpu"
    else:
        reasons["GPU"] = "--device cuda" if torch.cuda.is_available() else "this machine has no CUDA device"
    return [NotMeasured(what=what, why=why) for what, why in reasons.items()]


def _pairs(full: Mapping[str, int], slim: Mapping[str, int]) -> dict[str, Pair]:
    return {name: Pair(full=full.get(name, 0), slim=slim.get(name, 0)) for name in {**full, **slim}}
