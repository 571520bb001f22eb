"""ViLT's forward pass, its two checkpoint formats and its image transform, against the public code and transformers."""

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from transformers import (
    ViltConfig,
    ViltForImageAndTextRetrieval,
    ViltForImagesAndTextClassification,
    ViltForQuestionAnswering,
)
from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

from compressor.architectures.vilt import ViltDims
from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.read import read_checkpoint
from compressor.checkpoints.recognise import recognise
from compressor.checkpoints.sizes import Transfer
from compressor.data.images import decode_image
from compressor.errors import InputError
from compressor.families.image_transforms import PixelbertTransform
from compressor.families.vilt.vilt_checkpoint import HUGGING_FACE, PUBLIC, describe_sampling
from compressor.families.vilt.vilt_family import VILT, build
from compressor.models.steps import StepModel, steps_of
from compressor.models.surgery import make_plan, remove_layers
from tests.support.command_line import GOLDEN, refused
from tests.support.marks import slow_but
from tests.support.tiny_exports import shallow, shallow_onnx

ATOL = 1e-5
TINY = ViltDims(
    hidden=32, heads=2, layers=2, ffn=48, position_grid=3, image_size=96, text_vocabulary=60, text_positions=12,
    text_length=12, classes=7,
)  # fmt: skip


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=ATOL, rtol=0)


def golden(name):
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def public(name, task):
    return load_checkpoint(GOLDEN / f"{name}.ckpt", task).model


def mask_of(images, sizes):
    """1 on the true (H, W) of each image."""
    mask = torch.zeros(len(images), *images.shape[-2:], dtype=torch.long)
    for row, (height, width) in enumerate(sizes.tolist()):
        mask[row, :height, :width] = 1
    return mask


def inputs(vectors):
    return {
        "input_ids": vectors["text_ids"],
        "attention_mask": vectors["text_masks"],
        "pixel_values": vectors["image"],
        "pixel_mask": mask_of(vectors["image"], vectors["image_sizes"]),
    }


def pairs(vectors):
    masks = [mask_of(vectors["image_0"], vectors[f"image_sizes{second}"]) for second in ("", "_1")]
    return {
        "input_ids": vectors["text_ids"],
        "attention_mask": vectors["text_masks"],
        "pixel_values": torch.stack([vectors["image_0"], vectors["image_1"]], dim=1),
        "pixel_mask": torch.stack(masks, dim=1),
    }


@torch.no_grad()
def run(model, given):
    """What a model computes: all tokens after the last norm, what the head is given, the logits."""
    streams = model.advance(model.prologue(**given), model.rounds)
    taken = {}
    hook = model.epilogue.head.register_forward_pre_hook(lambda _head, seen: taken.update(cls_feats=seen[0]))
    logits = model.epilogue(streams)
    hook.remove()
    return {**streams, **taken, "tokens": model.epilogue.norm(streams["hidden"]), "logits": logits}


def canonical(tokens, mask):
    """The valid tokens of each row in order, then zeros."""
    rows = [row[kept] for row, kept in zip(tokens, mask, strict=True)]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def close_in_tokens(seen, vectors, suffix="", rows=slice(None)):
    length = vectors["text_ids"].shape[1]
    close(seen["tokens"][rows, :length], vectors[f"text_feats{suffix}"])
    valid = canonical(seen["tokens"][rows, length:], seen["mask"][rows, length:])
    close(valid, vectors[f"image_feats_canonical{suffix}"][:, : valid.shape[1]])
    assert torch.equal(seen["mask"][rows, length:].sum(1) - 1, vectors[f"valid_patches{suffix}"])


def test_vqa_computes_what_the_public_code_computes():
    vectors = golden("vilt_tiny_vqa")
    model = public("vilt_tiny_vqa", "vqa")
    seen = run(model, inputs(vectors))
    close_in_tokens(seen, vectors)
    embedded = canonical(seen["image"] - model.prologue.image_types[0], seen["image_mask"])
    close(embedded, vectors["visual_embeds_canonical"][:, : embedded.shape[1]])
    close(seen["cls_feats"], vectors["cls_feats"])
    close(seen["logits"], vectors["vqa_logits"])


