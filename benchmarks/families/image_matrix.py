"""Vision encoders, two towers and BLIP through every command, at tiny size; METER and ViLT: benchmarks.paper.matrix.

python -m benchmarks.families.image_matrix --work W
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig

from benchmarks.families.matrix_steps import (
    Steps,
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
from compressor.data.generated.scenes import COLOURS, SHAPES
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.families.image_settings import make_processor
from compressor.files import TOKENIZER_FILE
from compressor.tasks import TASKS

PICTURES, SIDE, LENGTH = 100, 48, 20
WORDS = word_tokenizer(["there is a thing and photo of .", *COLOURS, *SHAPES], "[CLS]")
FIRST, PAD, END = (WORDS.token_to_id(token) for token in ("[CLS]", "[PAD]", "[SEP]"))
SIZES = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128}
IMAGES = {**SIZES, "image_size": SIDE, "patch_size": 16}
TEXTS = {
    **SIZES, "vocab_size": WORDS.get_vocab_size(), "max_position_embeddings": LENGTH,
    "bos_token_id": FIRST, "pad_token_id": PAD, "eos_token_id": END, "sep_token_id": END,
}  # fmt: skip
BOTH = {"text_config": TEXTS, "vision_config": IMAGES}


@dataclass(frozen=True)
class Case:
    """A model of the library, and a task that it has a head for.

    Attributes:
        kind: its class.
        model_type: of its configuration.
        processor: of its images.
        settings: of its configuration.
        task: its name.
        merged: options of the compression that merges maps.
    """

    kind: str
    model_type: str
    processor: str
    settings: Mapping[str, Any]
    task: str
    merged: Mapping[str, str] = field(default_factory=dict)


def classifier(kind: str, model_type: str, processor: str, **own: object) -> Case:
    """Return the case of an image classifier with settings of its own."""
    named = {"id2label": dict(enumerate(sorted(SHAPES)))}
    return Case(kind, model_type, processor, {**IMAGES, **named, **own}, "image-classification")


def clip(task: str) -> Case:
    """Return the case of a CLIP."""
    return Case("CLIPModel", "clip", "CLIPImageProcessor", {**BOTH, "projection_dim": 32}, task)


def siglip(task: str) -> Case:
    """Return the case of a SigLIP."""
    return Case("SiglipModel", "siglip", "SiglipImageProcessor", BOTH, task)


def blip(task: str) -> Case:
    """Return the case of a BLIP; only its vision layers can take a map in."""
    return Case("BlipForImageTextRetrieval", "blip", "BlipImageProcessor", BOTH, task, {"scope": "vision"})


# By what the row is called, and its task.
CASES: Mapping[tuple[str, str], Case] = {
    (name, case.task): case
    for name, case in (
        ("vit", classifier("ViTForImageClassification", "vit", "ViTImageProcessor")),
        ("deit", classifier("DeiTForImageClassification", "deit", "DeiTImageProcessor")),
        ("deit-distilled", classifier("DeiTForImageClassificationWithTeacher", "deit", "DeiTImageProcessor")),
        ("dinov2", classifier("Dinov2ForImageClassification", "dinov2", "BitImageProcessor", mlp_ratio=2)),
        (
            "dinov2, gated",
            classifier("Dinov2ForImageClassification", "dinov2", "BitImageProcessor", use_swiglu_ffn=True),
        ),
        (
            "dinov2-with-registers",
            classifier(
                "Dinov2WithRegistersForImageClassification", "dinov2_with_registers", "BitImageProcessor", mlp_ratio=2
            ),
        ),
        ("clip", clip("retrieval")),
        ("clip", clip("zero-shot")),
        ("siglip", siglip("retrieval")),
        ("siglip", siglip("zero-shot")),
        ("blip", blip("itm")),
        ("blip", blip("irtr")),
    )
}
SQUARES = ("ViTImageProcessor", "SiglipImageProcessor", "BlipImageProcessor")  # that crop nothing
# What a process has that cannot import das; adapters are code of the folder's own.
ELSEWHERE = """
import sys
sys.path[:] = [entry for entry in sys.path if entry]
for name in ("das", "compressor", "exporters", "profiles"):
    sys.modules[name] = None
