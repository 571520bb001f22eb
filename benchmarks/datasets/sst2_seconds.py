"""What a compression of MiniLM on SST-2 takes by its defaults, this checkout beside an older one, on one machine.

    git worktree add OLD 61b66eb
    python -m benchmarks.datasets.sst2_seconds FOLDER_OF_SST2 OLD
    python -m benchmarks.datasets.sst2_seconds FOLDER_OF_SST2 OLD --accuracy

Both checkouts compress the same checkpoint, of two layers, in turns of some seconds. Each does a stretch of the
recovery and parts of the other loops; what the whole run takes is computed from these, loop by loop. All else (reading,
tokenising, saving) is done whole. With ``--accuracy`` both compress on a few sentences, to the end, with several seeds;
without it the full model's head is not trained, as seconds do not depend on that. The weights and the data are those of
``benchmarks.datasets.sst2``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.datasets import stretch
from benchmarks.datasets.sst2 import TASK, train_full
from benchmarks.results import LogProgress, write_section

ROOT = Path(__file__).parents[2]
SKIP, TEXT_LENGTH, BATCH_SIZE, EPOCHS = 2, 128, 64, 10
HELD_OUT, HELD_OUT_PART = 1024, 128  # samples that subsets are scored on
DEV_PART = 4  # of dev.tsv a part is evaluated on
RECOVERING, ASKING = "Recovering 2 adapters", "Asking the full model once"
SEEDS, FEW, FEW_EPOCHS, FEW_LENGTH, FEW_BATCH = (0, 1, 2), 2000, 2, 40, 32
OLD, NEW = "before", "now"


def write_data(source: Path, folder: Path, train: int | None, dev_part: int) -> Path:
    """Copy the data: ``train`` sentences to train on, drawn at random, or all; each ``dev_part``-th for scores."""
    folder.mkdir()
    for name, keep in (("train.tsv", train), ("dev.tsv", None)):
        header, *rows = (source / name).read_text(encoding="utf-8").splitlines()
        if keep:
            rows = [rows[row] for row in np.random.default_rng(0).permutation(len(rows))[:keep]]
        rows = rows[:: dev_part if name == "dev.tsv" else 1]
        (folder / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder


def run_in_turns(old: Path, settings: Mapping[str, Any], changes: Mapping[str, int], work: Path) -> dict[str, Any]:
    """Compress with both checkouts, of which one works at a time; return what each says at its end, by name."""
    script = Path(stretch.__file__)
    processes = {
        name: subprocess.Popen(
            [sys.executable, script, json.dumps({**settings, "out": str(work / name)}), json.dumps(changes)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(checkout), *sys.path[1:]])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, checkout in ((OLD, old), (NEW, ROOT))
    }
    said: dict[str, Any] = {}
    while len(said) < len(processes):
        for name, process in processes.items():
            if name not in said:
                assert process.stdin and process.stdout
                print("go", file=process.stdin, flush=True)
                line = process.stdout.readline()
                if not line.startswith("turn"):
                    said[name] = json.loads(line)
    return said


def whole_run(times: Mapping[str, Mapping[str, float]], steps: int) -> dict[str, float]:
    """Return seconds of the parts of the whole run, from those of a stretch of ``steps``."""
    loops = {label: entry for label, entry in times.items() if label != stretch.WHOLE}
    parts = {"evaluation": 0.0, "search": 0.0, "full model's answers to the training data": 0.0, "recovery": 0.0}
    for label, entry in loops.items():
        if label.startswith("Evaluating"):
            parts["evaluation"] += entry["seconds"] * DEV_PART
        elif label == RECOVERING:
            parts["recovery"] += entry["seconds"] / entry["steps"] * steps
        elif label == ASKING:
            parts["full model's answers to the training data"] += entry["seconds"] / entry["steps"] * steps / EPOCHS
        elif "calibration" in label:
            parts["search"] += entry["seconds"]
        else:
            parts["search"] += entry["seconds"] * HELD_OUT / HELD_OUT_PART
    parts["all else"] = times[stretch.WHOLE]["seconds"] - sum(entry["seconds"] for entry in loops.values())
    return parts


def measure_seconds(source: Path, old: Path, stretch_steps: int, work: Path) -> None:
    """Write the section on seconds."""
    data, checkpoint = write_data(source, work / "data", None, DEV_PART), work / "full"
    train_full(source, checkpoint, 0, LogProgress(), steps=0)
    rows = sum(1 for _ in (source / "train.tsv").open()) - 1
    per_epoch = (rows - rows // 10) // BATCH_SIZE
    settings = {
        "checkpoint": str(checkpoint),
        "task": TASK.name,
        "skip": SKIP,
        "data": str(data),
        "device": "cpu",
        "recover_epochs": stretch_steps / per_epoch,
    }
    said = run_in_turns(old, settings, {"HELD_OUT_SAMPLES": HELD_OUT_PART}, work)
    whole = {name: whole_run(entry["times"], EPOCHS * per_epoch) for name, entry in said.items()}
    lines = ["| part | before, s | now, s |", "|---|---|---|"]
    lines += [f"| {part} | {whole[OLD][part]:,.0f} | {whole[NEW][part]:,.0f} |" for part in whole[OLD]]
    totals = {name: sum(parts.values()) for name, parts in whole.items()}
    lines.append(f"| whole run | {totals[OLD]:,.0f} | {totals[NEW]:,.0f} |")
    step = {name: 1000 * entry["times"][RECOVERING]["seconds"] / stretch_steps for name, entry in said.items()}
    body = (
        f"`das compress` of MiniLM on all of SST-2, two of six layers, all else by default: {EPOCHS * per_epoch:,} "
        f"steps of {BATCH_SIZE} sentences. Before: {revision(old)}, which pads every text to {TEXT_LENGTH} tokens and "
        f"asks the full model at every step. Computed from {stretch_steps} steps of recovery in turns of "
        f"{stretch.TURN_SECONDS:.0f} s ({step[OLD]:,.0f} and {step[NEW]:,.0f} ms a step), the full model's answers to "
        f"the sentences of these steps, 1/{DEV_PART} of dev and 1/{HELD_OUT // HELD_OUT_PART} of the held-out "
        f"sentences; all else was done whole. {torch.get_num_threads()} threads. Layers skipped: "
        f"{', '.join(said[OLD]['layers'])} and {', '.join(said[NEW]['layers'])}.\n\n"
        + "\n".join(lines)
        + f"\n\nThe whole run takes {totals[NEW] / totals[OLD]:.2f} of the seconds it took."
    )
    write_section("sst2-seconds", "Seconds of a compression on SST-2", body)


def measure_accuracy(source: Path, old: Path, work: Path) -> None:
    """Write the section on accuracies."""
    data, checkpoint = write_data(source, work / "data", FEW, 1), work / "full"
    (full,) = train_full(source, checkpoint, 0, LogProgress(), steps=300)
    rows = []
    for seed in SEEDS:
        settings = {
            "checkpoint": str(checkpoint),
            "task": TASK.name,
            "skip": SKIP,
            "data": str(data),
            "device": "cpu",
            "seed": seed,
            "text_length": FEW_LENGTH,
            "batch_size": FEW_BATCH,
            "recover_epochs": FEW_EPOCHS,
        }
        (work / str(seed)).mkdir()
        rows.append(run_in_turns(old, settings, {}, work / str(seed)))
    lines = ["| seed | layers | before, % | layers | now, % |", "|---|---|---|---|---|"]
    for seed, said in zip(SEEDS, rows, strict=True):
        cells = (f"{', '.join(said[name]['layers'])} | {100 * said[name]['value']:.2f}" for name in (OLD, NEW))
        lines.append(f"| {seed} | {' | '.join(cells)} |")
    values = {name: np.array([100 * said[name]["value"] for said in rows]) for name in (OLD, NEW)}
    means = (f"{values[name].mean():.2f} (sd {values[name].std(ddof=1):.2f})" for name in (OLD, NEW))
    body = (
        f"MiniLM on {FEW:,} sentences of SST-2, two of six layers skipped, {FEW_EPOCHS} epochs of recovery in batches "
        f"of {FEW_BATCH}, texts cut to {FEW_LENGTH} tokens, scored on dev (full model {100 * full.score.value:.2f}). "
        f"Before: {revision(old)}, batches drawn whatever their texts' length; now: batches of like length. Mean over "
        f"seeds: {' before, '.join(means)} now.\n\n" + "\n".join(lines)
    )
    write_section("sst2-like-length", "Accuracy with batches of like length", body)


def revision(checkout: Path) -> str:
    """Say which commit a checkout is of."""
    asked = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return f"commit {subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of SST-2, with train.tsv and dev.tsv")
    parser.add_argument("old", type=Path, help="an older checkout of das")
    parser.add_argument("--steps", type=int, default=60, help="of recovery that are timed")
    parser.add_argument("--accuracy", action="store_true", help="compare scores, not seconds")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if given.accuracy:
            measure_accuracy(given.source, given.old.resolve(), Path(folder))
        else:
            measure_seconds(given.source, given.old.resolve(), given.steps, Path(folder))


if __name__ == "__main__":
    main()