def test_nlvr2_reads_both_images_with_their_own_type():
    vectors = golden("vilt_tiny_nlvr2")
    seen = run(public("vilt_tiny_nlvr2", "nlvr2"), pairs(vectors))
    for image in (0, 1):
        close_in_tokens(seen, vectors, f"_{image}", slice(image, None, 2))
    close(seen["cls_feats"], torch.cat([vectors["cls_feats_0"], vectors["cls_feats_1"]], dim=1))
    close(seen["logits"], vectors["nlvr2_logits"])


def test_retrieval_scores_and_matching_logits():
    vectors = golden("vilt_tiny_irtr")
    seen = run(public("vilt_tiny_irtr", "irtr"), inputs(vectors))
    close_in_tokens(seen, vectors)
    close(seen["logits"][:, 0], vectors["rank_scores"])
    close(run(public("vilt_tiny_irtr", "itm"), inputs(vectors))["logits"], vectors["itm_logits_pairs"])


def test_several_captions_share_their_image():
    vectors = golden("vilt_tiny_irtr")
    ids, masks = (
        torch.stack([vectors[f"text_{kind}"], *(vectors[f"false_text_{i}_{kind}"] for i in range(3))], dim=1)
        for kind in ("ids", "masks")
    )
    given = {**inputs(vectors), "input_ids": ids.flatten(0, 1), "attention_mask": masks.flatten(0, 1)}
    seen = run(public("vilt_tiny_irtr", "irtr"), given)
    close(seen["logits"].view(3, 4), vectors["irtr_rank_scores"])
    close(seen["cls_feats"], vectors["irtr_cls_feats"])
    close(seen["tokens"][:, : ids.shape[-1]], vectors["irtr_text_feats"])


def test_a_gallery_is_scored_as_the_public_code_scores_it_image_by_image():
    vectors = golden("vilt_tiny_irtr")
    model = public("vilt_tiny_irtr", "irtr")
    texts = {"input_ids": vectors["recall_text_ids"], "attention_mask": vectors["recall_text_masks"]}
    for row, (height, width) in enumerate(vectors["recall_image_sizes"].tolist()):
        image = vectors["recall_images"][row : row + 1, :, :height, :width]
        given = {**texts, "pixel_values": image, "pixel_mask": torch.ones(1, height, width, dtype=torch.long)}
        close(run(model, given)["logits"][:, 0], vectors["recall_rank_scores"][row])


SKIPS = {"noskip": (), "skip": (2,), **{f"only{i}": (i,) for i in range(4)}}


@pytest.mark.parametrize("name", SKIPS)
def test_das_vilt_with_and_without_its_skip_adapters(name):
    vectors = golden("das_vilt_tiny_vqa")
    model = public("das_vilt_tiny_vqa", "vqa")
    if SKIPS[name]:
        model = remove_layers(model, make_plan(model, [f"En{i}" for i in SKIPS[name]]))
    seen = run(model, inputs(vectors))
    close(seen["cls_feats"], vectors[f"{name}_cls_feats"])
    close(seen["logits"], vectors[f"{name}_vqa_logits"])
    if name == "skip":
        close_in_tokens(seen, {**vectors, "text_feats": vectors["skip_text_feats"]})
    if name == "noskip":
        close(seen["tokens"][:, :12], vectors["noskip_text_feats"])


