"""Full against slim on a GPU: kernels launched one by one and as CUDA graphs, in PyTorch and ONNX Runtime, in fp16.

    python -m benchmarks.runtimes.gpu --work work-gpu --make     # anywhere: the ONNX files, a minute each
    python -m benchmarks.runtimes.gpu --work work-gpu --compile  # with the GPU: fill the caches of torch.compile
    python -m benchmarks.runtimes.gpu --work work-gpu            # with the GPU: the table, within ten minutes
    python -m benchmarks.runtimes.gpu --work work-gpu --tiny     # anywhere, in a minute: does the script work

METER of real size with random weights, 384 pixels, 40 text tokens; slim is without the paper's 8 layers for VQA. What
cannot run, and what there is no time for, is named with the reason; ONNX Runtime needs its CUDA build on the path.
``--tiny`` takes a small model on the CPU, makes its files, and writes nothing to docs/results.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.paper.meter_full_size import DIMS
from benchmarks.results import write_section
from benchmarks.runtimes.graphs import LAYERS
from compressor.architectures.meter import MeterDims
from compressor.costs.macs import count_macs
from compressor.errors import DasError
from compressor.families.meter.meter_family import METER, build
from compressor.models.steps import StepModel
from compressor.models.surgery import make_plan, remove_layers
from compressor.models.trims.simplify import trim
from exporters.graph.attention import FORMS
from exporters.graph.onnx import export_onnx
from exporters.graph.precision import PRECISIONS
from exporters.runtimes import find_runtime
from exporters.runtimes.runner import Runner
from exporters.runtimes.runtime import ModelSource, Runtime
from profiles.formatting import format_markdown_table
from profiles.machine.kernels import time_kernels
from profiles.timing.latency import Clock, Latency, cuda_clock, measure, wall_clock
from profiles.timing.sample_batches import make_batch
from profiles.timing.speedups import estimate_speedup

TINY = MeterDims(
    hidden=64,
    heads=2,
    fusion_ffn=128,
    text_vocabulary=100,
    text_positions=42,
    text_hidden=64,
    text_layers=2,
    text_heads=2,
    text_ffn=128,
    vision_width=64,
    vision_layers=2,
    vision_ffn=128,
    image_size=64,
    classes=10,
    text_length=40,
    dropout=0.0,
)
BATCHES = (1, 8, 32)


@dataclass(frozen=True)
class Way:
    """One way to run both models: a runtime as ``das profile`` knows it, a precision, and how kernels are launched."""

    name: str
    runtime: str
    precision: str = "fp16"
    captured: bool = True
    form: str = "fused"
    batches: tuple[int, ...] = BATCHES

    def file(self, work: Path, which: str) -> Path | None:
        """Where the ONNX file of the model is; None for a runtime that reads none."""
        name = f"{which}.{self.form}{PRECISIONS[self.precision].suffix}.onnx"
        return work / name if find_runtime(self.runtime).suffix else None

    def source(self, model: StepModel, file: Path | None) -> ModelSource:
        """The model in this precision."""
        return ModelSource(lambda: deepcopy(model), file, precision=PRECISIONS[self.precision])


WAYS = (
    Way("PyTorch, one by one", "torch", captured=False),
    Way("PyTorch, CUDA graph", "torch"),
    Way("ONNX Runtime, one by one", "onnxruntime", captured=False),
    Way("ONNX Runtime, CUDA graph", "onnxruntime"),
    Way("PyTorch, CUDA graph", "torch", "bf16"),
    Way("ONNX Runtime, CUDA graph, composed attention", "onnxruntime", form="composed"),
    # The last: it compiles for minutes. What there may be no time for comes last.
    Way("torch.compile, CUDA graph", "compile", batches=(32, 1, 8)),
)


@dataclass(frozen=True)
class Timed:
    """Full and slim in turns, and the milliseconds that the GPU works in a call of each; None where nobody sees."""

    times: Mapping[str, Latency]
    kernels_ms: Mapping[str, float | None]


def make_files(models: Mapping[str, StepModel], work: Path) -> None:
    """Export what the ways read and what is not there yet."""
    for way in WAYS:
        for which, model in models.items():
            file, precision = way.file(work, which), PRECISIONS[way.precision]
            if file and not file.exists():
                print("exporting", file, file=sys.stderr, flush=True)
                export_onnx(model, file, METER.example_inputs(model.dims), form=FORMS[way.form], precision=precision)


def timed(way: Way, runners: Mapping[str, Runner], samples: Mapping[str, Tensor], device: str, seconds: float) -> Timed:
    """Full and slim in turns on one batch, compiled for its size alone.

    Raises:
        RuntimeError: a call did not become a CUDA graph.
    """
    torch._dynamo.reset()
    bound = {
        which: runner.bind(samples) if way.captured else runner.bind_once(samples) for which, runner in runners.items()
    }
    for call in bound.values():
        if way.captured and device == "cuda" and not call.uncaptured:
            raise RuntimeError(call.launch)
    clock = clock_of(find_runtime(way.runtime), device)
    times = measure(bound, seconds=seconds, batch=len(samples["input_ids"]), clock=clock)
    return Timed(times, {which: time_kernels(call) if device == "cuda" else None for which, call in bound.items()})


@contextmanager
def opened(way: Way, models: Mapping[str, StepModel], work: Path, device: str) -> Iterator[dict[str, Runner]]:
    """Full and slim, loaded for every batch of this way.

    Raises:
        DasError: it cannot run here.
    """
    runtime = find_runtime(way.runtime)
    runtime.check(device)
    with ExitStack() as stack:
        yield {
            which: stack.enter_context(
                runtime.open(way.source(model, way.file(work, which)), device, torch.get_num_threads())
            )
            for which, model in models.items()
        }


def compile_ahead(models: Mapping[str, StepModel], work: Path) -> None:
    """Compile both models for every batch, so that PyTorch finds what it made: its caches outlive the process."""
    for way in (way for way in WAYS if way.runtime == "compile"):
        with opened(way, models, work, "cuda") as runners:
            for batch in way.batches:
                for which, runner in runners.items():
                    started = time.monotonic()
                    torch._dynamo.reset()
                    runner.bind_once(batch_of(models, batch))
                    print("compiled", which, batch, f"{time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def clock_of(runtime: Runtime, device: str) -> Clock:
    """PyTorch's calls return before the GPU is done; ONNX Runtime waits for it, unseen by PyTorch's events."""
    return cuda_clock if device == "cuda" and runtime.seen_by_torch else wall_clock


def rows(
    models: Mapping[str, StepModel], work: Path, device: str, seconds: float, limit: float
) -> Iterator[tuple[tuple[str, ...], str]]:
    """A row of the table for every way and batch, and why it could not be measured, or ''."""
    ends = time.monotonic() + limit
    for way in WAYS:
        done = 0
        try:
            with opened(way, models, work, device) as runners:
                for batch in way.batches:
                    if time.monotonic() > ends:
                        raise RuntimeError(f"no time: {limit:.0f} s were over")
                    found = timed(way, runners, batch_of(models, batch), device, seconds)
                    row = (f"{way.name}, {way.precision}", str(batch), *row_of(found))
                    print(*row, file=sys.stderr, flush=True)
                    yield row, ""
                    done += 1
        except (DasError, RuntimeError) as error:
            reason = error.problems[0].found if isinstance(error, DasError) else str(error).splitlines()[0]
            left = ", ".join(map(str, way.batches[done:]))
            print(way.name, way.precision, left, reason, file=sys.stderr, flush=True)
            yield (), f"{way.name}, {way.precision}, batch {left}: {reason}"


def batch_of(models: Mapping[str, StepModel], size: int) -> dict[str, Tensor]:
    """The inputs of a call."""
    return make_batch(METER.example_inputs(models["full"].dims), size)


def row_of(found: Timed) -> tuple[str, ...]:
    """Return the cells of a way at one batch."""
    ratio = estimate_speedup(found.times["full"], found.times["slim"])
    return (
        *(f"{found.times[which].p50_ms:.2f}" for which in found.times),
        f"x{ratio.ratio:.2f} ({ratio.low:.2f}-{ratio.high:.2f})",
        f"{max(entry.spread for entry in found.times.values()):.1%}",
        *("" if (ms := found.kernels_ms[which]) is None else f"{ms:.2f}" for which in found.times),
        f"{found.times['slim'].throughput:.0f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work-gpu"), help="folder for the ONNX files")
    parser.add_argument("--seconds", type=float, default=3, help="time for each comparison of full and slim")
    parser.add_argument("--limit", type=float, default=540, help="seconds of the whole table; what is left is named")
    parser.add_argument("--make", action="store_true", help="make the ONNX files, and time nothing")
    parser.add_argument("--compile", action="store_true", help="compile ahead, and time nothing")
    parser.add_argument("--tiny", action="store_true", help="a small model on the CPU")
    arguments = parser.parse_args()
    device = "cpu" if arguments.tiny else "cuda"
    if device == "cuda" and not (arguments.make or torch.cuda.is_available()):
        raise SystemExit("no CUDA device here: a GPU machine is needed; --tiny tries the script on the CPU")
    work = arguments.work / ("tiny" if arguments.tiny else "full-size")
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    full = build(TINY if arguments.tiny else DIMS, "vqa").eval()
    models = {"full": full, "slim": trim(remove_layers(full, make_plan(full, LAYERS)).eval())}
    if arguments.make or arguments.tiny:
        make_files(models, work)
    if arguments.compile:
        compile_ahead(models, work)
    if arguments.make or arguments.compile:
        return
    macs = {which: count_macs(model, METER.example_inputs(model.dims)).total for which, model in models.items()}
    found = list(rows(models, work, device, arguments.seconds, arguments.limit))
    header = (
        "",
        "batch",
        "full p50 ms",
        "slim p50 ms",
        "faster (95 %)",
        "spread",
        "GPU at work, full ms",
        "slim ms",
        "slim samples/s",
    )
    table = format_markdown_table(header, [row for row, _ in found if row])
    missing = "\n".join(f"- {reason}" for _, reason in found if reason) or "- nothing"
    body = (
        f"METER, random weights, 40 tokens, {full.dims.image_size} pixels, {macs['full'] / 1e9:.2f} GMACs; slim is "
        f"without {', '.join(LAYERS)} and trimmed, {macs['slim'] / 1e9:.2f} GMACs "
        f"({1 - macs['slim'] / macs['full']:.1%} fewer). Full and slim in turns, inputs on the device. Times end "
        f"when the GPU is done: PyTorch's call is waited for, ONNX Runtime's waits by itself. A call whose GPU is at "
        f"work for less than half of it is bound by launching kernels."
        f"\n\n{table}\n\nNot measured:\n\n{missing}"
    )
    print(body) if arguments.tiny else write_section("gpu", "On a GPU", body)


if __name__ == "__main__":
    main()
