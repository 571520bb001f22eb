"""Slim image classifiers as folders of transformers, from a run whose layers were merged or have adapters."""

import json

import pytest
import torch
import transformers
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import das
from compressor.data.generated.pictures import write_pictures
from tests.compressor.families.test_vision_encoder import make_library
from tests.support.once import once

NAMES = ["circle", "square", "triangle"]
QUICK = {"strategy": "influence", "recover": "closed-form", "batch_size": 16}


@pytest.fixture(scope="module")
def data():
    """Few pictures of three classes."""
    return once("pictures", lambda folder: write_pictures(folder, 24, 0))


def write_model(name, folder):
    """Save a small model whose weights are wide enough for a difference to show, for images of another size."""
    library = make_library(name)
    library.config.id2label = dict(enumerate(NAMES))
    library.config.label2id = {label: number for number, label in enumerate(NAMES)}
    for parameter in library.parameters():
        parameter.data.normal_(std=0.2)
    library.save_pretrained(folder)
    ViTImageProcessorPil(size=48).save_pretrained(folder)


@pytest.mark.parametrize("name", ["vit", "deit, two heads", "dinov2, gated"])
def test_merged_layers_make_a_folder_of_the_librarys_own(name, data, tmp_path):
    write_model(name, tmp_path / "model")
    run = das.compress(
        str(tmp_path / "model"), data=str(data), skip=1, replace="merged", out=str(tmp_path / "run"), **QUICK
    )
    saved = das.save(run, to=tmp_path / "saved")
    assert (saved.layers, saved.trust_remote_code, saved.tokenizer_as_it_came) == (2, False, None)
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == [
        *("README.md", "config.json", "model.safetensors", "preprocessor_config.json"),
    ]
    model = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "saved")
    assert type(model).__name__ == type(make_library(name)).__name__
    assert (model.config.num_hidden_layers, model.config.image_size) == (2, 48)
    assert [*model.config.id2label.values()] == NAMES
    inputs = run.samples()
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, run.load_slim()(**inputs), atol=1e-5, rtol=0)


def test_adapters_are_code_of_the_folders_own(data, tmp_path):
    write_model("vit", tmp_path / "model")
    run = das.compress(tmp_path / "model", data=data, skip=1, out=tmp_path / "run", **QUICK)
    saved = das.save(run, to=tmp_path / "saved")  # loads the folder, and compares its logits
    assert saved.trust_remote_code and saved.loader == "AutoModelForImageClassification"
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["architectures"] == [
        "DasViTForImageClassification"
    ]