def test_a_padded_batch_gives_what_its_images_give_alone():
    vectors = golden("vilt_tiny_vqa")
    model, batch = public("vilt_tiny_vqa", "vqa"), inputs(vectors)
    together = run(model, batch)["logits"]
    sizes = vectors["image_sizes"].tolist()
    assert len({tuple(size) for size in sizes}) > 1
    for row, (height, width) in enumerate(sizes):
        alone = {name: value[row : row + 1] for name, value in batch.items()}
        alone["pixel_values"] = alone["pixel_values"][..., :height, :width]
        alone["pixel_mask"] = alone["pixel_mask"][..., :height, :width]
        close(run(model, alone)["logits"], together[row : row + 1])


def test_nothing_depends_on_what_lies_in_the_padding():
    vectors = golden("vilt_tiny_vqa")
    model, batch = public("vilt_tiny_vqa", "vqa"), inputs(vectors)
    padding = batch["pixel_mask"][:, None] == 0
    assert padding.any()
    filled = batch["pixel_values"].masked_fill(padding, 3.0)
    assert torch.equal(run(model, {**batch, "pixel_values": filled})["logits"], run(model, batch)["logits"])


def test_cached_streams_may_be_padded_with_zeros():
    vectors = golden("vilt_tiny_vqa")
    model = public("vilt_tiny_vqa", "vqa")
    with torch.no_grad():
        streams = model.prologue(**inputs(vectors))
        before = model.epilogue(model.advance(streams, model.rounds))
        for name in ("image", "image_mask"):
            extra = streams[name].new_zeros(3, 5, *streams[name].shape[2:])
            streams[name] = torch.cat([streams[name], extra], dim=1)
        close(model.epilogue(model.advance(streams, model.rounds)), before)


@pytest.mark.parametrize("size", [(32, 32), (32, 128), (160, 64)])
def test_positions_are_interpolated_as_torch_interpolates(size):
    embeddings = build(TINY, "vqa").eval().prologue.image
    grid = [side // TINY.patch for side in size]
    stored = embeddings.positions[:, 1:].unflatten(1, (3, 3)).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(stored, size=grid, mode="bilinear", align_corners=True)
    without = embeddings.projection(torch.zeros(1, 3, *size))
    with torch.no_grad():
        image, mask = embeddings(torch.zeros(1, 3, *size), torch.ones(1, *size, dtype=torch.long))
    close(image[:, 1:], (without + expected).flatten(2).transpose(1, 2))
    assert mask.all()
    assert mask.shape[1] == 1 + grid[0] * grid[1]


def test_an_nlvr2_model_starts_from_a_pretrained_file():
    checkpoint = read_checkpoint(GOLDEN / "vilt_tiny_irtr.ckpt")
    model = load_checkpoint(checkpoint, "nlvr2", transfer=Transfer(classes=2)).model
    row = checkpoint.state["token_type_embeddings.weight"][1]
    assert torch.equal(model.prologue.image_types, torch.stack([row, row]))
    vectors = golden("vilt_tiny_nlvr2")
    assert run(model, pairs(vectors))["logits"].shape == (3, 2)


def test_a_ranking_head_starts_as_the_matching_row():
    checkpoint = read_checkpoint(GOLDEN / "vilt_tiny_irtr.ckpt")
    state = {key: tensor for key, tensor in checkpoint.state.items() if not key.startswith("rank_output.")}
    head = load_checkpoint(replace(checkpoint, state=state), "irtr", transfer=Transfer(classes=1)).model.epilogue.head
    assert torch.equal(head.weight, state["itm_score.fc.weight"][1:])
    assert torch.equal(head.bias, state["itm_score.fc.bias"][1:])
    kept = public("vilt_tiny_irtr", "irtr").epilogue.head
    assert torch.equal(kept.weight, checkpoint.state["rank_output.weight"])


FILES = {"vilt_tiny_vqa": "vqa", "vilt_tiny_nlvr2": "nlvr2", "vilt_tiny_irtr": "irtr", "das_vilt_tiny_vqa": "vqa"}


@pytest.mark.parametrize("name", FILES)
def test_every_key_is_used_or_named_and_writing_is_the_inverse_of_reading(name):
    state = read_checkpoint(GOLDEN / f"{name}.ckpt").state
    loaded = load_checkpoint(GOLDEN / f"{name}.ckpt", FILES[name])
    written = PUBLIC.table(FILES[name]).to_checkpoint(loaded.model.state_dict())
    for key, tensor in written.items():
        assert torch.equal(tensor, state[key]), key
    assert set(written) | set(loaded.leftovers) == set(state)
    assert not set(written) & set(loaded.leftovers)
    assert not [key for key, reason in loaded.leftovers.items() if "not part of" in reason]


def hugging_face(folder, task, **settings):
    """A tiny model of transformers with every tensor random, saved in ``folder``."""
    torch.manual_seed(7)
    kind, heads = {
        "vqa": (ViltForQuestionAnswering, {"num_labels": 7}),
        "nlvr2": (ViltForImagesAndTextClassification, {"num_images": 2, "modality_type_vocab_size": 3}),
        "irtr": (ViltForImageAndTextRetrieval, {}),
    }[task]
    config = ViltConfig(
        vocab_size=60, max_position_embeddings=12, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=48, image_size=96, **heads, **settings,
    )  # fmt: skip
    model = kind(config).eval()
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=0.3 if "norm.weight" in name.lower() else 0.0, std=0.2)
    model.save_pretrained(folder)
    return model


