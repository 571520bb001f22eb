"""Layers and tokens together: a METER of real size with 8 layers gone and tokens merged, and what easy-VQA loses by it.

    python -m benchmarks.families.token_merging --work work-merging --easyvqa work-easyvqa

The METER of real size is that of ``benchmarks.paper.meter_full_size``, with random weights and the paper's layers gone.
Full and slim are timed in turns: in ONNX Runtime in float32, with merged tokens and without, and the best that ``das
export`` makes of slim against the full model in PyTorch. The trained METER of easy-VQA is the one that
``benchmarks.datasets.easyvqa`` leaves in its work folder. What was made or measured is kept in the work folder: a run
that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.paper.meter_full_size import LAYERS, prepare
from benchmarks.results import LogProgress, write_section
from benchmarks.runtimes.best_deployment import EAGER, FASTEST, Subject, once, run_das, tabulate, time_all
from compressor.saved_run.run_folder import open_run
from exporters.export import export
from exporters.folder import count_bytes, exports_of
from exporters.graph.precision import PRECISIONS
from exporters.runtimes import find_runtime
from profiles.formatting import format_markdown_table
from profiles.timing.worker import FULL, SLIM

HERE = Path(__file__).parents[2]
SHARE = "0.5x"  # of the MACs of the vision layers
SKIP, RECOVER_EPOCHS = 8, "1"
ORT, FP32 = "onnxruntime", "fp32"


def make_run(work: Path, name: str, merging: Sequence[str]) -> Path:
    """The run without the paper's layers and training, with merged tokens or not."""
    if not (work / name).exists():
        options = ("--layers", LAYERS, "--recover", "none", "--data", "data", "--out", name, *merging)
        run_das(HERE, work, "compress", "meter.ckpt", "--task", "vqa", *options)
    return work / name


def list_subjects(work: Path, share: str) -> dict[str, Subject]:
    """What is timed, the best export first; files are made where they are missing."""
    merged, layers = (open_run(make_run(work, *of)) for of in (("merged", ("--merge-tokens", share)), ("layers", ())))
    best = once(work / "export.json", lambda: run_das(HERE, work, "export", "merged"))["best"]["tried"][0]
    path = exports_of(merged).path / best["file"]
    subjects = {
        FASTEST: Subject(SLIM, best["runtime"], best["precision"], str(path), count_bytes(path)),
        EAGER: Subject(FULL, "torch"),
    }
    for name, which, load, folder in (
        ("full, ONNX fp32", FULL, merged.load_full, exports_of(merged).full()),
        ("k = 8, ONNX fp32", SLIM, layers.load_slim, exports_of(layers)),
        ("k = 8 and merged tokens, ONNX fp32", SLIM, merged.load_slim, exports_of(merged)),
    ):
        path = folder.path_for(find_runtime(ORT), PRECISIONS[FP32])
        if not path.exists():
            export(load(), merged.samples(), folder.path, [ORT], progress=LogProgress())
        subjects[name] = Subject(which, ORT, FP32, str(path), count_bytes(path))
    return subjects


def time_real_size(work: Path, share: str, seconds: float) -> str:
    """The part of the section about the METER of real size."""
    work.mkdir(parents=True, exist_ok=True)
    prepare(work)
    subjects = list_subjects(work, share)
    in_fp32 = {name: subject for name, subject in subjects.items() if subject.precision == FP32 and subject.file}
    first = "k = 8 and merged tokens, ONNX fp32"
    fp32 = {FASTEST: in_fp32.pop(first), **in_fp32}
    tables = []
    costs = open_run(work / "merged").manifest.costs
    sizes = costs.parameters.full, costs.parameters.slim
    for title, kept, timed in (
        (f"Float32 in ONNX Runtime; the first row is {first}.", "fp32.json", fp32),
        (
            "The best export of slim, and the full model in PyTorch.",
            "best.json",
            {n: subjects[n] for n in (FASTEST, EAGER)},
        ),
    ):
        found = once(work / kept, lambda timed=timed: time_all(work / "merged", timed, (1, None), seconds))
        tables.append(f"{title} {tabulate((1, None), timed, {'in turns': found}, *sizes)}")
    counts = open_run(work / "merged").manifest.dims["merged_tokens"]
    return "\n\n".join(
        [
            f"METER, 384 pixels, 40 tokens, random weights; without {LAYERS}, adapters not trained; --merge-tokens "
            f"{share}: {sum(counts)} of 577 image tokens merged. MACs {costs.macs.full / 1e9:.1f} G -> "
            f"{costs.macs.slim / 1e9:.1f} G. The best export of slim is {Path(subjects[FASTEST].file).name}.",
            *tables,
        ]
    )


