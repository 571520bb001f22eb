"""Every family of vision encoders through every command, at tiny size.

python -m benchmarks.families.image_matrix --work W
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
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
from compressor.data.generated.pictures import write_pictures
from compressor.data.generated.scenes import SHAPES
from compressor.families.image_settings import make_processor

TASK, PICTURES, SIDE = "image-classification", 100, 48
SIZES = {
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128,
    "image_size": SIDE, "patch_size": 16, "id2label": dict(enumerate(sorted(SHAPES))),
}  # fmt: skip
# By what the row is called: the library's class, model_type, image processor, and settings that are not the default.
CASES: Mapping[str, tuple[str, str, str, Mapping[str, Any]]] = {
    "vit": ("ViTForImageClassification", "vit", "ViTImageProcessor", {}),
    "deit": ("DeiTForImageClassification", "deit", "DeiTImageProcessor", {}),
    "deit-distilled": ("DeiTForImageClassificationWithTeacher", "deit", "DeiTImageProcessor", {}),
    "dinov2": ("Dinov2ForImageClassification", "dinov2", "BitImageProcessor", {"mlp_ratio": 2}),
    "dinov2, gated": ("Dinov2ForImageClassification", "dinov2", "BitImageProcessor", {"use_swiglu_ffn": True}),
    "dinov2-with-registers": (
        "Dinov2WithRegistersForImageClassification", "dinov2_with_registers", "BitImageProcessor", {"mlp_ratio": 2},
    ),
}  # fmt: skip
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
    found = model(**inputs).logits
print(f"{float((found - wanted[: len(found)]).abs().max()):.0e}")
"""
ADAPTED, ADAPTED_FOLDER = "adapted", "saved-adapted"
STEPS: Steps = {
    "Load": load,
    "Merged": partial(compress, replace="merged", recover="closed-form"),
    "Adapters": partial(compress, ADAPTED, recover_epochs=0.5, batch_size=16),
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


def write_checkpoint(case: str, folder: Path) -> None:
    """Save a small random model of the library, and its image processor for images of its size."""
    kind, model_type, processor, own = CASES[case]
    torch.manual_seed(0)
    model = getattr(transformers, kind)(AutoConfig.for_model(model_type, **{**SIZES, **own}))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    square = {"height": SIDE, "width": SIDE}
    crop = {} if processor == "ViTImageProcessor" else {"crop_size": square}
    make_processor(processor, {"size": square, **crop}).save_pretrained(folder)


def measure(case: str, home: Path) -> None:
    """Measure and keep the cells of a family."""
    shutil.rmtree(home, ignore_errors=True)
    write_pictures(home / "data", PICTURES, seed=0)
    write_checkpoint(case, home / "model")
    run_row(home, STEPS)


def report(rows: Mapping[tuple[str, str], Mapping[str, str]]) -> str:
    """What was done, and the table."""
    return f"""\
Random models of transformers' own classes with {SIZES["num_hidden_layers"]} layers of width {SIZES["hidden_size"]},
on {PICTURES} generated pictures of {SIDE} pixels: what is shown is that each step runs and that what comes out of it
answers as the run does, not what a real model gains. One layer goes; its map is merged, or an adapter is trained in its
place. Exports and the profile are of the merged one. Behind "passed" is the largest difference of an output from
PyTorch's; behind "within" that of the saved folder's model, loaded by transformers alone in a process without
das, from the run's.

{draw_matrix(rows)}
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for data, checkpoints and runs")
    parser.add_argument("--cases", nargs="*", default=[*CASES], help="measure only these")
    options = parser.parse_args()
    homes = {case: options.work.resolve() / case.replace(", ", "-") for case in CASES}
    for case, home in homes.items():
        if case in options.cases and not (home / "cells.json").exists():
            measure(case, home)
    rows = {(case, TASK): kept_row(home, STEPS) for case, home in homes.items()}
    write_section("image-matrix", "Every family of vision encoders, every command", report(rows))
