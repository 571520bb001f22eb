"""Subsets scored together are scored as each alone; what they share runs once."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.families import FAMILIES
from compressor.models.surgery import make_plan, remove_layers
from compressor.search.loop import with_teacher
from tests.support import tiny_models as tiny

SMALL_POOL = 6  # of which all 64 subsets are tried

every = pytest.mark.parametrize(("family", "task"), tiny.EVERY)


def powerset(names):
    return [frozenset(name for i, name in enumerate(names) if number >> i & 1) for number in range(1 << len(names))]


def inputs_of(batch):
    return {name: value for name, value in batch.items() if name != "targets"}


@every
def test_all_subsets_of_a_small_pool_at_once(family, task):
    model = tiny.model(family, task)
    supernet, batch = tiny.supernet(model, model.layers[-SMALL_POOL:]), tiny.batch(model)
    subsets = powerset(supernet.candidates)
    with torch.inference_mode():
        streams = supernet.encode(batch)
        together = dict(supernet.logits_of_all(streams, subsets))
        full = model(**inputs_of(batch))
        assert together.keys() == set(subsets)
        for subset in subsets:
            torch.testing.assert_close(together[subset], supernet.logits(streams, subset), atol=5e-6, rtol=0)
    torch.testing.assert_close(together[frozenset()], full, atol=1e-5, rtol=1e-5)
    assert min((together[subset] - full).abs().max() for subset in subsets[1:]) > 1e-3  # each adapter tells


@pytest.mark.parametrize(("family", "task"), [("meter", "nlvr2"), ("meter", "irtr"), ("vilt", "vqa")])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_subsets_of_any_layers_are_what_surgery_makes_of_them(family, task, data):
    model = tiny.model(family, task)
    candidates = sorted(data.draw(st.sets(st.sampled_from(model.layers), min_size=1)))
    supernet, batch = tiny.supernet(model, candidates), tiny.batch(model)
    subsets = data.draw(st.sets(st.frozensets(st.sampled_from(candidates), min_size=1), min_size=1, max_size=8))
    with torch.inference_mode():
        for subset, logits in supernet.logits_of_all(supernet.encode(batch), subsets):
            slim = remove_layers(model, make_plan(model, sorted(subset)))
            torch.testing.assert_close(logits, slim(**inputs_of(batch)), atol=1e-5, rtol=1e-4)


def test_what_subsets_have_in_common_from_the_start_runs_once():
    model = tiny.model("bert", "text-classification")
    supernet, batch, runs = tiny.supernet(model), tiny.batch(model), Counter()
    for name in model.layers:
        norm = next(module for module in model.blocks[name].modules() if isinstance(module, nn.LayerNorm))
        norm.register_forward_hook(lambda *_, name=name: runs.update([name]))
        model.skips[name].register_forward_hook(lambda *_, name=name: runs.update([f"skip {name}"]))
    streams = supernet.encode(batch)
    last_two = [frozenset(), frozenset({"En4"}), frozenset({"En5"}), frozenset({"En4", "En5"})]
    assert len(list(supernet.logits_of_all(streams, last_two))) == 4
    assert runs == {"En0": 1, "En1": 1, "En2": 1, "En3": 1, "En4": 1, "skip En4": 1, "En5": 2, "skip En5": 2}


@every
def test_of_a_kept_layer_in_the_last_round_scoring_computes_what_is_read(family, task):
    model = tiny.model(family, task)
    supernet, batch = tiny.supernet(model), tiny.batch(model)
    with torch.inference_mode():
        streams = model.advance(model.prologue(**inputs_of(batch)), model.rounds[:-1])
        for step in model.rounds[-1]:
            whole = model.advance(streams, ((step,),))[step.stream]
            read = supernet.run_step(streams, step, False)[step.stream]
            readout = FAMILIES[family].readout(model.dims, task).get(step.stream, "all")
            if readout == "first":
                assert read.shape[1] == 1
                torch.testing.assert_close(read, whole[:, :1], atol=1e-5, rtol=1e-5)
            elif readout != "last":
                assert read.equal(whole)


def test_a_subset_asked_for_twice_is_scored_once():
    model = tiny.model("roberta", "text-classification")
    supernet = tiny.supernet(model)
    found = list(supernet.logits_of_all(supernet.encode(tiny.batch(model)), [frozenset({"En1"})] * 2))
    assert len(found) == 1


def test_held_out_samples_carry_the_full_models_logits_whatever_the_adapters_do():
    model = tiny.model("vilt", "nlvr2")
    batch = tiny.batch(model)
    full = model(**inputs_of(batch))
    supernet = tiny.supernet(model)
    with torch.inference_mode():
        encoded = with_teacher(supernet)(batch)
    torch.testing.assert_close(encoded["teacher"], full)
    assert torch.equal(encoded["targets"], batch["targets"])
    assert "pixel_values" not in encoded
