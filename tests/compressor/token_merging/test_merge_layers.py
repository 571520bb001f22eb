"""Models that merge tokens: the same weights, and what compress, reports and runs make of them."""

import json

import pytest
import torch

from compressor.compression import compress
from compressor.costs.count_costs import count_costs
from compressor.errors import UsageError
from compressor.families import FAMILIES
from compressor.jobs.open_inputs import open_inputs
from compressor.jobs.prepare_job import prepare_job
from compressor.models.steps import valid_tokens
from compressor.models.surgery import make_plan, remove_layers
from compressor.saved_run.run_folder import open_run
from compressor.search.fit_budget import count_cut, price_merged
from compressor.search.result import Point, SearchResult
from compressor.settings import Settings
from compressor.token_merging.merge_layers import set_merging
from compressor.training.activation_cache import ANSWER
from compressor.training.recovery import Recovery, encoder_of, rounds_behind
from profiles.reports.build_report import build_report
from profiles.reports.sentences import describe_result
from tests.support import tiny_models as tiny
from tests.support.command_line import das, refused

QUICK = {"task": "vqa", "data": "data", "device": "cpu", "recover": "none"}


def inputs_of(model):
    batch = tiny.batch(model)
    return {name: batch[name] for name in FAMILIES[model.family].input_names}


