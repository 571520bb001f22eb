"""Models of two towers against transformers' own: vectors, positions, towers apart, exact trims, MACs, keys, pixels."""

import json
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, SiglipImageProcessorPil

from compressor.checkpoints.build import load_backbone, load_checkpoint
from compressor.checkpoints.recognise import recognise
from compressor.costs.macs import count_macs
from compressor.errors import InputError, UsageError
from compressor.families import FAMILIES
from compressor.models.surgery import make_plan, remove_layers
from compressor.models.trims.simplify import OneToken, trim
from profiles.macs.crosscheck import cross_check
from tests.support import tiny_towers as towers
from tests.support.command_line import das, refused

TASK = "retrieval"
OLD_END = 2  # the id that means: the largest id ends the text
every = pytest.mark.parametrize("family", towers.LIBRARY)


def load(folder, family, **settings):
    library = towers.LIBRARY[family](**settings)
    return library, load_checkpoint(towers.save(library, folder, 0), TASK).model


def close(ours, theirs):
    assert theirs.std() > 0.05
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def vectors_of(library, inputs, **options):
    with torch.no_grad():
        answered = library(**inputs, **options)
    return torch.stack([answered.text_embeds, answered.image_embeds], 1)


@torch.no_grad()
@pytest.mark.parametrize(("family", "settings"), [
    ("clip", {}), ("clip", {"eos_token_id": OLD_END}), ("siglip", {}), ("siglip", {"image_size": 27}),
], ids=["clip", "clip of old settings", "siglip", "siglip with a part of a patch"])  # fmt: skip
def test_vectors_are_those_of_transformers(tmp_path, family, settings):
    library = towers.LIBRARY[family](**settings)
    found = recognise(towers.save(library, tmp_path, 0))
    assert (found.family.name, found.heads) == (family, (TASK, "zero-shot"))
    loaded = load_checkpoint(found, TASK)
    assert loaded.leftovers == {}
    inputs = towers.inputs(family, settings.get("image_size", towers.SIDE), padding=towers.END)  # as OpenAI's pads
    close(loaded.model(**inputs), vectors_of(library, inputs))
    written = found.format.table(TASK).to_checkpoint(loaded.model.state_dict())
    assert written.keys() == library.state_dict().keys()
    assert all(torch.equal(written[name], value) for name, value in library.state_dict().items())


@torch.no_grad()
@every
def test_positions_of_images_of_another_size_are_interpolated(tmp_path, family):
    """Sides that are no multiple of the patch, too: what is left of a patch is not seen."""
    library, _ = load(tmp_path, family)
    for side in (40, 44):
        model = load_checkpoint(tmp_path / "full", TASK, image_size=side).model
        inputs = towers.inputs(family, side=side)
        close(model(**inputs), vectors_of(library, inputs, interpolate_pos_encoding=True))
    with refused(UsageError, "image-size-impossible", f"at least the patch size {towers.PATCH}"):
        load_checkpoint(tmp_path / "full", TASK, image_size=towers.PATCH - 1)


def test_a_text_length_at_which_another_token_would_be_read_is_refused(tmp_path):
    folder = towers.save(towers.siglip(), tmp_path, 0)
    for length in (5, towers.LENGTH - 1):
        with refused(UsageError, "text-length-fixed", f"the {towers.LENGTH} tokens that it was trained with"):
            load_checkpoint(folder, TASK, text_length=length)
    with refused(UsageError, "text-length-impossible", f"1 to {towers.LENGTH} tokens"):
        load_checkpoint(folder, TASK, text_length=towers.LENGTH + 1)
    assert load_checkpoint(folder, TASK, text_length=towers.LENGTH).model.dims.text_length == towers.LENGTH
    masked = towers.save(towers.clip(), tmp_path / "clip", 0)
    assert load_checkpoint(masked, TASK, text_length=5).model.dims.text_length == 5


