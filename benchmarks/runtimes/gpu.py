"""Full against slim on a GPU: PyTorch eager and compiled, half precision, ONNX Runtime's CUDA provider.

    python -m benchmarks.runtimes.gpu --work work-gpu            # on a machine with a GPU; within ten minutes
    python -m benchmarks.runtimes.gpu --work work-gpu --tiny     # anywhere, in a minute: does the script work

METER of real size with random weights, 384 pixels, 40 text tokens; slim is without the paper's 8 layers for VQA. What
cannot run is named with the reason; ONNX Runtime needs its CUDA build on the path. ``--tiny`` takes a small model on
the CPU, and writes nothing to docs/results.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
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
from compressor.models.simplify import trim
from compressor.models.steps import StepModel
from compressor.models.surgery import make_plan, remove_layers
from exporters.graph.attention import FORMS
from exporters.graph.onnx import export_onnx
from exporters.graph.precision import PRECISIONS
from exporters.runtimes import find_runtime
from exporters.runtimes.runtime import ModelSource, Runtime
from profiles.formatting import format_markdown_table
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
    """One way to run both models: a runtime as ``das profile`` knows it, and a precision."""

    name: str
    runtime: str
    precision: str
    form: str = "fused"

    def subject(self, model: StepModel, path: Path) -> ModelSource:
        """``model`` in this precision, and its ONNX file in this form, made where it is needed and missing."""
        precision = PRECISIONS[self.precision]
        file = path.with_name(f"{path.name}.{self.form}{precision.suffix}.onnx")
        if find_runtime(self.runtime).suffix and not file.exists():
            export_onnx(model, file, METER.example_inputs(model.dims), form=FORMS[self.form], precision=precision)
        return ModelSource(lambda: deepcopy(model).to(precision.dtype), file)

    def read(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Samples as they are read: by PyTorch in the precision of the weights, by an ONNX graph in float32."""
        dtype = torch.float32 if find_runtime(self.runtime).suffix else PRECISIONS[self.precision].dtype
        return {name: x.to(dtype) if x.is_floating_point() else x for name, x in samples.items()}


WAYS = (
    Way("PyTorch eager", "torch", "fp32"),
    Way("PyTorch eager", "torch", "fp16"),
    Way("PyTorch eager", "torch", "bf16"),
    Way("torch.compile", "compile", "fp16"),
    Way("ONNX Runtime", "onnxruntime", "fp32"),
    Way("ONNX Runtime", "onnxruntime", "fp16"),
    Way("ONNX Runtime, composed attention", "onnxruntime", "fp16", form="composed"),
)


def timed(
    way: Way, subjects: Mapping[str, ModelSource], samples: Mapping[str, Tensor], device: str, seconds: float
) -> dict[str, Latency]:
    """Full and slim in turns on one batch; both are loaded for it and let go, and compiled for its size alone."""
    torch._dynamo.reset()
    runtime = find_runtime(way.runtime)
    with ExitStack() as stack:
        runners = {
            which: stack.enter_context(runtime.open(subject, device, torch.get_num_threads()))
            for which, subject in subjects.items()
        }
        return measure(
            {which: runner.bind(way.read(samples)) for which, runner in runners.items()},
            seconds=seconds,
            batch=len(samples["input_ids"]),
            clock=clock_of(runtime, device),
        )


def clock_of(runtime: Runtime, device: str) -> Clock:
    """PyTorch's calls return before the GPU is done; ONNX Runtime waits for it, unseen by PyTorch's events."""
    return cuda_clock if device == "cuda" and runtime.seen_by_torch else wall_clock


def rows(
    models: Mapping[str, StepModel], work: Path, device: str, seconds: float
) -> Iterator[tuple[tuple[str, ...], str]]:
    """A row of the table for every way and batch, and why it could not be measured, or ''."""
    for way in WAYS:
        try:
            find_runtime(way.runtime).check(device)
            subjects = {which: way.subject(model, work / which) for which, model in models.items()}
            for batch in BATCHES:
                samples = make_batch(METER.example_inputs(models["full"].dims), batch)
                found = timed(way, subjects, samples, device, seconds)
                ratio = estimate_speedup(found["full"], found["slim"])
                times = [f"{found[which].p50_ms:.2f}" for which in models]
                spread = max(entry.spread for entry in found.values())
                interval = f"x{ratio.ratio:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"
                throughput = f"{found['slim'].throughput:.0f}"
                row = (f"{way.name}, {way.precision}", str(batch), *times, interval, f"{spread:.1%}", throughput)
                print(*row, file=sys.stderr, flush=True)
                yield row, ""
        except (DasError, RuntimeError) as error:
            reason = error.problems[0].found if isinstance(error, DasError) else str(error).splitlines()[0]
            print(way.name, way.precision, reason, file=sys.stderr, flush=True)
            yield (), f"{way.name}, {way.precision}: {reason}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work-gpu"), help="folder for the ONNX files")
    parser.add_argument("--seconds", type=float, default=4, help="time for each comparison of full and slim")
    parser.add_argument("--tiny", action="store_true", help="a small model on the CPU")
    arguments = parser.parse_args()
    device = "cpu" if arguments.tiny else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here: a GPU machine is needed; --tiny tries the script on the CPU")
    work = arguments.work / ("tiny" if arguments.tiny else "full-size")
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    full = build(TINY if arguments.tiny else DIMS, "vqa").eval()
    models = {"full": full, "slim": trim(remove_layers(full, make_plan(full, LAYERS)).eval())}
    macs = {which: count_macs(model, METER.example_inputs(model.dims)).total for which, model in models.items()}
    found = list(rows(models, work, device, arguments.seconds))
    header = ("", "batch", "full p50 ms", "slim p50 ms", "faster (95 %)", "spread", "slim samples/s")
    table = format_markdown_table(header, [row for row, _ in found if row])
    missing = "\n".join(f"- {reason}" for _, reason in found if reason) or "- nothing"
    body = (
        f"METER, random weights, 40 tokens, {full.dims.image_size} pixels, {macs['full'] / 1e9:.2f} GMACs; slim is "
        f"without {', '.join(LAYERS)} and trimmed, {macs['slim'] / 1e9:.2f} GMACs "
        f"({1 - macs['slim'] / macs['full']:.1%} fewer). Full and slim in turns, inputs on the device. Times end "
        f"when the GPU is done: PyTorch's call is waited for, ONNX Runtime's waits by itself."
        f"\n\n{table}\n\nNot measured:\n\n{missing}"
    )
    print(body) if arguments.tiny else write_section("gpu", "On a GPU", body)


if __name__ == "__main__":
    main()
