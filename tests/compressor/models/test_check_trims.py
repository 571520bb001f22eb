"""A family that declares what is not so is caught where trimmed and untrimmed first differ."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from compressor.families import FAMILIES
from compressor.families.embeddings import UntypedEmbeddings
from compressor.families.text_encoder import BertEncoderLayer
from compressor.models.surgery import make_plan, remove_layers
from compressor.models.trims.check_trims import TrimsDiffer, check_trims
from tests.support import tiny_models as tiny
from tests.support.command_line import refused

TASK = "text-classification"


class MeanEpilogue(nn.Module):
    """Averages the valid tokens by itself, whatever its family declares."""

    def __init__(self, epilogue):
        super().__init__()
        self.epilogue = epilogue

    def forward(self, streams):
        valid = streams["mask"][:, 0, 0, :, None]
        hidden = (streams["hidden"] * valid).sum(1, keepdim=True) / valid.sum(1, keepdim=True)
        return self.epilogue({**streams, "hidden": hidden})


class FourthToken(nn.Module):
    def __init__(self, epilogue):
        super().__init__()
        self.epilogue = epilogue

    def forward(self, streams):
        return self.epilogue({"hidden": streams["hidden"][:, 3][:, None]})


def drawn(skipped=(), epilogue=None, family="bert"):
    model = tiny.model(family, TASK)
    if epilogue:
        model.epilogue = epilogue(model.epilogue)
    return remove_layers(model, make_plan(model, skipped)).eval() if skipped else model


def inputs(model):
    given = tiny.batch(model, samples=6)
    return {name: given[name] for name in FAMILIES[model.family].input_names}


def check(model):
    check_trims(model, inputs(model))


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("skipped", [(), ("En5",), ("En1", "En4", "En5")])
def test_sound_declarations_pass(family, skipped):
    check(drawn(skipped, family=family))


def test_an_epilogue_that_reads_more_than_is_declared():
    with refused(TrimsDiffer, "trims-differ", "a bert that", "the epilogue", "readout"):
        check(drawn(("En5",), MeanEpilogue))
    with refused(TrimsDiffer, "trims-differ", "the epilogue"):
        check(drawn((), MeanEpilogue))  # no layer needs to go for that: the last computes one token


def test_the_same_epilogue_passes_where_it_is_declared(monkeypatch):
    monkeypatch.setitem(FAMILIES, "bert", replace(FAMILIES["bert"], readout=lambda dims, task: {"hidden": "mean"}))
    check(drawn(("En5",), MeanEpilogue))


def test_an_epilogue_that_fails_without_the_other_tokens():
    with refused(TrimsDiffer, "trims-differ", "fails behind En5", "out of bounds"):
        check(drawn((), FourthToken))


def test_a_block_that_computes_another_token_is_named(monkeypatch):
    monkeypatch.setattr(BertEncoderLayer, "one_token", lambda block, pick, hidden, mask: pick(hidden))
    with refused(TrimsDiffer, "trims-differ", "in En4,"):
        check(drawn(("En5",)))


def test_a_constant_that_is_folded_wrongly_is_named(monkeypatch):
    monkeypatch.setattr(UntypedEmbeddings, "forward", lambda typed, input_ids: typed.word_embeddings(input_ids))
    with refused(TrimsDiffer, "trims-differ", "in the prologue (hidden),"):
        check(drawn(family="roberta"))


def test_a_few_samples_are_enough_and_the_model_stays_as_it_is():
    model = drawn(("En5",))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    many = {name: torch.cat([x] * 5) for name, x in inputs(model).items()}
    many["input_ids"][4:] = 10**6  # which no embedding has a row for
    check_trims(model, many)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
