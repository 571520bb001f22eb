"""Fine-tuned models and their data, as the benchmarks of the search take them: made once, in a work folder.

    python -m benchmarks.search.models scenes
    python -m benchmarks.search.models easyvqa --source FOLDER_OF_EASYVQA
    python -m benchmarks.search.models sst2 --source FOLDER_OF_SST2
    python -m benchmarks.search.models trecqa --source FOLDER_OF_TRECQA

``scenes`` are generated (``das demo``), with the METER that das ships. easy-VQA is at github.com/vzhou842/easy-VQA
(folder ``easy_vqa/data``), for a METER trained by ``benchmarks.datasets.easyvqa``. SST-2 is
nlp.stanford.edu/sentiment with two classes, and TREC-QA the answer-sentence selection of Wang et al. (EMNLP 2007) as
CSV files of question, label and sentence (``qtext``, ``label``, ``atext``); both for a pre-trained six-layer BERT
fine-tuned by ``benchmarks.datasets.sst2``, once for each seed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.datasets import easyvqa, sst2
from benchmarks.results import LogProgress
from benchmarks.search.units import in_processes
from compressor.data.generated.questions import write_vqa
from compressor.evaluation.evaluate import evaluate
from compressor.jobs.job import Job
from compressor.jobs.prepare_job import prepare_job
from compressor.settings import Settings
from das.demo.checkpoints import TRAINING_SEED, prepare_demo
from das.demo.demos import SHIPPED

WORK = Path("work-strategies")
PAIR_COLUMNS = {"text": "qtext", "second": "atext", "label": "label"}
PAIR_LENGTH = 64  # tokens of a question and a sentence


@dataclass(frozen=True)
class Setting:
    """A data set with its model.

    Attributes:
        name: in the table.
        sizes: numbers of layers to skip.
        settings: seed to what ``das compress`` would be asked; makes data and checkpoint if they are not there.
        steps: of training that recovers a choice.
        batch_size: of these.
        scope: of the search; None is the family's default.
    """

    name: str
    sizes: tuple[int, ...]
    settings: Callable[[Path, Path, int], Settings]
    steps: int = 150
    batch_size: int = 64
    scope: str | None = None

    def open(self, work: Path, source: Path, model: int = 0, **options: object) -> Job:
        """Open the job of ``options`` on the model of a seed; the job's seed is another one where they say so."""
        asked = self.settings(work, source, model)
        return prepare_job(asked.model_copy(update={"scope": self.scope, "skip": self.sizes[0], **options}))


def scenes(work: Path, source: Path, seed: int) -> Settings:
    """The model that das ships, and as much data as it was trained on."""
    home = work / "scenes"
    if not (home / "complete").exists():
        prepare_demo(SHIPPED, home)
        write_vqa(home / "data", SHIPPED.shipped, TRAINING_SEED)
        (home / "complete").touch()
    return Settings(checkpoint=str(home / SHIPPED.checkpoint), task="vqa", data=str(home / "data"), seed=seed)


def easy_vqa(work: Path, source: Path, seed: int) -> Settings:
    """A small METER trained from scratch on easy-VQA."""
    home = work / "easyvqa"
    easyvqa.prepare_easyvqa(source, home)
    return Settings(checkpoint=str(home / "meter.ckpt"), task="vqa", data=str(home / "data"), seed=seed)


def sentences(work: Path, source: Path, seed: int) -> Settings:
    """A pre-trained BERT of six layers, fine-tuned on SST-2 with this seed."""
    return _finetuned(work / f"sst2-{seed}", source, seed, sst2.TEXT_LENGTH)


def pairs(work: Path, source: Path, seed: int) -> Settings:
    """The same, fine-tuned on TREC-QA: does the sentence answer the question?"""
    return _finetuned(work / f"trecqa-{seed}", source, seed, PAIR_LENGTH, PAIR_COLUMNS)


def _finetuned(
    checkpoint: Path, source: Path, seed: int, text_length: int, columns: Mapping[str, str] | None = None
) -> Settings:
    """A pre-trained BERT of six layers, fine-tuned with this seed; matrices are multiplied in bfloat16."""
    sst2.use_bfloat16()
    if not checkpoint.exists():
        sst2.train_full(source, checkpoint, seed, LogProgress(), text_length=text_length, columns=columns)
    return Settings(
        checkpoint=str(checkpoint),
        task=sst2.TASK.name,
        data=str(source),
        columns=columns or {},
        seed=seed,
        text_length=text_length,
        batch_size=sst2.BATCH_SIZE,
    )


SETTINGS = {
    "scenes": Setting("generated scenes, METER", (8, 4), scenes),
    "easyvqa": Setting("easy-VQA, METER", (8,), easy_vqa),
    "sst2": Setting("SST-2, BERT", (2,), sentences, steps=60, batch_size=32),
    "trecqa": Setting("TREC-QA, BERT", (2,), pairs, steps=60, batch_size=32),
}


def measure_data_set(description: str | None, choices: Iterable[str], measure_share: Callable[..., None]) -> None:
    """Read a data set and folders from the command line, make its model, and measure it in several processes.

    Args:
        description: of the command.
        choices: data sets that it measures.
        measure_share: does one process's share: its number, how many there are, data set, work folder, source.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=choices)
    parser.add_argument("--source", type=Path, default=Path(), help="folder of the data set")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for data, checkpoints and results")
    parser.add_argument("--processes", type=int, default=2, help="of a thread each")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    SETTINGS[given.data].settings(given.work, given.source, 0)  # once, before the processes begin
    in_processes(measure_share, given.processes, given.data, given.work, given.source)


def measure_or_report(
    description: str | None,
    choices: Iterable[str],
    measure_share: Callable[..., None],
    report: Callable[[Path], None],
) -> None:
    """Read from the command line what to measure, a data set with a model for each seed; or report what is there.

    Args:
        description: of the command.
        choices: data sets that it measures.
        measure_share: does one process's share: its number, how many there are, data set, seeds, work folder, source.
        report: writes the section of what a work folder holds.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", choices=tuple(choices))
    parser.add_argument("--source", type=Path, default=Path(), help="folder of the data set")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for data, checkpoints and results")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0,), help="of the models")
    parser.add_argument("--processes", type=int, default=2, help="of a thread each")
    parser.add_argument("--report", action="store_true", help="write the section of what is finished, and do no more")
    given = parser.parse_args()
    if given.report:
        report(given.work)
        return
    given.work.mkdir(parents=True, exist_ok=True)
    for seed in given.seeds:  # once, before the processes begin
        SETTINGS[given.data].settings(given.work, given.source, seed)
    in_processes(measure_share, given.processes, given.data, tuple(given.seeds), given.work, given.source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=SETTINGS)
    parser.add_argument("--source", type=Path, default=Path(), help="folder of the data set")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for data and checkpoints")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    started, setting = time.monotonic(), SETTINGS[arguments.data]
    job = setting.open(arguments.work, arguments.source)
    score = evaluate(job.model, job.data.evaluation, job.task).score
    print(f"{setting.name}: {score}, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
