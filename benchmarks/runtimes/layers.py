"""What each layer takes: a METER of real size, random weights, in PyTorch and ONNX Runtime on this CPU.

    python -m benchmarks.runtimes.layers --work work-graphs

The models are those of ``benchmarks.runtimes.graphs``, 384 pixels, 40 text tokens, batch 1: full as published, slim
without the
paper's 8 layers for VQA (Table A) and with its exact trims. Their ONNX files are written where they are not there yet.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks.results import LogProgress, write_section
from benchmarks.runtimes import graphs
from exporters.graph.onnx import export_onnx
from exporters.runtimes.runtime import ModelSource
from profiles.formatting import Table, format_markdown_table
from profiles.reports.layer_tables import tabulate_gains, tabulate_layers, tabulate_sums
from profiles.timing.layer_times import LayerTimes
from profiles.timing.layers_in_situ import count_work, time_layers
from profiles.timing.roofline import Peaks, measure_peaks

RUNTIMES = ("torch", "onnxruntime")
MODELS = {"full": graphs.Subject("full", 0, False), "slim": graphs.Subject("slim", 8, True)}


def subjects_in(work: Path) -> dict[str, ModelSource]:
    """Full and slim, exported to ``work``."""
    found = {}
    for which, each in MODELS.items():
        path = work / each.file
        if not path.exists():
            export_onnx(graphs.model_of(each.skip, each.trimmed), path, graphs.inputs())
        found[which] = ModelSource(partial(graphs.model_of, each.skip, each.trimmed), path)
    return found


def section(table: Table) -> str:
    """A table under its title."""
    return f"{table.title}:\n\n{format_markdown_table(table.header, table.rows)}"


def folded(table: Table) -> str:
    """The same, opened by a click."""
    body = format_markdown_table(table.header, table.rows)
    return f"<details><summary>{table.title}</summary>\n\n{body}\n\n</details>"


def page(measured: Sequence[LayerTimes], peaks: Sequence[Peaks]) -> str:
    """All tables: the sums first, then what skipping brings, then every layer."""
    by_runtime = [[times for times in measured if times.runtime == each.runtime] for each in peaks]
    gained = [section(tabulate_gains(full, slim, graphs.LAYERS)) for full, slim in by_runtime]
    layers = [
        folded(tabulate_layers(times, each)) for each, found in zip(peaks, by_runtime, strict=True) for times in found
    ]
    return "\n\n".join((section(tabulate_sums(measured)), *gained, *layers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work-graphs"), help="folder for the ONNX files")
    parser.add_argument("--seconds", type=float, default=120, help="time for each runtime")
    arguments = parser.parse_args()
    arguments.work.mkdir(exist_ok=True)
    threads, inputs, subjects = torch.get_num_threads(), graphs.inputs(), subjects_in(arguments.work)
    peaks = [measure_peaks(runtime, "cpu", threads) for runtime in RUNTIMES]
    work = {which: count_work(subject.load(), inputs) for which, subject in subjects.items()}
    options = {"device": "cpu", "threads": threads, "seconds": arguments.seconds, "progress": LogProgress()}
    measured = []
    for runtime in RUNTIMES:
        measured += time_layers(runtime, subjects, work, inputs, **options)
        graphs.model_of.cache_clear()  # ONNX Runtime's sessions need the memory
        graphs.full_model.cache_clear()
    print(f"peak of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB", file=sys.stderr)
    body = (
        f"METER, {graphs.DIMS.text_length} tokens, {graphs.DIMS.image_size} pixels, batch 1, {threads} threads, random "
        f"weights; slim is without {', '.join(graphs.LAYERS)}. Both models in turns, each call of a whole model beside "
        f"one with its layers watched: in PyTorch by hooks, in ONNX Runtime by its profiler, kernel by kernel. The "
        f"layers should sum to the whole within 15 %; what they do not sum to is the entry between them.\n\n"
        f"{page(measured, peaks)}"
    )
    write_section("layers", "What each layer takes, real size", body)


if __name__ == "__main__":
    main()
