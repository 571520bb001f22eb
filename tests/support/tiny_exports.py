"""Tiny models and ONNX files of them that several tests share: tracing takes seconds."""

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import torch

from compressor.checkpoints.build import load_checkpoint
from compressor.models.surgery import make_plan, remove_layers
from compressor.models.trims.simplify import trim
from exporters.graph.attention import FORMS
from exporters.graph.inputs import VARYING
from exporters.graph.onnx import export_onnx
from exporters.graph.precision import PRECISIONS
from tests.support import tiny_models as tiny
from tests.support.command_line import GOLDEN
from tests.support.once import once
from tests.support.traces import digest

SKIPPED = ["FL1", "FV0"]


@cache
def full():
    return load_checkpoint(GOLDEN / "meter_tiny_vqa.ckpt").model


@cache
def slim():
    torch.manual_seed(0)  # the same adapters in every process
    return remove_layers(full(), make_plan(full(), SKIPPED))


@cache
def samples():
    with np.load(GOLDEN / "meter_tiny_vqa.npz") as arrays:
        names = {"input_ids": "text_ids", "attention_mask": "text_masks", "pixel_values": "image"}
        return {name: torch.from_numpy(arrays[key]) for name, key in names.items()}


@cache
def full_onnx() -> Path:
    return exported("full", full)


@cache
def slim_onnx() -> Path:
    return exported("slim", lambda: trim(slim()))


def exported(name, make) -> Path:
    """The ONNX file of a model, traced once for all processes that run tests."""
    return once(f"onnx-{name}", lambda folder: export_onnx(make(), folder / "model.onnx", samples())) / "model.onnx"


@cache
def shallow(family, task):
    """Return the shallow tiny model of a family for a task; no two biases are alike: a file holds equal ones once."""
    model = tiny.model(family, task, shallow=True)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def inputs_of(model):
    """Return what a tiny model reads of its batch."""
    return {name: value for name, value in tiny.batch(model).items() if name != "targets"}


@cache
def shallow_onnx(family, task, form="composed", precision="fp32", fixed=VARYING) -> Path:
    """Return the graph of a shallow model in a form, a precision and with these axes fixed."""
    model, name = shallow(family, task), digest(family, task, form, precision, fixed)

    def make(folder):
        options = {"form": FORMS[form], "precision": PRECISIONS[precision], "fixed": fixed}
        export_onnx(model, folder / "model.onnx", inputs_of(model), **options)

    return once(f"graph-{name}", make) / "model.onnx"


def facts_in(path):
    """What an ONNX file says of itself: the metadata that das wrote, by name without the prefix."""
    properties = onnx.load(path, load_external_data=False).metadata_props
    return {each.key.removeprefix("das."): each.value for each in properties if each.key.startswith("das.")}
