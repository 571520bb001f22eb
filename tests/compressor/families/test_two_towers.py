"""Models of two towers against transformers' own: vectors, positions, towers apart, exact trims, MACs, keys."""

import json
from itertools import combinations

import pytest
import torch

from compressor.checkpoints.build import load_backbone, load_checkpoint
from compressor.checkpoints.recognise import recognise
from compressor.costs.macs import count_macs
from compressor.errors import InputError
from compressor.families import FAMILIES
from compressor.models.simplify import OneToken, trim
from compressor.models.surgery import make_plan, remove_layers
from profiles.macs.crosscheck import cross_check
from tests.support import tiny_towers as towers
from tests.support.command_line import refused

OLD_END = 2  # the id that means: the largest id ends the text


@pytest.fixture
def loaded(tmp_path):
    library = towers.clip()
    return library, load_checkpoint(towers.save(library, tmp_path, 0)).model


def close(ours, theirs):
    assert theirs.std() > 0.05
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def vectors_of(library, inputs, **options):
    with torch.no_grad():
        answered = library(**inputs, **options)
    return torch.stack([answered.text_embeds, answered.image_embeds], 1)


@torch.no_grad()
@pytest.mark.parametrize("end", [towers.END, OLD_END])
def test_vectors_are_those_of_transformers(tmp_path, end):
    library = towers.clip(eos_token_id=end)
    found = recognise(towers.save(library, tmp_path, 0))
    assert (found.family.name, found.heads) == ("clip", ("retrieval",))
    loaded = load_checkpoint(found)
    assert loaded.leftovers == {}
    inputs = towers.inputs(padding=towers.END)  # as OpenAI's tokenizer pads
    close(loaded.model(**inputs), vectors_of(library, inputs))
    written = found.format.table("retrieval").to_checkpoint(loaded.model.state_dict())
    assert {name: x.tolist() for name, x in written.items()} == {
        name: x.tolist() for name, x in library.state_dict().items()
    }


@torch.no_grad()
def test_positions_of_images_of_another_size_are_interpolated(tmp_path):
    library = towers.clip()
    model = load_checkpoint(towers.save(library, tmp_path, 0), image_size=40).model
    inputs = towers.inputs(side=40)
    close(model(**inputs), vectors_of(library, inputs, interpolate_pos_encoding=True))


@torch.no_grad()
def test_each_tower_can_be_run_alone_and_padding_changes_nothing(loaded):
    _, model = loaded
    inputs = towers.inputs()
    both = model(**inputs)
    pixels = inputs.pop("pixel_values")
    close(model(**inputs), both[:, :1])
    close(model(pixel_values=pixels), both[:, 1:])
    close(model(**{name: x[1:2, :7] for name, x in inputs.items()}), both[1:2, :1])
    assert torch.allclose(both.norm(dim=-1), torch.ones(3, 2))


@torch.no_grad()
def test_exact_trims_are_exact_for_every_subset_of_layers(loaded):
    _, model = loaded
    inputs = towers.inputs()
    for size in range(len(model.layers)):
        for layers in combinations(model.layers, size):
            slim = remove_layers(model, make_plan(model, layers, adapters=bool(size % 2)))
            close(trim(slim)(**inputs), slim(**inputs))
    trimmed = trim(model)
    one = {name for name, block in trimmed.blocks.items() if isinstance(block, OneToken)}
    assert one == {"LEn1", "VEn1"}  # the last of each tower computes what is read of it
    assert count_macs(trimmed, inputs).total < 0.8 * count_macs(model, inputs).total


@pytest.mark.parametrize("cut", [(), ("LEn1", "VEn0")])
def test_macs_by_formula_are_those_counted(loaded, cut):
    _, model = loaded
    slim = remove_layers(model, make_plan(model, cut)) if cut else model
    for counted in (slim, trim(slim)):
        inputs = {name: x[:1] for name, x in towers.inputs().items()}
        found = cross_check(counted, inputs, count_macs(counted, inputs))
        assert found.apart == 0 and found.total.formula, found.off


def test_without_a_head_the_projections_are_left_and_said_to_be(tmp_path):
    found = load_backbone(towers.save(towers.clip(), tmp_path, 0))
    assert set(found.leftovers) == {"logit_scale", "text_projection.weight", "visual_projection.weight"}


@pytest.mark.parametrize(
    ("change", "named"), [({"num_channels": 1}, "num_channels 1"), ({"patch_size": [8, 8]}, "patch_size [8, 8]")]
)
def test_settings_that_das_does_not_compute_are_refused_by_name(tmp_path, change, named):
    folder = towers.save(towers.clip(), tmp_path, 0)
    config = towers.config_of(folder)
    config["vision_config"] |= change
    (folder / "config.json").write_text(json.dumps(config))
    with refused(InputError, "setting-not-supported", named):
        load_checkpoint(folder)


def test_scopes_name_towers():
    assert list(FAMILIES["clip"].scopes) == ["all", "vision", "text"]
