"""Vision encoders: transformers' own logits, images of any size, and what a folder says of images."""

import json

import numpy as np
import PIL.Image
import pytest
import torch
import transformers
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.check_family import check_family
from compressor.checkpoints.sizes import Transfer
from compressor.errors import InputError, UsageError
from compressor.families import FAMILIES
from tests.support.command_line import refused

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 3,
}
KINDS = {
    "vit": (transformers.ViTForImageClassification, transformers.ViTConfig, {}),
    "vit, queries without biases": (
        transformers.ViTForImageClassification,
        transformers.ViTConfig,
        {"qkv_bias": False, "image_size": [32, 32]},
    ),
    "deit": (transformers.DeiTForImageClassification, transformers.DeiTConfig, {}),
    "deit, two heads": (transformers.DeiTForImageClassificationWithTeacher, transformers.DeiTConfig, {}),
    "dinov2": (transformers.Dinov2ForImageClassification, transformers.Dinov2Config, {}),
    "dinov2, gated": (transformers.Dinov2ForImageClassification, transformers.Dinov2Config, {"use_swiglu_ffn": True}),
    "dinov2, registers": (
        transformers.Dinov2WithRegistersForImageClassification,
        transformers.Dinov2WithRegistersConfig,
        {"num_register_tokens": 3},
    ),
}


def make_library(name, **changes):
    """Return a small model of transformers."""
    torch.manual_seed(0)
    kind, config, settings = KINDS[name]
    return kind(config(**{**SIZES, **settings, **changes})).eval()


@pytest.mark.parametrize("name", KINDS)
def test_logits_and_trims_are_the_librarys(name):
    check_family(make_library(name))


@pytest.mark.parametrize("name", KINDS)
def test_positions_are_interpolated_as_the_library_does(name, tmp_path):
    library = make_library(name)
    library.base_model.embeddings.position_embeddings.data.normal_()
    library.save_pretrained(tmp_path)
    pixels = torch.randn(2, 3, 48, 48)
    options = {} if name.startswith("dinov2") else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        ours, theirs = load_checkpoint(tmp_path, image_size=48).model(pixel_values=pixels), library(pixels, **options)
    torch.testing.assert_close(ours, theirs.logits, atol=1e-5, rtol=0)


def test_an_image_size_is_whole_patches_and_there_is_no_text(tmp_path):
    make_library("vit").save_pretrained(tmp_path)
    with refused(UsageError, "image-size-impossible", 44):
        load_checkpoint(tmp_path, image_size=44)
    with refused(UsageError, "text-length-without-texts", 9):
        load_checkpoint(tmp_path, text_length=9)


PROCESSORS = {
    "ViT's": ViTImageProcessorPil(size=32, resample=0),
    "ViT's, not normalised": ViTImageProcessorPil(size={"height": 32, "width": 32}, do_normalize=False),
    "DeiT's": DeiTImageProcessorPil(size=40, crop_size=32),
    "BiT's": BitImageProcessorPil(size={"shortest_edge": 40}, crop_size=32, rescale_factor=1 / 127),
    "CLIP's, a larger crop": CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size=32),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_are_those_of_the_folders_own_processor(name, tmp_path):
    make_library("vit").save_pretrained(tmp_path)
    PROCESSORS[name].save_pretrained(tmp_path)
    image = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 61, 3), dtype=np.uint8))
    model = load_checkpoint(tmp_path).model
    ours = FAMILIES["vit"].image_transform(model.dims)(image)
    theirs = PROCESSORS[name](image, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(ours, theirs, atol=0, rtol=0)


def test_the_size_that_the_processor_makes_counts_and_is_noted(tmp_path):
    make_library("vit").save_pretrained(tmp_path)
    BitImageProcessorPil(size={"shortest_edge": 60}, crop_size=48).save_pretrained(tmp_path)
    loaded = load_checkpoint(tmp_path)
    assert loaded.model.dims.image_size == 48
    assert any("32 pixels are interpolated to the 48" in note for note in loaded.notes)
    larger = load_checkpoint(tmp_path, image_size=96).model.dims  # twice as large, so is what the crop is taken of
    assert larger.pixels.at(96).size == {"shortest_edge": 120} and larger.pixels.at(96).crop_size["height"] == 96


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"image_processor_type": "ConvNextImageProcessor"}, "ConvNextImageProcessor"),
        ({"image_processor_type": "ViTImageProcessorFast", "do_pad": True, "pad_size": {"height": 99}}, "do_pad true"),
        ({"feature_extractor_type": "ViTFeatureExtractor", "size": {"height": 32, "width": 64}}, "no squares"),
        ({"image_processor_type": "BitImageProcessor", "do_center_crop": False}, "no squares"),
        ({"image_processor_type": "ViTImageProcessor", "size": 20}, "no whole number of patches"),
        ({"image_processor_type": "ViTImageProcessor", "image_std": [0, 1, 1]}, "image_std"),
    ],
)
def test_what_das_does_not_do_to_images_is_refused(settings, told, tmp_path):
    make_library("vit").save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    with refused(InputError, "image-settings-unsupported", told):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"image_size": [32, 64]}, "model-does-not-fit-together"),
        ({"num_channels": 1}, "model-does-not-fit-together"),
        ({"problem_type": "multi_label_classification"}, "setting-not-supported"),
    ],
)
def test_another_network_is_refused(changes, code, tmp_path):
    make_library("vit").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with refused(InputError, code, next(iter(changes))):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["dinov2", "dinov2, gated"])
def test_a_scale_behind_the_last_map_is_folded_into_it(name, tmp_path):
    """So the map can absorb what skipped layers did; the layer computes what it did."""
    library = make_library(name)
    for layer in library.base_model.encoder.layer:
        layer.layer_scale2.lambda1.data.normal_()
    library.save_pretrained(tmp_path)
    block, image = load_checkpoint(tmp_path).model.blocks["VEn1"], torch.randn(2, 5, 32)
    with torch.no_grad():
        before = block(image)
        block.fold_scale()
        torch.testing.assert_close(block(image), before, atol=1e-5, rtol=0)
    assert torch.equal(block.layer.layer_scale2.lambda1, torch.ones(32))


def test_a_head_for_other_classes_is_trained_anew(tmp_path):
    make_library("deit, two heads").save_pretrained(tmp_path)
    loaded = load_checkpoint(tmp_path, transfer=Transfer(classes=7, parallel_width=4))
    assert [len(head.weight) for head in loaded.model.epilogue.head] == [7, 7]
    assert "distillation_classifier.weight" in loaded.leftovers
