"""What each form of the graph is worth: a METER of real size, random weights, in PyTorch and ONNX Runtime on this CPU.

    python -m benchmarks.runtimes.graphs make --work work-graphs
    python -m benchmarks.runtimes.graphs time --work work-graphs

``make`` writes the ONNX files (about 12 GB; those that are there stay), ``time`` runs them in turns. 384 pixels, 40
text tokens, batch 1. Full is the model as published; slim has the paper's 8 layers for VQA removed (Table A), or the
first 2, 4 and 6 of them, and skip adapters with random weights in their place.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from benchmarks.paper.meter_full_size import DIMS
from benchmarks.results import write_section
from compressor.costs.macs import count_macs
from compressor.families.meter.meter_family import METER, build
from compressor.models.steps import StepModel
from compressor.models.surgery import make_plan, remove_layers
from compressor.models.trims.simplify import trim
from exporters.graph.attention import FORMS
from exporters.graph.onnx import export_onnx
from exporters.graph.quantise import quantise_dynamic
from exporters.runtimes.runner import Runner
from exporters.runtimes.sessions import OnnxRunner
from exporters.runtimes.torch_runner import TorchRunner
from profiles.formatting import format_markdown_table
from profiles.timing.latency import Latency, measure
from profiles.timing.roofline import measure_product
from profiles.timing.speedups import estimate_speedup

LAYERS = ("FL1", "FV0", "FL2", "FV1", "FL3", "FV4", "FL4", "FV5")  # Table A's eight, in an order that takes both sides
SIZES = (2, 4, 6, 8)
SEED = 0
GEMM = 4096  # side of the square product that the peak is measured with
RUNTIMES = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime"}


@dataclass(frozen=True)
class Subject:
    """One thing to time: layers removed, trimmed or not, in which runtime and form."""

    name: str
    skip: int
    trimmed: bool
    runtime: str = "onnxruntime"
    form: str = "composed"
    int8: bool = False

    @property
    def file(self) -> str:
        """The ONNX file it runs."""
        trims = "trimmed" if self.trimmed else "whole"
        return f"skip{self.skip}-{trims}-{self.form}{'-int8' if self.int8 else ''}.onnx"


FORMS_OF_GRAPH = (
    Subject("full, PyTorch eager", 0, False, "torch"),
    Subject("full, PyTorch eager, trims", 0, True, "torch"),
    Subject("slim, PyTorch eager, no trims", 8, False, "torch"),
    Subject("slim, PyTorch eager", 8, True, "torch"),
    Subject("full, ONNX fp32, no trims", 0, False),
    Subject("full, ONNX fp32", 0, True),
    Subject("slim, ONNX fp32, no trims", 8, False),
    Subject("slim, ONNX fp32", 8, True),
    Subject("full, ONNX int8, no trims", 0, False, int8=True),
    Subject("slim, ONNX int8, no trims", 8, False, int8=True),
    Subject("slim, ONNX int8", 8, True, int8=True),
)
BY_SIZE = (
    Subject("full", 0, False),
    Subject("full, trims", 0, True),
    *(Subject(f"skip {size}", size, True) for size in SIZES),
)
ATTENTION = tuple(Subject(f"slim, {form}", 8, True, form=form) for form in FORMS)
GROUPS: Mapping[str, Sequence[Subject]] = {"forms": FORMS_OF_GRAPH, "sizes": BY_SIZE, "attention": ATTENTION}


@cache
def full_model() -> tuple[StepModel, torch.Tensor]:
    """METER as published, and the state of the random numbers behind it."""
    torch.manual_seed(SEED)
    return build(DIMS, "vqa").eval(), torch.get_rng_state()


@cache
def model_of(skip: int, trimmed: bool) -> StepModel:
    """METER without the first ``skip`` of ``LAYERS``."""
    if trimmed:
        return trim(model_of(skip, False))
    full, state = full_model()
    if skip == 0:
        return full
    torch.set_rng_state(state)  # the same adapters whatever was built before
    slim = remove_layers(full, make_plan(full, LAYERS[:skip]), copy_kept=False).eval()
    torch.manual_seed(SEED)
    for layer in slim.skipped:
        torch.nn.init.normal_(slim.blocks[layer].up_proj.weight, std=0.02)  # type: ignore[arg-type]
    return slim


@cache
def inputs() -> dict[str, torch.Tensor]:
    """One sample: noise for an image, 12 real tokens of 40."""
    given = METER.example_inputs(DIMS)
    torch.manual_seed(SEED)
    given["pixel_values"] = torch.randn_like(given["pixel_values"])
    given["input_ids"] = torch.randint(5, DIMS.text_vocabulary, given["input_ids"].shape)
    given["attention_mask"][:, 12:] = 0
    return given


def make(work: Path) -> None:
    """Write every ONNX file that is not there yet."""
    for subject in {subject.file: subject for group in GROUPS.values() for subject in group}.values():
        path = work / subject.file
        if subject.runtime == "torch" or path.exists():
            continue
        started = time.monotonic()
        if subject.int8:
            quantise_dynamic(work / subject.file.replace("-int8", ""), path)
        else:
            export_onnx(model_of(subject.skip, subject.trimmed), path, inputs(), form=FORMS[subject.form])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{path.name}: {time.monotonic() - started:.0f} s, peak of this process {peak:.1f} GB", flush=True)


def timed(work: Path, subjects: Sequence[Subject], seconds: float, threads: int) -> dict[str, Latency]:
    """All subjects in turns."""

    def runner(subject: Subject) -> Runner:
        if subject.runtime == "torch":
            return TorchRunner(model_of(subject.skip, subject.trimmed), "cpu")
        return OnnxRunner(work / subject.file, threads=threads)

    with ExitStack() as stack:
        calls = {subject.name: stack.enter_context(runner(subject)).bind(inputs()) for subject in subjects}
        return measure(calls, seconds=seconds)


def errors(work: Path, subjects: Sequence[Subject]) -> dict[str, float]:
    """Largest error of each subject's logits against the model it comes from, untrimmed, in PyTorch."""
    found = {}
    for subject in subjects:
        with TorchRunner(model_of(subject.skip, False), "cpu") as ours:
            expected = ours.run(inputs())
        if subject.runtime == "torch":
            with TorchRunner(model_of(subject.skip, subject.trimmed), "cpu") as theirs:
                answer = theirs.run(inputs())
        else:
            with OnnxRunner(work / subject.file) as theirs:
                answer = theirs.run(inputs())
        found[subject.name] = float((answer - expected).abs().max())
    return found


