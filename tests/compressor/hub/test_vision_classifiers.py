"""Slim image classifiers as folders of transformers, from a run whose layers were merged or have adapters."""

import json

import pytest
import torch
import transformers
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import das
from compressor.costs.macs import count_macs
from compressor.data.generated.pictures import write_pictures
from compressor.errors import InputError, UsageError
from compressor.jobs.open_inputs import open_inputs
from compressor.models.trims.simplify import trim
from compressor.settings import Settings
from compressor.token_merging.merge_layers import set_merging
from profiles.macs.formula import apply_formula
from tests.compressor.families.test_vision_encoder import make_library
from tests.support.command_line import refused
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


def test_a_vit_that_merges_tokens_answers_in_every_place_and_is_no_folder(data, tmp_path):
    write_model("vit", tmp_path / "model")
    asked = {"data": data, "skip": 1, "merge_tokens": "0.2x", "replace": "merged", "out": tmp_path / "run", **QUICK}
    run = das.compress(tmp_path / "model", **asked)
    counts, skipped = run.manifest.dims["merged_tokens"], run.manifest.plan.layers
    assert sum(map(bool, counts)) == 1 and not counts[int(skipped[0][-1])]  # nor does the last that is left
    slim, saved, inputs = run.load_slim(), run.load_saved(), run.samples()
    with torch.no_grad():
        torch.testing.assert_close(slim(**inputs), saved(**inputs), atol=1e-5, rtol=0)
    macs = count_macs(slim, inputs).total
    assert macs == sum(term.macs for term in apply_formula(slim, inputs))
    assert count_macs(trim(set_merging(saved, ())), inputs).total > macs
    with refused(InputError, "merged-tokens-not-saved"):
        das.save(run, to=tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    with refused(UsageError, "merging-beside-adapters"):
        open_inputs(
            Settings(checkpoint=str(tmp_path / "model"), data=str(data), skip=1, adapt=True, merge_tokens="0.2x")
        )


def test_adapters_are_code_of_the_folders_own(data, tmp_path):
    write_model("vit", tmp_path / "model")
    run = das.compress(tmp_path / "model", data=data, skip=1, out=tmp_path / "run", **QUICK)
    saved = das.save(run, to=tmp_path / "saved")  # loads the folder, and compares its logits
    assert saved.trust_remote_code and saved.loader == "AutoModelForImageClassification"
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["architectures"] == [
        "DasViTForImageClassification"
    ]
