"""Layers in parts: the same network, from which any part can go, with trims and MACs that are exact."""

import pytest
import torch

from compressor.costs.macs import count_macs
from compressor.errors import UsageError
from compressor.families import FAMILIES
from compressor.models.layer_parts import layers_of, parts_of_layers
from compressor.models.plan import match_layers, summarise
from compressor.models.steps import steps_of
from compressor.models.supernet import Supernet
from compressor.models.surgery import make_plan, remove_layers, split_layers
from compressor.models.trims.simplify import trim
from profiles.macs.formula import apply_formula
from tests.support.tiny_models import SIZES, batch, model

SPLIT = [kind for kind in SIZES if FAMILIES[kind[0]].parts]
IDS = ["-".join(kind) for kind in SPLIT]


def every_part(whole):
    """The names of all parts of a model's layers, in order."""
    return [name for names in parts_of_layers(whole.rounds, FAMILIES[whole.family].parts).values() for name in names]


def inputs_of(whole):
    """A batch of the model's inputs."""
    return {name: value for name, value in batch(whole).items() if name in FAMILIES[whole.family].input_names}


@pytest.fixture(params=SPLIT, ids=IDS)
def whole(request):
    return model(*request.param)


@torch.no_grad()
def test_a_model_in_parts_answers_as_the_whole_one(whole):
    apart = split_layers(whole, every_part(whole))
    assert set(apart.layers) == {*every_part(whole)}
    assert torch.equal(apart(**inputs_of(whole)), whole(**inputs_of(whole)))
    some = split_layers(whole, every_part(whole)[:1])
    assert torch.equal(some(**inputs_of(whole)), whole(**inputs_of(whole)))
    assert {id(p) for p in apart.parameters()} == {id(p) for p in whole.parameters()}


@torch.no_grad()
@pytest.mark.parametrize("kept", [0, 1])
def test_parts_that_are_removed_leave_a_model_whose_trims_and_macs_are_exact(whole, kept):
    gone = every_part(whole)[kept::2]
    plan = make_plan(whole, gone)
    slim = remove_layers(whole, plan)
    assert set(slim.skipped) == set(gone)
    inputs = inputs_of(whole)
    torch.testing.assert_close(trim(slim)(**inputs), slim(**inputs), rtol=1e-4, atol=1e-4)
    for cut in (slim, trim(slim)):
        counted = count_macs(cut, inputs).by_step
        if (terms := apply_formula(cut, inputs)) is not None:
            by_formula = dict.fromkeys(counted, 0)
            for term in terms:
                if term.step in by_formula:
                    by_formula[term.step] += term.macs
            assert by_formula == counted


@torch.no_grad()
def test_of_the_last_layer_one_token_alone_is_computed_part_by_part(whole):
    parts = every_part(whole)
    apart, trimmed = split_layers(whole, parts), trim(split_layers(whole, parts))
    whole_trimmed = trim(whole)
    macs = [count_macs(one, inputs_of(whole)).total for one in (apart, trimmed, whole_trimmed)]
    assert macs[1] == macs[2]
    assert macs[1] < macs[0] or macs[0] == count_macs(whole, inputs_of(whole)).total


def test_adapters_of_parts_are_those_of_the_model(whole):
    parts = every_part(whole)
    supernet = Supernet(whole, parts)
    assert set(whole.skips) == set(parts)
    assert supernet.model.skips is whole.skips
    with torch.no_grad():
        whole.skips[parts[0]].up_proj.bias.fill_(0.5)
    slim = remove_layers(whole, make_plan(whole, parts[:1]))
    assert bool((slim.blocks[parts[0]].up_proj.bias == 0.5).all())


def test_layers_that_run_at_once_read_what_was_there_before():
    whole = model("meter", "vqa")
    apart = split_layers(whole, ["FL3-cross-attention"])
    names = [step.name for step in steps_of(apart.rounds)]
    assert names[names.index("before_FL3") :][:5] == [
        "before_FL3",
        "FL3-attention",
        "FL3-cross-attention",
        "FL3-feed-forward",
        "FV3",
    ]
    assert {step.name: step.reads for step in steps_of(apart.rounds)}["FV3"][:2] == ("image", "text_before")


def test_names_of_parts_are_matched_and_summarised():
    layers, parts = (
        ("FL0", "FL1", "FL2"),
        tuple(f"FL{i}-{part}" for i in range(3) for part in ("attention", "feed-forward")),
    )
    assert match_layers(["FL*"], layers, parts) == layers
    assert match_layers(["FL0-1"], layers, parts) == ("FL0", "FL1")
    assert match_layers(["FL*-attention"], layers, parts) == ("FL0-attention", "FL1-attention", "FL2-attention")
    assert match_layers(["FL1-2-feed-forward", "FL0"], layers, parts) == ("FL0", "FL1-feed-forward", "FL2-feed-forward")
    assert summarise(parts) == "FL0-2-attention, FL0-2-feed-forward"
    assert summarise(["FL0", "FL1", "FL1-attention", "FL2-feed-forward", "text_bridge"]) == (
        "FL0-1, text_bridge, FL1-attention, FL2-feed-forward"
    )
    assert layers_of(["FL2-attention", "FL0", "FL2"]) == ("FL2", "FL0")
    with pytest.raises(UsageError, match="FL7-attention"):
        match_layers(["FL7-attention"], layers, parts)