def table_of_forms(
    work: Path, times: Mapping[str, Latency], macs: Mapping[tuple[int, bool], int], peaks: Mapping[str, float]
) -> str:
    """Every form against the full model in PyTorch; ``peaks`` are what a large fp32 product reaches in each runtime."""
    base = times[FORMS_OF_GRAPH[0].name]
    off = errors(work, FORMS_OF_GRAPH)
    rows = []
    for subject in FORMS_OF_GRAPH:
        found, ratio = times[subject.name], estimate_speedup(base, times[subject.name])
        cost = macs[subject.skip, subject.trimmed]
        reached = 2 * cost / found.min_ms / 1e6
        rows.append(
            (
                subject.name,
                f"{cost / 1e9:.2f}",
                f"{found.min_ms:.0f}",
                f"{found.p50_ms:.0f}",
                f"{found.spread:.1%}",
                str(found.n),
                f"x{ratio.ratio:.2f} ({ratio.low:.2f}-{ratio.high:.2f})",
                f"{reached:.0f}",
                "" if subject.int8 else f"{reached / peaks[subject.runtime]:.0%}",
                f"{off[subject.name]:.1e}",
            )
        )
    header = (
        "",
        "GMACs",
        "min ms",
        "p50 ms",
        "spread",
        "n",
        "against full eager (95 %)",
        "GFLOP/s",
        "of the peak",
        "max error",
    )
    return format_markdown_table(header, rows)


