"""What each precision costs on real data: exports of runs, scored on all of their evaluation data.

    python -m benchmarks.runtimes.precisions "easy-VQA=work-easyvqa/runs/skip8" "SST-2=runs/latest"
    python -m benchmarks.runtimes.precisions "easy-VQA=work-easyvqa/runs/skip8" --runtime onnxruntime openvino

Each run is named; those that ``benchmarks.datasets.easyvqa`` and ``das reproduce`` leave will do. Exports are made by
``das.export`` in each run's own folder.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch

import das
from benchmarks.results import LogProgress, write_section
from compressor.data.splits import Split
from compressor.errors import CheckFailed
from compressor.evaluation.open_data import open_evaluation
from compressor.saved_run.run_folder import Run, open_run
from compressor.tasks import TASKS
from exporters.folder import exports_of
from exporters.graph.precision import PRECISIONS
from exporters.runtimes import find_runtimes
from exporters.runtimes.runner import Runner
from exporters.runtimes.runtime import ModelSource, Runtime
from exporters.runtimes.torch_runner import TorchRunner
from profiles.deployment.ways import why_not
from profiles.formatting import format_markdown_table

ASKED = ("fp32", "fp16", "bf16", "int8")
BATCH = 64


def logits(runner: Runner, split: Split) -> torch.Tensor:
    """Of every sample of ``split``, (samples, classes)."""
    with runner:
        starts = LogProgress().track(range(0, len(split), BATCH), runner.name, math.ceil(len(split) / BATCH))
        rows = [range(start, min(start + BATCH, len(split))) for start in starts]
        return torch.cat([runner.run(split.inputs(list(numbers))) for numbers in rows])


def rows(data: str, run: Run, runtimes: Sequence[Runtime]) -> list[tuple[str, ...]]:
    """The slim model in PyTorch, then each precision against it."""
    split, task = open_evaluation(run), TASKS[run.manifest.task]
    targets = {"targets": split.targets(range(len(split)))}
    name = f"{data} ({len(split):,}), k = {len(run.manifest.plan.layers)}"
    ours = logits(TorchRunner(run.load_slim(), "cpu"), split)
    right = task.scores(ours, targets).double()
    found: list[tuple[str, ...]] = [(f"{name}, PyTorch", f"{100 * float(right.mean()):.2f}", "", "", "", "")]
    ways = [(runtime, name) for runtime in runtimes for name in ASKED if not why_not(runtime, PRECISIONS[name], "cpu")]
    for runtime, precision in ways:
        way = f"{name}, {runtime.title}, {precision}"
        try:
            report = das.export(run, runtime.name, precision=precision, progress=LogProgress())
        except CheckFailed as refused:
            found.append((way, refused.problems[0].found.partition(": ")[2], "", "", "", ""))
            continue
        path = exports_of(run).path_for(runtime, PRECISIONS[precision])
        theirs = logits(runtime.open(ModelSource(run.load_slim, path), "cpu"), split)
        change = task.scores(theirs, targets).double() - right
        margin = 1.96 * float(change.std()) / math.sqrt(len(change))
        found.append(
            (
                way,
                f"{100 * float(right.mean() + change.mean()):.2f}",
                f"{100 * float(change.mean()):+.2f} ± {100 * margin:.2f}",
                f"{float((theirs.argmax(1) == ours.argmax(1)).double().mean()):.2%}",
                f"{float((theirs - ours).abs().max()):.1e}",
                str(len(report.exports[-1].parity.held_back)),
            )
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN", help="names of data, and folders of runs on it")
    parser.add_argument("--runtime", nargs="+", default=["onnxruntime"], help="that execute files")
    arguments = parser.parse_args()
    runs = [(name, open_run(Path(folder))) for name, folder in (run.split("=", 1) for run in arguments.runs)]
    runtimes = find_runtimes(arguments.runtime, executes_files=True)
    header = ("", "score, %", "change, points (95 %)", "same answers", "largest logit error", "layers held back")
    table = format_markdown_table(header, [row for name, run in runs for row in rows(name, run, runtimes)])
    body = (
        f"Slim models on all their test samples, whose number is given. Changes are against the slim model in PyTorch, "
        f"sample by sample; an export's own certificate is on a part of these, and where it fails nothing is exported."
        f"\n\n{table}"
    )
    write_section("precisions", "What a precision costs", body)


if __name__ == "__main__":
    main()
