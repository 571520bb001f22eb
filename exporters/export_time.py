"""How long an export will take on this machine: a layer is traced and run, a few samples are, all else is counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from compressor.costs.parts import weight_bytes
from compressor.families import FAMILIES
from compressor.models.steps import Step, steps_of
from compressor.training.expected_time import REPEATS, Expected, time_growing
from exporters.graph.inputs import as_the_graph_takes
from exporters.graph.onnx import export_part
from exporters.request import Request
from exporters.runtimes.runtime import Artifact
from exporters.runtimes.sessions import OnnxRunner

USUAL_TRACE = 2.0  # seconds for a layer, which tell whether it is worth while to trace one
ROUNDED = 60e6  # bytes of weights that become int8 in a second


class LayerAlone(nn.Module):
    """A layer called with the streams it reads by name; a stream that the model does not have is left out."""

    def __init__(self, step: Step, block: nn.Module) -> None:
        super().__init__()
        self.reads, self.block = step.reads, block

    def forward(self, **streams: Tensor) -> Tensor:
        """Return its own stream, (B, tokens, width)."""
        written = self.block(*(streams.get(name) for name in self.reads))
        return written[0] if isinstance(written, tuple) else written


def expect_export(artifacts: Sequence[Artifact], request: Request, least: float = 0.0) -> Expected | None:
    """Return how long ``artifacts`` are expected to take; None where that is less than ``least`` seconds, by far.

    Files that are there and can be used again are compared only. What a TensorRT engine takes to be built is not known
    beforehand, nor whether an int8 file passes at once.
    """
    files = {artifact.path: artifact for artifact in artifacts}.values()
    sample, counts = _time_sample(request), [_count(file) for file in files]
    traced, exported, asked = (sum(numbers) for numbers in zip(*counts, strict=True))
    if USUAL_TRACE * traced + sample * (exported + asked) < least:
        return None
    trace, ratio = _time_layer(request)
    rounding = weight_bytes(request.model) / ROUNDED
    rounded = [
        rounding + sample * (ratio * n + m) for file, (_, n, m) in zip(files, counts, strict=True) if file.rounds
    ]
    seconds = {
        "tracing": trace * traced,
        **({"rounding to int8": rounding * len(rounded)} if rounded else {}),
        "comparing with PyTorch": sample * (ratio * exported + asked),
    }
    cheaper = {"--precision fp32": sum(seconds.values()) - sum(rounded)} if rounded else {}
    return Expected(seconds=seconds, cheaper=cheaper)


def _count(artifact: Artifact) -> tuple[int, int, int]:
    """Return how many layers are traced, and how many samples the file and PyTorch are run on."""
    request = artifact.request
    few = len(next(iter(request.samples.values())))
    if artifact.reuse and artifact.path.exists():
        return 0, few, few
    is_traced = artifact.graph == artifact.path and not artifact.rounds
    traced = len(request.model.layers) if is_traced else 0
    if artifact.unable:
        return traced, 0, 0
    reference = request.reference
    if reference is None:
        return traced, few, few
    tried = sum(artifact.batches[:-1] or artifact.batches)
    return traced, tried + reference.samples, tried + (reference.samples if reference.slim is None else 0)


def _time_sample(request: Request) -> float:
    """Return the seconds of a sample in PyTorch, from the data to the logits, in a batch of a certificate."""
    family, reference = FAMILIES[request.model.family], request.reference

    def make(size: int) -> dict[str, Tensor]:
        return {name: rows[:size] for name, rows in request.samples.items()}

    def run(batch: Mapping[str, Tensor]) -> None:
        size = len(next(iter(batch.values())))
        inputs = reference.inputs(list(range(size))) if reference else batch
        with torch.inference_mode():
            request.model(**as_the_graph_takes(family, inputs, request.fixed))

    return time_growing(make, run, min(8, len(make(8)[family.input_names[0]]), reference.samples if reference else 8))


def _time_layer(request: Request) -> tuple[float, float]:
    """Return the seconds of tracing one layer, and how many times as long ONNX Runtime takes for it as PyTorch.

    It is the middle one, as the last may have lost all but one token to the exact trims.
    """
    model = request.model
    steps = [step for step in steps_of(model.rounds) if step.name in model.layers and len(step.writes) == 1]
    if not steps:
        return USUAL_TRACE, 1.0
    step = steps[len(steps) // 2]
    with torch.inference_mode():
        streams = model.prologue(**{name: rows[:1] for name, rows in request.samples.items()})
        for round_ in model.rounds[: next(at for at, round_ in enumerate(model.rounds) if step in round_)]:
            streams = model.advance(streams, (round_,))
    inputs = {name: streams[name].clone() for name in step.reads if name in streams}
    layer = LayerAlone(step, model.blocks[step.name])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "layer.onnx"
        export_part(layer, inputs, path)  # imports what the others use
        trace = _seconds(lambda: export_part(layer, inputs, path))
        with OnnxRunner(path, threads=torch.get_num_threads()) as runner, torch.inference_mode():
            bound = runner.bind(inputs)
            theirs, ours = (_median(call) for call in (bound.execute, lambda: layer(**inputs)))
    return trace, theirs / ours


def _median(call: Callable[[], object]) -> float:
    call()
    return median(_seconds(call) for _ in range(REPEATS))


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
