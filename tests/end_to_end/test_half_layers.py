"""Halves of layers, from the command to files that run: as a user types it."""

import json
from pathlib import Path

import pytest
import torch

import das as toolkit
from compressor.costs.macs import count_macs
from compressor.errors import InputError
from compressor.hub.slim_tensors import find_format, name_tensors
from compressor.models.layer_parts import part_of
from compressor.models.surgery import make_plan, remove_layers
from compressor.saved_run.run_folder import open_run
from exporters.folder import exports_of
from tests.support.command_line import das, refused, stopped
from tests.support.tiny_models import model

HALF = ("meter.ckpt", "--task", "vqa", "--skip", 2, "--granularity", "half", "--recover", "closed-form")


def compress(*options):
    made = das("compress", *options, "--json")
    assert made.exit_code == 0, made.stderr
    return json.loads(made.stdout)


@pytest.fixture
def half(workshop):
    compress(*HALF, "--out", "half")
    return open_run("half")


def test_parts_go_that_save_the_macs_of_layers(half):
    plan = half.manifest.plan
    assert all(part_of(name) for name in plan.layers)
    assert half.manifest.settings.granularity == "half"
    assert len(half.manifest.candidates) == 36
    search = half.search_result()
    layer = sum(search.macs_saved.values()) / 12
    assert sum(search.macs_saved[name] for name in plan.layers) >= 1.94 * layer
    assert set(search.chosen) >= {1, 2}
    report = json.loads((half.path / "report.json").read_text())
    assert "parts of layers removed" in Path("half/report.md").read_text()
    assert any("□" in line and "■□" in line.replace(" ", "") for line in report["picture"])


def test_what_is_loaded_is_what_was_saved(half):
    slim, saved = half.load_slim(), half.load_saved()
    samples = half.samples()
    with torch.inference_mode():
        torch.testing.assert_close(slim(**samples), saved(**samples), rtol=1e-4, atol=1e-4)
    assert count_macs(slim, samples).total < count_macs(half.load_full(), samples).total
    assert set(slim.skipped) == set(half.manifest.plan.layers)


def test_it_is_exported_and_its_search_used_again(half):
    toolkit.export(half, "onnx")
    assert exports_of(half).path.joinpath("model.onnx").exists()
    assert das("verify", "half").exit_code == 0
    front = json.loads(das("pareto", "half", "--json").stdout)
    assert front["own"]["skip"] == 2
    assert {point["skip"] for point in front["points"] if point["asked"]} == {2}
    compress("--from", "half", "--skip", 1, "--out", "again")
    assert len(open_run("again").manifest.plan.skip) < len(half.manifest.plan.skip)


def test_transformers_has_no_place_for_it():
    whole = model("bert", "text-classification")
    slim = remove_layers(whole, make_plan(whole, ["En2-attention"]))
    with refused(InputError, "halves-have-no-place", "En2-attention"):
        name_tensors(slim, find_format("bert", "text-classification"))


def test_parts_can_be_named_by_hand(workshop):
    compress(*HALF[:3], "--layers", "FL0-1-feed-forward,FV*-cross-attention,FL5", "--recover", "none", "--out", "hand")
    layers = open_run("hand").manifest.plan.layers
    assert layers[0] == "FL5"
    assert set(layers) == {"FL5", "FL0-feed-forward", "FL1-feed-forward", *(f"FV{i}-cross-attention" for i in range(6))}


def test_parts_keep_to_a_budget(workshop):
    compress(*HALF[:3], "--max-macs", "0.8x", "--granularity", "half", "--recover", "closed-form", "--out", "budget")
    manifest = open_run("budget").manifest
    assert manifest.plan.layers and all(map(part_of, manifest.plan.layers))
    assert manifest.costs.macs.slim <= 0.8 * manifest.costs.macs.full


REFUSED = {
    "unknown-granularity": ("--skip", 2, "--granularity", "quarter"),
    "half-layers-with-strategy": ("--skip", 2, "--granularity", "half", "--strategy", "greedy"),
    "half-layers-replaced": ("--skip", 2, "--granularity", "half", "--merge-tokens", "0.2x"),
    "search-beside-layers": ("--layers", "FL0-attention", "--granularity", "half"),
    "layer-named-twice": ("--layers", "FL0,FL0-attention"),
    "unknown-layer": ("--layers", "FL0-attentoin"),
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_halves_cannot_be_is_refused(workshop, code):
    stopped(das("compress", *HALF[:3], *REFUSED[code]), 2, code)
