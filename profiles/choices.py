"""Which export to deploy on this machine: what each form costs in accuracy and gains in latency."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from compressor.progress import QUIET, Progress
from compressor.runs import Run
from exporters.export import EXPORTS, QDQ
from exporters.inputs import with_text_length
from exporters.parity import Parity
from exporters.runners import OnnxRunner, TorchRunner
from exporters.staging import bytes_of
from profiles.environment import Environment, environment
from profiles.latency import Latency, Speedup, measure, speedup
from profiles.runtimes import inputs_of
from profiles.tables import Row, Table, size

SECONDS = 2.0  # for each
EAGER = "PyTorch"


class Choice(BaseModel):
    """One way to run a model; ``parity`` is None for PyTorch, ``speedup`` against PyTorch, None for itself."""

    model_config = ConfigDict(frozen=True)

    name: str
    bytes: int | None
    parity: Parity | None
    latency: Latency
    speedup: Speedup | None


class Choices(BaseModel):
    """What was timed in turns on this machine at batch 1; ``recommended`` is the fastest of what passed."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = 1
    choices: tuple[Choice, ...]
    recommended: str
    environment: Environment


def compare_exports(run: Run, progress: Progress = QUIET) -> Choices | None:
    """Time the slim model in PyTorch and every ONNX export of ``run`` that ONNX Runtime can run here, in turns.

    Args:
        run: with exports; graphs of one batch size other than 1, and those made for TensorRT, are left out.
        progress: told about the timing.

    Returns:
        None where there is no export to compare.
    """
    parities = _comparable(run.path / EXPORTS)
    if not parities:
        return None
    inputs = inputs_of(run, 1)
    with ExitStack() as stack:
        calls = {EAGER: stack.enter_context(TorchRunner(run.load_slim(), "cpu")).bind(inputs)}
        for path, parity in parities.items():
            runner = stack.enter_context(OnnxRunner(path, threads=torch.get_num_threads()))
            calls[path.name] = runner.bind(with_text_length(inputs, _only_length(parity)))
        times = measure(
            calls,
            seconds=SECONDS * len(calls),
            progress=progress,
            label="timing the exports",
        )
    choices = [Choice(name=EAGER, bytes=None, parity=None, latency=times[EAGER], speedup=None)]
    choices += [
        Choice(
            name=path.name,
            bytes=bytes_of(path),
            parity=parity,
            latency=times[path.name],
            speedup=speedup(times[EAGER], times[path.name]),
        )
        for path, parity in parities.items()
    ]
    best = min(choices, key=lambda choice: choice.latency.p50_ms)
    return Choices(
        choices=tuple(choices), recommended=best.name, environment=environment("cpu", torch.get_num_threads())
    )


def choices_table(choices: Choices) -> Table:
    """What each form costs and gains, the recommended one marked."""
    rows = [(*_costs(choice), *_gains(choice)) for choice in choices.choices]
    threads = choices.environment.threads
    title = f"Which one to run here (batch 1, {threads} CPU thread{'s' * (threads > 1)})"
    return Table(title, ("", "size", "max error", "agreement", "score", "p50 ms", "faster"), tuple(rows))


def recommendation(choices: Choices) -> str:
    """One sentence."""
    best = next(choice for choice in choices.choices if choice.name == choices.recommended)
    if best.speedup is None:
        return f"Recommended on this machine: {EAGER}; no export is faster."
    return f"Recommended on this machine: {best.name}, {best.speedup.verdict} than the slim model in {EAGER}."


def _comparable(folder: Path) -> dict[Path, Parity]:
    """The ONNX files that passed and take single samples."""
    found = {}
    for record in sorted(folder.glob("model*.onnx.parity.json")):
        path = record.with_name(record.name.removesuffix(".parity.json"))
        parity = Parity.model_validate_json(record.read_bytes())
        if path.exists() and parity.status == "passed" and 1 in parity.batch_sizes and QDQ not in path.name:
            found[path] = parity
    return found


def _only_length(parity: Parity) -> int | None:
    """Tokens of the texts that a graph of one text length takes; None of the others, tried with several."""
    return parity.text_lengths[0] if len(parity.text_lengths) == 1 else None


def _costs(choice: Choice) -> Row:
    if choice.parity is None or choice.bytes is None:
        return choice.name, "", "", "", ""
    certificate = choice.parity.certificate
    found = certificate.against_slim if certificate else choice.parity
    error = "" if found.max_abs_error is None else f"{found.max_abs_error:.1e}"
    agreement = "" if found.answer_agreement is None else f"{found.answer_agreement:.1%}"
    change = f"{100 * certificate.metric.change:+.2f}" if certificate and certificate.metric else ""
    return choice.name, size(choice.bytes), error, agreement, change


def _gains(choice: Choice) -> Row:
    faster = f"x{choice.speedup.ratio:.2f}" if choice.speedup else ""
    return f"{choice.latency.p50_ms:.1f}", faster
