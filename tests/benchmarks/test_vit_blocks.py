"""The benchmark of halves of layers: its own count of MACs, and the classes it makes of questions."""

import json

import PIL.Image
import pytest

from benchmarks.datasets.vit_blocks import count_macs, write_easyvqa
from compressor.families.vision_encoder.vit import VIT, VitDims


def test_a_layer_is_its_two_halves():
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    dims = VitDims(config={"model_type": "vit", **sizes, "image_size": 32, "patch_size": 8})
    layer = sum(VIT.formula(dims, "image-classification", (4, 4)).places["vision"].whole.values())
    assert count_macs(dims, 3, 3) - count_macs(dims, 2, 2) == layer
    assert count_macs(dims, 3, 3) - count_macs(dims, 3, 2) == 17 * (2 * 32 * 48 + 5 * 32)


@pytest.mark.parametrize(("number", "split"), [(3, "train"), (10, "val")])
def test_a_picture_is_of_the_class_that_its_answers_say(number, split, tmp_path):
    for part in ("train", "test"):
        home = tmp_path / "from" / part
        (home / "images").mkdir(parents=True)
        asked = [["what shape?", "circle", number], ["which colour?", "red", number], ["is it red?", "yes", number]]
        (home / "questions.json").write_text(json.dumps([*asked, ["what shape?", "circle", 7]]))
        PIL.Image.new("RGB", (4, 4)).save(home / "images" / f"{number}.png")
    write_easyvqa(tmp_path / "from", tmp_path / "to")
    assert {str(path.relative_to(tmp_path / "to")) for path in (tmp_path / "to").rglob("*.png")} == {
        *(f"{split}/circle-red/{number}.png", f"test/circle-red/{number}.png"),
    }
