"""Every family of text encoders with every task of texts, through every command, at tiny size.

    python -m benchmarks.families.text_matrix --work W --processes 2
    python -m benchmarks.families.text_matrix --work W --report

What is finished stays in the work folder and is not done again. ``--steps`` leaves steps to another machine, whose work
folder is named beside this one's for the report: ``--work W OTHER``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification

from benchmarks.families.matrix_steps import compress, draw_matrix, export, load, profile, run_cell, save
from benchmarks.results import environment, write_section
from benchmarks.share_work import share_work
from compressor.data.generated.sentiments import BAD, GOOD, SUBJECTS, write_sentences
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.files import TOKENIZER_FILE
from compressor.values import Value

SENTENCES = 200
TURN_WORDS = ("not", "never")
SIZES = {
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128,
    "max_position_embeddings": 66, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
}  # fmt: skip
STYLES = dict.fromkeys(("roberta", "xlm-roberta", "camembert"), "<s>")  # of tokenizers, that are not BERT's
OF_ROBERTA = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
OWN: Mapping[str, Mapping[str, Any]] = {  # by model_type, where it is not the same or more than SIZES
    **dict.fromkeys(STYLES, OF_ROBERTA),
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
# What a process has that cannot import das; it is told folders of rows, and says of each how far its answers are apart.
ELSEWHERE = """
import json, sys
sys.path[:] = [entry for entry in sys.path if entry]
for name in ("das", "compressor", "exporters", "profiles"):
    sys.modules[name] = None
import torch, transformers
from safetensors.torch import load_file

