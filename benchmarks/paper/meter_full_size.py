"""A METER of real size, random weights, through compress, export and profile on this machine.

    python -m benchmarks.paper.meter_full_size --work work-meter

The checkpoint is made on the spot in the public format (384 pixels, 3,129 answers), with 200 generated questions to
certify exports on. Each step is the command a user types, in a process of its own; its seconds and the peak of its
memory are taken from the operating system.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.results import write_section
from compressor.architectures.meter import MeterDims
from compressor.checkpoints.write import save_public_checkpoint
from compressor.costs.model_costs import Pair
from compressor.data.arrow_files import read_table
from compressor.data.generated.questions import write_scenes
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.families.meter.meter_family import build
from profiles.comparison.full_vs_slim import ProfileReport
from profiles.formatting import format_markdown_table

LAYERS = "FL1,FL2,FL3,FL4,FV0,FV1,FV4,FV5"  # the paper's choice for VQA, Table A
DIMS = MeterDims(text_length=40, dropout=0.0)
IMAGES = {"train": 4, "val": 2, "test": 100}  # with two questions each
EXPORTS = (
    ("--onnx",),
    ("--precision", "int8"),
    ("--trt",),
    ("--trt", "--precision", "fp16"),
    ("--trt", "--precision", "int8"),
)


def prepare(work: Path, images: Mapping[str, int] = IMAGES) -> None:
    """Checkpoint, tokenizer and a few generated images with two questions each."""
    prepare_data(work, DIMS.image_size, images)
    if not (work / "meter.ckpt").exists():
        torch.manual_seed(0)
        config = {"num_heads": 12, "max_text_len": DIMS.text_length, "drop_rate": 0.0, "image_size": 384}
        save_public_checkpoint(build(DIMS, "vqa"), work / "meter.ckpt", config)


def prepare_data(work: Path, image_size: int, images: Mapping[str, int]) -> None:
    """So many generated images of each split with two questions each, and a tokenizer for them."""
    work.mkdir(exist_ok=True)
    for seed, (split, number) in enumerate(images.items()):
        write_scenes(work / "data" / f"vqav2_{split}.arrow", number, image_size, seed, per_image=2)
    asked = read_table(work / "data" / "vqav2_train.arrow", ["questions"])["questions"].to_pylist()
    word_tokenizer([question for questions in asked for question in questions]).save(str(work / "tokenizer.json"))


def command(work: Path, *arguments: str) -> tuple[str, float, float]:
    """Run ``das ...`` in the work folder; returns its standard output, seconds, and peak memory in GB."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", "from das.main import run; run()", *arguments],
        cwd=work,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"das {' '.join(arguments)} failed")
    return output, time.monotonic() - started, usage.ru_maxrss / 1e6


def load_seconds(work: Path) -> float:
    """Seconds for ``das.load`` of the checkpoint in a fresh process, imports apart."""
    code = (
        "import time, das, compressor.checkpoints.build; started = time.monotonic(); das.load('meter.ckpt');"
        "print(time.monotonic() - started)"
    )
    return float(subprocess.run([sys.executable, "-c", code], cwd=work, capture_output=True, text=True).stdout)


def latency_rows(profile: ProfileReport) -> list[list[str]]:
    """Full and slim in every runtime."""
    rows = []
    for runtime in profile.runtimes:
        for name, latency in (("full", runtime.full), ("slim", runtime.slim)):
            quantiles = (latency.p50_ms, latency.p90_ms, latency.p99_ms)
            peak = f"{getattr(runtime.memory.peak, name) / 1e9:.2f}" if runtime.memory else ""
            rows.append(
                [
                    f"{runtime.name}, {name}",
                    *(f"{value:.0f}" for value in quantiles),
                    f"{latency.spread:.1%}",
                    str(latency.n),
                    peak,
                ]
            )
    return rows


