"""Full against slim on a GPU: PyTorch eager and compiled, half precision, ONNX Runtime's CUDA provider.

    python -m benchmarks.gpu --work work-gpu            # on a machine with a GPU, under ten minutes
    python -m benchmarks.gpu --work work-gpu --tiny     # anywhere, in a minute: does the script work

METER of real size with random weights, 384 pixels, 40 text tokens; slim is without the paper's 8 layers for VQA. What
cannot run is named with the reason. ``--tiny`` takes a small model on the CPU, and writes nothing to docs/results.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.graphs import LAYERS
from benchmarks.meter_full_size import DIMS
from benchmarks.results import write_section
from compressor.errors import DasError
from compressor.families.meter import MeterDims, build, example_inputs
from compressor.steps import StepModel
from compressor.surgery import make_plan, remove_layers
from compressor.trims import trim
from exporters.attention import FORMS
from exporters.onnx import export_onnx
from exporters.precision import PRECISIONS
from exporters.runners import OnnxRunner
from profiles.flops import count
from profiles.latency import cuda_clock, measure, speedup, wall_clock
from profiles.markdown import markdown_table
from profiles.runtimes import PROVIDERS, batch_of

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
    """One way to run both models: how it is opened, and in which precision."""

    name: str
    precision: str
    open: Callable[[StepModel, Path, str, str], Callable[[Mapping[str, Tensor]], Callable[[], object]]]


def in_torch(
    model: StepModel, path: Path, precision: str, device: str
) -> Callable[[Mapping[str, Tensor]], Callable[[], object]]:
    """PyTorch, every weight and activation in the precision."""
    return _bound(_on(model, precision, device), precision, device)


def compiled(
    model: StepModel, path: Path, precision: str, device: str
) -> Callable[[Mapping[str, Tensor]], Callable[[], object]]:
    """The same, compiled for each batch size."""
    torch._dynamo.reset()
    return _bound(torch.compile(_on(model, precision, device), dynamic=False), precision, device)


def in_onnxruntime(
    model: StepModel, path: Path, precision: str, device: str
) -> Callable[[Mapping[str, Tensor]], Callable[[], object]]:
    """ONNX Runtime with its fused attention, inputs and outputs bound on the device."""
    file = path.with_suffix(f".{precision}.onnx")
    if not file.exists():
        export_onnx(model.cpu(), file, example_inputs(model.dims), form=FORMS["fused"], precision=PRECISIONS[precision])
    runner = OnnxRunner(file, PROVIDERS[device])
    runner.open()
    return runner.bind


def _on(model: StepModel, precision: str, device: str) -> nn.Module:
    return deepcopy(model).to(device, PRECISIONS[precision].dtype).eval()


def _bound(model: nn.Module, precision: str, device: str) -> Callable[[Mapping[str, Tensor]], Callable[[], object]]:
    def bind(inputs: Mapping[str, Tensor]) -> Callable[[], object]:
        dtype = PRECISIONS[precision].dtype
        given = {name: x.to(device, dtype if x.is_floating_point() else x.dtype) for name, x in inputs.items()}

        @torch.inference_mode()
        def call() -> object:
            return model(**given)

        return call

    return bind


WAYS = (
    Way("PyTorch eager", "fp32", in_torch),
    Way("PyTorch eager", "fp16", in_torch),
    Way("PyTorch eager", "bf16", in_torch),
    Way("torch.compile", "fp16", compiled),
    Way("ONNX Runtime", "fp32", in_onnxruntime),
    Way("ONNX Runtime", "fp16", in_onnxruntime),
)


def rows(
    models: Mapping[str, StepModel], work: Path, device: str, seconds: float
) -> Iterator[tuple[tuple[str, ...], str]]:
    """A row of the table for every way and batch, and why it could not be measured, or ''."""
    for way in WAYS:
        try:
            opened = {which: way.open(model, work / which, way.precision, device) for which, model in models.items()}
            for batch in BATCHES:
                inputs = batch_of(example_inputs(models["full"].dims), batch)
                calls = {which: bind(inputs) for which, bind in opened.items()}
                clock = cuda_clock if device == "cuda" else wall_clock
                found = measure(calls, seconds=seconds, batch=batch, clock=clock)
                ratio = speedup(found["full"], found["slim"])
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
    arguments.work.mkdir(parents=True, exist_ok=True)
    device = "cpu" if arguments.tiny else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here: a GPU machine is needed; --tiny tries the script on the CPU")
    torch.manual_seed(0)
    full = build(TINY if arguments.tiny else DIMS, "vqa").eval()
    models = {"full": full, "slim": trim(remove_layers(full, make_plan(full, LAYERS)).eval())}
    macs = {which: count(model, example_inputs(model.dims)).total for which, model in models.items()}
    found = list(rows(models, arguments.work, device, arguments.seconds))
    header = ("", "batch", "full p50 ms", "slim p50 ms", "faster (95 %)", "spread", "slim samples/s")
    table = markdown_table(header, [row for row, _ in found if row])
    missing = "\n".join(f"- {reason}" for _, reason in found if reason) or "- nothing"
    body = (
        f"METER, random weights, 40 tokens, {full.dims.image_size} pixels, {macs['full'] / 1e9:.2f} GMACs; slim is "
        f"without {', '.join(LAYERS)} and trimmed, {macs['slim'] / 1e9:.2f} GMACs "
        f"({1 - macs['slim'] / macs['full']:.1%} fewer). Full and slim in turns, inputs on the device, the clock stops "
        f"when the GPU is done.\n\n{table}\n\nNot measured:\n\n{missing}"
    )
    print(body) if arguments.tiny else write_section("gpu", "On a GPU", body)


if __name__ == "__main__":
    main()
