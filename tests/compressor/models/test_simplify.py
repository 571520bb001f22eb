"""Exact trims: the same logits for every subset of layers, less to compute, and the model itself left alone."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compressor.architectures.meter import MeterDims
from compressor.checkpoints.build import load_checkpoint
from compressor.costs.macs import count_macs
from compressor.costs.model_costs import Pair
from compressor.costs.parts import parameters
from compressor.families import FAMILIES
from compressor.families.meter.meter_family import build
from compressor.models.steps import Step, StepModel, split_where_modalities_meet, steps_of
from compressor.models.surgery import make_plan, remove_layers
from compressor.models.trims.simplify import OneToken, trim
from compressor.models.trims.single_query import attend_one_token
from profiles.macs.formula import count_by_part, count_fusion_layer
from tests.support import tiny_models as tiny
from tests.support.command_line import GOLDEN

ATOL = 1e-5
# Four layers that can go: the fewest that have a first, a last, and two between them.
FEW_LAYERS = {"meter": {"fusion_layers": 2}, "vilt": {"layers": 4}, "text": {"num_hidden_layers": 4}}
ADAPTERS = (0, 4)


def drawn(family, task, parallel_width=0, **sizes):
    """A tiny model in which no weight and no bias is zero, with skip adapters that do something."""
    dims = tiny.model(family, task).dims.model_copy(update={"parallel_width": parallel_width, **sizes})
    torch.manual_seed(0)
    model = FAMILIES[family].build(dims, task).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.15)
    tiny.supernet(model)
    return model


def few_layers(family, task):
    """Return the sizes of a model of few layers."""
    if family in FEW_LAYERS:
        return FEW_LAYERS[family]
    return {"config": {**tiny.model(family, task).dims.config, **FEW_LAYERS["text"]}}


def batch(model):
    given = tiny.batch(model)
    return {name: given[name] for name in FAMILIES[model.family].input_names}


def slim(model, layers):
    return remove_layers(model, make_plan(model, layers)) if layers else model


def every_subset(names):
    return [subset for size in range(len(names) + 1) for subset in combinations(names, size)]


def one_token_blocks(model):
    return {name for name, block in model.blocks.items() if isinstance(block, OneToken)}


def same_logits(model, inputs):
    with torch.no_grad():
        expected, found = model(**inputs), trim(model)(**inputs)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, atol=ATOL, rtol=0)


@pytest.mark.parametrize("parallel_width", ADAPTERS)
@pytest.mark.parametrize(("family", "task"), tiny.EVERY)
def test_logits_stay_the_same_for_every_subset_of_layers(family, task, parallel_width):
    model = drawn(family, task, parallel_width, **few_layers(family, task))
    inputs = batch(model)
    assert (inputs["attention_mask"] == 0).any()
    pools = next(iter(FAMILIES[family].scopes.values()))
    subsets = every_subset([step.name for step in steps_of(model.rounds) if step.pool in pools])
    assert len(subsets) >= 16
    for layers in subsets:
        same_logits(slim(model, layers), inputs)


@pytest.mark.parametrize("kept", [(), ("LEn1", "VEn1"), ("LEn0",), ("VEn1", "FL0"), ("FV1",)])
def test_the_encoders_too_compute_one_row_when_they_come_last(kept):
    model = drawn("meter", "vqa", fusion_layers=2, text_layers=2, vision_layers=2)
    made = slim(model, [name for name in model.layers if name not in kept])
    same_logits(made, batch(model))
    if kept == ("LEn1", "VEn1"):
        assert one_token_blocks(trim(made)) >= {"LEn1", "VEn1", "text_bridge", "image_bridge", "FL0", "FV1"}
        assert "match_mask" not in trim(made).blocks


@pytest.mark.parametrize("layers", [(), ("FL1-2",), ("FL2", "FV2"), ("FV*",), ("FL*", "FV*")])
@pytest.mark.parametrize("name", ["das_meter_tiny_vqa", "meter_tiny_vqa"])
def test_checkpoints_of_the_public_code_with_class_token_and_adapters(name, layers):
    model = load_checkpoint(GOLDEN / f"{name}.ckpt").model
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        keys = {"input_ids": "text_ids", "attention_mask": "text_masks", "pixel_values": "image"}
        same_logits(slim(model, layers), {ours: torch.from_numpy(arrays[key]) for ours, key in keys.items()})
    assert model.dims.class_token == bool(model.dims.parallel_width) == (name == "das_meter_tiny_vqa")


@pytest.mark.parametrize(("family", "layers", "expected"), [
    ("meter", (), {"FL5", "FV5"}),
    ("meter", ("FL5",), {"FL5", "FV5"}),
    ("meter", ("FL5", "FV5"), {"FL4", "FV4", "FL5", "FV5"}),
    ("meter", ("FL4", "FL5"), {"FL5", "FV5"}),
    ("vilt", ("En5",), {"En4", "En5"}),
])  # fmt: skip
def test_which_steps_compute_one_row(family, layers, expected):
    assert one_token_blocks(trim(slim(drawn(family, "vqa"), layers))) == expected


def test_a_block_that_cannot_compute_one_row_stays_whole():
    model = drawn("vilt", "vqa", layers=2)
    trimmed = trim(slim(model, model.layers))
    assert one_token_blocks(trimmed) == {"En0", "En1"}
    assert [step.name for step in steps_of(trimmed.rounds)] == ["join", "En0", "En1"]  # nobody reads the mask


def test_steps_that_nothing_is_read_from_go():
    model = drawn("vilt", "vqa")
    tower = tuple((Step(f"idle{i}", ("image", "mask"), ("image",)),) for i in range(2))
    blocks = {**dict(model.blocks.items()), "idle0": model.blocks["En0"], "idle1": model.blocks["En1"]}
    parts = model.dims, model.prologue, (*model.rounds[:3], *tower, *model.rounds[3:]), blocks, model.epilogue
    with_tower = StepModel("vilt", "vqa", *parts)
    trimmed = trim(with_tower.eval())
    assert trimmed.rounds == model.rounds
    assert "idle0" in with_tower.blocks and "idle0" not in trimmed.blocks
    with torch.no_grad():
        torch.testing.assert_close(trimmed(**batch(model)), model(**batch(model)), atol=ATOL, rtol=0)


@pytest.mark.parametrize(("family", "task"), tiny.EVERY)
def test_the_model_itself_is_not_changed(family, task):
    model = drawn(family, task)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs, rounds = batch(model), model.rounds
    with torch.no_grad():
        logits = model(**inputs)
        trimmed = trim(model)
        assert torch.equal(model(**inputs), logits)
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(value, after[name]) for name, value in before.items())
    assert model.rounds == rounds and len(model.skips) > 0
    assert len(trimmed.skips) == 0 and not trimmed.training
    shared = {parameter.data_ptr() for parameter in model.parameters()}
    own = sum(p.nbytes for p in trimmed.parameters() if p.data_ptr() not in shared)
    assert own < 0.02 * sum(p.nbytes for p in trimmed.parameters())


@pytest.mark.parametrize(("family", "task", "left"), [
    ("meter", "vqa", set()),
    ("meter", "nlvr2", {"blocks.image_bridge.token_types"}),
    ("vilt", "vqa", set()),
    ("vilt", "nlvr2", {"prologue.image_types"}),
    ("roberta", "text-classification", set()),
    ("bert", "text-classification", {"prologue.embeddings.token_type_embeddings.weight"}),
])  # fmt: skip
def test_types_are_folded_in_unless_they_differ(family, task, left):
    assert {name for name in trim(drawn(family, task)).state_dict() if "type" in name} == left


def test_trimming_twice_changes_nothing_more():
    model = drawn("vilt", "vqa")
    once = trim(model)
    with torch.no_grad():
        torch.testing.assert_close(trim(once)(**batch(model)), once(**batch(model)), atol=ATOL, rtol=0)


def test_retrieval_still_runs_each_encoder_once():
    streams = FAMILIES["meter"].streams
    early, late = split_where_modalities_meet(trim(drawn("meter", "irtr")).rounds, streams)
    assert {step.pool for step in steps_of(early)} == {"language", "vision", None}
    assert {step.pool for step in steps_of(late)} == {"fusion-language", "fusion-vision", None}


def at_published_size(**changes):
    """METER's blocks without weights, and a prologue of zeros that can be run."""
    with torch.device("meta"):
        model = build(MeterDims(text_length=40, **changes), "vqa").eval()
    model.prologue.to_empty(device="cpu")
    for tensor in (*model.prologue.parameters(), *model.prologue.buffers()):
        tensor.data.zero_()
    return model


