"""What a smaller vocabulary saves: an encoder of XLM-R's shape, and folders of real models, trimmed to SST-2.

    python -m benchmarks.families.vocabulary FOLDER_OF_SST2 --work WORK [--model FOLDER ...]

The encoder has the sizes of xlm-roberta-base with two classes and random weights, and a Unigram tokenizer of 250,002
tokens: as many as Unigram finds in the sentences of SST-2's train.tsv, up to 20,000, and for all others strings of
letters of several scripts, drawn at random, with lower scores. All are trimmed to train.tsv, and asked about dev.tsv,
whose texts the trimming has not seen. What was made is kept in WORK.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForSequenceClassification

import das
from benchmarks.results import LogProgress, write_section
from compressor.families.text_encoder.bert_families import XlmRobertaDims
from compressor.vocabulary.read_texts import read_texts
from profiles.formatting import format_bytes, format_count

SPECIAL, MASK = ("<s>", "<pad>", "</s>", "<unk>"), "<mask>"
TOKENS, TRAINED = 250_002, 20_000
SCRIPTS = (("a", "z"), ("а", "я"), ("α", "ω"), ("ა", "ჰ"), ("अ", "ह"), ("一", "龥"), ("가", "힣"))  # first, last letter
SHAPED = "XLM-R-shaped"


def make_tokenizer(texts: Sequence[str]) -> Tokenizer:
    """Return a Unigram tokenizer of ``TOKENS`` tokens that is set up as XLM-R's."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" {2,}", " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=TRAINED, special_tokens=[*SPECIAL], unk_token=SPECIAL[3], show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    state = json.loads(made.to_str())
    pieces = dict(map(tuple, state["model"]["vocab"]))
    lowest, draw = min(pieces.values()), random.Random(0)
    for number in range(TOKENS - 1 - len(pieces)):
        pieces[_draw_piece(draw, pieces)] = lowest - 1e-5 * number
    state["model"]["vocab"] = [*map(list, pieces.items()), [MASK, 0.0]]
    made = Tokenizer.from_str(json.dumps(state))
    made.add_special_tokens([*SPECIAL, MASK])
    made.post_processor = processors.RobertaProcessing((SPECIAL[2], 2), (SPECIAL[0], 0), trim_offsets=False)
    return made


def _draw_piece(draw: random.Random, taken: dict[str, float]) -> str:
    while True:
        first, last = map(ord, draw.choice(SCRIPTS))
        letters = (chr(draw.randint(first, last)) for _ in range(draw.randint(1, 8)))
        piece = "▁" * draw.randint(0, 1) + "".join(letters)
        if piece not in taken:
            return piece


def make_model(texts: Sequence[str], folder: Path) -> None:
    """Write a folder of transformers of xlm-roberta-base's sizes."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(XlmRobertaDims().library)
    model.save_pretrained(folder)
    make_tokenizer(texts).save(str(folder / "tokenizer.json"))


def measure(folder: Path, name: str, train: Path, dev: Path, to: Path) -> str:
    """Trim the model in ``folder``, or take what was written before; return a row of the table."""
    if not to.exists():
        started = time.monotonic()
        das.trim_vocabulary(folder, texts=[train], to=to, progress=LogProgress())
        (to / "seconds").write_text(f"{time.monotonic() - started:.0f}")
    done = json.loads((to / "vocabulary.json").read_text())
    texts, rows = read_texts([dev]), done["rows"]
    full, small = (Tokenizer.from_file(str(place / "tokenizer.json")) for place in (folder, to))
    for tokenizer in (full, small):
        tokenizer.no_truncation()
        tokenizer.no_padding()
    pairs = zip(full.encode_batch(texts), small.encode_batch(texts), strict=True)
    same = sum(before.ids == [rows[number] for number in after.ids] for before, after in pairs)
    cells = (
        f"{name}, {done['architecture']}, {done['tokenizer']}",
        f"{done['full_tokens']:,} → {done['tokens']:,} ({done['used']:,} used)",
        f"{format_count(done['full_parameters'])} → {format_count(done['parameters'])}",
        f"{format_bytes(done['full_weight_bytes'])} → {format_bytes(done['weight_bytes'])}",
        f"all of {done['texts']:,}",
        f"{done['max_abs_error']:.1e} on {done['samples']}",
        f"{same:,} of {len(texts):,}",
        (to / "seconds").read_text(),
    )
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of SST-2, with train.tsv and dev.tsv")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--model", type=Path, action="append", default=[], help="folder of a real model")
    given = parser.parse_args(arguments)
    train, dev = given.source / "train.tsv", given.source / "dev.tsv"
    given.work.mkdir(exist_ok=True)
    if not (shaped := given.work / SHAPED).exists():
        make_model(read_texts([train]), shaped)
    folders = {SHAPED: shaped} | {
        folder.parent.name if folder.name == "model" else folder.name: folder for folder in given.model
    }
    rows = [measure(folder, name, train, dev, given.work / f"{name}-trimmed") for name, folder in folders.items()]
    head = ("model", "tokens", "parameters", "weights", "texts with the same tokens", "largest difference of an output")
    header = (*head, "unseen texts with the same tokens", "seconds")
    body = (
        "`das trim-vocabulary` with the texts of SST-2's train.tsv, and what became of those of dev.tsv, which it was "
        f"not given. The {SHAPED} model has the sizes of xlm-roberta-base, random weights, and a tokenizer of "
        f"{TOKENS:,} tokens, of which up to {TRAINED:,} were found in train.tsv and the others are random strings of "
        "letters of several scripts: it knows the words of dev.tsv better than a real one would. The other models are "
        f"real. Threads: {torch.get_num_threads()}.\n\n"
        + "\n".join((f"| {' | '.join(header)} |", "|---" * len(header) + "|", *rows))
    )
    write_section("vocabulary", "A smaller vocabulary", body)


if __name__ == "__main__":
    main()
