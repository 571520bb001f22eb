"""Profiling a run: the full model against the slim one, in every runtime that is here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from compressor.costs.count_costs import count_reductions
from compressor.costs.macs import Macs, count_macs
from compressor.costs.model_costs import Pair
from compressor.costs.parts import parameters, weight_bytes, without_idle
from compressor.device import choose_device
from compressor.errors import Checks, Problem, UsageError
from compressor.families import FAMILIES
from compressor.files import write_json
from compressor.models.steps import StepModel
from compressor.models.trims.simplify import trim
from compressor.progress import QUIET, Progress, describe_seconds
from compressor.saved_run.run_folder import Run
from exporters.folder import exports_of
from exporters.graph.vision_split import check_splittable
from exporters.runtimes import RUNTIMES, find_runtime, obstacles
from exporters.runtimes.runtime import Runtime
from profiles.comparison.full_vs_slim import (
    PROFILE,
    AgreementPair,
    NotMeasured,
    ProfileReport,
)
from profiles.comparison.matching_exports import runtimes_to_measure
from profiles.comparison.variants import Bench, Model, export_missing, first_pair, list_not_timed, time_variants
from profiles.deployment.find_fastest import find_fastest
from profiles.deployment.ways import Ways, choose_runtimes, choose_ways
from profiles.machine.environment import describe_environment
from profiles.macs.agreement import Agreement
from profiles.macs.crosscheck import cross_check
from profiles.timing.layer_times import LayerTimes
from profiles.timing.layers_in_situ import count_work, explain_unseen, time_layers
from profiles.timing.paired import LOADING_SHARE, time_sweep
from profiles.timing.roofline import Peaks, measure_peaks
from profiles.timing.sample_batches import make_inputs
from profiles.timing.shared_image import Questions, measure_questions
from profiles.timing.sweeps import Sweep
from profiles.timing.worker import FULL, SLIM

QUESTIONED = "onnxruntime"  # what questions on one image are timed in
SWEEP_SHARE = 0.25  # of the time of the main comparison, for each point of a sweep
SHORT_SECONDS = 5.0  # of --seconds that is named where a profile takes longer


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
    precisions: Sequence[str] = (),
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

    Full and slim are loaded into a process of their own each and take turns, again and again in fresh processes. Where
    the machine is so noisy that a speed-up's interval is wide, the report says so.

    Measured are the ``precisions`` that are named, where they run; without a name those that slim was exported in, and
    fp32; of a runtime that builds no engine by itself those that there are. All of a runtime take turns. Full is
    exported to ``exports/full`` like slim was, and certified like it; slim itself where nobody exported it. An engine
    of slim must be there.

    Where all runtimes or any precisions are asked for, slim in the best precision of each runtime is timed once more,
    against that of the others, and the fastest way is named.

    Args:
        run: the run whose slim model is compared with its full checkpoint, on the run's own samples.
        full_model: the full model, on the CPU, where it is in memory; None loads it.
        runtimes: names or aliases of ``RUNTIMES``, or "all"; those used by default that can run on the device when
            empty.
        precisions: keys of ``PRECISIONS``, or "all".
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
        UsageError: unknown runtime or precision, a number that cannot be, or no vision tower to put apart.
        InputError: the full checkpoint is gone or has changed, or there is no engine of slim for TensorRT.
        EnvironmentProblem: a device or runtime that was asked for is not here, or the exports cannot be written.
        CheckFailed: an export that was made on the way does not answer as its model does.
    """
    ways = check_settings(runtimes, precisions, device, batch, threads, seconds, questions_per_image)
    check_questions(run, questions_per_image)
    place, folder = choose_device(device).type, exports_of(run)
    chosen = runtimes_to_measure(ways.runtimes, folder, place, ways.precisions)
    names, final = [runtime.name for runtime in chosen], ways.asks_for_fastest and len(chosen) > 1
    progress.say(describe_time(names, seconds, sweeps, layers=layers, questions=bool(questions_per_image), final=final))
    # Full comes first: that its checkpoint has changed is better found out before slim is exported.
    full_model = without_idle(run.load_full() if full_model is None else full_model)
    saved = run.load_saved()
    models = {FULL: Model(full_model, folder.full()), SLIM: Model(trim(saved), folder)}
    with _cpu_threads(threads) as cpu_threads:
        bench = Bench(run, models, batch, cpu_threads, seconds, place, progress, questions_per_image, ways.precisions)
        place_of_measurement = describe_environment(place, cpu_threads)
        question_runtimes = (find_runtime(QUESTIONED),) if questions_per_image else ()
        static_costs = {which: _count(which, bench) for which in (SLIM, FULL)}
        refused = export_missing((*question_runtimes, *chosen), bench)
        with progress.stage("counting MACs of both models without and with trims"):
            trims = count_reductions(saved, make_inputs(run, 1))
            full_after = count_macs(trim(full_model), make_inputs(run, 1)).total
        weights = {which: counted.weight_bytes for which, counted in static_costs.items()}
        profiles = [time_variants(runtime, bench, weights) for runtime in chosen]
        measured = tuple(profile for profile, _ in profiles)
        fastest = find_fastest(measured, bench) if ways.asks_for_fastest else None
        sweep_points = [
            point
            for runtime in chosen
            for sweep in sweeps
            for point in time_sweep(first_pair(runtime, bench), sweep, seconds * SWEEP_SHARE, progress)
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
        **_sizes(run),
        seconds=seconds,
        macs=Pair(full=full.macs.total, slim=slim.macs.total),
        macs_by_pool=_pairs(full.macs.by_pool, slim.macs.by_pool),
        trims=trims.model_copy(update={"full_after": full_after}),
        uncounted=_pairs(*({entry.operator: entry.calls for entry in model.macs.uncounted} for model in (full, slim))),
        parameters=Pair(full=sum(full.parameters.values()), slim=sum(slim.parameters.values())),
        parameters_by_pool=_pairs(full.parameters, slim.parameters),
        runtimes=measured,
        fastest=fastest,
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
            *refused,
            *(entry for _, missing in profiles for entry in missing),
            *hidden_layers,
            *(entry for runtime in ways.runtimes for entry in list_not_timed(runtime, bench)),
            *_left_out(ways.runtimes, place),
        ),
    )


