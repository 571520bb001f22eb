"""Every family of text encoders with every task of texts, through every command, at tiny size.

python -m benchmarks.families.text_matrix --work W
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from benchmarks.families.matrix_steps import (
    compress,
    draw_matrix,
    export,
    kept_row,
    load,
    profile,
    reload,
    run_row,
    save,
)
from benchmarks.results import write_section
from compressor.data.generated.sentiments import write_sentences
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.files import TOKENIZER_FILE

SENTENCES = 200
TURN_WORDS = ("not", "never")
SIZES = {
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128,
    "max_position_embeddings": 66, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
}  # fmt: skip
OWN: Mapping[str, Mapping[str, Any]] = {  # by model_type, where it is not the same or more than SIZES
    "electra": {"embedding_size": 32},
    "albert": {"embedding_size": 32},
    "distilbert": {"dim": 64, "n_layers": 4, "n_heads": 4, "hidden_dim": 128},
    "deberta-v2": {
        "type_vocab_size": 0, "relative_attention": True, "position_biased_input": False, "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm", "share_att_key": True,
    },
    "modernbert": {"local_attention": 8, "cls_token_id": 2, "sep_token_id": 3},
}  # fmt: skip
FAMILIES = (
    *("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "mpnet"),
    *("albert", "deberta-v2", "modernbert"),
)
# What a process has that cannot import das.
ELSEWHERE = """
import sys
sys.path[:] = [entry for entry in sys.path if entry]
for name in ("das", "compressor", "exporters", "profiles"):
    sys.modules[name] = None
import torch, transformers
from safetensors.torch import load_file
folder, run, loader, embeds = sys.argv[1:]
model = getattr(transformers, loader).from_pretrained(folder).eval()
inputs, wanted = load_file(run + "/samples.safetensors"), load_file(run + "/answers.safetensors")["slim"]
with torch.no_grad():
    found = model(**inputs)
if embeds == "True":
    mask = inputs["attention_mask"][..., None]
    found = torch.nn.functional.normalize((found.last_hidden_state * mask).sum(1) / mask.sum(1), dim=1)
else:
    found = found.logits
