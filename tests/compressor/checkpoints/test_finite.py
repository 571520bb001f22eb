"""Weights, answers and losses that are NaN or infinite stop the work where they are first seen."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.torch import load_file, save_file

from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.finite import is_finite
from compressor.checkpoints.recognise import recognise
from compressor.errors import InputError
from tests.support.command_line import GOLDEN, das, refused, stopped

GOLDEN_TASKS = ("vqa", "nlvr2", "irtr", "snli")
CHECKPOINTS = [f"{family}_tiny_{task}" for family in ("meter", "vilt") for task in GOLDEN_TASKS]
IN_PROJ = "vit_model.visual.transformer.resblocks.0.attn.in_proj_weight"


@given(
    arrays.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0),
    )
)
def test_as_a_mask_of_all_values_says(values):
    assert is_finite(torch.from_numpy(values)) == bool(np.isfinite(values).all())


def planted(name, key, value, row=0):
    """A golden checkpoint with one value of one tensor changed."""
    content = torch.load(GOLDEN / f"{name}.ckpt", weights_only=True)
    content["state_dict"][key] = tensor = content["state_dict"][key].clone()
    tensor[row].flatten()[-1:].fill_(value)
    torch.save(content, "meter.ckpt")


@pytest.mark.parametrize("name", [name for name in CHECKPOINTS if (GOLDEN / f"{name}.ckpt").exists()])
def test_every_tensor_that_is_read_is_looked_at(name):
    source = recognise(GOLDEN / f"{name}.ckpt")
    whole = load_checkpoint(source)
    wrong = {
        key: tensor if key in whole.leftovers or not tensor.is_floating_point() else tensor * torch.nan
        for key, tensor in source.state.items()
    }
    read = [key for key in wrong if wrong[key] is not source.state[key]]
    changed = type(source)(source.checkpoint, source.family, source.format, wrong)
    with refused(InputError, "weights-not-finite", f"in {len(read)} tensors", "and "):
        load_checkpoint(changed)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("row", [0, -1])
def test_one_value_is_enough_also_in_a_tensor_that_is_split(workshop, value, row):
    planted("meter_tiny_vqa", IN_PROJ, value, row)
    with refused(InputError, "weights-not-finite", "meter.ckpt", f"in 1 tensor: {IN_PROJ}"):
        load_checkpoint("meter.ckpt")


def test_a_double_beyond_float32_is_infinite(workshop):
    content = torch.load(GOLDEN / "meter_tiny_vqa.ckpt", weights_only=True)
    content["state_dict"][IN_PROJ] = content["state_dict"][IN_PROJ].double() * 1e60
    torch.save(content, "meter.ckpt")
    with refused(InputError, "weights-not-finite", IN_PROJ):
        load_checkpoint("meter.ckpt")


def test_what_is_not_read_may_be_anything():
    source = recognise(GOLDEN / "meter_tiny_vqa.ckpt")
    unread = {key: torch.full_like(tensor, torch.nan) for key, tensor in source.state.items() if "mlm_score" in key}
    assert load_checkpoint(type(source)(source.checkpoint, source.family, source.format, source.state | unread))


@pytest.mark.parametrize("command", [("compress", "--skip", 8), ("search", "--skip", 8), ("eval",)])
def test_no_command_begins_with_weights_that_are_no_numbers(workshop, command):
    content = torch.load("meter.ckpt", weights_only=True)
    content["state_dict"]["cross_modal_text_pooler.dense.bias"][3] = torch.nan
    torch.save(content, "meter.ckpt")
    result = das(command[0], "meter.ckpt", "--task", "vqa", *command[1:])
    stopped(result, 3, "weights-not-finite", "meter.ckpt", "cross_modal_text_pooler.dense.bias")
    assert not list(Path("runs").glob("*"))


@pytest.mark.parametrize("command", [("export", "--onnx"), ("eval",), ("profile",)])
def test_a_run_whose_weights_are_no_numbers(run_here, command):
    weights = load_file(run_here / "model.safetensors")
    name = next(name for name in weights if name.startswith("blocks."))
    weights[name] = torch.full_like(weights[name], torch.inf)
    save_file(weights, run_here / "model.safetensors")
    stopped(das(command[0], run_here, *command[1:]), 3, "weights-not-finite", "model.safetensors", name)


@pytest.mark.parametrize("command", [("compress", "--skip", 8), ("eval",)])
def test_answers_that_overflow_stop_before_the_search(workshop, command):
    content = torch.load("meter.ckpt", weights_only=True)
    head = "vqa_classifier.3.weight"
    content["state_dict"][head] = content["state_dict"][head].sign() * 3e38
    torch.save(content, "meter.ckpt")
    result = das(command[0], "meter.ckpt", "--task", "vqa", *command[1:])
    stopped(result, 3, "answers-not-finite", "as to sample", "of test", "numbers")
    assert not list(Path("runs").glob("*[!.partial]"))


def test_a_search_alone_stops_at_answers_that_overflow(workshop):
    content = torch.load("meter.ckpt", weights_only=True)
    content["state_dict"]["vqa_classifier.3.weight"].sign_().mul_(3e38)
    torch.save(content, "meter.ckpt")
    stopped(
        das("search", "meter.ckpt", "--task", "vqa", "--skip", 2), 3, "answers-not-finite", "as to sample", "of val"
    )


def test_streams_that_overflow_are_not_fitted(workshop):
    content = torch.load("meter.ckpt", weights_only=True)
    key = "cross_modal_text_layers.3.output.dense.weight"
    content["state_dict"][key] = content["state_dict"][key].sign() * 3e38
    torch.save(content, "meter.ckpt")
    stopped(das("search", "meter.ckpt", "--task", "vqa", "--skip", 2), 3, "answers-not-finite")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--layers", "FL1,FV0"), ("--layers FV0,FL1 in place of a search",)),
        (("--skip", 2, "--strategy", "das", "--batch-size", 32), ()),
    ],
)
def test_a_training_that_diverges_stops_at_once(workshop, options, words):
    result = das("compress", "meter.ckpt", "--task", "vqa", *options, "--learning-rate", 1e30)
    stopped(result, 4, "training-diverged", "the loss is nan at training step", "--learning-rate 1.0e+29", *words)
    assert not list(Path("runs").glob("*"))