def size_row(name: str, pair: Pair, unit: float) -> tuple[str, ...]:
    """Full, slim and the share that was saved."""
    saved = f"{-pair.difference / pair.full:.1%}" if pair.full and pair.difference else ""
    return name, f"{pair.full / unit:.2f}", f"{pair.slim / unit:.2f}", saved


def certified(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """An export of ``das export --json`` and what its certificate says; why there is none."""
    parity, made = entry["parity"], (entry["files"][0], f"{entry['bytes'] / 1e6:.0f}", f"{entry['seconds']:.0f}")
    if not parity["certificate"]:
        return *made, "", "", "", "", f"{parity['status']}: {parity['reason']}; {'; '.join(entry['notes'])}"
    found = parity["certificate"]["against_slim"]
    figures = f"{found['max_abs_error']:.1e}", f"{found['p99_abs_error']:.1e}", f"{found['answer_agreement']:.1%}"
    return *made, str(parity["certificate"]["samples"]), *figures, parity["status"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work-meter"), help="folder for checkpoint, data and runs")
    parser.add_argument("--seconds", type=float, default=120, help="time for each comparison of full and slim")
    arguments = parser.parse_args()
    work = arguments.work
    prepare(work)
    loading = load_seconds(work)
    compress = ("compress", "meter.ckpt", "--task", "vqa", "--layers", LAYERS, "--recover", "none", "--json")
    steps = {
        f"das {' '.join(typed)}": command(work, *typed)
        for typed in (compress, *(("export", *options, "--json") for options in EXPORTS))
    }
    typed = ("profile", "--seconds", str(arguments.seconds), "--json")
    steps[f"das {' '.join(typed)}"] = command(work, *typed)
    profile = ProfileReport.model_validate_json(steps[f"das {' '.join(typed)}"][0])
    exports = [
        entry
        for name, step in steps.items()
        if "export" in name
        for entry in json.loads(step[0])["exports"]
        if entry["seconds"]
    ]
    pools = [pool for pool in profile.parameters_by_pool.items() if pool[1].full or pool[1].slim]
    sizes = format_markdown_table(
        ("", "full", "slim", "saved"),
        [
            size_row("MACs, G (1 MAC = 2 FLOPs)", profile.macs, 1e9),
            size_row("parameters, M", profile.parameters, 1e6),
            *(size_row(f"  {pool}", pair, 1e6) for pool, pair in pools),
        ],
    )
    latency = format_markdown_table(
        ("batch 1, ms", "p50", "p90", "p99", "spread", "n", "peak memory, GB"), latency_rows(profile)
    )
    timing = format_markdown_table(
        ("command", "seconds", "peak memory, GB"),
        [
            ("das.load, 1.3 GB checkpoint", f"{loading:.1f}", ""),
            *((f"`{name}`", f"{seconds:.0f}", f"{peak:.1f}") for name, (_, seconds, peak) in steps.items()),
        ],
    )
    parity = format_markdown_table(
        ("export", "MB", "seconds to make", "samples", "max error", "99 % error", "same answers", "parity"),
        [certified(entry) for entry in {entry["files"][0]: entry for entry in exports}.values()],
    )
    verdicts = "\n".join(f"- {runtime.name}: {runtime.speedup.verdict}" for runtime in profile.runtimes)
    missing = "\n".join(f"- {entry.what}: {entry.why}" for entry in profile.not_measured)
    body = (
        f"METER with {DIMS.text_length} text tokens at {DIMS.image_size} pixels, random weights (no public checkpoint "
        f"at hand), {LAYERS} removed, adapters not trained; full and slim in turns, {profile.environment.threads} "
        f"threads, one-minute load {profile.environment.load:.2f} before the timing.\n\n"
        f"{sizes}\n\n{latency}\n\n{verdicts}\n\n{timing}\n\n{parity}\n\nNot measured:\n\n{missing}"
    )
    write_section("meter-full-size", "METER of real size on this machine", body)


if __name__ == "__main__":
    main()
