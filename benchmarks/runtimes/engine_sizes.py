"""Sizes of TensorRT-RTX engines in every precision, and what the products in a plan read. Needs no GPU.

    python -m benchmarks.runtimes.engine_sizes CKPT --layers En4,En5 [--before CHECKOUT] [--work work-engines]

CKPT is a text classifier; slim is without ``--layers``, before training: sizes do not depend on it. ``--before`` makes
the int8 graph with an earlier checkout, too. A plan holds its program as text, a format that nobody documents: products
are counted by the types of what they read.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.results import write_section
from compressor.checkpoints.build import load_checkpoint
from compressor.families import FAMILIES
from compressor.models.steps import StepModel
from compressor.models.surgery import make_plan, remove_layers
from compressor.models.trims.simplify import trim
from exporters.folder import count_bytes
from exporters.graph.inputs import VARYING, shape_ranges
from exporters.graph.onnx import export_onnx
from exporters.graph.precision import PRECISIONS
from exporters.runtimes.tensorrt_engine import build_engine, find_target
from profiles.formatting import format_markdown_table

HERE, SAMPLES = Path(__file__).parents[2], 8
TENSOR = re.compile(r'tensor=\{[^\n]*? name="([^"]+)"[^\n]*? type=(\w+) \}')
PRODUCT = re.compile(r'fully_connected=\{ name="[^"]+" output=\{[^}]*\} input=\{"([^"]+)" "([^"]+)"')
FUSED = "function={ name=_gemm_mha"
QUANTISE = """
import sys, torch
from pathlib import Path
from exporters.graph.quantise import quantise_static
quantise_static(Path(sys.argv[1]), Path(sys.argv[2]), torch.load(sys.argv[3]))
"""


def quantise(source: Path, target: Path, samples: Path, checkout: Path) -> Path:
    """Make the int8 graph of ``source`` with the code of a checkout."""
    arguments = [sys.executable, "-P", "-c", QUANTISE, source, target, samples]
    subprocess.run(arguments, env={**os.environ, "PYTHONPATH": str(checkout)}, check=True)
    return target


def graphs(model: StepModel, folder: Path, before: Path | None) -> Iterator[tuple[str, str, Path]]:
    """Name, precision and file of each graph to build from."""
    folder.mkdir(parents=True, exist_ok=True)
    samples, floats = FAMILIES[model.family].example_inputs(model.dims), folder / "fp32.onnx"
    rows = {name: x.expand(SAMPLES, *x.shape[1:]).contiguous() for name, x in samples.items()}
    for precision in ("fp32", "fp16"):
        export_onnx(model, folder / f"{precision}.onnx", samples, precision=PRECISIONS[precision])
        yield precision, precision, folder / f"{precision}.onnx"
    torch.save(rows, folder / "samples.pt")
    if before:
        path = quantise(floats, folder / "before.onnx", folder / "samples.pt", before)
        yield "int8 before, in a float32 graph", "int8", path
    yield "int8", "int8", quantise(floats, folder / "int8.onnx", folder / "samples.pt", HERE)


def products(plan: Path) -> tuple[str, int]:
    """What the products of a plan read, "26 int8 x int8", and how many fused attention kernels it has."""
    text = plan.read_bytes().decode("latin-1")
    types = dict(TENSOR.findall(text))
    read = Counter(" x ".join(types.get(name, "unknown") for name in operands) for operands in PRODUCT.findall(text))
    return ", ".join(f"{count} {name}" for name, count in read.most_common()), text.count(FUSED)


def rows_of(name: str, model: StepModel, folder: Path, before: Path | None) -> Iterator[tuple[str, ...]]:
    """A row of the table for each graph of a model."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    shapes = shape_ranges(model, FAMILIES[model.family].example_inputs(model.dims), (1, 8, 32), VARYING)
    for graph, precision, path in graphs(model, folder, before):
        engine = build_engine(
            path, path.with_suffix(".plan"), shapes, find_target(), parameters=parameters, precision=precision
        )
        read, fused = products(engine.path)
        sizes = [f"{size / 1e6:.1f}" for size in (count_bytes(path), engine.bytes)]
        row = (name, graph, *sizes, f"{engine.bytes / parameters:.2f}", read, str(fused), f"{engine.seconds:.1f}")
        print(*row, file=sys.stderr, flush=True)
        yield row


def main() -> None:
    """Build and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--layers", required=True, help="those that slim is without, parted by commas")
    parser.add_argument("--before", type=Path, help="an earlier checkout")
    parser.add_argument("--work", type=Path, default=Path("work-engines"))
    options = parser.parse_args()
    full = load_checkpoint(options.checkpoint).model.eval()
    slim = trim(remove_layers(full, make_plan(full, options.layers.split(",")))).eval()
    heads = (
        "model",
        "graph",
        "ONNX, MB",
        "engine, MB",
        "bytes a parameter",
        "products",
        "fused attention",
        "s",
    )
    rows = [
        row
        for name, model in (("full", full), ("slim", slim))
        for row in rows_of(name, model, options.work / name, options.before)
    ]
    body = (
        "Built ahead of time, for batches of 1 to 32, not run. Products, by the types of their operands, and kernels of"
        " fused attention are counted in the program that a plan holds as text; the kernels of products are made on the"
        ' card. "Before" is an earlier checkout.\n\n'
    )
    write_section("engine-sizes", "TensorRT-RTX engines", body + format_markdown_table(heads, rows))


if __name__ == "__main__":
    main()
