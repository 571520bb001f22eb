"""Is what das says of the time at a command's start what passes: estimate and real seconds of every long command.

    python -m benchmarks.runtimes.estimates [--work work-estimates] [--sst2 FOLDER] [--commands search,export]

Each command is a process of its own, and says how long it will take however short that is. Timed is what passes from
that line to the end. FOLDER holds SST-2 as train.tsv and dev.tsv; a BERT of MiniLM's size, random weights, reads 600 of
its sentences.
"""

from __future__ import annotations

import argparse
import csv
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.results import write_section
from das.demo.checkpoints import prepare_demo
from das.demo.demos import DEMOS, SHIPPED
from profiles.formatting import format_markdown_table

ALWAYS = """
import compressor.compression, compressor.training.expected_time, exporters.export
for module in (compressor.compression, compressor.training.expected_time, exporters.export):
    module.LONG = 0.0
from das.main import run
run()
"""
SAID = re.compile(r"^about (?P<one>[\d a-z]+?) on this machine|^timing in [^:]*: (?P<low>[\d a-z]+) to (?P<high>[^;]+)")
UNITS = {"s": 1, "min": 60, "h": 3600}
SENTENCES = 600


@dataclass(frozen=True)
class Case:
    """A model in a folder with its data, and what is skipped."""

    name: str
    folder: Path
    checkpoint: str
    task: str
    skip: int

    def commands(self) -> dict[str, list[str]]:
        """The commands by their names, each after those that it needs."""
        named = [self.checkpoint, "--task", self.task, "--data", "data"]
        return {
            "search": ["search", *named, "--skip", str(self.skip)],
            "compress": ["compress", *named, "--skip", str(self.skip), "--recover-epochs", "2", "--out", "run"],
            "eval": ["eval", *named],
            "export": ["export", "run", "--onnx"],
            "export, int8": ["export", "run", "--onnx", "--precision", "int8"],
            "profile": ["profile", "run", "--seconds", "10"],
        }


def seconds_in(text: str) -> float:
    """Read what compressor.progress.describe_seconds wrote."""
    words = text.split()
    return sum(float(number) * UNITS[unit] for number, unit in zip(words[::2], words[1::2], strict=True))


def measure(case: Case, arguments: list[str]) -> tuple[str, float, float]:
    """What a command said, the seconds that it named, the middle of a range, and those that passed."""
    program = [sys.executable, "-c", ALWAYS, *arguments]
    said, named, begun = "", 0.0, time.perf_counter()
    with subprocess.Popen(program, cwd=case.folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as at:
        assert at.stderr is not None
        for line in at.stderr:
            if not said and (found := SAID.match(line)):
                said, begun = line.strip(), time.perf_counter()
                named = sum(map(seconds_in, filter(None, found.groups()))) / (2 if found["high"] else 1)
    if at.returncode:
        raise SystemExit(f"das {' '.join(arguments)} failed in {case.folder}")
    return said, named, time.perf_counter() - begun


def demo_case(work: Path, family: str, task: str) -> Case:
    """The demo's model and data, as das demo makes them."""
    demo = SHIPPED if (family, task) == (SHIPPED.family, SHIPPED.task) else DEMOS[family, task]
    folder = work / f"{family}-{task}"
    if not folder.exists():
        prepare_demo(demo, folder)
    return Case(f"{family} of das demo, {task}", folder, demo.checkpoint, task, demo.skip)


def minilm_case(work: Path, sst2: Path) -> Case:
    """A BERT of MiniLM's size, random weights, and sentences of SST-2."""
    from transformers import BertConfig, BertForSequenceClassification

    from compressor.data.generated.tokenizer import word_tokenizer

    folder = work / "minilm"
    if not folder.exists():
        texts: list[str] = []
        for split, rows in (("train", SENTENCES), ("dev", SENTENCES // 2)):
            with (sst2 / f"{split}.tsv").open() as file:
                table = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[: rows + 1]
            (folder / "data").mkdir(parents=True, exist_ok=True)
            (folder / "data" / f"{split}.tsv").write_text("".join("\t".join(row) + "\n" for row in table))
            texts += [row[0] for row in table[1:]]
        tokenizer = word_tokenizer(texts)
        torch.manual_seed(0)
        sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
        config = BertConfig(vocab_size=tokenizer.get_vocab_size(), id2label={0: "negative", 1: "positive"}, **sizes)
        BertForSequenceClassification(config).save_pretrained(folder / "bert")
        tokenizer.save(str(folder / "bert" / "tokenizer.json"))
    return Case("BERT of MiniLM's size, SST-2", folder, "bert", "text-classification", 2)


def main() -> None:
    """Measure, and write the section of docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work-estimates"), help="folder for models, data and runs")
    parser.add_argument("--sst2", type=Path, help="folder of SST-2's train.tsv and dev.tsv")
    parser.add_argument("--commands", default="", help="some of the commands alone; nothing is written then")
    given = parser.parse_args()
    cases = [demo_case(given.work, "meter", "vqa"), demo_case(given.work, "vilt", "nlvr2")]
    cases += [minilm_case(given.work, given.sst2)] if given.sst2 else []
    rows = []
    for case in cases:
        for name, arguments in case.commands().items():
            if name in (given.commands.split(",") if given.commands else case.commands()):
                said, named, passed = measure(case, arguments)
                print(f"{case.name}, {name}: {passed:.1f} s; {said}", file=sys.stderr, flush=True)
                rows.append((case.name, name, f"{named:.0f}", f"{passed:.1f}", f"{named / passed:.2f}"))
    body = (
        "Seconds that a command names at its start, of a range the middle, and those that pass from that line to its "
        "end.\n\n" + format_markdown_table(("model", "das ...", "named", "passed", "named / passed"), rows)
    )
    if given.commands:
        print(body)
    else:
        write_section("estimates", "Is the time that a command names the time that passes", body)


if __name__ == "__main__":
    main()
