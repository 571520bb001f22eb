"""Many questions on one image: the whole graph for each of them against the vision tower once and the rest for each."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from compressor.progress import QUIET, Progress
from compressor.values import Value
from profiles.timing.latency import Call, Latency, measure
from profiles.timing.speedups import Speedup, estimate_speedup

if TYPE_CHECKING:
    from torch import Tensor

    from compressor.families.family import Family
    from exporters.runtimes.runtime import ModelSource, Runtime


class WholeAndSplit(Value):
    """All questions in one batch of the whole graph, and with the vision tower apart; whole over split."""

    whole: Latency
    split: Latency
    speedup: Speedup


class Questions(Value):
    """Times of ``count`` questions on one image in ONNX Runtime, asked together; both models measured in turns.

    The whole graph repeats the image for each question. Split, it goes through the vision tower once in every call:
    the streams of an image that is asked about again would be remembered, and are not here.
    """

    count: int
    full: WholeAndSplit
    slim: WholeAndSplit


def measure_questions(
    family: Family,
    runtime: Runtime,
    subjects: Mapping[str, ModelSource],
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
        runtime: executes both; it has to run split exports.
        subjects: the models "full" and "slim", each with the file of its whole graph and the split export beside that.
        inputs: one row for each question, (N, ...) by name.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads of every session.
        seconds: time to measure for.
        progress: told about it.

    Raises:
        EnvironmentProblem: the runtime cannot run on the device.
    """
    from exporters.folder import ExportsFolder

    count = family.sizes_of("text", inputs)["batch"]
    one = {**inputs} | {name: inputs[name][:1] for name in family.names_of("image")}
    repeated = {name: x.expand(count, *x.shape[1:]) for name, x in one.items()}
    with ExitStack() as stack:
        calls: dict[str, Call] = {}
        for which, source in subjects.items():
            assert source.file
            parts = ExportsFolder(source.file.parent).split()
            assert parts
            apart = replace(source, file=parts[1])
            whole = stack.enter_context(runtime.open(source, device, threads))
            split = stack.enter_context(runtime.open(apart, device, threads))
            calls |= {f"{which}, whole": whole.bind_once(repeated), f"{which}, split": split.bind_once(one)}
        times = measure(
            calls, seconds=seconds, batch=count, progress=progress, label=f"timing {count} questions on one image"
        )

    def both(which: str) -> WholeAndSplit:
        whole, split = times[f"{which}, whole"], times[f"{which}, split"]
        return WholeAndSplit(whole=whole, split=split, speedup=estimate_speedup(whole, split))

    return Questions(count=count, **{which: both(which) for which in subjects})
