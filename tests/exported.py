"""Tiny models and one ONNX file of them that several tests share: tracing takes seconds."""

import atexit
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch

from compressor.loading import load_checkpoint
from compressor.surgery import make_plan, remove_layers
from compressor.trims import trim
from exporters.onnx import OnnxExport, export_onnx
from tests.support import GOLDEN

SKIPPED = ["FL1", "FV0"]


@cache
def full():
    return load_checkpoint(GOLDEN / "meter_tiny_vqa.ckpt").model


@cache
def slim():
    return remove_layers(full(), make_plan(full(), SKIPPED))


@cache
def samples():
    with np.load(GOLDEN / "meter_tiny_vqa.npz") as arrays:
        names = {"input_ids": "text_ids", "attention_mask": "text_masks", "pixel_values": "image"}
        return {name: torch.from_numpy(arrays[key]) for name, key in names.items()}


@cache
def full_onnx() -> OnnxExport:
    return exported(full())


@cache
def slim_onnx() -> OnnxExport:
    return exported(trim(slim()))


def exported(model) -> OnnxExport:
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)
    return export_onnx(model, Path(folder.name) / "model.onnx", samples())


def facts_in(path):
    """What an ONNX file says of itself: the metadata that das wrote, by name without the prefix."""
    properties = onnx.load(path, load_external_data=False).metadata_props
    return {each.key.removeprefix("das."): each.value for each in properties if each.key.startswith("das.")}
