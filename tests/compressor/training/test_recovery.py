"""Recovery of all weights that are left: what is trained, at what rate, and what becomes of the model."""

import json

import pytest
import torch
from transformers import AutoConfig

from compressor.costs.model_costs import share_macs
from compressor.saved_run.run_folder import open_run
from compressor.training.optimiser import full_learning_rate
from tests.support.command_line import das


@pytest.mark.parametrize(("hidden", "rate"), [(768, 3e-5), (384, 6e-5), (1024, 2.25e-5), (1, 3e-3)])
def test_the_rate_of_a_whole_model_is_that_of_fine_tuning(hidden, rate):
    assert full_learning_rate(hidden) == pytest.approx(rate)


@pytest.mark.parametrize("replace", ["none", "adapter"])
def test_every_weight_that_is_left_is_trained(sentences, replace):
    given = ("compress", "roberta", "--layers", "En1,En4", "--replace", replace, "--recover", "full")
    given = (*given, "--recover-epochs", 2, "--batch-size", 16)
    outlook = json.loads(das(*given, "--dry-run", "--json").stdout)
    assert outlook["recover"] == "full" and outlook["recover_steps"] > 0
    assert outlook["recover_learning_rate"] == pytest.approx(full_learning_rate(48))
    told = das(*given, "--out", "run")
    assert told.exit_code == 0, told.stderr
    stages = told.stderr.splitlines()
    assert len(set(stages)) == len(stages)  # each is told of once
    assert ("removed" if replace == "none" else "skip adapter") in told.stdout
    run = open_run("run")
    full, slim = run.load_full(), run.load_saved()
    before = full.state_dict()
    kept = [
        (name, value) for name, value in slim.state_dict().items() if not name.startswith(("blocks.En1", "blocks.En4"))
    ]
    assert all(not torch.equal(value, before[name]) for name, value in kept if value.is_floating_point())
    trained = run.manifest.updated_parameters
    assert sum(trained.values()) == sum(parameter.numel() for parameter in slim.parameters())
    assert {"layers", "embeddings", "head"} <= trained.keys()
    assert ("skip adapters" in trained) == (replace == "adapter")
    assert run.manifest.settings.recover_learning_rate == outlook["recover_learning_rate"]


def test_without_adapters_the_run_is_saved_as_a_model_of_the_library(sentences):
    given = ("compress", "roberta", "--skip", 2, "--replace", "none", "--recover", "full", "--recover-epochs", 1)
    assert das(*given, "--out", "run").exit_code == 0
    told = das("save", "run", "--to", "slim", "--json")
    saved = json.loads(told.stdout)
    assert saved["architecture"] == "RobertaForSequenceClassification" and not saved["trust_remote_code"]
    config = AutoConfig.from_pretrained("slim")
    assert config.num_hidden_layers == 4 and config.id2label == {0: "negative", 1: "positive"}
    assert das("eval", "slim", "--data", "data").stdout == das("eval", "run").stdout


def test_a_search_scores_layers_without_what_will_not_be_there(sentences):
    told = das("search", "roberta", "--skip", 2, "--replace", "none", "--json")
    assert told.exit_code == 0, told.stderr
    search = json.loads(told.stdout)["search"]
    assert search["explained"] == {}


@pytest.mark.parametrize("budget", [("--max-drop", 100), ("--max-macs", "0.7x")])
def test_a_budget_counts_and_keeps_models_without_adapters(sentences, budget):
    given = ("compress", "roberta", *budget, "--replace", "none", "--recover", "none", "--data", "data")
    told = das(*given, "--out", "run")
    assert told.exit_code == 0, told.stderr
    manifest = open_run("run").manifest
    assert {entry.adapter_width for entry in manifest.plan.skip} == {0}
    if manifest.budget.tries:
        kept = next(entry for entry in manifest.budget.tries if entry.layers == manifest.plan.layers)
        assert kept.share == share_macs(manifest.costs.macs, manifest.costs.trims)
    else:
        assert manifest.budget.predicted.slim == manifest.costs.macs.slim
