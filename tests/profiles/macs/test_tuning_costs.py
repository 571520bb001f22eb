"""Costs of the methods by formula against the built model, and against the figures that the paper prints."""

import pytest
import torch

from compressor.costs.macs import count_macs
from compressor.tuning.apply_method import apply_method, count_updated
from compressor.tuning.lora import merge_lora
from compressor.tuning.methods import METHODS
from profiles.macs.traced import count_traced
from profiles.macs.tuning_costs import TuningCosts, count_tuning
from tests.support import tiny_models as tiny

ROBERTA = {
    "full": (124_645_632, 0),
    "bitfit": (102_144, 0),
    "prefix": (147_456, 12 * 2 * 8 * 512 * 768),
    "lora": (589_824, 0),
    "adapter": (627_072, 12 * (2 * 2 * 512 * 768 * 16 + 5 * 512 * 768)),
    "mam": (599_232, 12 * 2 * 512 * 768 * (16 + 16)),
}


@pytest.mark.parametrize("method", METHODS)
def test_roberta_base_at_512_tokens(method):
    assert count_tuning("roberta", method, text_length=512) == TuningCosts(*ROBERTA[method])


def test_printed_figures_that_one_size_gives():
    """Table C in millions and G; those of prefix and MAM contradict themselves (docs/results.md)."""
    printed = {"full": (124.65, 0), "bitfit": (0.10, 0), "lora": (0.59, 0), "adapter": (0.63, 0.33)}
    for method, figures in printed.items():
        costs = count_tuning("roberta", method, text_length=512)
        assert (round(costs.updated_parameters / 1e6, 2), round(costs.additional_macs / 1e9, 2)) == figures


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["bert", "distilbert", "meter", "vilt"])
def test_the_formula_is_what_the_built_model_has(family, method):
    task = "vqa" if family in ("meter", "vilt") else "text-classification"
    plain = tiny.model(family, task, shallow=True)
    inputs = {name: x[:1] for name, x in tiny.batch(plain).items() if name != "targets"}
    before = count_macs(plain, inputs).total
    names = apply_method(plain, METHODS[method])
    counts = count_updated(plain, names, METHODS[method])
    merge_lora(plain)
    side = inputs["pixel_values"].shape[-2:] if "pixel_values" in inputs else None
    costs = count_tuning(family, method, image_size=side if family == "vilt" else None, dims=plain.dims)
    assert costs.additional_macs == count_macs(plain, inputs).total - before
    trained = sum(counts.values()) - counts.get("poolers", 0) - counts.get("head", 0)
    last = sum(p.numel() for p in plain.epilogue.head.parameters() if len(p) == plain.dims.classes)
    whole = sum(p.numel() for p in plain.parameters()) - last
    assert costs.updated_parameters == (whole if method == "full" else trained)


def test_the_traced_graph_of_an_adapted_model_counts_the_same():
    model = tiny.model("roberta", "text-classification", shallow=True)
    inputs = {name: x[:1] for name, x in tiny.batch(model).items() if name != "targets"}
    before = count_traced(model, inputs).total
    apply_method(model, METHODS["mam"])
    with torch.no_grad():
        after = count_traced(model, inputs).total
    assert after - before == count_tuning("roberta", "mam", dims=model.dims).additional_macs