@torch.no_grad()
@pytest.mark.parametrize("task", ["vqa", "nlvr2", "irtr"])
def test_the_weights_stay_and_merging_can_be_undone(task):
    full = tiny.model("meter", task)
    inputs, counts = inputs_of(full), (3,) * full.dims.vision_layers
    merged = set_merging(full, counts)
    assert merged.state_dict().keys() == full.state_dict().keys()
    assert all(ours is theirs for ours, theirs in zip(merged.parameters(), full.parameters(), strict=True))
    assert not torch.equal(merged(**inputs), full(**inputs))
    torch.testing.assert_close(set_merging(merged, ())(**inputs), full(**inputs), atol=0, rtol=0)
    rebuilt = FAMILIES["meter"].build(merged.dims, task).eval()
    rebuilt.load_state_dict(full.state_dict())
    torch.testing.assert_close(rebuilt(**inputs), merged(**inputs), atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_token_that_stands_for_several_counts_as_they_did():
    """Where patches are alike, and so their tokens, merging them changes nothing: also in the fusion layers."""
    full = tiny.model("meter", "vqa")
    inputs = {**inputs_of(full), "pixel_values": torch.ones(3, 3, full.dims.image_size, full.dims.image_size)}
    full.prologue.image.position_embedding.weight[1:] = full.prologue.image.position_embedding.weight[1]
    torch.testing.assert_close(set_merging(full, (4, 2))(**inputs), full(**inputs), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_recovery_is_shown_the_merged_tokens_and_taught_by_the_full_model():
    full = tiny.model("meter", "vqa")
    slim = set_merging(remove_layers(full, make_plan(full, ["FL1", "VEn0"])), (0, 3))
    recovery, inputs = Recovery(1, 1, 1.0, 0), inputs_of(full)
    encoded = encoder_of(slim, full, recovery)(inputs)
    torch.testing.assert_close(encoded[ANSWER], full(**inputs), atol=1e-5, rtol=0)
    behind = slim.epilogue(slim.advance(dict(encoded), rounds_behind(slim, recovery)))
    torch.testing.assert_close(behind, slim(**inputs), atol=1e-5, rtol=0)


def test_merged_tokens_are_no_padding():
    mask = torch.tensor([[[[0.0, 1.1, -10000.0]]]])
    valid = valid_tokens({"image": torch.zeros(1, 3, 4), "image_mask": mask}, "image")
    assert valid.tolist() == [[True, True, False]]


def test_costs_tell_layers_merging_and_trims_apart():
    full = tiny.model("meter", "vqa")
    sample = {name: rows[:1] for name, rows in inputs_of(full).items()}
    removed = remove_layers(full, make_plan(full, ["FL1"], adapters=False))
    alone, both = (count_costs(full, slim, sample) for slim in (removed, set_merging(removed, (3, 2))))
    assert both.trims.unmerged == alone.trims.before
    assert both.trims.merging == alone.trims.before - both.trims.before > 0
    assert both.macs.full - both.macs.slim == (
        (alone.macs.full - alone.trims.before) + both.trims.merging + both.trims.saved
    )


def test_a_run_merges_tokens_and_says_so(workshop):
    settings = Settings(checkpoint="meter.ckpt", layers=("FL0",), merge_tokens="0.2x", **QUICK)
    run = open_run(compress(settings).path)
    assert run.path.name == "meter-vqa-by-hand-merge0.2x"
    counts = run.manifest.dims["merged_tokens"]
    slim, full = run.load_slim(), run.load_full()
    assert (tuple(counts), slim.dims.merged_tokens, full.dims.merged_tokens) == (tuple(counts), tuple(counts), ())
    saved = run.manifest.costs.macs_by_pool["vision"]
    assert saved.slim <= 0.8 * saved.full
    samples = run.samples()
    by_hand = set_merging(remove_layers(full, run.manifest.plan), counts)
    by_hand.load_state_dict(run.load_saved().state_dict())
    torch.testing.assert_close(slim(**samples), by_hand.eval()(**samples), atol=1e-4, rtol=0)
    told = " ".join(describe_result(build_report(run)))
    assert f"Tokens merged in the vision layers (--merge-tokens 0.2x): {sum(counts)} of an image" in told
    assert "merged tokens -" in told


def test_a_budget_on_macs_counts_what_merging_saves(shared_workshop):
    settings = Settings(
        checkpoint=str(shared_workshop / "meter.ckpt"), max_macs="0.6x", merge_tokens="0.2x", scope="FL0,FV1",
        **{**QUICK, "data": str(shared_workshop / "data")},
    )  # fmt: skip
    job = prepare_job(settings)
    pair, _ = count_cut(job, ())
    point = Point(layers=(), value=1.0, loss=0.0, divergence=0.0)
    search = SearchResult(
        strategy="auto", sizes=(1,), metric="", samples=1, full=point, points=(), chosen={}, forwards={},
        macs=pair.full, macs_saved={}, parameters=1, parameters_saved={}, explained={},
    )  # fmt: skip
    prices = price_merged(job, search)
    nothing, trims = count_cut(job, ())
    assert prices.without(()) == trims.before < nothing.full
    assert prices.without(("FL0",)) == count_cut(job, ("FL0",))[1].before


def test_merging_alone_skips_no_layer_and_needs_no_training(workshop):
    planned = json.loads(
        das("compress", "meter.ckpt", "--skip", "0", "--merge-tokens", "0.2x", "--dry-run", "--json").stdout
    )
    assert (planned["skip"], planned["candidates"], planned["recover_steps"]) == (0, [], 0)
    assert planned["merge_tokens"] == "0.2x"


@pytest.mark.parametrize(
    ("asked", "code"),
    [({"skip": 0}, "skip-too-small"), ({"merge_tokens": "2x"}, "merge-share-wrong"),
     ({"merge_tokens": "0.99x"}, "merge-share-out-of-reach"), ({"merge_tokens": "0.2x"}, "goal-missing")],
)  # fmt: skip
def test_impossible_merging_is_refused(workshop, asked, code):
    goal = {} if code in ("skip-too-small", "goal-missing") else {"skip": 2}
    with refused(UsageError, code):
        open_inputs(Settings(checkpoint="meter.ckpt", **{**QUICK, **goal, **asked}))


def test_families_without_layers_of_an_image_alone_merge_nothing(sentences):
    with refused(UsageError, "merging-unsupported", "meter"):
        open_inputs(Settings(checkpoint="roberta", data="data", skip=1, merge_tokens="0.2x"))
