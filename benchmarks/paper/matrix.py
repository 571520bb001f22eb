"""Every family with every task, through every command, on generated data.

python -m benchmarks.paper.matrix --work W
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import das
from benchmarks.results import LogProgress, write_section
from compressor.checkpoints.build import load_checkpoint
from compressor.compression import compress as run_compression
from compressor.errors import DasError
from compressor.progress import Progress
from compressor.saved_run.run_folder import Run, open_run
from compressor.settings import Settings
from das.demo.checkpoints import prepare_demo
from das.demo.demos import DEMOS, Demo
from profiles.formatting import format_markdown_table
from profiles.reports.compression_report import CompressionReport
from profiles.reports.save import save_report

SECONDS = 2.0  # of timing in each runtime: what is measured here is that it runs


def load(demo: Demo) -> str:
    """The full checkpoint, as its users have it."""
    model = load_checkpoint(demo.checkpoint, demo.task).model
    return f"{sum(parameter.numel() for parameter in model.parameters()) / 1e3:.0f} k parameters"


def compress(demo: Demo, progress: Progress) -> str:
    """Search, surgery and recovery, as ``das compress`` does them."""
    settings = Settings(checkpoint=demo.checkpoint, task=demo.task, skip=demo.skip, data="data", out="run")
    return scores(save_report(run_compression(settings, progress=progress)))


def scores(report: CompressionReport) -> str:
    assert report.full is not None
    full, slim, floor = (100 * value for value in (report.full.value, report.slim.value, report.floor))
    return f"{len(report.skipped)} layers; {report.slim.metric} {full:.1f} -> {slim:.1f} % (floor {floor:.1f})"


def exported(run: Run, form: str) -> str:
    """Export, execute where it can be, and compare."""
    parity = das.export(run, form).exports[-1].parity
    error = "" if parity.max_abs_error is None else f", {parity.max_abs_error:.0e}"
    return f"{parity.status}{error}" if parity.status == "passed" else f"built; {parity.status}: no GPU here"


def profiled(run: Run) -> str:
    """Full against slim, in PyTorch and ONNX Runtime."""
    report = das.profile(run, seconds=SECONDS)
    fewer = 1 - report.macs.slim / report.macs.full
    return f"{fewer:.0%} fewer MACs; " + ", ".join(f"{r.name} x{r.speedup.ratio:.2f}" for r in report.runtimes)


def cell(step: Callable[[], str]) -> str:
    """What a step says, and its seconds; or why it failed."""
    started = time.monotonic()
    try:
        said = step()
    except DasError as error:
        return f"FAILED: {error.problems[0].found}"
    return f"{said} ({time.monotonic() - started:.0f} s)"


def row(demo: Demo, work: Path, progress: Progress) -> list[str]:
    """One line of the matrix; a folder that an earlier call completed is not compressed again."""
    home = work / f"{demo.family}-{demo.task}"
    if not (home / demo.checkpoint).exists():
        prepare_demo(demo, home, progress=progress)
    cells = [demo.family, demo.task]
    with chdir(home):
        cells.append(cell(lambda: load(demo)))
        if not Path("run").exists():
            cells.append(cell(lambda: compress(demo, progress)))
        else:
            cells.append(scores(save_report(open_run("run"))))
        run = open_run("run")
        cells += [cell(lambda: exported(run, "onnx")), cell(lambda: exported(run, "trt")), cell(lambda: profiled(run))]
    print(" | ".join(cells), flush=True)
    return cells


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for data, checkpoints and runs")
    options = parser.parse_args()
    rows = [row(demo, options.work.resolve(), LogProgress()) for demo in DEMOS.values()]
    failed = sum("FAILED" in cell for cells in rows for cell in cells)
    header = ["Family", "Task", "Load", "Compress", "ONNX, compared with PyTorch", "TensorRT-RTX", "Profile"]
    write_section(
        "matrix",
        "Every family, every task, every command",
        f"""\
Small models, fine-tuned on generated data in the task's public format and compressed with the default settings of
`das demo --family F --task T`. {len(rows)} rows of 5 steps; {failed or "none"} failed. Scores are of the test split,
or of the validation split where the task's public test split has no labels; the floor never sees an image.
Latencies are of models this small at batch 1 and {SECONDS:.0f} s of timing: they show that the step runs, not what a
real model gains. Seconds of each step are in brackets.

{format_markdown_table(header, rows)}
""",
    )
