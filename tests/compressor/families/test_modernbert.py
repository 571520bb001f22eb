"""ModernBERT's two kinds of layer: each keeps its own mask and turns, whatever is cut around it."""

from functools import partial

import pytest
import torch
from transformers import AutoConfig, ModernBertForSequenceClassification

from compressor.checkpoints.check_family import check_family
from compressor.errors import InputError
from compressor.families import FAMILIES
from compressor.families.key_mapping import Library
from compressor.hub.slim_config import make_config
from compressor.hub.slim_tensors import name_tensors
from compressor.models.plan import Plan, Skip
from compressor.models.surgery import remove_layers
from compressor.models.trims.simplify import OneToken, trim
from compressor.tasks import TASKS
from tests.support import library_models
from tests.support.command_line import refused

TASK = "text-classification"
SIZES = {
    **library_models.SIZES, "num_hidden_layers": 5, "pad_token_id": 3, "local_attention": 6,
    "classifier_pooling": "mean",
}  # fmt: skip
texts = partial(library_models.texts, SIZES["pad_token_id"])  # longer than the window


def library(**settings):
    torch.manual_seed(0)
    config = AutoConfig.for_model("modernbert", num_labels=3, **(SIZES | settings))
    return library_models.drawn(ModernBertForSequenceClassification._from_config(config, attn_implementation="eager"))


@pytest.fixture
def load(tmp_path):
    return partial(library_models.load_saved, tmp_path)


def cut(model, *layers):
    return remove_layers(model, Plan(skip=tuple(Skip(layer=layer, adapter_width=0) for layer in layers)))


@pytest.mark.parametrize("skipped", [(), ("En3",), ("En1", "En2"), ("En1", "En3", "En4")])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_the_librarys_model_of_the_kept_layers_answers_alike(pooling, skipped, load):
    """It is made of the config.json and the tensors that a saved folder has: their types are those of the layers."""
    whole = library(classifier_pooling=pooling)
    model = load(whole)
    slim, format = cut(model, *skipped), FAMILIES["modernbert"].formats[0]
    tensors = name_tensors(slim, format)
    kept = tuple(number for number in range(5) if f"En{number}" not in skipped)
    assert tensors.layers == kept and tensors.adapters is None
    config = make_config(format, slim.dims, TASKS[TASK], tensors, ("a", "b", "c"), whole.config.to_dict())
    assert config["layer_types"] == [whole.config.layer_types[number] for number in kept]
    again = ModernBertForSequenceClassification(AutoConfig.for_model(**config)).eval()
    again.load_state_dict(tensors.state)
    with torch.no_grad():
        expected = again(**texts()).logits
        torch.testing.assert_close(slim(**texts()), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(trim(slim)(**texts()), expected, atol=1e-5, rtol=0)
    one = {name for name, block in trim(slim).blocks.items() if isinstance(block, OneToken)}
    assert bool(one) == (pooling == "cls")


def test_window_and_rates_matter(load):
    """Texts are longer than the window, and both kinds turn at rates of their own, so the test above can fail."""
    logits = [load(library())(**texts()), load(library(local_attention=60))(**texts())]
    logits.append(load(library(layer_types=["full_attention"] * 5))(**texts()))
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(logits, logits[1:] + logits[:1], strict=True))


@pytest.mark.parametrize("every", [2, 3])
def test_settings_of_older_versions_are_read(every, load):
    """Published checkpoints name the types, and the rates of turning, as transformers 4 did."""
    whole = library(global_attn_every_n_layers=every, global_rope_theta=500.0, local_rope_theta=70.0)
    older = {"global_attn_every_n_layers": every, "global_rope_theta": 500.0, "local_rope_theta": 70.0}
    model = load(whole, **older, layer_types=None, rope_parameters=None)
    with torch.no_grad():
        torch.testing.assert_close(model(**texts()), whole(**texts()).logits, atol=1e-5, rtol=0)
    source = older | {"model_type": "modernbert"}
    format, slim = FAMILIES["modernbert"].formats[0], cut(model, "En1")
    config = make_config(format, slim.dims, TASKS[TASK], name_tensors(slim, format), (), source)
    kinds = ["sliding_attention" if number % every else "full_attention" for number in (0, 2, 3, 4)]
    assert config["layer_types"] == kinds and "global_attn_every_n_layers" not in config


def test_the_published_pattern_is_written_though_the_library_has_it_by_default(load):
    layers = AutoConfig.for_model("modernbert").num_hidden_layers
    model = load(library(num_hidden_layers=layers))
    slim, format = cut(model, "En3", "En7"), FAMILIES["modernbert"].formats[0]
    config = make_config(format, slim.dims, TASKS[TASK], name_tensors(slim, format), (), {})
    assert config["layer_types"].count("full_attention") == 7 and len(config["layer_types"]) == layers - 2


def test_the_first_layer_keeps_its_place(load):
    """It alone has no norm of its attention: no other layer can be the library's first."""
    format, model = FAMILIES["modernbert"].formats[0], load(library())
    tensors = name_tensors(cut(model, "En0"), format)
    assert tensors.adapters is not None and tensors.adapters.in_place_of == {"0": 0}
    assert isinstance(format.library, Library) and not format.library.keeps(model.dims, (1, 2))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_the_family_is_what_it_declares(pooling):
    check_family(library(classifier_pooling=pooling))


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}},
         "setting-not-supported", "rope_type linear"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": -1}}},
         "model-does-not-fit-together", "rope_theta"),
        ({"layer_types": ["full_attention"] * 4 + ["chunked_attention"]},
         "model-does-not-fit-together", "chunked_attention"),
        ({"layer_types": ["full_attention"] * 4}, "model-does-not-fit-together", "num_hidden_layers"),
        ({"classifier_pooling": "max"}, "model-does-not-fit-together", "classifier_pooling"),
        ({"num_attention_heads": 32}, "model-does-not-fit-together", "odd width"),
    ],
)  # fmt: skip
def test_settings_that_make_another_model_are_refused(changes, code, words, load):
    with refused(InputError, code, words):
        load(library(), **changes)
