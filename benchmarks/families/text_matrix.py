"""Every family of text encoders with every task of texts, through every command, at tiny size.

python -m benchmarks.families.text_matrix --work W
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

import das
from benchmarks.results import write_section
from compressor.data.generated.sentiments import write_sentences
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.errors import DasError, shorten
from compressor.files import TOKENIZER_FILE
from profiles.formatting import format_markdown_table

SENTENCES, SECONDS = 200, 0.2  # of timing: what is measured here is that it runs
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


def load() -> str:
    """The full checkpoint."""
    return f"{sum(parameter.numel() for parameter in das.load('model').parameters()) / 1e3:.0f} k parameters"


def compress() -> str:
    """Search, plain removal and recovery."""
    run = das.compress(
        "model", skip=1, data="data", out="run", strategy="influence", replace="none", recover="full",
        recover_epochs=0.5, batch_size=16,
    )  # fmt: skip
    report = json.loads((run.path / "report.json").read_text())
    return f"without {', '.join(report['skipped'])}"


def export(form: str, precision: str) -> str:
    """Export, execute where it can be, and compare."""
    parity = das.export("run", form, precision=precision).exports[-1].parity
    if parity.status != "passed":
        return f"built; {parity.status}: no GPU here"
    return "passed" if parity.max_abs_error is None else f"passed, {parity.max_abs_error:.0e}"


def profile() -> str:
    """Full against slim, in the runtimes that are used by default."""
    report = das.profile("run", seconds=SECONDS, threads=1)
    fewer = 1 - report.macs.slim / report.macs.full
    return f"{fewer:.0%} fewer MACs; " + ", ".join(runtime.name for runtime in report.runtimes)


def save() -> str:
    """A folder of transformers, or of sentence-transformers."""
    shutil.rmtree("saved", ignore_errors=True)
    return das.save("run", to="saved").architecture


def reload(embeds: bool) -> str:
    """The saved folder in a process without das: how far its answers are from the run's."""
    architecture = json.loads(Path("saved/config.json").read_text())["architectures"][0]
    command = [sys.executable, "-c", ELSEWHERE, "saved", "run", architecture, str(embeds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return f"within {done.stdout.strip()}"


STEPS: Mapping[str, Callable[[Case], str]] = {
    "Load": lambda case: load(),
    "Compress": lambda case: compress(),
    "ONNX fp32": lambda case: export("onnx", "fp32"),
    "ONNX int8": lambda case: export("onnx", "int8"),
    "OpenVINO": lambda case: export("ov", "fp32"),
    "TensorRT-RTX": lambda case: export("trt", "fp32"),
    "Profile": lambda case: profile(),
    "Save": lambda case: save(),
    "Reload": lambda case: reload(case.task == "embedding"),
}


def run_cell(step: Callable[[], str]) -> str:
    """What a step says, or why it was refused or failed."""
    try:
        return step()
    except DasError as error:
        return f"refused: {error.problems[0].code}: {shorten([error.problems[0].found])}"
    except Exception as error:
        return f"FAILED: {type(error).__name__}: {error}".replace("|", "/").replace("\n", " ")[:200]


def kept_row(family: str, case: Case, work: Path) -> dict[str, str]:
    """The cells of a family and a task by step, as they were measured; of what was not, that it was not."""
    kept = work / f"{family}-{case.task}" / "cells.json"
    return json.loads(kept.read_text()) if kept.exists() else dict.fromkeys((*STEPS, "Seconds"), "not run")


def run_row(family: str, case: Case, work: Path) -> None:
    """Measure and keep the cells of a family and a task."""
    home = work / f"{family}-{case.task}"
    kept = home / "cells.json"
    shutil.rmtree(home, ignore_errors=True)
    texts = write_data(case, home / "data")
    write_checkpoint(family, case, home / "model", texts)
    started = time.monotonic()
    with chdir(home):
        cells = {name: run_cell(lambda step=step: step(case)) for name, step in STEPS.items()}  # type: ignore[misc]
    cells["Seconds"] = f"{time.monotonic() - started:.0f}"
    kept.write_text(json.dumps(cells))
    print(family, case.task, cells, flush=True)


def report(rows: Mapping[tuple[str, str], Mapping[str, str]]) -> str:
    """The table, and what was refused or failed under it."""
    marks: dict[str, int] = {}
    table = []
    for (family, task), cells in rows.items():
        line = [family, task]
        for said in cells.values():
            if said.startswith(("refused", "FAILED")):
                number = marks.setdefault(said, len(marks) + 1)
                said = f"{said.split(':')[0]} ({number})"
            line.append(said)
        table.append(line)
    count = sum(said.startswith("FAILED") for cells in rows.values() for said in cells.values())
    notes = "\n".join(f"- ({number}) {said}" for said, number in marks.items())
    return f"""\
Random models of transformers' own classes with {SIZES["num_hidden_layers"]} layers of width {SIZES["hidden_size"]},
on {SENTENCES} generated sentences: what is shown is that each step runs and that what comes out of it answers as the
run does, not what a real model gains. Compress takes one layer out with nothing in its place and trains the rest.
Behind "passed" is the largest difference of an output from PyTorch's; behind "within" that of the saved folder's model,
loaded by transformers alone in a process that cannot import das, from the run's. {count or "No"} cell failed.

{format_markdown_table(["Family", "Task", *next(iter(rows.values()))], table)}

{notes}
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
                run_row(family, case, work)
    rows = {(family, case.task): kept_row(family, case, work) for case in CASES for family in FAMILIES}
    write_section("text-matrix", "Every family of text encoders, every task, every command", report(rows))
