"""METER's forward pass and checkpoint loading against vectors made by the public code."""

import numpy as np
import pytest
import torch

from compressor.checkpoints import read_checkpoint
from compressor.families import FAMILIES
from compressor.families.meter import resize_positions
from compressor.loading import load_checkpoint
from compressor.surgery import make_plan, remove_layers
from tests.support import GOLDEN

ATOL = 1e-5
INDEX_TO_LAYER = tuple(f"FL{i}" for i in range(6)) + tuple(f"FV{i}" for i in range(6))


def golden(name):
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def inputs(vectors):
    return {
        "input_ids": vectors["text_ids"],
        "attention_mask": vectors["text_masks"],
        "pixel_values": vectors["image"],
    }


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=ATOL, rtol=0)


def streams_after(model, vectors, names):
    """Streams of the model after each named step."""
    seen = {}
    hooks = [
        model.blocks[name].register_forward_hook(lambda _m, _i, out, name=name: seen.__setitem__(name, out))
        for name in names
    ]
    with torch.no_grad():
        logits = model(**inputs(vectors))
    for hook in hooks:
        hook.remove()
    return logits, seen


def test_original_meter_computes_what_the_public_code_computes():
    vectors = golden("meter_tiny_vqa")
    model = load_checkpoint(GOLDEN / "meter_tiny_vqa.ckpt").model
    logits, seen = streams_after(model, vectors, [f"{side}{i}" for side in ("FL", "FV") for i in range(3)] + ["LEn1"])
    close(seen["LEn1"], vectors["roberta_out"])
    for i in range(3):
        close(seen[f"FL{i}"], vectors[f"text_layer_{i}"])
        close(seen[f"FV{i}"], vectors[f"image_layer_{i}"])
    close(logits, vectors["vqa_logits"])


def test_vision_encoder_after_its_last_norm():
    vectors = golden("meter_tiny_vqa")
    model = load_checkpoint(GOLDEN / "meter_tiny_vqa.ckpt").model
    seen = []
    model.blocks["image_bridge"].norm.register_forward_hook(lambda _m, _i, out: seen.append(out))
    with torch.no_grad():
        model(**inputs(vectors))
    close(seen[0], vectors["vit_out"])


def test_das_meter_without_skipping():
    vectors = golden("das_meter_tiny_vqa")
    model = load_checkpoint(GOLDEN / "das_meter_tiny_vqa.ckpt").model
    with torch.no_grad():
        close(model(**inputs(vectors)), vectors["noskip_vqa_logits"])


@pytest.mark.parametrize("index", range(12))
def test_das_meter_skipping_one_layer(index):
    vectors = golden("das_meter_tiny_vqa")
    model = load_checkpoint(GOLDEN / "das_meter_tiny_vqa.ckpt").model
    slim = remove_layers(model, make_plan(model, [INDEX_TO_LAYER[index]]))
    with torch.no_grad():
        close(slim(**inputs(vectors)), vectors[f"only{index}_vqa_logits"])


def test_das_meter_skipping_eight_layers():
    vectors = golden("das_meter_tiny_vqa")
    model = load_checkpoint(GOLDEN / "das_meter_tiny_vqa.ckpt").model
    slim = remove_layers(model, make_plan(model, [INDEX_TO_LAYER[i] for i in (1, 2, 3, 4, 6, 7, 10, 11)]))
    _, seen = streams_after(slim, vectors, ["FL5", "FV5"])
    close(seen["FL5"], vectors["skip8_text_feats"])
    close(seen["FV5"], vectors["skip8_image_feats"])
    with torch.no_grad():
        close(slim(**inputs(vectors)), vectors["skip8_vqa_logits"])


@pytest.mark.parametrize("grid", [3, 4, 6, 9])
def test_position_embeddings_resize_like_the_public_code(grid):
    vectors = golden("position_embedding")
    close(resize_positions(vectors["input"], grid), vectors[f"output_grid{grid}"])


def test_image_size_resizes_positions_on_load():
    vectors = golden("meter_tiny_pretrain_init")
    resized = resize_positions(vectors["pretrain_positional_embedding"], 5)
    close(resized, vectors["vqa_positional_embedding"])
    model = load_checkpoint(GOLDEN / "meter_tiny_vqa.ckpt", image_size=96).model
    assert model.dims.image_size == 96
    assert model.prologue.image.position_embedding.weight.shape[0] == 37


def test_every_key_is_used_or_named_with_a_reason():
    for name in ("meter_tiny_vqa", "das_meter_tiny_vqa"):
        path = GOLDEN / f"{name}.ckpt"
        loaded = load_checkpoint(path)
        state = read_checkpoint(path).state
        _, origin = FAMILIES["meter"].keys.to_ours(state)
        assert set(origin.values()) | set(loaded.leftovers) == set(state)
        assert all("not part of" not in reason for reason in loaded.leftovers.values())


def test_writing_the_public_format_is_the_inverse_of_reading_it():
    state = read_checkpoint(GOLDEN / "das_meter_tiny_vqa.ckpt").state
    model = load_checkpoint(GOLDEN / "das_meter_tiny_vqa.ckpt").model
    written = FAMILIES["meter"].keys.to_checkpoint(model.state_dict())
    assert set(state) - set(written) <= set(load_checkpoint(GOLDEN / "das_meter_tiny_vqa.ckpt").leftovers)
    for key, tensor in written.items():
        assert torch.equal(tensor, state[key]), key
