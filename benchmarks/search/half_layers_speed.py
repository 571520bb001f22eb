"""Are halves of layers as fast as whole layers of the same MACs?

    python -m benchmarks.search.half_layers_speed --work work-halves

BERT-base and a MiniLM of random weights, texts of 128 tokens: full, without some whole layers, and without the
feed-forward of so many layers that as many MACs are left, within 2 %; skip adapters in place of all. All are timed in
turns in ONNX Runtime, in fp32 and in int8; speed-ups are over the full model in the same precision.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median, quantiles

import onnxruntime
import torch

from benchmarks.results import write_section
from benchmarks.runtimes.deployed_models import bert_config
from compressor.costs.macs import count_macs
from compressor.families.text_encoder.bert_families import BERT, BertDims
from compressor.models.steps import StepModel
from compressor.models.surgery import make_plan, remove_layers
from compressor.models.trims.simplify import trim
from exporters.graph.onnx import export_onnx
from exporters.graph.quantise import quantise_dynamic
from profiles.formatting import format_markdown_table

FULL, WHOLE, HALVES = "full", "whole layers", "feed-forwards"
MODELS: Mapping[str, tuple[int, int, Mapping[str, str]]] = {  # width, layers, and what goes
    "BERT-base": (768, 12, {WHOLE: "En4-7", HALVES: "En4-9-feed-forward"}),
    "MiniLM, 6 layers": (384, 6, {WHOLE: "En2-3", HALVES: "En2-4-feed-forward"}),
}
BATCHES, TOKENS, ROUNDS, THREADS = (1, 8), 128, 21, 2


def make_models(width: int, layers: int, cuts: Mapping[str, str]) -> dict[str, StepModel]:
    """Return the full model and its cuts, trimmed; adapters are drawn, so that nothing folds away."""
    torch.manual_seed(0)
    dims = BertDims(config=bert_config(width, layers), classes=2, text_length=TOKENS)
    full = BERT.build(dims, "text-classification").eval()
    models = {FULL: full} | {name: remove_layers(full, make_plan(full, [cut])) for name, cut in cuts.items()}
    for model in models.values():
        for name in model.skipped:
            torch.nn.init.normal_(model.blocks[name].up_proj.weight, std=0.02)  # type: ignore[union-attr,arg-type]
    return {name: trim(model).eval() for name, model in models.items()}


def time_in_turns(files: Mapping[str, Path], inputs: Mapping[str, torch.Tensor]) -> dict[str, list[float]]:
    """Return the milliseconds of a call of each file in every round, the files in turns."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    sessions = {name: onnxruntime.InferenceSession(str(path), options) for name, path in files.items()}
    feeds = {name: value.numpy() for name, value in inputs.items()}
    times: dict[str, list[float]] = {name: [] for name in files}
    for number in range(ROUNDS + 1):
        for name, session in sessions.items():
            started = time.perf_counter()
            session.run(None, feeds)
            if number:  # the first round warms up
                times[name].append(1e3 * (time.perf_counter() - started))
    return times


def measure(title: str, work: Path) -> Iterator[tuple[str, ...]]:
    """Yield a line for each cut, precision and batch."""
    width, layers, cuts = MODELS[title]
    models, home = make_models(width, layers, cuts), work / title.split()[0].lower().strip(",")
    home.mkdir(parents=True, exist_ok=True)
    text = torch.randint(1000, 30000, (max(BATCHES), TOKENS))
    samples = {"input_ids": text, "attention_mask": torch.ones_like(text), "token_type_ids": torch.zeros_like(text)}
    one = {name: value[:1] for name, value in samples.items()}
    macs = {name: count_macs(model, one).total for name, model in models.items()}
    for precision in ("fp32", "int8"):
        files = {name: home / f"{name.replace(' ', '-')}.{precision}.onnx" for name in models}
        for name, model in models.items():
            plain = files[name].with_suffix("").with_suffix(".fp32.onnx")
            if not plain.exists():
                export_onnx(model, plain, {key: value[:2] for key, value in samples.items()})
            if not files[name].exists():
                quantise_dynamic(plain, files[name])
        for batch in BATCHES:
            times = time_in_turns(files, {name: value[:batch] for name, value in samples.items()})
            for name in cuts:
                ratios = [full / cut for full, cut in zip(times[FULL], times[name], strict=True)]
                low, _, high = quantiles(ratios, n=4)
                yield (
                    title,
                    f"{precision}, batch {batch}",
                    f"{name} ({cuts[name]})",
                    f"{macs[FULL] / macs[name]:.2f}",
                    f"{median(times[name]):.1f}",
                    f"{median(ratios):.2f} ({low:.2f} to {high:.2f})",
                )


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work-halves"), help="folder for files")
    work = parser.parse_args().work
    lines = [line for title in MODELS for line in measure(title, work)]
    header = ("", "", "without", "MACs, full over slim", "ms", "times as fast as full, quartiles")
    body = (
        f"Random weights, {TOKENS} tokens, {THREADS} threads, ONNX Runtime; {ROUNDS} rounds of a call each, all models "
        f"in turns.\n\n{format_markdown_table(header, lines)}"
    )
    write_section("half-layers-speed", "Halves of layers: speed at equal MACs", body)


if __name__ == "__main__":
    main()