import torch, transformers
from safetensors.torch import load_file
folder, run, loader = sys.argv[1:]
options = {"trust_remote_code": True} if loader.startswith("Das") else {}
kind = getattr(transformers, loader, transformers.AutoModelForImageClassification)
model = kind.from_pretrained(folder, **options).eval()
inputs, wanted = load_file(run + "/samples.safetensors"), load_file(run + "/answers.safetensors")["slim"]
with torch.no_grad():
    said = model(**inputs)
if "text_embeds" in said:
    found = torch.stack([said["text_embeds"], said["image_embeds"]], 1)
else:
    found = said["itm_score" if "itm_score" in said else "logits"]
print(f"{float((found - wanted[: len(found)]).abs().max()):.0e}")
"""
ADAPTED, ADAPTED_FOLDER = "adapted", "saved-adapted"


def steps_of(case: Case) -> Steps:
    """Return the steps of a row."""
    return {
        "Load": partial(load, case.task),
        "Merged": partial(compress, task=case.task, replace="merged", recover="closed-form", **case.merged),
        "Adapters": partial(compress, ADAPTED, task=case.task, recover_epochs=0.5, batch_size=16),
        "ONNX fp32": partial(export, "onnx", "fp32"),
        "ONNX int8": partial(export, "onnx", "int8"),
        "OpenVINO": partial(export, "ov", "fp32"),
        "TensorRT-RTX": partial(export, "trt", "fp32"),
        "Profile": profile,
        "Save": save,
        "Reload": partial(reload, ELSEWHERE),
        "Save, adapters": partial(save, ADAPTED, ADAPTED_FOLDER),
        "Reload, adapters": partial(reload, ELSEWHERE, ADAPTED, ADAPTED_FOLDER),
    }


def write_checkpoint(case: Case, folder: Path) -> None:
    """Save a small random model of the library, and what it has for images of its size and for texts."""
    torch.manual_seed(0)
    model = getattr(transformers, case.kind)(AutoConfig.for_model(case.model_type, **case.settings))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    square = {"height": SIDE, "width": SIDE}
    crop = {} if case.processor in SQUARES else {"crop_size": square}
    make_processor(case.processor, {"size": square, **crop}).save_pretrained(folder)
    if TASKS[case.task].texts:
        WORDS.save(str(folder / TOKENIZER_FILE))


def measure(case: Case, home: Path) -> None:
    """Measure and keep the cells of a row."""
    shutil.rmtree(home, ignore_errors=True)
    generated = TASKS[case.task].generated
    assert generated
    generated.write(home / "data", PICTURES, 0)
    write_checkpoint(case, home / "model")
    run_row(home, steps_of(case))


def report(rows: Mapping[tuple[str, str], Mapping[str, str]]) -> str:
    """What was done, and the table."""
    return f"""\
Random models of transformers' own classes with {SIZES["num_hidden_layers"]} layers of width {SIZES["hidden_size"]},
on {PICTURES} generated pictures of {SIDE} pixels: what is shown is that each step runs and that what comes out of it
answers as the run does, not what a real model gains. One layer goes; its map is merged (of BLIP a vision layer's), or
an adapter is trained in its place, which transformers' classes of two encoders have no place for. Exports and the
profile are of the merged one. Behind "passed" is the largest difference of an output from PyTorch's; behind "within"
that of the saved folder's model, loaded by transformers alone in a process without das, from the run's. Seconds are of
a machine that had other work, too.

{draw_matrix(rows)}
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for data, checkpoints and runs")
    parser.add_argument("--cases", nargs="*", default=[name for name, _ in CASES], help="measure only these")
    options = parser.parse_args()
    homes = {row: options.work.resolve() / "-".join(row).replace(", ", "-") for row in CASES}
    for row, home in homes.items():
        if row[0] in options.cases and not (home / "cells.json").exists():
            measure(CASES[row], home)
    rows = {row: kept_row(home, steps_of(CASES[row])) for row, home in homes.items()}
    write_section("image-matrix", "Vision encoders, two towers and BLIP, every command", report(rows))
