"""What each method puts into a model and trains, and that a model with it trims and merges to the same answers."""

import copy
import sys

import pytest
import torch

from compressor.errors import EnvironmentProblem, UsageError
from compressor.models.trims.simplify import trim
from compressor.tuning.apply_method import apply_method, count_updated, is_head
from compressor.tuning.lora import merge_lora
from compressor.tuning.methods import METHODS, find_method
from tests.support import tiny_models as tiny
from tests.support.command_line import refused
from tests.support.tiny_exports import inputs_of

FEED = "layer.output"
# Of one layer of each family what a method trains, by its path in the block; poolers and head apart.
TRAINED = {
    ("bert", "prefix"): {"layer.attention.self.prefix.key", "layer.attention.self.prefix.value"},
    ("bert", "lora"): {
        f"layer.attention.self.{projection}.lora_{side}.default.weight"
        for projection in ("query", "value")
        for side in "AB"
    },
    ("bert", "adapter"): {
        *(
            f"layer.attention.output.dense.adapter.{part}"
            for part in ("down.weight", "down.bias", "up.weight", "up.bias")
        ),
        *(f"{FEED}.dense.adapter.{part}" for part in ("down.weight", "down.bias", "up.weight", "up.bias")),
        *(f"{FEED}.dense.adapter.norm.{part}" for part in ("weight", "bias")),
    },
    ("bert", "mam"): {
        *("layer.attention.self.prefix.key", "layer.attention.self.prefix.value"),
        *(f"{FEED}.adapter.{part}" for part in ("down.weight", "down.bias", "up.weight", "up.bias")),
    },
    ("vilt", "prefix"): {"attention.prefix.key", "attention.prefix.value"},
    ("meter", "prefix"): {
        f"{place}.self.prefix.{part}" for place in ("attention", "crossattention") for part in ("key", "value")
    },
}


@pytest.mark.parametrize(("family", "method"), TRAINED, ids=["-".join(key) for key in TRAINED])
def test_a_method_trains_only_what_it_says(family, method):
    model = tiny.model(family, "text-classification" if family == "bert" else "vqa", shallow=True)
    own = {name for name, _ in model.named_parameters()}
    layers = ["FL0", "FV0"] if family == "meter" else ["En0", "En1"]
    expected = {f"blocks.{layer}.{path}" for layer in layers for path in TRAINED[family, method]}
    assert {*apply_method(model, METHODS[method])} == expected
    assert len({name for name, _ in model.named_parameters()}) == len(own) + len(expected)


@pytest.mark.parametrize(("family", "task"), [("bert", "text-classification"), ("meter", "vqa")])
def test_full_tuning_and_bitfit_add_nothing(family, task):
    model = tiny.model(family, task, shallow=True)
    own = [name for name, _ in model.named_parameters() if not is_head(name)]
    assert [*apply_method(model, METHODS["full"])] == own
    biases = [name for name in own if name.endswith(".bias")]
    assert [*apply_method(model, METHODS["bitfit"])] == biases
    counts = count_updated(model, biases, METHODS["bitfit"])
    assert counts["biases"] == sum(model.get_parameter(name).numel() for name in biases)
    assert counts.keys() == {"biases", "poolers", "head"}


def drawn(family, task, method):
    """A model with everything that a method trains drawn at random."""
    model = tiny.model(family, task, shallow=True)
    names = apply_method(model, METHODS[method])
    torch.manual_seed(3)
    with torch.no_grad():
        for name in names:
            parameter = model.get_parameter(name)
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("family", "task"), [("roberta", "text-classification"), ("meter", "vqa"), ("vilt", "vqa")])
def test_merged_and_trimmed_it_answers_the_same(family, task, method):
    model = drawn(family, task, method)
    inputs, before = inputs_of(model), copy.deepcopy(model)
    merge_lora(model)
    assert not any("lora" in name for name, _ in model.named_parameters())
    with torch.no_grad():
        expected = before(**inputs)
        torch.testing.assert_close(model(**inputs), expected, atol=1e-6 * max(1, expected.abs().max()), rtol=0)
        torch.testing.assert_close(trim(model)(**inputs), expected, atol=1e-5, rtol=0)
        plain = tiny.model(family, task, shallow=True)(**inputs)
    assert (expected - plain).abs().max() > 1e-3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("family", "task"), [("bert", "text-classification"), ("meter", "vqa")])
def test_what_it_trains_lowers_the_loss_under_a_frozen_head(family, task, method):
    model = tiny.model(family, task, shallow=True)
    batch, names = tiny.batch(model), apply_method(model, METHODS[method])
    inputs = {name: x for name, x in batch.items() if name != "targets"}
    model.requires_grad_(False)
    trained = [model.get_parameter(name).requires_grad_(True) for name in names]
    optimiser, losses = torch.optim.Adam(trained, 0.3 if method == "prefix" else 0.01), []  # a token a layer: far to go
    for _ in range(12):
        loss = torch.nn.functional.cross_entropy(model(**inputs), batch["targets"])
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("method", ["lora", "adapter"])
def test_what_is_added_changes_nothing_before_it_is_trained(method):
    model = tiny.model("bert", "text-classification", shallow=True)
    inputs = inputs_of(model)
    plain = model(**inputs)
    apply_method(model, METHODS[method])
    torch.testing.assert_close(model(**inputs), plain, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", ["prefix", "mam"])
def test_a_family_whose_attention_takes_no_prefix_is_named(method):
    with refused(UsageError, "method-without-place", "mpnet", method, "layer.attention.attn"):
        apply_method(tiny.model("mpnet", "text-classification", shallow=True), METHODS[method])


def test_an_unknown_method_is_told_the_known_ones():
    with refused(UsageError, "unknown-method", "lorra", *METHODS):
        find_method("lorra")


def test_lora_needs_peft_and_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)  # as Python marks what cannot be imported
    model = tiny.model("bert", "text-classification", shallow=True)
    with refused(EnvironmentProblem, "peft-missing", "das-toolkit[paper]"):
        apply_method(model, METHODS["lora"])
