"""Many questions on one image: the whole graph for each of them against the vision tower once and the rest for each."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from torch import Tensor

from compressor.families.family import Family
from compressor.progress import QUIET, Progress
from compressor.values import Value
from exporters.graph.vision_split import split_runner
from exporters.runtimes.sessions import PROVIDERS, OnnxRunner
from profiles.timing.latency import Call, Latency, Speedup, measure, speedup


class WholeAndSplit(Value):
    """All questions in one batch of the whole graph, and with the vision tower apart; whole over split."""

    whole: Latency
    split: Latency
    speedup: Speedup


class Questions(Value):
    """What ``count`` questions on one image take in ONNX Runtime, asked together; both models measured in turns.

    The whole graph repeats the image for each question. Split, it goes through the vision tower once in every call:
    the streams of an image that is asked about again would be remembered, and are not here.
    """

    count: int
    full: WholeAndSplit
    slim: WholeAndSplit


def measure_questions(
    family: Family,
    graphs: Mapping[str, Path],
    inputs: Mapping[str, Tensor],
    *,
    device: str,
    threads: int,
    seconds: float,
    progress: Progress = QUIET,
) -> Questions:
    """Time the questions of ``inputs`` on the first of its images.

    Args:
        family: of the models.
        graphs: the whole graph of the full and of the slim model, "full" and "slim", each with its split export beside.
        inputs: one row for each question, (N, ...) by name.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads of every session.
        seconds: time to measure for.
        progress: told about it.

    Raises:
        EnvironmentProblem: ONNX Runtime cannot run on the device.
    """
    count = family.sizes_of("text", inputs)["batch"]
    one = {**inputs} | {name: inputs[name][:1] for name in family.names_of("image")}
    repeated = {name: x.expand(count, *x.shape[1:]) for name, x in one.items()}
    with ExitStack() as stack:
        calls: dict[str, Call] = {}
        for which, graph in graphs.items():
            whole = stack.enter_context(OnnxRunner(graph, PROVIDERS[device], threads))
            split = stack.enter_context(split_runner(graph.parent, PROVIDERS[device], threads))
            calls |= {f"{which}, whole": whole.bind(repeated), f"{which}, split": split.bind(one)}
        times = measure(
            calls, seconds=seconds, batch=count, progress=progress, label=f"timing {count} questions on one image"
        )

    def both(which: str) -> WholeAndSplit:
        whole, split = times[f"{which}, whole"], times[f"{which}, split"]
        return WholeAndSplit(whole=whole, split=split, speedup=speedup(whole, split))

    return Questions(count=count, **{which: both(which) for which in graphs})
