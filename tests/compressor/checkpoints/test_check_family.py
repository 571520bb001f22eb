"""What is wrong with a family is found by comparing it with the library's own model, and with itself."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from compressor.checkpoints.check_family import check_family
from compressor.errors import CheckFailed, InputError
from compressor.families import FAMILIES
from compressor.families.key_mapping import KeyTable
from compressor.families.text_encoder import BertEncoderLayer, TextPrologue, encoder_family
from compressor.families.text_encoder.distilbert import DistilbertDims
from tests.support.command_line import refused

SIZES = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_labels": 3}
DEBERTA = {"relative_attention": True, "type_vocab_size": 0, "pos_att_type": ["c2p"], "position_buckets": 4}
OWN = {
    "electra": {"embedding_size": 24},
    "albert": {"embedding_size": 24},
    "deberta-v2": DEBERTA,
    "modernbert": {"pad_token_id": 3},
}
TEXTS = [family.name for family in FAMILIES.values() if not family.names_of("image")]


def tiny(name, **settings):
    torch.manual_seed(0)
    inner = "hidden_dim" if name == "distilbert" else "intermediate_size"
    config = AutoConfig.for_model(name, **SIZES | {inner: 48, "max_position_embeddings": 22} | settings)
    return AutoModelForSequenceClassification.from_config(config)


@pytest.mark.parametrize("name", TEXTS)
def test_shipped_families_are_what_they_declare(name):
    check_family(tiny(name, **OWN.get(name, {})))


def declared(monkeypatch, name, dims, pooler, **said):
    rows = "classifier.weight" if name in ("bert", "distilbert") else "classifier.out_proj.weight"
    library = FAMILIES[name].formats[0].other_architecture.removesuffix("ForSequenceClassification")
    monkeypatch.setitem(FAMILIES, name, encoder_family(name, dims, pooler, rows, library=library, **said))


def test_a_pooler_that_expects_no_axis_of_tokens(monkeypatch):
    poolers = {"layers": "transformer.layer", "keys": (("pre_classifier.", "epilogue.pooler.0."),)}
    inputs = FAMILIES["distilbert"].inputs

    def pooler(model):
        return nn.Sequential(model.pre_classifier, nn.ReLU(), model.dropout)

    declared(monkeypatch, "distilbert", DistilbertDims, pooler, inputs=inputs, **poolers)
    with refused(CheckFailed, "family-differs", "(3, 1, 3)", "(3, 3) of DistilBertForSequence", "(B, 1, D)"):
        check_family(tiny("distilbert"))


def test_another_pooler(monkeypatch):
    keys = (("bert.pooler.", "epilogue.pooler.0."),)

    def pooler(model):
        return nn.Sequential(model.bert.pooler, nn.ReLU())

    declared(monkeypatch, "bert", FAMILIES["bert"].dims_type, pooler, keys=keys)
    with refused(CheckFailed, "family-differs", "BertForSequenceClassification by"):
        check_family(tiny("bert"))


class Unmasked(TextPrologue):
    def forward(self, input_ids, attention_mask, **others):
        return super().forward(input_ids, torch.ones_like(attention_mask), **others)


def test_padding_that_is_read(monkeypatch):
    dims = FAMILIES["electra"].dims_type
    declared(monkeypatch, "electra", dims, lambda model: nn.Identity(), prologue=Unmasked)
    with refused(CheckFailed, ("family-differs", "family-reads-padding"), "where a text is padded"):
        check_family(tiny("electra", embedding_size=32))


def test_names_that_cannot_be_written_back(monkeypatch):
    bert = FAMILIES["bert"]
    (format,) = bert.formats
    keys = KeyTable((("bert.embedded.", "prologue.embeddings."), *format.keys.renames))  # read by nothing, written
    monkeypatch.setitem(FAMILIES, "bert", replace(bert, formats=(replace(format, keys=keys),)))
    with refused(CheckFailed, "family-keys", "bert.embedded."):
        check_family(tiny("bert"))


def test_a_block_that_computes_another_token(monkeypatch):
    monkeypatch.setattr(BertEncoderLayer, "one_token", lambda block, pick, hidden, mask: pick(hidden))
    with refused(CheckFailed, "trims-differ", "in En2,"):
        check_family(tiny("roberta"))


def test_a_model_of_no_family():
    with refused(InputError, "family-undeclared", "roformer"):
        check_family(tiny("roformer"))


def test_the_model_that_is_given_is_not_changed():
    library = tiny("mpnet")
    before = {name: value.clone() for name, value in library.state_dict().items()}
    check_family(library)
    assert all(torch.equal(value, before[name]) for name, value in library.state_dict().items())
