"""BLIP against transformers' own: logits, positions, exact trims, MACs, keys, pixels; what is refused by name."""

import json
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
    BlipImageProcessorPil,
    BlipModel,
)

from compressor.checkpoints.build import load_backbone, load_checkpoint
from compressor.checkpoints.recognise import choose_task, recognise
from compressor.checkpoints.sizes import Transfer
from compressor.costs.macs import count_macs
from compressor.errors import InputError
from compressor.families import FAMILIES
from compressor.models.surgery import make_plan, remove_layers
from compressor.models.trims.simplify import OneToken, trim
from profiles.macs.crosscheck import cross_check
from tests.support import tiny_blip, tiny_towers
from tests.support.command_line import refused

CONTRAST = {f"{name}_proj.{kind}" for name in ("vision", "text") for kind in ("weight", "bias")}


def load(folder, task="itm", **settings):
    library = tiny_blip.blip(**settings)
    return library, load_checkpoint(tiny_towers.save(library, folder, 0), task).model


def close(ours, theirs):
    assert theirs.std() > 0.05
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@torch.no_grad()
def test_logits_are_those_of_transformers(tmp_path):
    library = tiny_blip.blip()
    found = recognise(tiny_towers.save(library, tmp_path, 0))
    assert (found.family.name, found.heads, choose_task(found, None)) == ("blip", ("itm", "irtr"), "itm")
    loaded = load_checkpoint(found)
    assert loaded.leftovers.keys() == CONTRAST and "vectors" in {*loaded.leftovers.values()}.pop()
    inputs = tiny_blip.inputs()
    close(loaded.model(**inputs), library(**inputs).itm_score)
    close(loaded.model(**{**inputs, "attention_mask": None}), library(**inputs | {"attention_mask": None}).itm_score)
    written = found.format.table("itm").to_checkpoint(loaded.model.state_dict())
    assert written.keys() == library.state_dict().keys() - CONTRAST
    assert all(torch.equal(value, library.state_dict()[name]) for name, value in written.items())


