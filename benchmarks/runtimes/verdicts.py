"""How often a profile sees a difference that is not there, and how often it misses one of 10 % fewer MACs.

    python -m benchmarks.runtimes.verdicts --work work-verdicts

A/A: the same model twice. A/B: the full model, and one without the layer whose removal (and the exact trims) leaves
90 % of its MACs. Each comparison is what ``das profile`` does in one runtime: two fresh processes, in turns. The METER
is of middle size, with random weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import torch

import das
from benchmarks.paper.meter_full_size import prepare_data
from benchmarks.results import LogProgress, write_section
from compressor.checkpoints.write import save_public_checkpoint
from compressor.costs.macs import count_macs
from compressor.families.meter.meter_family import METER
from compressor.families.meter.meter_model import MeterDims, build
from compressor.models.simplify import trim
from compressor.models.surgery import make_plan, remove_layers
from compressor.run_folder import Run, open_run
from exporters.export import export
from exporters.folder import exports_of
from exporters.runtimes import find_runtime
from profiles.formatting import format_markdown_table
from profiles.timing.paired import Timed, time_models
from profiles.timing.worker import FULL, SLIM, Setting, WorkerRequest

DIMS = MeterDims(
    hidden=256,
    heads=4,
    fusion_ffn=1024,
    text_hidden=256,
    text_layers=6,
    text_heads=4,
    text_ffn=1024,
    vision_width=256,
    vision_layers=6,
    vision_ffn=1024,
    image_size=192,
    text_length=40,
    classes=64,
    dropout=0.0,
)
SMALLER = 0.10
REPETITIONS = 20


def make_run(work: Path) -> Run:
    """The checkpoint, and a run without the layer that comes nearest to 10 % fewer MACs."""
    if (work / "runs" / "ab").exists():
        return open_run(work / "runs" / "ab")
    torch.manual_seed(0)
    full = build(DIMS, "vqa").eval()
    prepare_data(work, DIMS.image_size, {"train": 4, "val": 2, "test": 2})
    config = {"num_heads": DIMS.heads, "max_text_len": DIMS.text_length, "drop_rate": 0.0}
    save_public_checkpoint(full, work / "meter.ckpt", {**config, "image_size": DIMS.image_size})
    inputs = METER.example_inputs(DIMS)
    whole = count_macs(full, inputs).total

    def distance(layer: str) -> float:
        slim = trim(remove_layers(full, make_plan(full, [layer])))
        return abs(1 - count_macs(slim, inputs).total / whole - SMALLER)

    nearest = min(full.layers, key=distance)
    with chdir(work):
        made = das.compress("meter.ckpt", task="vqa", layers=(nearest,), recover="none", data="data", out="runs/ab")
    return open_run(made.path)


def onnx_files(run: Run) -> dict[str, Path]:
    """Return where the ONNX files of the full and of the slim model are, or would be."""
    exports, runtime = exports_of(run), find_runtime("onnxruntime")
    return {FULL: exports.full().path_for(runtime), SLIM: exports.path_for(runtime)}


def compared(run: Run, runtime: str, others: str, seconds: float, threads: int) -> Timed:
    """The full model against ``others``, "full" or "slim", in one runtime."""
    files = onnx_files(run)
    requests = {
        place: WorkerRequest(
            run=run.path,
            which=which,
            runtime=runtime,
            file=files[which],
            threads=threads,
            device="cpu",
            setting=Setting(),
        )
        for place, which in ((FULL, FULL), (SLIM, others))
    }
    return time_models(requests, seconds, LogProgress())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work-verdicts"), help="folder for checkpoint, data and run")
    parser.add_argument("--seconds", type=float, default=5, help="of each comparison")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--runtime", action="append", choices=("torch", "onnxruntime"), help="default: both")
    arguments = parser.parse_args()
    arguments.work.mkdir(exist_ok=True)
    run, threads = make_run(arguments.work), torch.get_num_threads()
    loaders: dict[str, Callable[[], torch.nn.Module]] = {FULL: run.load_full, SLIM: run.load_slim}
    for which, load in loaders.items():
        file = onnx_files(run)[which]
        if not file.exists():
            export(load(), run.samples(), file.parent, ["onnx"])  # type: ignore[arg-type]
    sample = {name: rows[:1] for name, rows in run.samples().items()}
    macs = {which: count_macs(load(), sample).total for which, load in loaders.items()}  # type: ignore[arg-type]
    rows, counts = [], []
    for runtime in arguments.runtime or ("onnxruntime", "torch"):
        for name, others in (("A/A", FULL), ("A/B", SLIM)):
            found = []
            for number in range(arguments.repetitions):
                timed = compared(run, runtime, others, arguments.seconds, threads)
                found.append(timed)
                rows.append(row(runtime, name, number + 1, timed))
                print(" | ".join(rows[-1]), flush=True)
            called = sum(timed.speedup().significant and timed.speedup().ratio > 1 for timed in found)
            wrong = sum(timed.speedup().significant and timed.speedup().ratio < 1 for timed in found)
            ratios = sorted(timed.speedup().ratio for timed in found)
            counts.append(
                (
                    f"{runtime}, {name}",
                    str(len(found)),
                    str(called),
                    str(wrong),
                    f"{ratios[0]:.3f} to {ratios[-1]:.3f}",
                    str(sum(bool(timed.remark) for timed in found)),
                )
            )
    header = ("", "comparisons", "called faster", "called slower", "ratios", "called noisy")
    each = format_markdown_table(
        ("", "no.", "ratio", "95 %", "full p50 ms", "turns", "others, stolen", "verdict"), rows
    )
    body = (
        f"METER with {macs[FULL] / 1e9:.2f} GMACs; B is without {', '.join(run.manifest.plan.layers)}, "
        f"{1 - macs[SLIM] / macs[FULL]:.1%} fewer MACs with its exact trims; {arguments.seconds:g} s each, {threads} "
        f"threads, batch 1. Asked for: at most 1 of 20 differences in A/A, at least 18 of 20 in A/B.\n\n"
        f"{format_markdown_table(header, counts)}\n\n"
        f"<details><summary>Every comparison</summary>\n\n{each}\n\n</details>"
    )
    write_section("verdicts", "How far a verdict can be trusted", body)


def row(runtime: str, name: str, number: int, timed: Timed) -> tuple[str, ...]:
    """One comparison."""
    ratio, seen = timed.speedup(), timed.conditions
    return (
        f"{runtime}, {name}",
        str(number),
        f"{ratio.ratio:.3f}",
        f"{ratio.low:.3f} to {ratio.high:.3f}",
        f"{timed.times[FULL].p50_ms:.2f}",
        str(len(timed.times[FULL].medians_ms())),
        f"{seen.others:.1%}, {seen.stolen:.1%}",
        ratio.verdict.partition(":")[0] if not ratio.significant else ("faster" if ratio.ratio > 1 else "slower"),
    )


if __name__ == "__main__":
    main()