def table_of_sizes(times: Mapping[str, Latency], macs: Mapping[tuple[int, bool], int]) -> str:
    """Latency saved over MACs saved in ONNX Runtime: of the full model's, and of the full model's with its trims."""
    rows = []
    for subject in BY_SIZE:
        cost = macs[subject.skip, subject.trimmed]
        shares = [
            _saved(times[base.name], times[subject.name], 1 - cost / macs[base.skip, base.trimmed])
            for base in BY_SIZE[:2]
        ]
        rows.append((subject.name, f"{cost / 1e9:.2f}", f"{times[subject.name].p50_ms:.0f}", *shares))
    header = ("", "GMACs", "p50 ms", "against full: latency / MACs saved = (95 %)", "against full with trims")
    return format_markdown_table(header, rows)


def _saved(full: Latency, found: Latency, fewer: float) -> str:
    """Share of the latency saved, over the share of the MACs."""
    if fewer <= 0:
        return ""
    ratio = estimate_speedup(full, found)
    share, low, high = (1 - 1 / value for value in (ratio.ratio, ratio.low, ratio.high))
    return f"{share:.1%} / {fewer:.1%} = {share / fewer:.2f} ({low / fewer:.2f}-{high / fewer:.2f})"


def table_of_attention(times: Mapping[str, Latency]) -> str:
    """The three forms of attention in the slim model."""
    base = times[ATTENTION[0].name]
    rows = [
        (
            subject.form,
            f"{times[subject.name].min_ms:.0f}",
            f"{times[subject.name].p50_ms:.0f}",
            f"{times[subject.name].spread:.1%}",
            f"x{estimate_speedup(base, times[subject.name]).ratio:.2f}",
        )
        for subject in ATTENTION
    ]
    return format_markdown_table(("attention", "min ms", "p50 ms", "spread", "against composed"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "time"))
    parser.add_argument("--work", type=Path, default=Path("work-graphs"), help="folder for the ONNX files")
    parser.add_argument("--seconds", type=float, default=90, help="time for each group of subjects")
    arguments = parser.parse_args()
    arguments.work.mkdir(exist_ok=True)
    if arguments.what == "make":
        return make(arguments.work)
    threads = torch.get_num_threads()
    pairs = {(subject.skip, subject.trimmed) for group in GROUPS.values() for subject in group}
    macs = {pair: count_macs(model_of(*pair), inputs()).total for pair in sorted(pairs)}
    peaks = {runtime: measure_product(runtime, "cpu", threads, GEMM) for runtime in RUNTIMES}
    times = {name: timed(arguments.work, group, arguments.seconds, threads) for name, group in GROUPS.items()}
    reached = "; ".join(f"{name} {peaks[runtime]:.0f} GFLOP/s" for runtime, name in RUNTIMES.items())
    body = (
        f"METER, {DIMS.text_length} tokens, {DIMS.image_size} pixels, batch 1, {threads} threads, random weights; "
        f"slim is without {', '.join(LAYERS)}; all of a table in turns. A square fp32 product of side {GEMM} reaches: "
        f"{reached}. GFLOP/s in the table: counted MACs at the fastest call; and the share of that. The error "
        f"is the largest of a logit against the same model, untrimmed, in PyTorch.\n\n"
        f"{table_of_forms(arguments.work, times['forms'], macs, peaks)}\n\n"
        f"Trims take {(macs[0, False] - macs[0, True]) / 1e9:.2f} GMACs off the full model and "
        f"{(macs[8, False] - macs[8, True]) / 1e9:.2f} off the slim one.\n\n"
        f"What the layers of each size save in ONNX Runtime, fp32, trims included:\n\n"
        f"{table_of_sizes(times['sizes'], macs)}\n\n"
        f"The three ways to write attention, slim model, fp32:\n\n{table_of_attention(times['attention'])}"
    )
    write_section("graphs", "Forms of the graph, real size", body)


if __name__ == "__main__":
    main()