def score_easyvqa(source: Path, work: Path, share: str) -> str:
    """The part about easy-VQA: scores of full and slim on the test set."""
    work.mkdir(parents=True, exist_ok=True)
    options = ("--task", "vqa", "--data", str(source / "data"), "--tokenizer", str(source / "tokenizer.json"))
    rows = []
    for name, asked in (
        ("merged tokens", ("--skip", "0", "--merge-tokens", share)),
        (f"k = {SKIP}", ("--skip", str(SKIP), "--recover-epochs", RECOVER_EPOCHS)),
        (
            f"k = {SKIP} and merged tokens",
            ("--skip", str(SKIP), "--recover-epochs", RECOVER_EPOCHS, "--merge-tokens", share),
        ),
    ):
        out = "-".join(part for part in ("easyvqa", *asked) if not part.startswith("--"))
        command = ("compress", str(source / "meter.ckpt"), *options, *asked, "--out", out)
        rows.append(_row(name, once(work / f"{out}.json", lambda command=command: run_das(HERE, work, *command))))
    header = ("", "layers gone", "full, %", "slim, %", "change, points", "MACs of full", "by merged tokens")
    return f"easy-VQA, {rows[0][0]}:\n\n{format_markdown_table(header, [row[1] for row in rows])}"


def _row(name: str, report: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    full, slim, costs = report["full"], report["slim"], report["costs"]
    trims = costs["trims"]
    merged = (trims["unmerged"] - trims["before"]) / costs["macs"]["full"] if trims["unmerged"] else 0.0
    cells = (
        f"{100 * full['value']:.2f}",
        f"{100 * slim['value']:.2f} ± {100 * slim['margin']:.2f}",
        f"{100 * (slim['value'] - full['value']):+.2f}",
        f"{costs['macs']['slim'] / costs['macs']['full']:.1%}",
        f"{-merged:.1%}",
    )
    return f"{slim['samples']:,} questions of the test set", (name, " ".join(report["skipped"]) or "none", *cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work-merging"), help="folder for models, files and times")
    parser.add_argument("--easyvqa", type=Path, help="work folder of benchmarks.datasets.easyvqa, with its meter.ckpt")
    parser.add_argument("--merge-tokens", default=SHARE, help="share of the vision layers' MACs that is saved")
    parser.add_argument("--seconds", type=float, default=60, help="that each group of models is timed")
    parser.add_argument(
        "--only", choices=["real-size", "easyvqa"], help="one part alone, printed, not kept in the docs"
    )
    arguments = parser.parse_args()
    work, share, source = arguments.work.resolve(), arguments.merge_tokens, arguments.easyvqa
    parts = []
    if source and arguments.only != "real-size":
        parts.append(score_easyvqa(source.resolve(), work, share))
    if arguments.only != "easyvqa":
        parts.append(time_real_size(work / "real-size", share, arguments.seconds))
    body = f"{torch.get_num_threads()} threads; batch 1.\n\n" + "\n\n".join(parts)
    if arguments.only:
        print(body)
    else:
        write_section("token-merging", "Token merging beside layers", body)


if __name__ == "__main__":
    main()