def random_inputs(dims, batch, height, width, length=None):
    """Samples of which the last is smaller and shorter than the others."""
    generator = torch.Generator().manual_seed(height + width)
    images = (batch,) if dims.images == 1 else (batch, dims.images)
    length = length or dims.text_length
    given = {
        "input_ids": torch.randint(1, dims.text_vocabulary, (batch, length), generator=generator),
        "attention_mask": torch.ones(batch, length, dtype=torch.long),
        "pixel_values": torch.randn(*images, 3, height, width, generator=generator),
        "pixel_mask": torch.ones(*images, height, width, dtype=torch.long),
    }
    given["attention_mask"][-1, length // 2 :] = 0
    given["pixel_mask"][-1, ..., width // 2 :] = 0
    return given


@pytest.mark.parametrize("eps", [1e-12, 1e-4])
@pytest.mark.parametrize("task", ["vqa", "nlvr2", "irtr"])
def test_hugging_face_models_load_and_answer_alike(task, eps, tmp_path):
    theirs = hugging_face(tmp_path, task, layer_norm_eps=eps)
    loaded = load_checkpoint(tmp_path)  # the folder says which task
    assert (loaded.model.task, loaded.leftovers) == (task, {})
    given = random_inputs(loaded.model.dims, 3, 96, 128)
    with torch.no_grad():
        close(loaded.model(**given), theirs(**given).logits)


@pytest.mark.parametrize("task", ["vqa", "nlvr2", "irtr"])
def test_writing_the_hugging_face_format_is_the_inverse_of_reading_it(task, tmp_path):
    state = hugging_face(tmp_path, task).state_dict()
    written = HUGGING_FACE.table(task).to_checkpoint(load_checkpoint(tmp_path).model.state_dict())
    assert written.keys() == state.keys()
    for key, tensor in written.items():
        assert torch.equal(tensor, state[key]), key


def test_a_bare_backbone_of_hugging_face_loads_for_a_new_head(tmp_path):
    theirs = hugging_face(tmp_path, "vqa").vilt
    theirs.save_pretrained(tmp_path / "bare")
    model = load_checkpoint(tmp_path / "bare", "vqa", transfer=Transfer(classes=5)).model
    given = random_inputs(model.dims, 2, 64, 64)
    with torch.no_grad():
        close(run(model, given)["cls_feats"], theirs(**given).pooler_output)


def test_a_model_that_takes_some_patches_at_random_takes_all_and_says_so(tmp_path):
    theirs = hugging_face(tmp_path, "vqa", max_image_length=4)
    loaded = load_checkpoint(tmp_path)
    assert "4 patches of an image at most" in loaded.notes[0]
    theirs.config.max_image_length = -1
    given = random_inputs(loaded.model.dims, 3, 96, 128)
    with torch.no_grad():
        close(loaded.model(**given), theirs(**given).logits)


@pytest.mark.parametrize(("longest", "said"), [(-1, False), (None, False), (200, True)])
def test_the_public_code_is_told_of_its_patches_at_random(longest, said):
    assert bool(describe_sampling({}, {"max_image_len": longest})) == said


def test_a_config_with_another_activation_is_refused(tmp_path):
    hugging_face(tmp_path, "vqa", hidden_act="gelu_new")
    with refused(InputError, "setting-not-supported", "hidden_act is 'gelu_new'", "nothing needs repair"):
        load_checkpoint(tmp_path)


def test_each_file_is_recognised_as_one_format(tmp_path):
    hugging_face(tmp_path, "vqa")
    assert recognise(tmp_path).format is HUGGING_FACE
    assert recognise(GOLDEN / "vilt_tiny_vqa.ckpt").format is PUBLIC


def test_the_published_model_has_the_published_sizes():
    with torch.device("meta"):
        model = build(ViltDims(), "vqa")
    head = sum(parameter.numel() for parameter in model.epilogue.head.parameters())
    assert 111.5e6 < sum(parameter.numel() for parameter in model.parameters()) - head < 111.7e6
    example = VILT.example_inputs(ViltDims(images=2, image_types=2))
    assert example["pixel_values"].shape == (1, 2, 3, 384, 512)
    assert example["pixel_mask"].shape == (1, 2, 384, 512)
    assert example["pixel_mask"].all()


@pytest.mark.parametrize("task", ["vqa", "nlvr2", "irtr"])
def test_a_random_model_answers_its_example(task):
    dims = TINY.model_copy(update={"images": VILT.heads[task].images, "image_types": 2})
    model = build(dims, task).eval()
    assert isinstance(model, StepModel)
    assert model.layers == ("En0", "En1")
    assert [step.name for step in steps_of(model.rounds)] == ["join", "join_mask", "En0", "En1"]
    with torch.no_grad():
        assert torch.isfinite(model(**VILT.example_inputs(dims))).all()


@pytest.mark.parametrize("task", slow_but(["vqa"], ["vqa", "nlvr2"]))
def test_onnx_answers_alike_at_other_batches_lengths_and_image_sizes(task):
    model = shallow("vilt", task)
    session = onnxruntime.InferenceSession(shallow_onnx("vilt", task), providers=["CPUExecutionProvider"])
    for batch_size, height, width, tokens in ((3, 64, 96, 9), (1, 160, 96, 5), (5, 32, 128, 7)):
        given = random_inputs(model.dims, batch_size, height, width, tokens)
        (logits,) = session.run(None, {name: value.numpy() for name, value in given.items()})
        with torch.no_grad():
            close(torch.from_numpy(logits), model(**given))


def noise(width, height):
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


OLD = {
    "feature_extractor_type": "ViltFeatureExtractor", "do_normalize": True, "do_resize": True, "resample": 3,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "size": 384, "size_divisor": 32,
}  # fmt: skip
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
PREPROCESSORS = {
    "as published": OLD,
    "nothing": {},
    "288": {"image_processor_type": "ViltImageProcessor", "size": {"shortest_edge": 288}},
    "ImageNet's, bilinear": {"size": {"shortest_edge": 96}, "resample": 2, **IMAGENET},
    "larger multiples": {"size": 200, "size_divisor": 64},
    "neither rescaled": {"do_rescale": False, "size": 96, **IMAGENET},
    "nor normalised": {"do_normalize": False, "do_pad": False, "size": 96, "rescale_factor": 0.5},
}


def preprocessing(folder, content, name="preprocessor_config.json"):
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A folder of a model of transformers without a word on images."""
    hugging_face(folder := tmp_path_factory.mktemp("vilt"), "vqa")
    return folder


@pytest.fixture
def folder(bare, tmp_path):
    """The same, to write into."""
    return shutil.copytree(bare, tmp_path / "vilt")


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_pixels_are_those_of_the_folders_own_image_processor(folder, name):
    expected = ViltImageProcessorPil.from_pretrained(preprocessing(folder, PREPROCESSORS[name]))
    dims = load_checkpoint(folder).model.dims
    transform = VILT.image_transform(ViltDims(**json.loads(dims.model_dump_json())))  # as a run's manifest keeps them
    for size in ((320, 240), (111, 167), (187, 94), (97, 61), (250, 250), (600, 210)):
        pixels = expected(noise(*size), return_tensors="pt")["pixel_values"][0]
        torch.testing.assert_close(transform(noise(*size)), pixels.float(), atol=1e-6, rtol=0)


def test_images_of_any_mode_are_read_as_the_folders_own_image_processor_reads_their_colours(folder):
    expected = ViltImageProcessorPil.from_pretrained(preprocessing(folder, PREPROCESSORS["ImageNet's, bilinear"]))
    transform = VILT.image_transform(load_checkpoint(folder).model.dims)
    for mode in ("L", "RGBA", "P", "CMYK"):
        noise(120, 90).convert(mode).save(content := io.BytesIO(), "TIFF")
        image = decode_image(content.getvalue(), "a test")
        pixels = expected(Image.open(content).convert("RGB"), return_tensors="pt")["pixel_values"][0]
        torch.testing.assert_close(transform(image), pixels, atol=1e-6, rtol=0)


def test_an_image_processor_within_a_processor_comes_first(folder):
    preprocessing(folder, {"size": 64})
    preprocessing(folder, {"image_processor": {"size": {"shortest_edge": 128}}}, "processor_config.json")
    assert load_checkpoint(folder).model.dims.image_size == 128
    preprocessing(folder, {"processor_class": "ViltProcessor"}, "processor_config.json")
    assert load_checkpoint(folder).model.dims.image_size == 64
    assert load_checkpoint(folder, image_size=192).model.dims.image_size == 192


def test_a_folder_that_says_nothing_of_images_has_the_published_settings(bare):
    loaded = load_checkpoint(bare)
    assert loaded.model.dims.pixels == ViltDims().pixels
    assert "no preprocessor_config.json" in loaded.notes[0]
    assert "96 pixels" in loaded.notes[0]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"image_processor_type": "CLIPImageProcessor"}, "image_processor_type CLIPImageProcessor"),
        ({"feature_extractor_type": "ViTFeatureExtractor"}, "feature_extractor_type ViTFeatureExtractor"),
        ({"do_resize": False}, "do_resize false"),
        ({"do_center_crop": True, "crop_size": 64}, "do_center_crop true"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order true"),
        ({"size": {"height": 64, "width": 64}}, '"height": 64'),
        ({"size": {"shortest_edge": 64, "longest_edge": 80}}, '"longest_edge": 80'),
        ({"size": "large"}, "large"),
        ({"size": 20}, "size 20"),
        ({"size_divisor": 16}, "size_divisor 16, no multiple of the patch 32"),
        ({"resample": "bilinear"}, "resample"),
        ({"image_mean": [0.5, 0.5]}, "image_mean"),
        ({"image_std": [0.5, 0, 0.5]}, "image_std"),
        ({"image_std": None}, "image_std"),
        ({"rescale_factor": "1/255"}, "rescale_factor"),
        ({"rescale_factor": float("inf")}, "rescale_factor"),
        ({"size": {"shortest_edge": 64.5}}, "image_size"),
    ],
)
def test_what_is_not_done_to_images_is_refused_by_name(folder, content, named):
    with refused(InputError, "image-settings-unsupported", "preprocessor_config.json", named):
        load_checkpoint(preprocessing(folder, content))


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '{"size": '])
@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_damaged_settings_of_images(folder, content, name):
    with refused(InputError, "image-settings-damaged", name):
        load_checkpoint(preprocessing(folder, content, name))


@pytest.mark.parametrize(
    ("file", "keys", "named"),
    [
        ("vilt_tiny_vqa", {"val_transform_keys": ["clip"]}, "clip"),
        ("vilt_tiny_vqa", {"val_transform_keys": ("pixelbert", "vit")}, None),
        ("vilt_tiny_vqa", {"val_transform_keys": None, "train_transform_keys": ["pixelbert_randaug"]}, None),
        ("vilt_tiny_vqa", {"val_transform_keys": [], "train_transform_keys": ["vit_randaug"]}, "vit_randaug"),
        ("meter_tiny_vqa", {"val_transform_keys": ["imagenet"]}, "imagenet"),
        ("meter_tiny_vqa", {"val_transform_keys": ["clip_randaug"]}, None),
        ("meter_tiny_vqa", {"val_transform_keys": ["pixelbert"]}, "pixelbert"),
    ],
)
def test_another_image_transform_of_the_public_code_is_refused_by_name(file, keys, named):
    checkpoint = read_checkpoint(GOLDEN / f"{file}.ckpt")
    changed = replace(checkpoint, config={**checkpoint.config, **keys})
    if named is None:
        assert load_checkpoint(changed, "vqa").model.task == "vqa"
    else:
        with refused(InputError, "image-transform-unsupported", f"transform {named}"):
            load_checkpoint(changed, "vqa")


@pytest.mark.parametrize("size", [(640, 480), (333, 500), (374, 187), (97, 61), (500, 500), (1200, 420)])
@pytest.mark.parametrize("shorter", [96, 384])
def test_pixelbert_resizes_as_the_public_code_does(size, shorter):
    short, long = float(shorter), shorter / min(size) * max(size)
    shrink = min(1.0, int(1333 / 800 * shorter) / long)
    short, long = (int(shrink * side + 0.5) // 32 * 32 for side in (short, long))
    fitted = (short, long) if size[0] < size[1] else (long, short)
    resized = np.asarray(noise(*size).resize(fitted, Image.Resampling.BICUBIC), dtype=np.float32)
    expected = torch.from_numpy((resized / 255 - 0.5) / 0.5).permute(2, 0, 1)
    torch.testing.assert_close(PixelbertTransform(shorter)(noise(*size)), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (2, 3000), (1, 50), (384, 384)])
def test_no_image_is_smaller_than_a_patch(size):
    _, height, width = PixelbertTransform(64)(noise(*size)).shape
    assert height >= 32
    assert width >= 32
    assert height % 32 == width % 32 == 0


def test_a_batch_is_padded_to_its_largest_height_and_width():
    transform = PixelbertTransform(64)
    pixels = [transform(noise(*size)) for size in ((64, 64), (100, 60), (60, 100))]
    batch = transform.collate(pixels)
    assert batch["pixel_values"].shape == (3, 3, 96, 96)
    assert batch["pixel_mask"].dtype == torch.int64
    for row, image in enumerate(pixels):
        _, height, width = image.shape
        assert torch.equal(batch["pixel_values"][row, :, :height, :width], image)
        assert batch["pixel_mask"][row].sum() == height * width
        assert batch["pixel_mask"][row, :height, :width].all()
        assert not batch["pixel_values"][row][:, batch["pixel_mask"][row] == 0].any()


def test_transforms_describe_themselves():
    assert PixelbertTransform(384).describe() == {"transform": "pixelbert", "shorter": 384}
    described = json.loads(json.dumps(VILT.image_transform(ViltDims()).describe()))
    assert described["shorter"] == 384
    assert described["image_mean"] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("size", [20, 96, 400])
def test_an_example_image_has_whole_patches(size):
    example = VILT.example_inputs(ViltDims(image_size=size))["pixel_values"]
    assert all(side % 32 == 0 and side > 0 for side in example.shape[2:])