@torch.no_grad()
def test_padding_changes_nothing(tmp_path):
    _, model = load(tmp_path)
    inputs = tiny_blip.inputs()
    alone = {name: x[1:2] for name, x in inputs.items()}
    alone |= {name: alone[name][:, :7] for name in ("input_ids", "attention_mask")}
    torch.testing.assert_close(model(**alone), model(**inputs)[1:2], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("side", [40, 43])  # whole patches, and a part of one, which is left out
def test_positions_of_images_of_another_size_are_interpolated(tmp_path, side):
    library, _ = load(tmp_path)
    model, inputs = load_checkpoint(tmp_path / "full", "itm", image_size=side).model, tiny_blip.inputs(side=side)
    close(model(**inputs), library(**inputs, interpolate_pos_encoding=True).itm_score)


@torch.no_grad()
def test_ranking_has_the_row_of_the_head_that_says_match_and_images_their_captions(tmp_path):
    library, model = load(tmp_path, "irtr")
    inputs = tiny_blip.inputs()
    close(model(**inputs), library(**inputs).itm_score[:, 1:])
    one = {**inputs, "pixel_values": inputs["pixel_values"][:1]}
    repeated = {**inputs, "pixel_values": inputs["pixel_values"][:1].expand(3, -1, -1, -1)}
    close(model(**one), model(**repeated))


@torch.no_grad()
def test_exact_trims_are_exact_for_every_subset_of_layers(tmp_path):
    _, model = load(tmp_path)
    inputs = tiny_blip.inputs()
    for size in range(len(model.layers)):
        for layers in combinations(model.layers, size):
            slim = remove_layers(model, make_plan(model, layers, adapters=bool(size % 2)))
            torch.testing.assert_close(trim(slim)(**inputs), slim(**inputs), atol=1e-5, rtol=0)
    assert {name for name, block in trim(model).blocks.items() if isinstance(block, OneToken)} == {"FL1"}


@torch.no_grad()
def test_adapters_beside_every_layer_change_nothing_before_they_are_trained(tmp_path):
    library, _ = load(tmp_path)
    model, inputs = load_checkpoint(tmp_path / "full", "itm", transfer=Transfer(2, 4)).model, tiny_blip.inputs()
    assert {name for name, block in model.blocks.items() if getattr(block, "adapter", None)} == {*model.layers}
    close(model(**inputs), library(**inputs).itm_score)
    one = {name: x[:1] for name, x in inputs.items()}
    for counted in (model, trim(model)):
        assert cross_check(counted, one, count_macs(counted, one)).apart == 0
    written = FAMILIES["blip"].formats[0].table("itm").to_checkpoint(model.state_dict())
    assert {key.split(".adapter.")[0] for key in written if ".adapter." in key} == {
        *(f"vision_model.encoder.layers.{i}" for i in range(2)), *(f"text_encoder.encoder.layer.{i}" for i in range(2))
    }  # fmt: skip


@pytest.mark.parametrize("cut", [(), ("VEn1", "FL0")], ids=["whole", "cut"])
def test_macs_by_formula_are_those_counted(tmp_path, cut):
    _, model = load(tmp_path)
    slim = remove_layers(model, make_plan(model, cut)) if cut else model
    for counted in (slim, trim(slim)):
        inputs = {name: x[:1] for name, x in tiny_blip.inputs().items()}
        found = cross_check(counted, inputs, count_macs(counted, inputs))
        assert found.apart == 0 and found.total.formula, found.off


def test_without_a_head_its_tensors_are_left_and_said_to_be(tmp_path):
    load(tmp_path)
    left = load_backbone(tmp_path / "full").leftovers
    assert left.keys() == CONTRAST | {"itm_head.weight", "itm_head.bias"}


def test_images_are_seen_as_the_folder_says(tmp_path):
    folder = tiny_towers.save(tiny_blip.blip(), tmp_path, 0)
    settings = {"size": {"height": 24, "width": 24}, "image_mean": [0.4, 0.5, 0.6], "resample": 2}
    processor = BlipImageProcessorPil(**settings)
    processor.save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_pad": True, "size_divisor": 32}))  # as published
    model = load_checkpoint(folder, "itm").model
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    theirs = processor(image, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(FAMILIES["blip"].image_transform(model.dims)(image), theirs)


@pytest.mark.parametrize(("kind", "code", "named"), [
    (BlipForConditionalGeneration, "blip-captions", "writes captions"),
    (BlipForQuestionAnswering, "blip-answers", "writes answers"),
    (BlipModel, "blip-vectors", "makes vectors"),
])  # fmt: skip
def test_a_blip_for_something_else_is_refused_by_name(tmp_path, kind, code, named):
    model = kind(tiny_blip.configured((1, 1)))
    model.save_pretrained(tmp_path / "full")
    model.config.architectures = None
    model.config.save_pretrained(tmp_path / "full")  # which nothing but its tensors tell
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "blip", "architectures": [kind.__name__]}))
    for folder in (tmp_path, tmp_path / "full"):
        with refused(InputError, code, named, "BlipForImageTextRetrieval", "blip-itm-base-coco"):
            recognise(folder)


def test_a_blip_2_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "blip-2"}))
    with refused(InputError, "blip-2", "read by queries", "first version"):
        recognise(tmp_path)


@pytest.mark.parametrize(("part", "change", "named"), [
    ("text_config", {"is_decoder": False}, "is_decoder false"), ("vision_config", {"patch_size": [8, 8]}, "patch_size"),
])  # fmt: skip
def test_settings_that_das_does_not_compute_are_refused_by_name(tmp_path, part, change, named):
    folder = tiny_towers.save(tiny_blip.blip(), tmp_path, 0)
    config = tiny_towers.config_of(folder)
    config[part] |= change
    (folder / "config.json").write_text(json.dumps(config))
    with refused(InputError, "setting-not-supported", named):
        load_checkpoint(folder, "itm")


def test_scopes_name_encoders():
    assert list(FAMILIES["blip"].scopes) == ["all", "vision", "fusion"]
