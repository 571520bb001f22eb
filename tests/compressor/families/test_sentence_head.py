"""Vectors of texts: those of sentence-transformers, whole and with layers skipped, whatever pools the tokens."""

import pytest
import torch

from compressor.checkpoints.build import load_checkpoint
from compressor.costs.macs import count_macs
from compressor.families.text_encoder.sentence_head import POOL, Dense
from compressor.models.surgery import make_plan, remove_layers
from compressor.models.trims.simplify import OneToken, trim
from profiles.macs.crosscheck import cross_check
from tests.support.embedders import TEXTS, inputs_of, write_embedder
from tests.support.marks import slow_but

FAMILIES_OF_TEXT = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "mpnet", "modernbert")
DENSE = Dense(width=7, activation="GELU")
HEADS = {
    "mean": (("mean",), ("normalize",)),
    "cls": (("cls",), ()),
    "last": (("lasttoken",), (DENSE, "normalize")),
    "max": (("max",), (DENSE, Dense(width=3, bias=False, activation="Identity"))),
    "weighted": (("weightedmean", "mean_sqrt_len_tokens", "cls"), ("normalize", DENSE)),
}
EVERY = [("bert", head) for head in HEADS] + [(family, "mean") for family in FAMILIES_OF_TEXT[1:]]
FAST = [("bert", head) for head in HEADS] + [("modernbert", "mean")]


def test_poolings_worked_by_hand():
    x, valid = torch.tensor([[[1.0], [-4.0], [9.0]]]), torch.tensor([[True, True, False]])
    found = {name: pool(x, valid).item() for name, pool in POOL.items()}
    assert found == pytest.approx(
        {"cls": 1, "max": 1, "mean": -1.5, "mean_sqrt_len_tokens": -3 / 2**0.5, "weightedmean": -7 / 3, "lasttoken": -4}
    )


@pytest.mark.parametrize(("family", "head"), slow_but(FAST, EVERY))
def test_the_vectors_are_those_of_sentence_transformers(tmp_path, family, head):
    library = pytest.importorskip("sentence_transformers")
    pooling, modules = HEADS[head]
    folder = write_embedder(tmp_path, family, pooling, modules)
    theirs = library.SentenceTransformer(str(folder), device="cpu")
    model = load_checkpoint(folder).model
    with torch.no_grad():
        ours = model(**inputs_of(model, folder))
    torch.testing.assert_close(ours, torch.tensor(theirs.encode(list(TEXTS))), atol=1e-5, rtol=0)
    assert ours.std(0).max() > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("head", HEADS)
def test_trims_are_exact(tmp_path, head):
    pooling, modules = HEADS[head]
    folder = write_embedder(tmp_path, "bert", pooling, modules)
    model = load_checkpoint(folder).model
    inputs = inputs_of(model, folder)
    for whole in (model, remove_layers(model, make_plan(model, ["En1"]))):
        cut = trim(whole)
        torch.testing.assert_close(cut(**inputs), whole(**inputs), atol=1e-5, rtol=0)
        alone = {name: x[1:2, :3] for name, x in inputs.items()}
        torch.testing.assert_close(cut(**alone), whole(**inputs)[1:2], atol=1e-5, rtol=0)
    assert any(isinstance(block, OneToken) for block in trim(model).blocks.values()) == (head in ("cls", "last"))


@pytest.mark.parametrize("trimmed", [False, True])
def test_macs_by_formula_are_those_of_the_model(tmp_path, trimmed):
    pooling, modules = HEADS["last"]
    model = load_checkpoint(write_embedder(tmp_path, "bert", pooling, modules)).model
    model, inputs = trim(model) if trimmed else model, inputs_of(model, tmp_path)
    inputs = {name: x[:1, :5] for name, x in inputs.items()}
    total = cross_check(model, inputs, count_macs(model, inputs)).total
    assert total.fvcore == total.torch == total.formula > 0
