"""ALBERT's layers are one: what is cut, copied, trained, counted and written leaves it so."""

import copy
import json

import pytest
import torch
from torch import nn
from transformers import AlbertConfig, AlbertForSequenceClassification

from compressor.checkpoints.build import load_checkpoint
from compressor.costs.parts import parameters, parameters_of_layers
from compressor.errors import InputError
from compressor.families import FAMILIES
from compressor.models.plan import Plan, Skip
from compressor.models.surgery import remove_layers
from compressor.models.trims.simplify import trim
from tests.support import tiny_models as tiny
from tests.support.command_line import refused

SIZES = {
    "embedding_size": 24, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 48,
    "vocab_size": 50, "max_position_embeddings": 20,
}  # fmt: skip


def cut(model, *layers, width=0):
    return remove_layers(model, Plan(skip=tuple(Skip(layer=layer, adapter_width=width) for layer in layers)))


def modules(model):
    return {id(model.blocks[name].layer) for name in model.layers}


def layer_weights(model):
    return [value for name, value in model.state_dict().items() if name.startswith("blocks.") and ".layer." in name]


@pytest.mark.parametrize("skipped", [("En2",), ("En0", "En3")])
def test_fewer_runs_of_the_same_weights(skipped):
    """The library's model of as many layers, with the very same tensors, answers alike."""
    full = tiny.model("albert", "text-classification")
    inputs = {name: x for name, x in tiny.batch(full).items() if name != "targets"}
    slim = cut(full, *skipped)
    assert all(len(modules(model)) == 1 for model in (full, slim, copy.deepcopy(slim), cut(full, *skipped, width=3)))
    assert sum(x.numel() for x in trim(slim).parameters()) == sum(x.numel() for x in slim.parameters())
    assert modules(slim).isdisjoint(modules(full))
    assert all(torch.equal(a, b) for a, b in zip(layer_weights(slim), layer_weights(full), strict=True))
    config = {**full.dims.config, "num_hidden_layers": len(slim.layers)}
    again = type(full.dims)(config=config, classes=full.dims.classes, text_length=full.dims.text_length)
    fewer = FAMILIES["albert"].build(again, "text-classification").eval()
    names = {slim.layers[0]: "En0"}
    renamed = {".".join(names.get(part, part) for part in name.split(".")): x for name, x in slim.state_dict().items()}
    fewer.load_state_dict(renamed)
    with torch.no_grad():
        torch.testing.assert_close(fewer(**inputs), slim(**inputs), atol=1e-6, rtol=0)


def test_what_one_run_learns_all_have_learned():
    slim = cut(tiny.model("albert", "text-classification"), "En1")
    batch = tiny.batch(slim)
    inputs = {name: x for name, x in batch.items() if name != "targets"}
    optimiser = torch.optim.SGD(slim.parameters(), lr=0.1)
    nn.functional.cross_entropy(slim(**inputs), batch["targets"]).backward()
    optimiser.step()
    state = slim.state_dict()
    fresh = cut(tiny.model("albert", "text-classification", seed=5), "En1")
    fresh.load_state_dict(state, assign=True)
    assert len(modules(fresh)) == 1 and fresh.state_dict().keys() == state.keys()
    with torch.no_grad():
        assert torch.equal(fresh(**inputs), slim(**inputs))


def test_no_parameter_goes_with_a_layer():
    full = tiny.model("albert", "text-classification")
    assert set(parameters_of_layers(full).values()) == {0}
    counts = [parameters(model) for model in (full, cut(full, "En0", "En3"))]
    assert counts[0] == counts[1]
    assert sum(counts[0].values()) == sum(parameter.numel() for parameter in full.parameters())
    bert = tiny.model("bert", "text-classification")
    assert sum(parameters_of_layers(bert).values()) == parameters(bert)["encoder"]


def test_it_is_said_that_skipping_saves_no_parameters(tmp_path):
    AlbertForSequenceClassification(AlbertConfig(**SIZES)).save_pretrained(tmp_path)
    assert any("saves time, and no parameters" in note for note in load_checkpoint(tmp_path).notes)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_groups": 2}))
    with refused(InputError, "setting-not-supported", "num_hidden_groups 2"):
        load_checkpoint(tmp_path)