def distance(row):
    with open(row + "/saved/config.json") as file:
        loader = json.load(file)["architectures"][0]
    model = getattr(transformers, loader).from_pretrained(row + "/saved").eval()
    inputs, wanted = (load_file(f"{row}/run/{name}.safetensors") for name in ("samples", "answers"))
    mask, wanted = inputs["attention_mask"].bool(), wanted["slim"]
    with torch.no_grad():
        found = model(**inputs)
    if row.endswith("embedding"):
        mean = (found.last_hidden_state * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        found = torch.nn.functional.normalize(mean, dim=1)
    else:
        found = found.logits
    wanted = wanted[: len(found)]
    if row.endswith("token-classification"):
        length = min(found.shape[1], wanted.shape[1])
        kept = mask[:, :length]
        found, wanted = found[:, :length][kept], wanted[:, :length][kept]
    return float((found - wanted).abs().max())

for row in sys.argv[1:]:
    try:
        said = f"within {distance(row):.0e}"
    except Exception as error:
        said = f"FAILED: {type(error).__name__}: {error}"
    print("cell", json.dumps([row, said]))
"""


@dataclass(frozen=True)
class Case:
    """A task and its data made of sentences.

    Attributes:
        task: its name.
        model: transformers' class of its checkpoints.
        settings: what config.json says of the head.
        header: first line of the data's files.
        row: of a sentence and its label.
        files: to train on, and to score.
    """

    task: str
    model: Any
    settings: Mapping[str, Any]
    header: str
    row: Callable[[str, int], str]
    files: tuple[str, str] = ("train.tsv", "dev.tsv")


def with_labels(sentence: str, label: int) -> str:
    """Return a row of three columns of 0 and 1: positive, negative, turned round."""
    turned = int(any(word in sentence for word in TURN_WORDS))
    return f"{sentence}\t{label}\t{1 - label}\t{turned}"


def with_score(sentence: str, label: int) -> str:
    """Return a row of two texts and a score: the sentence, a part of it, and how much of it that is."""
    words = sentence.split()
    return f"{sentence}\t{' '.join(words[: 2 + 3 * label])}\t{5 * min(1.0, (2 + 3 * label) / len(words)):.2f}"


def with_query(sentence: str, label: int) -> str:
    """Return a row of a query, the sentence, and whether it says something good of what was asked for."""
    return f"is {' '.join(sentence.split()[:2])} good ?\t{sentence}\t{label}"


def with_tags(sentence: str, label: int) -> str:
    """Return the words, one a line with its tag: what is spoken of, and what is said of it."""
    words = sentence.split()
    return "\n".join(f"{word} {TAG_OF.get(word, 'O')}" for word in words) + "\n"


TAG_OF = {**dict.fromkeys(SUBJECTS, "B-SUBJECT"), **dict.fromkeys((*GOOD, *BAD), "B-OPINION")}


def name_outputs(*names: str) -> dict[str, Any]:
    """Return what config.json says of a head with these classes."""
    return {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}


MANY, ONE = {"problem_type": "multi_label_classification"}, {"problem_type": "regression", "num_labels": 1}
CASES = (
    Case(
        "text-classification", AutoModelForSequenceClassification, name_outputs("negative", "positive"),
        "sentence\tlabel", lambda sentence, label: f"{sentence}\t{label}",
    ),
    Case(
        "multi-label-classification", AutoModelForSequenceClassification,
        name_outputs("positive", "negative", "turned") | MANY, "sentence\tpositive\tnegative\tturned", with_labels,
    ),
    Case("regression", AutoModelForSequenceClassification, ONE, "sentence1\tsentence2\tscore", with_score),
    Case(
        "reranking", AutoModelForSequenceClassification, {"num_labels": 1}, "query\tpassage\tlabel", with_query
    ),
    Case(
        "token-classification", AutoModelForTokenClassification, name_outputs("O", "B-SUBJECT", "B-OPINION"),
        "-DOCSTART- O\n", with_tags, ("train.txt", "valid.txt"),
    ),
    Case("embedding", AutoModel, {}, "sentence1\tsentence2\tscore", with_score),
)  # fmt: skip


ROWS = {f"{family}-{case.task}": (family, case) for case in CASES for family in FAMILIES}


def write_data(case: Case, folder: Path) -> list[str]:
    """Write the splits of a task, and return the texts of training."""
    scratch = folder.with_name("sentences")
    write_sentences(scratch, SENTENCES, seed=0)
    folder.mkdir(parents=True)
    texts: list[str] = []
    for source, file in zip(("train.tsv", "dev.tsv"), case.files, strict=True):
        rows = [line.split("\t") for line in (scratch / source).read_text().splitlines()[1:]]
        lines = [case.header, *(case.row(sentence, int(label)) for sentence, label in rows)]
        (folder / file).write_text("\n".join(lines) + "\n")
        texts += [sentence for sentence, _ in rows]
    return texts


def write_checkpoint(family: str, case: Case, folder: Path, texts: Iterable[str]) -> None:
    """Save a small random model of the library, and a tokenizer of the words of ``texts``."""
    tokenizer = word_tokenizer(texts, STYLES.get(family, "[CLS]"))
    torch.manual_seed(0)
    sizes = {**SIZES, **OWN.get(family, {}), "vocab_size": tokenizer.get_vocab_size()}
    model = case.model.from_config(AutoConfig.for_model(family, **sizes, **case.settings))
    if case.model is AutoModel:
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
    "Compress": lambda case: compress(
        task=case.task, replace="none", recover="full", recover_epochs=0.5, batch_size=16, device="cpu"
    ),
    "ONNX fp32": lambda case: export("onnx", "fp32"),
    "ONNX int8": lambda case: export("onnx", "int8"),
    "OpenVINO": lambda case: export("ov", "fp32"),
    "TensorRT-RTX": lambda case: export("trt", "fp32"),
    "Profile": lambda case: profile(),
    "Save": lambda case: save(),
}
RELOAD, NOT_RUN = "Reload", "not run"


class Row(Value):
    """What the steps of a family and a task said, by step, and where they ran."""

    cells: Mapping[str, str]
    measured: str


def run_row(name: str, work: Path, steps: Sequence[str], measured: str) -> Row:
    """Run the steps of a family and a task, in a folder of their own."""
    family, case = ROWS[name]
    home = work / name
    shutil.rmtree(home, ignore_errors=True)
    texts = write_data(case, home / "data")
    write_checkpoint(family, case, home / "model", texts)
    with chdir(home):
        return Row(cells={step: run_cell(partial(STEPS[step], case)) for step in steps}, measured=measured)


def reload(homes: Sequence[Path]) -> dict[str, str]:
    """What a process without das says of the saved folders: how far their answers are from the runs', by row."""
    command = [sys.executable, "-c", ELSEWHERE, *map(str, homes)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    said = [json.loads(line.removeprefix("cell ")) for line in done.stdout.splitlines() if line.startswith("cell ")]
    return {Path(home).name: cell for home, cell in said}


def open_rows(works: Sequence[Path]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The cells of every row, of the first folder that has each, and where they were measured."""
    table = {name: dict.fromkeys((*STEPS, RELOAD), NOT_RUN) for name in ROWS}
    measured: list[str] = []
    for work in reversed(works):
        reloads = work / "reloads"
        for name, cells in table.items():
            kept = work / f"{name}.json"
            if kept.exists():
                row = Row.model_validate_json(kept.read_bytes())
                cells.update(row.cells)
                measured.append(row.measured)
        if reloads.exists():
            for name, said in json.loads(reloads.read_text()).items():
                table[name][RELOAD] = said
    return table, list(dict.fromkeys(measured))


def report(rows: Mapping[str, Mapping[str, str]]) -> str:
    """What was done, and the table."""
    return f"""\
Random models of transformers' own classes with {SIZES["num_hidden_layers"]} layers of width {SIZES["hidden_size"]},
on {SENTENCES} generated sentences: what is shown is that each step runs and that what comes out of it answers as the
run does, not what a real model gains. Compress takes one layer out with nothing in its place and trains the rest.
Behind "passed" is the largest difference of an output from PyTorch's; behind "within" that of the saved folder's model,
loaded by transformers alone in a process that cannot import das, from the run's.

{draw_matrix({(family, case.task): rows[name] for name, (family, case) in ROWS.items()})}
"""


def main() -> None:
    """Do what is missing, or write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, nargs="+", required=True, help="folder for data, checkpoints and runs")
    parser.add_argument("--processes", type=int, default=1, help="that work at a time")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), help="do only these")
    parser.add_argument("--report", action="store_true", help="write the section of what is finished, and do no more")
    given = parser.parse_args()
    if given.report:
        rows, measured = open_rows(given.work)
        title = "Every family of text encoders, every task, every command"
        write_section("text-matrix", title, report(rows), "\n\n".join(measured))
        return
    (work,) = (path.resolve() for path in given.work)
    do = partial(run_row, work=work, steps=given.steps, measured=environment())
    failed = share_work(dict.fromkeys(ROWS, ()), do, work, given.processes, partial(torch.set_num_threads, 1))
    homes = [work / name for name in ROWS if (work / name / "saved").exists()]
    (work / "reloads").write_text(json.dumps(reload(homes)))
    sys.exit(f"not done: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
