"""Steps, plans and surgery: what is removed is gone, what stays computes the same."""

import itertools
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from compressor.architectures.meter import MeterDims, meter_rounds
from compressor.errors import UsageError
from compressor.families import FAMILIES
from compressor.families.meter.meter_family import build
from compressor.models.plan import Plan, match_layers, summarise
from compressor.models.steps import split_at_candidates, steps_of
from compressor.models.supernet import Supernet
from compressor.models.surgery import make_plan, remove_layers, stream_width
from compressor.saved_run.run_folder import open_run
from tests.support.command_line import refused

DIMS = MeterDims(
    hidden=16,
    heads=2,
    fusion_layers=3,
    fusion_ffn=32,
    text_vocabulary=20,
    text_positions=10,
    text_hidden=16,
    text_layers=2,
    text_heads=2,
    text_ffn=32,
    vision_width=64,
    vision_layers=2,
    vision_ffn=64,
    patch=8,
    image_size=16,
    classes=5,
    text_length=6,
    dropout=0.0,
)
LAYERS = tuple(step.name for step in steps_of(meter_rounds(DIMS)) if step.pool)


def tiny(seed=0):
    torch.manual_seed(seed)
    return build(DIMS, "vqa").eval()


def batch(size=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(size, 6, dtype=torch.long)
    mask[0, 4:] = 0
    return {
        "input_ids": torch.randint(4, 20, (size, 6), generator=generator) * mask + (1 - mask),
        "attention_mask": mask,
        "pixel_values": torch.randn(size, 3, 16, 16, generator=generator),
    }


def untrained(adapters):
    """Adapters that do something: fresh ones pass their stream through."""
    for adapter in adapters:
        torch.nn.init.normal_(adapter.up_proj.weight, std=0.3)


@given(st.sets(st.sampled_from(LAYERS), min_size=1), st.data())
@settings(max_examples=40, deadline=None)
def test_slim_and_routed_supernet_give_the_same_logits(candidates, data):
    model = tiny()
    supernet = Supernet(model, sorted(candidates))
    untrained(model.skips.values())
    skipped = data.draw(st.sets(st.sampled_from(sorted(candidates)), min_size=1))
    slim = remove_layers(model, make_plan(model, sorted(skipped)))
    with torch.no_grad():
        routed = supernet.logits(supernet.encode(batch()), skipped)
        torch.testing.assert_close(slim(**batch()), routed, atol=1e-6, rtol=0)


@given(st.sets(st.sampled_from(LAYERS), min_size=1))
@settings(max_examples=60, deadline=None)
def test_the_fixed_part_reads_nothing_that_a_candidate_wrote(candidates):
    fixed, varying = split_at_candidates(meter_rounds(DIMS), candidates)
    assert not candidates & {step.name for step in steps_of(fixed)}
    assert sorted(s.name for s in steps_of(fixed + varying)) == sorted(s.name for s in steps_of(meter_rounds(DIMS)))
    model = tiny()
    with torch.no_grad():
        streams = model.advance(model.advance(model.prologue(**batch()), fixed), varying)
        torch.testing.assert_close(model.epilogue(streams), model(**batch()), atol=0, rtol=0)


def test_frozen_encoders_are_outside_the_search_of_the_fusion_layers():
    fixed, _ = split_at_candidates(meter_rounds(DIMS), [f"F{side}{i}" for side in "LV" for i in range(3)])
    assert {s.name for s in steps_of(fixed)} == {"LEn0", "LEn1", "VEn0", "VEn1", "text_bridge", "image_bridge"}


def test_the_vision_encoder_stays_outside_a_global_search():
    fixed, _ = split_at_candidates(meter_rounds(DIMS), ["LEn0", "FL1"])
    assert {step.name for step in steps_of(fixed)} == {"VEn0", "VEn1", "image_bridge"}


def weigh(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("layers", [["FL0"], ["FL1", "FV0", "FV2"], ["LEn0", "VEn1", "FL2"], ["FL*", "FV*"]])
def test_parameters_shrink_by_what_the_removed_layers_weighed(layers):
    model = tiny()
    plan = make_plan(model, layers)
    slim = remove_layers(model, plan)
    removed = sum(weigh(model.blocks[name]) for name in plan.layers)
    adapters = sum(weigh(slim.blocks[name]) for name in plan.layers)
    assert weigh(slim) == weigh(model) - removed + adapters
    assert slim.skipped == tuple(sorted(plan.layers, key=[s.name for s in steps_of(model.rounds)].index))
    assert not set(slim.layers) & set(plan.layers)
    assert not slim.skips


def test_nothing_unused_is_kept():
    slim = remove_layers(tiny(), make_plan(tiny(), ["FL0", "FV2"]))
    untrained([slim.blocks["FL0"], slim.blocks["FV2"]])
    slim(**batch()).square().sum().backward()
    # A bias of the keys shifts all scores alike; row 1 of the position table is the padding's.
    assert [n for n, p in slim.named_parameters() if p.grad is None] == []


def test_surgery_leaves_the_model_alone_and_shares_nothing():
    model = tiny()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    slim = remove_layers(model, make_plan(model, ["FL1"]))
    with torch.no_grad():
        for parameter in slim.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.skipped == ()


def test_a_fresh_adapter_passes_its_stream_through():
    model = tiny()
    slim = remove_layers(model, make_plan(model, ["FL2"]))
    x = torch.randn(2, 6, 16)
    assert torch.equal(slim.blocks["FL2"](x), x)


def test_a_layer_can_be_skipped_once():
    slim = remove_layers(tiny(), make_plan(tiny(), ["FL1"]))
    with refused(UsageError, "unknown-layer", "FL1"):
        make_plan(slim, ["FL1"])


@given(st.sets(st.sampled_from(LAYERS), min_size=1))
@settings(deadline=None, max_examples=30)
def test_plans_survive_json_in_the_papers_order(layers):
    plan = make_plan(tiny(), sorted(layers))
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert set(plan.layers) == layers
    assert plan.layers == FAMILIES["meter"].layer_order(plan.layers)


def test_adapter_widths_are_the_papers_at_the_papers_size():
    with torch.device("meta"):
        model = build(MeterDims(text_layers=1, vision_layers=1, fusion_layers=1), "vqa")
    widths = {entry.layer: entry.adapter_width for entry in make_plan(model, ["LEn0", "FL0", "FV0"]).skip}
    assert widths == {"LEn0": 192, "FL0": 288, "FV0": 288}


KNOWN = tuple(f"{prefix}{i}" for prefix in ("LEn", "FL") for i in range(12))


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["FL3"], ["FL3"]),
        (["LEn6-8"], ["LEn6", "LEn7", "LEn8"]),
        (["FL1?"], ["FL10", "FL11"]),
        (["FL2", "LEn0"], ["LEn0", "FL2"]),
        (["FL*"], [f"FL{i}" for i in range(12)]),
    ],
)
def test_layer_patterns(patterns, expected):
    assert list(match_layers(patterns, KNOWN)) == expected