@torch.no_grad()
@every
def test_each_tower_can_be_run_alone(tmp_path, family):
    _, model = load(tmp_path, family)
    inputs = towers.inputs(family)
    both = model(**inputs)
    pixels = inputs.pop("pixel_values")
    close(model(**inputs), both[:, :1])
    close(model(pixel_values=pixels), both[:, 1:])
    assert torch.allclose(both.norm(dim=-1), torch.ones(3, 2))
    if family == "clip":  # padding changes nothing
        close(model(**{name: x[1:2, :7] for name, x in inputs.items()}), both[1:2, :1])


@torch.no_grad()
@pytest.mark.parametrize(("family", "one"), [("clip", {"LEn1", "VEn1"}), ("siglip", {"LEn1"})])
def test_exact_trims_are_exact_for_every_subset_of_layers(tmp_path, family, one):
    _, model = load(tmp_path, family)
    inputs = towers.inputs(family)
    for size in range(len(model.layers)):
        for layers in combinations(model.layers, size):
            slim = remove_layers(model, make_plan(model, layers, adapters=bool(size % 2)))
            close(trim(slim)(**inputs), slim(**inputs))
    assert {name for name, block in trim(model).blocks.items() if isinstance(block, OneToken)} == one


@pytest.mark.parametrize(("family", "cut"), [("clip", ()), ("clip", ("LEn1", "VEn0")), ("siglip", ("LEn0", "VEn1"))])
def test_macs_by_formula_are_those_counted(tmp_path, family, cut):
    _, model = load(tmp_path, family)
    slim = remove_layers(model, make_plan(model, cut)) if cut else model
    for counted in (slim, trim(slim)):
        inputs = {name: x[:1] for name, x in towers.inputs(family).items()}
        found = cross_check(counted, inputs, count_macs(counted, inputs))
        assert found.apart == 0 and found.total.formula, found.off


@every
def test_without_a_head_its_tensors_are_left_and_said_to_be(tmp_path, family):
    load(tmp_path, family)
    left = load_backbone(tmp_path / "full").leftovers
    heads = ("logit_", "text_projection", "visual_projection", "text_model.head", "vision_model.head")
    assert {"logit_scale"} < {*left} and all(name.startswith(heads) for name in left)


@pytest.mark.parametrize(("family", "processor", "settings"), [
    ("clip", CLIPImageProcessorPil, {"size": {"shortest_edge": 30}, "crop_size": {"height": 24, "width": 24}}),
    ("siglip", SiglipImageProcessorPil, {"size": {"height": 24, "width": 24}, "image_mean": [0.4, 0.5, 0.6]}),
])  # fmt: skip
def test_images_are_seen_as_the_folder_says(tmp_path, family, processor, settings):
    folder = towers.save(towers.LIBRARY[family](), tmp_path, 0)
    processor(**settings).save_pretrained(folder)
    model = load_checkpoint(folder, TASK).model
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    theirs = processor(**settings)(image, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(FAMILIES[family].image_transform(model.dims)(image), theirs)


@pytest.mark.parametrize(("family", "change", "named"), [
    ("clip", {"num_channels": 1}, "num_channels 1"), ("clip", {"patch_size": [8, 8]}, "patch_size [8, 8]"),
    ("siglip", {"vision_use_head": False}, "vision_use_head false"),
])  # fmt: skip
def test_settings_that_das_does_not_compute_are_refused_by_name(tmp_path, family, change, named):
    folder = towers.save(towers.LIBRARY[family](), tmp_path, 0)
    config = towers.config_of(folder)
    config["vision_config"] |= change
    (folder / "config.json").write_text(json.dumps(config))
    with refused(InputError, "setting-not-supported", named):
        load_checkpoint(folder, TASK)


def test_a_naflex_model_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip2", "architectures": ["Siglip2Model"]}))
    with refused(InputError, "siglip-naflex", "NaFlex", "fixed size"):
        recognise(tmp_path)


def test_scopes_name_towers():
    assert list(FAMILIES["clip"].scopes) == ["all", "vision", "text"]


def test_inspect_says_which_tower_a_size_is_of(tmp_path):
    said = " ".join(das("inspect", towers.save(towers.clip(), tmp_path, images=0)).stdout.split())
    assert "text_config.hidden_size 32," in said and "vision_config.hidden_size 48," in said