def check_settings(
    runtimes: Sequence[str],
    precisions: Sequence[str],
    device: str | None,
    batch: int,
    threads: int | None,
    seconds: float,
    questions_per_image: int | None,
) -> Ways:
    """Return what :func:`measure_run` measures with these settings, which need no run to be checked.

    Raises:
        UsageError: an unknown runtime, precision or device, or a number that cannot be: all at once.
        EnvironmentProblem: a device, runtime or precision that was asked for is not here.
    """
    checks = Checks()
    with checks:
        choose_device(device)
    with checks:
        ways = choose_ways(runtimes, precisions, device)
    with checks:
        if questions_per_image:
            choose_runtimes([QUESTIONED], device)
    numbers = {"batch": batch, "threads": threads, "seconds": seconds, "questions-per-image": questions_per_image}
    with checks:
        _check_positive(numbers)
    checks.raise_found()
    return ways


def describe_time(
    runtimes: Sequence[str],
    seconds: float,
    sweeps: Sequence[Sweep] = (),
    *,
    layers: bool,
    questions: bool,
    final: bool = False,
) -> str:
    """Return how long these settings take, and shorter ones: models are timed for that long, whatever they are.

    The longer of both times has the loading of fresh processes in it, which is given that share of the timing; models
    that take very long to load, exports that are made on the way, and calls of many seconds come on top. A ``final`` is
    one more comparison, of the fastest in each runtime.
    """
    of_a_runtime = 1 + SWEEP_SHARE * sum(len(sweep.values) for sweep in sweeps) + layers

    def range_of(count: int, seconds: float) -> str:
        timed = seconds * (count * of_a_runtime + questions + (final and count > 1))
        return f"{describe_seconds(timed)} to {describe_seconds((1 + LOADING_SHARE) * timed)}"

    ways = {f"--seconds {SHORT_SECONDS:g}": range_of(len(runtimes), SHORT_SECONDS)} if seconds > SHORT_SECONDS else {}
    ways |= {f"--runtime {runtimes[0]}": range_of(1, seconds)} if len(runtimes) > 1 else {}
    cheaper = "".join(f"; {option} {time}" for option, time in ways.items())
    return f"timing in {', '.join(runtimes)}: {range_of(len(runtimes), seconds)}{cheaper}"


def check_questions(run: Run, questions_per_image: int | None) -> None:
    """Refuse questions on one image for a model that has no vision tower to put apart.

    Raises:
        UsageError: it has none.
    """
    if questions_per_image:
        family = FAMILIES[run.manifest.family]
        check_splittable(family.name, family.rounds(family.dims_type(**run.manifest.dims)))


def list_lost(run: Run, report: ProfileReport) -> tuple[str, ...]:
    """Return what the profile in the run's folder has and ``report``, which is to replace it, has not."""
    try:
        earlier = ProfileReport.model_validate_json((run.path / PROFILE).read_bytes())
    except (OSError, ValidationError):  # none, or one that no report can show
        return ()
    return tuple(name for name in _measured(earlier) if name not in _measured(report))


def _measured(report: ProfileReport) -> tuple[str, ...]:
    extras = {"layers": report.layers, "sweeps": report.sweeps, "questions on one image": report.questions}
    runtimes = (f"{runtime.name}, {variant.name}" for runtime in report.runtimes for variant in runtime.variants)
    return (*runtimes, *(name for name, found in extras.items() if found))


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


def _count(which: str, bench: Bench) -> _Counted:
    model = bench.models[which].model
    with bench.progress.stage(f"counting MACs of the {which} model"):
        inputs = make_inputs(bench.run, 1)
        macs = count_macs(model, inputs)
        counts = cross_check(model, inputs, macs)
    return _Counted(macs, counts, parameters(model), weight_bytes(model))


def _sizes(run: Run) -> dict[str, Any]:
    """Return the sizes of one sample, as :class:`ProfileReport` has them."""
    family, inputs = FAMILIES[run.manifest.family], make_inputs(run, 1)
    image = family.sizes_of("image", inputs)
    return {
        "text_length": family.sizes_of("text", inputs).get("length"),
        "image_size": (image["height"], image["width"]) if image else None,
        "scored": len(run.answers()["numbers"]),
    }


def _layers(
    chosen: Sequence[Runtime], bench: Bench
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


def _questions(bench: Bench) -> Questions:
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