def one_row(dims, tokens, others):
    """A fusion layer that computes one row: both attentions, feed-forward, three norms."""
    d = dims.hidden
    return 8 * d**2 + 2 * dims.heads * (tokens + others) * d + 2 * d * dims.fusion_ffn + 3 * 5 * d


def test_trims_of_the_published_model_follow_the_closed_form():
    model = at_published_size()
    dims, inputs = model.dims, FAMILIES["meter"].example_inputs(model.dims)
    whole, trimmed = count_macs(model, inputs), count_macs(trim(model), inputs)
    text, image = dims.text_length, dims.image_tokens
    expected = sum(
        count_fusion_layer(tokens, others, dims.hidden, dims.fusion_ffn) - one_row(dims, tokens, others)
        for tokens, others in ((text, image), (image, text))
    )
    assert whole.total == sum(count_by_part(FAMILIES["meter"], dims, "vqa").values())
    assert whole.total - trimmed.total == expected
    assert expected >= 4.5e9


@pytest.mark.parametrize(("family", "task"), [("meter", "vqa"), ("vilt", "nlvr2"), ("bert", "text-classification")])
def test_macs_and_parameters_by_part_are_all_of_them(family, task):
    model = drawn(family, task, parallel_width=4)
    made = slim(model, model.layers[-1:])
    trimmed, inputs = trim(made), batch(model)
    counted, before = count_macs(trimmed, inputs), count_macs(made, inputs)
    assert counted.total == sum(counted.by_pool.values()) < before.total
    assert counted.total == sum(counted.by_step.values()) + counted.by_pool["prologue"] + counted.by_pool["head"]
    trimmed.requires_grad_(True)(**inputs).sum().backward()
    unused = {name for name, parameter in trimmed.named_parameters() if parameter.grad is None}
    assert all(name.endswith(("key.bias", "in_proj_bias")) for name in unused)  # of one row alone: softmax cancels it
    for part in ("skip-adapters", "parallel-adapters"):
        assert 0 < counted.by_pool[part] < before.by_pool[part]
        assert parameters(trimmed)[part] == parameters(made)[part]
    assert sum(parameters(trimmed).values()) == sum(p.numel() for p in trimmed.parameters())
    assert Pair(full=before.total, slim=counted.total).difference < 0


@pytest.mark.parametrize("kind", ["none", "bool", "added"])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, ATOL), (torch.bfloat16, 0.05)])
def test_attention_of_one_row(dtype, atol, kind):
    torch.manual_seed(0)
    heads, width = 3, 24
    query, key, value = (nn.Linear(width, width).double() for _ in range(3))
    first, context = torch.randn(4, 1, width).double(), torch.randn(4, 7, width).double()
    real = torch.arange(7) < torch.tensor([7, 3, 5, 1])[:, None]
    added = torch.where(real, 0.0, -1e4).double()
    mask = {"none": None, "bool": real[:, None, None], "added": added[:, None, None]}[kind]
    with torch.no_grad():
        q, k, v = (
            project(rows).unflatten(-1, (heads, -1)).transpose(1, 2)
            for project, rows in ((query, first), (key, context), (value, context))
        )
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        projections = (part.to(dtype) for part in (query, key, value))
        mask = mask.to(dtype) if kind == "added" else mask
        found = attend_one_token(first.to(dtype), context.to(dtype), *projections, heads, mask)
    assert found.dtype == dtype and found.shape == (4, 1, width)
    torch.testing.assert_close(found.double(), expected, atol=atol, rtol=0)
