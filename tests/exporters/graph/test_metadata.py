"""What an ONNX file says of its use is enough to use it."""

import json
from dataclasses import replace

import pytest

from compressor.data.generated.tokenizer import word_tokenizer
from compressor.families import FAMILIES
from compressor.saved_run.run_folder import open_run
from exporters.folder import REST, VISION
from exporters.graph.metadata import usage_facts
from exporters.usage import Usage
from tests.support import tiny_models as tiny
from tests.support.tiny_exports import facts_in


def facts_of(family, task, first="<s>"):
    model = tiny.model(family, task, shallow=True)
    words = word_tokenizer(["a b c"], first)
    facts = usage_facts(model, Usage(("no", "ja ü"), FAMILIES[family].transforms(model.dims, words)))
    return model, words, facts


@pytest.mark.parametrize("name", ["model.onnx", VISION, REST])
def test_every_file_of_a_run_says_how_it_is_used(shared_exports, name):
    run, facts = open_run(shared_exports), facts_in(shared_exports / "exports" / name)
    assert tuple(json.loads(facts["labels"])) == run.labels()
    assert facts["probabilities"] == "sigmoid"
    dims = run.load_saved().dims
    assert (int(facts["text_length"]), int(facts["longest_text"])) == (dims.text_length, dims.longest_text)
    assert json.loads(facts["image"]) == {"transform": "clip", "size": dims.image_size}
    assert json.loads(facts["inputs"])["input_ids"]["padding"] == run.transforms().text.padding


@pytest.mark.parametrize(("family", "task"), tiny.EVERY)
def test_every_input_is_described_as_a_batch_of_it_is(family, task):
    model, words, facts = facts_of(family, task)
    described, batch = json.loads(facts["inputs"]), tiny.batch(model)
    assert tuple(described) == FAMILIES[family].input_names
    for entry in FAMILIES[family].inputs:
        said, given = described[entry.name], batch[entry.name]
        assert said["meaning"] == entry.meaning != ""
        assert len(said["axes"]) == given.ndim
        assert f"torch.{said['dtype']}" == str(given.dtype)
    assert described["input_ids"]["padding"] == words.token_to_id("<pad>") != 0
    assert described["attention_mask"]["padding"] == 0
    assert ("padding" in described.get("pixel_values", {})) == (family == "vilt")  # METER's images have one size


def test_names_of_classes_keep_their_letters():
    assert facts_of("bert", "text-classification")[2]["labels"] == '["no", "ja ü"]'


def test_an_input_of_a_family_of_others_needs_no_meaning(monkeypatch):
    bert = FAMILIES["bert"]
    monkeypatch.setitem(FAMILIES, "bert", replace(bert, inputs=tuple(replace(x, meaning="") for x in bert.inputs)))
    (_, _, facts) = facts_of("bert", "text-classification")
    assert json.loads(facts["inputs"])["token_type_ids"] == {
        "axes": ["batch", "length"],
        "dtype": "int64",
        "padding": 0,
    }
