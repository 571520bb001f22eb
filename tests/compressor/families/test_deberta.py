"""DeBERTa's embeddings of distances are one table for all layers, and a part of the score of every pair of tokens."""

from functools import partial

import pytest
import torch
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

from compressor.errors import InputError
from compressor.models.plan import Plan, Skip
from compressor.models.surgery import remove_layers
from tests.support import library_models
from tests.support.command_line import refused

SIZES = {**library_models.SIZES, "num_hidden_layers": 4, "relative_attention": True, "num_labels": 3}
V3 = {
    "pos_att_type": ["p2c", "c2p"], "position_buckets": 6, "norm_rel_ebd": "layer_norm", "share_att_key": True,
    "position_biased_input": False,
}  # fmt: skip
texts = partial(library_models.texts, 0)


def library(**settings):
    torch.manual_seed(0)
    return library_models.drawn(DebertaV2ForSequenceClassification(DebertaV2Config(**(SIZES | settings))))


@pytest.fixture
def load(tmp_path):
    return partial(library_models.load_saved, tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        V3,
        {"pos_att_type": "c2p|p2c", "max_relative_positions": 16},
        {"pos_att_type": ["c2p"], "norm_rel_ebd": "layer_norm", "embedding_size": 24},
        {"pos_att_type": ["p2c"], "position_buckets": 4},
        {"pos_att_type": [], "position_buckets": 4, "pooler_hidden_act": "tanh"},
    ],
    ids=["v3", "far", "c2p", "p2c", "none"],
)
def test_logits_are_the_librarys(settings, load):
    whole = library(**settings)
    model = load(whole)
    with torch.no_grad():
        expected = whole(**texts()).logits
        torch.testing.assert_close(model(**texts()), expected, atol=1e-5, rtol=0)
    assert expected.std() > 0.1


def test_the_table_is_one_whatever_is_cut(load):
    """Also where what stays is not copied, as where a model is thrown away anyway."""
    whole = library(**V3)
    model = load(whole)
    with torch.no_grad():
        logits = model(**texts())
    for copied in (True, False):
        slim = remove_layers(model, Plan(skip=(Skip(layer="En0", adapter_width=0),)), copy_kept=copied)
        tables = {id(slim.blocks[name].layer.distances.rel_embeddings.weight) for name in slim.layers}
        assert tables == {id(slim.prologue.distances.rel_embeddings.weight)}
        named = [name for name in slim.state_dict() if "rel_embeddings" in name]
        assert named == ["prologue.distances.rel_embeddings.weight"]
    fewer = library(**V3, num_hidden_layers=3)
    state = whole.state_dict()
    moved = {f"layer.{new}.": f"layer.{new + 1}." for new in range(3)}
    for key in fewer.state_dict():
        place = next((place for place in moved if place in key), "")
        fewer.state_dict()[key].copy_(state[key.replace(place, moved[place]) if place else key])
    with torch.no_grad():
        torch.testing.assert_close(slim(**texts()), fewer(**texts()).logits, atol=1e-5, rtol=0)
        assert not torch.allclose(slim(**texts()), logits, atol=1e-2)


@pytest.mark.parametrize(
    "changes",
    [{"conv_kernel_size": 3}, {"relative_attention": False}, {"type_vocab_size": 2}],
    ids=lambda changes: next(iter(changes)),
)
def test_settings_that_make_another_model_are_refused(changes, load):
    (name,) = changes
    with refused(InputError, "setting-not-supported", f"{name} {changes[name]}"):
        load(library(**V3), **changes)
