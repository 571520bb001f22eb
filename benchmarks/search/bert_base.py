"""A compression of a classifier of BERT-base's size, end to end: where the time goes, and the memory.

    python -m benchmarks.search.bert_base FOLDER_OF_SST2 --work W

Twelve layers with random weights: their number and their sizes decide on time and memory, their values do not. The
texts are phrases of SST-2 (``train.tsv``) of one label in drawn order, put together to 128 tokens; where all have been
used, they are drawn again. ``das compress`` runs in a process of its own; seconds by stage are the run's own records,
the whole time and the peak memory the operating system's.
"""

from __future__ import annotations

import argparse
import random
import shutil
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.paper.meter_full_size import command
from benchmarks.results import write_section
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.files import TOKENIZER_FILE
from compressor.saved_run.run_folder import Run, open_run
from profiles.formatting import format_markdown_table

LAYERS, WIDTH, HEAD_WIDTH, VOCABULARY = 12, 768, 64, 30_522
SKIP, TOKENS, TEXTS, SCORED = 4, 128, 5000, 500
STAGES: Mapping[str, str] = {
    "evaluate": "score full and slim on the test texts",
    "fit": "fit an adapter for every layer, then those of the chosen ones",
    "encode": "run the full model on the held-out texts",
    "search": "score subsets of layers",
    "recover": "ask the full model about the texts, and train the adapters",
}


def long_texts(source: Path) -> Iterator[tuple[str, int]]:
    """Yield texts of 128 tokens with their labels, without end: phrases of one label one after the other."""
    lines, draw = (source / "train.tsv").read_text().splitlines()[1:], random.Random(0)
    words: dict[int, list[str]] = {0: [], 1: []}
    while True:
        draw.shuffle(lines)
        for line in lines:
            sentence, _, label = line.rpartition("\t")
            own = words[int(label)]
            own += sentence.split()
            if len(own) >= TOKENS:
                yield " ".join(own), int(label)
                own.clear()


def write_data(source: Path, folder: Path, texts: int, scored: int) -> list[str]:
    """Write the splits; return all texts."""
    found, folder_texts = long_texts(source), []
    folder.mkdir(parents=True)
    for name, count in (("train.tsv", texts), ("dev.tsv", scored), ("test.tsv", scored)):
        rows = list(islice(found, count))
        (folder / name).write_text("sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))
        folder_texts += [text for text, _ in rows]
    return folder_texts


def write_checkpoint(folder: Path, texts: Iterable[str], width: int) -> None:
    """Save a random classifier, and a tokenizer of the words of ``texts``."""
    tokenizer = word_tokenizer(texts, "[CLS]")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=max(VOCABULARY, tokenizer.get_vocab_size()),
        hidden_size=width,
        num_hidden_layers=LAYERS,
        num_attention_heads=width // HEAD_WIDTH,
        intermediate_size=4 * width,
        id2label={0: "negative", 1: "positive"},
        label2id={"negative": 0, "positive": 1},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save(str(folder / TOKENIZER_FILE))


def section(typed: Iterable[str], width: int, run: Run, seconds: float, peak: float) -> str:
    """The text of the section."""
    stages = run.manifest.results.seconds
    rows = [(f"{STAGES[name]} (`{name}`)", f"{spent:,.0f}") for name, spent in stages.items()]
    rows.append(("all else: imports, reading, tokenising, writing", f"{seconds - sum(stages.values()):,.0f}"))
    train, held_out, scored = (split["rows"] for split in run.manifest.data[:3])
    return (
        f"BERT with {LAYERS} layers of width {width} and random weights; {train:,} texts of "
        f"{TOKENS} tokens to train on, {held_out:,} to choose the layers on and {scored:,} to score; {SKIP} "
        f"layers are skipped. `das {' '.join(typed)}` took **{seconds / 60:.1f} minutes** and at most "
        f"**{peak:.1f} GB** of memory.\n\n{format_markdown_table(('stage', 'seconds'), rows)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of SST-2, with train.tsv")
    parser.add_argument("--work", type=Path, required=True, help="folder for data, checkpoint and run")
    parser.add_argument("--texts", type=int, default=TEXTS, help="to train on; fewer for a trial")
    parser.add_argument("--width", type=int, default=WIDTH, help="of the model; narrower for a trial")
    parser.add_argument("--recover-epochs", type=float, default=0.5, help="0: adapters are only fitted, in closed form")
    given = parser.parse_args()
    for name in ("data", "model", "run"):
        shutil.rmtree(given.work / name, ignore_errors=True)
    texts = write_data(given.source, given.work / "data", given.texts, min(SCORED, given.texts))
    write_checkpoint(given.work / "model", texts, given.width)
    epochs = given.recover_epochs
    recovery = ("--recover-epochs", f"{epochs:g}") if epochs else ("--recover", "closed-form")
    typed = ("compress", "model", "--skip", str(SKIP), "--data", "data", *recovery)
    typed += ("--text-length", str(TOKENS), "--device", "cpu", "--out", "run")
    _, seconds, peak = command(given.work, *typed)
    body = section(typed, given.width, open_run(given.work / "run"), seconds, peak)
    write_section("bert-base", "A classifier of BERT-base's size: where the time of a compression goes", body)


if __name__ == "__main__":
    main()
