"""The export to deploy on this machine, by accuracy and latency."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from compressor.errors import EnvironmentProblem, InputError
from compressor.families import FAMILIES
from compressor.progress import QUIET, Progress
from compressor.saved_run.run_folder import Run
from compressor.values import Value
from exporters.checks.records import Parity
from exporters.folder import Export, exports_of
from exporters.graph.inputs import texts_that_fit, trim_images, with_text_length
from exporters.runtimes import find_runtime
from exporters.runtimes.runtime import ModelSource
from profiles.formatting import Row, Table, format_bytes
from profiles.machine.environment import Environment, describe_environment
from profiles.timing.latency import Latency, measure, summarise_times
from profiles.timing.speedups import Speedup, estimate_speedup

SECONDS = 4.0  # for each pair
LEAST_TURNS = 3
EAGER = "PyTorch"


class Choice(Value):
    """One way to run a model; ``parity`` is None for PyTorch, ``speedup`` against PyTorch, None for itself."""

    name: str
    bytes: int | None
    parity: Parity | None
    latency: Latency
    speedup: Speedup | None


class Choices(Value):
    """Exports timed on this machine's CPU at batch 1, each in turns with PyTorch.

    ``recommended`` is the fastest that takes every text of the run's samples, PyTorch where none is clearly faster.
    """

    schema_version: int = 1
    choices: tuple[Choice, ...]
    recommended: str
    environment: Environment


def compare_exports(run: Run, progress: Progress = QUIET) -> Choices | None:
    """Time every export of ``run`` that can run on this CPU, each in turns with the slim model in PyTorch.

    Args:
        run: with exports; graphs of one batch size other than 1, and those made for TensorRT, are left out.
        progress: told about the timing, and of exports that cannot be read.

    Returns:
        None where there is no export to compare.
    """
    exports = _comparable(run, progress)
    if not exports:
        return None
    place, pairs = describe_environment("cpu", torch.get_num_threads()), {}
    with find_runtime("torch").open(ModelSource(run.load_slim), "cpu") as eager:
        for path, export in exports.items():  # one session at a time: all of them together may not fit
            sample = _one(run, export.record)
            try:
                with export.runtime.open(ModelSource(run.load_slim, path), "cpu") as runner:
                    pairs[path] = measure(
                        {EAGER: eager.bind(sample), path.name: runner.bind(sample)},
                        seconds=SECONDS,
                        least_turns=LEAST_TURNS,
                        progress=progress,
                        label=f"timing {path.name}",
                    )
            except (InputError, EnvironmentProblem) as error:  # of another day, moved or cut, or of another machine
                progress.say(f"{path.name} is not timed: {error.problems[0].found}")
    if not pairs:
        return None
    eager_times = summarise_times([ms for times in pairs.values() for ms in times[EAGER].samples_ms])
    choices = [Choice(name=EAGER, bytes=None, parity=None, latency=eager_times, speedup=None)]
    choices += [
        Choice(
            name=path.name,
            bytes=exports[path].bytes,
            parity=exports[path].record,
            latency=times[path.name],
            speedup=estimate_speedup(times[EAGER], times[path.name]),
        )
        for path, times in pairs.items()
    ]
    candidates = [
        choice
        for choice in choices
        if choice.speedup is None
        or (choice.speedup.significant and choice.parity and _fitting(run, choice.parity).all())
    ]
    best = max(candidates, key=lambda choice: choice.speedup.ratio if choice.speedup else 1.0)
    return Choices(choices=tuple(choices), recommended=best.name, environment=place)


def tabulate_choices(choices: Choices) -> Table:
    """Return the size, errors, score and speed of each export."""
    rows = [(*_costs(choice), *_gains(choice)) for choice in choices.choices]
    title = f"Which one to run here (batch 1, {choices.environment.cpu_threads})"
    return Table(title, ("", "size", "max error", "agreement", "score", "p50 ms", "faster"), tuple(rows))


def recommend(choices: Choices) -> str:
    """Return the recommendation as one sentence."""
    best = next(choice for choice in choices.choices if choice.name == choices.recommended)
    if best.speedup is None:
        return f"Recommended on this machine's CPU: {EAGER}; no export that takes every text is clearly faster."
    return f"Recommended on this machine's CPU: {best.name}, {best.speedup.verdict} than the slim model in {EAGER}."


def _comparable(run: Run, progress: Progress) -> dict[Path, Export]:
    """Return the exports that passed and take one of the run's samples by itself."""

    def skip(name: str, error: InputError) -> None:
        progress.say(f"{name} is not timed: {error.problems[0].found}")

    return {
        export.path: export
        for export in exports_of(run).entries(skip)
        if "cpu" in export.runtime.devices
        and export.executable
        and export.exists
        and export.record.status == "passed"
        and 1 in export.record.batch_sizes
        and _fitting(run, export.record).any()
    }


def _fitting(run: Run, parity: Parity) -> Tensor:
    family, samples = FAMILIES[run.manifest.family], run.samples()
    return texts_that_fit(family, samples, _only_length(parity) or family.sizes_of("text", samples).get("length", 0))


def _one(run: Run, parity: Parity) -> dict[str, Tensor]:
    """Return the first sample whose text fits."""
    number = int(_fitting(run, parity).int().argmax())
    one = {name: rows[number : number + 1] for name, rows in run.samples().items()}
    family = FAMILIES[run.manifest.family]
    one = with_text_length(family, one, _only_length(parity))
    return trim_images(family, one, run.manifest.dims.get("patch", 1))


def _only_length(parity: Parity) -> int | None:
    """Return the text length, in tokens, of a graph that takes only one; None of the others."""
    return parity.text_lengths[0] if len(parity.text_lengths) == 1 else None


def _costs(choice: Choice) -> Row:
    if choice.parity is None or choice.bytes is None:
        return choice.name, "", "", "", ""
    certificate = choice.parity.certificate
    errors = certificate.against_slim if certificate else choice.parity
    error = "" if errors.max_abs_error is None else f"{errors.max_abs_error:.1e}"
    agreement = "" if errors.answer_agreement is None else f"{errors.answer_agreement:.1%}"
    change = f"{100 * certificate.metric.change:+.2f}" if certificate and certificate.metric else ""
    return choice.name, format_bytes(choice.bytes), error, agreement, change


def _gains(choice: Choice) -> Row:
    faster = f"x{choice.speedup.ratio:.2f}" if choice.speedup else ""
    return f"{choice.latency.p50_ms:.1f}", faster