print(f"{float((found - wanted[: len(found)]).abs().max()):.0e}")
"""


@dataclass(frozen=True)
class Case:
    """A task: how many outputs its head has, what config.json says of it, and its data made of sentences."""

    task: str
    outputs: int
    settings: Mapping[str, Any]
    columns: str
    row: Callable[[str, int], str]


def with_labels(sentence: str, label: int) -> str:
    """Return a row of three columns of 0 and 1: positive, negative, turned round."""
    turned = int(any(word in sentence for word in TURN_WORDS))
    return f"{sentence}\t{label}\t{1 - label}\t{turned}"


def with_score(sentence: str, label: int) -> str:
    """Return a row of two texts and a score: the sentence, a part of it, and how much of it that is."""
    words = sentence.split()
    return f"{sentence}\t{' '.join(words[: 2 + 3 * label])}\t{5 * min(1.0, (2 + 3 * label) / len(words)):.2f}"


NAMED = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
THREE = {"id2label": dict(enumerate(("positive", "negative", "turned")))}
CASES = (
    Case("text-classification", 2, NAMED, "sentence\tlabel", lambda sentence, label: f"{sentence}\t{label}"),
    Case(
        "multi-label-classification", 3, {**THREE, "problem_type": "multi_label_classification"},
        "sentence\tpositive\tnegative\tturned", with_labels,
    ),
    Case("regression", 1, {"problem_type": "regression"}, "sentence1\tsentence2\tscore", with_score),
    Case("embedding", 0, {}, "sentence1\tsentence2\tscore", with_score),
)  # fmt: skip


def write_data(case: Case, folder: Path) -> list[str]:
    """Write the splits of a task, and return the texts of training."""
    scratch = folder.with_name("sentences")
    write_sentences(scratch, SENTENCES, seed=0)
    folder.mkdir(parents=True)
    texts: list[str] = []
    for file in ("train.tsv", "dev.tsv"):
        rows = [line.split("\t") for line in (scratch / file).read_text().splitlines()[1:]]
        lines = [case.columns, *(case.row(sentence, int(label)) for sentence, label in rows)]
        (folder / file).write_text("\n".join(lines) + "\n")
        texts += [sentence for sentence, _ in rows]
    return texts


def write_checkpoint(family: str, case: Case, folder: Path, texts: Iterable[str]) -> None:
    """Save a small random model of the library, and a tokenizer of the words of ``texts``."""
    tokenizer = word_tokenizer(texts, "[CLS]")
    torch.manual_seed(0)
    sizes = {**SIZES, **OWN.get(family, {}), "vocab_size": tokenizer.get_vocab_size()}
    if case.outputs:
        config = AutoConfig.for_model(family, **sizes, num_labels=case.outputs, **case.settings)
        model = AutoModelForSequenceClassification.from_config(config)
    else:
        model = AutoModel.from_config(AutoConfig.for_model(family, **sizes))
        write_modules(folder)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / TOKENIZER_FILE))


def write_modules(folder: Path) -> None:
    """Write what makes a folder one of sentence-transformers: the mean of the tokens, at unit length."""
    kinds = ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    pooling = {"word_embedding_dimension": SIZES["hidden_size"], "pooling_mode_mean_tokens": True}
    files: Mapping[str, Any] = {
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": 64, "do_lower_case": False},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))


STEPS: Mapping[str, Callable[[Case], str]] = {
    "Load": lambda case: load(),
    "Compress": lambda case: compress(replace="none", recover="full", recover_epochs=0.5, batch_size=16),
    "ONNX fp32": lambda case: export("onnx", "fp32"),
    "ONNX int8": lambda case: export("onnx", "int8"),
    "OpenVINO": lambda case: export("ov", "fp32"),
    "TensorRT-RTX": lambda case: export("trt", "fp32"),
    "Profile": lambda case: profile(),
    "Save": lambda case: save(),
    "Reload": lambda case: reload(ELSEWHERE, "run", "saved", str(case.task == "embedding")),
}


def measure(family: str, case: Case, home: Path) -> None:
    """Measure and keep the cells of a family and a task."""
    shutil.rmtree(home, ignore_errors=True)
    texts = write_data(case, home / "data")
    write_checkpoint(family, case, home / "model", texts)
    run_row(home, {name: partial(step, case) for name, step in STEPS.items()})


def report(rows: Mapping[tuple[str, str], Mapping[str, str]]) -> str:
    """What was done, and the table."""
    return f"""\
Random models of transformers' own classes with {SIZES["num_hidden_layers"]} layers of width {SIZES["hidden_size"]},
on {SENTENCES} generated sentences: what is shown is that each step runs and that what comes out of it answers as the
run does, not what a real model gains. Compress takes one layer out with nothing in its place and trains the rest.
Behind "passed" is the largest difference of an output from PyTorch's; behind "within" that of the saved folder's model,
loaded by transformers alone in a process that cannot import das, from the run's.

{draw_matrix(rows)}
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for data, checkpoints and runs")
    parser.add_argument("--families", nargs="*", default=FAMILIES, help="measure only these")
    parser.add_argument("--tasks", nargs="*", default=[case.task for case in CASES], help="measure only these")
    options = parser.parse_args()
    work = options.work.resolve()
    for case in CASES:
        for family in FAMILIES:
            measured = (work / f"{family}-{case.task}" / "cells.json").exists()
            if not measured and family in options.families and case.task in options.tasks:
                measure(family, case, work / f"{family}-{case.task}")
    rows = {
        (family, case.task): kept_row(work / f"{family}-{case.task}", STEPS) for case in CASES for family in FAMILIES
    }
    write_section("text-matrix", "Every family of text encoders, every task, every command", report(rows))