def test_unknown_patterns_are_all_named_with_the_nearest():
    with pytest.raises(UsageError) as error:
        match_layers(["FL99", "Len3", "FL1"], KNOWN)
    assert error.value.codes == ("unknown-layer", "unknown-layer")
    assert [name in problem.found for name, problem in zip(("FL99", "Len3"), error.value.problems, strict=True)] == [
        True
    ] * 2
    assert "LEn3" in error.value.problems[1].fix


@given(st.lists(st.sampled_from(KNOWN), unique=True, min_size=1))
def test_summaries_name_every_layer(names):
    ordered = [name for name in KNOWN if name in names]
    spelled = [part.strip() for part in summarise(ordered).split(",")]
    found = itertools.chain.from_iterable(match_layers([p], KNOWN) for p in spelled)
    assert sorted(found) == sorted(names)


RELOAD = """
import sys, torch
from compressor.saved_run.run_folder import open_run
run = open_run(sys.argv[1])
with torch.no_grad():
    torch.save(run.load_slim()(**run.samples()), sys.argv[2])
"""


@pytest.mark.slow
def test_the_slim_model_reloads_in_a_new_process(shared_run, tmp_path):
    out = tmp_path / "logits.pt"
    subprocess.run([sys.executable, "-c", RELOAD, str(shared_run.path), str(out)], check=True)
    run = open_run(shared_run.path)
    with torch.no_grad():
        torch.testing.assert_close(torch.load(out), run.load_slim()(**run.samples()), atol=1e-6, rtol=0)


def test_the_file_shrinks_by_what_the_removed_layers_weighed(shared_run):
    full, slim = shared_run.load_full(), shared_run.load_saved()
    saved = sum(v.nbytes for v in full.state_dict().values()) - sum(v.nbytes for v in slim.state_dict().values())
    removed = sum(weigh(full.blocks[name]) for name in slim.skipped)
    adapters = sum(weigh(slim.blocks[name]) for name in slim.skipped)
    assert saved == 4 * (removed - adapters)
    header = 64 * 1024
    assert (shared_run.path / "model.safetensors").stat().st_size < 4 * weigh(slim) + header


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm, LlamaRMSNorm])
def test_the_width_of_a_stream_is_that_of_the_outermost_norm(norm):
    block = nn.ModuleDict({"attention": nn.ModuleDict({"head_norm": norm(4), "project": nn.Linear(12, 12)})})
    block["norm"] = norm(12)
    model = tiny()
    model.blocks["FL0"] = block
    assert stream_width(model, "FL0") == 12
    assert make_plan(model, ["FL0"]).skip[0].adapter_width == round(12 * 3 / 8)
