"""METER's forward pass and checkpoint loading against vectors made by the public code."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from compressor.checkpoints.build import load_backbone, load_checkpoint, outline_checkpoint
from compressor.checkpoints.read import read_checkpoint
from compressor.checkpoints.recognise import choose_task, recognise
from compressor.checkpoints.sizes import Transfer
from compressor.errors import InputError
from compressor.families.embeddings import resize_positions
from compressor.families.meter.meter_checkpoint import PUBLIC
from compressor.models.surgery import make_plan, remove_layers
from compressor.tasks import TASKS
from compressor.tasks.towers.matches import recalls
from profiles.analysis.inspection import inspect_checkpoint
from tests.support.command_line import GOLDEN, refused

ATOL = 1e-5
INDEX_TO_LAYER = tuple(f"FL{i}" for i in range(6)) + tuple(f"FV{i}" for i in range(6))


def golden(name):
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def inputs(vectors, image="image"):
    return {
        "input_ids": vectors["text_ids"],
        "attention_mask": vectors["text_masks"],
        "pixel_values": vectors[image],
    }


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=ATOL, rtol=0)


def run(model, vectors, image="image"):
    """Logits of the model, and what it computes on the way, under the names of the vectors."""
    seen = {}

    def keep(module, name):
        return module.register_forward_hook(lambda _module, _inputs, out: seen.__setitem__(name, out))

    last = model.dims.fusion_layers - 1
    hooks = [
        keep(model.blocks[f"LEn{model.dims.text_layers - 1}"], "roberta_out"),
        keep(model.blocks["image_bridge"].norm, "vit_out"),
        keep(model.blocks[f"FL{last}"], "text_feats"),
        keep(model.blocks[f"FV{last}"], "image_feats"),
        *(keep(model.blocks[f"FL{i}"], f"text_layer_{i}") for i in range(last + 1)),
        *(keep(model.blocks[f"FV{i}"], f"image_layer_{i}") for i in range(last + 1)),
        model.epilogue.head.register_forward_pre_hook(lambda _head, taken: seen.__setitem__("cls_feats", taken[0])),
    ]
    with torch.no_grad():
        seen["vqa_logits"] = model(**inputs(vectors, image))
    for hook in hooks:
        hook.remove()
    return seen


def soft_targets(vectors, classes):
    """Dense targets from ``vqa_labels`` and ``vqa_scores``, which are padded with -1 and 0."""
    targets = torch.zeros(len(vectors["vqa_labels"]), classes)
    for row, (labels, scores) in enumerate(zip(vectors["vqa_labels"], vectors["vqa_scores"], strict=True)):
        targets[row, labels[labels >= 0]] = scores[labels >= 0]
    return targets


def close_in_loss_and_score(logits, vectors, prefix=""):
    batch = {"targets": soft_targets(vectors, logits.shape[-1])}
    close(batch["targets"], vectors["vqa_targets"])
    close(TASKS["vqa"].loss(logits, batch), vectors[f"{prefix}vqa_loss"])
    close(TASKS["vqa"].scores(logits, batch).mean(), vectors[f"{prefix}vqa_score_metric"])


def one_hot(classes, size):
    return {"targets": torch.nn.functional.one_hot(classes.long(), size).float()}


def logits_of(model, **given):
    with torch.no_grad():
        return model(**given)


def test_nlvr2_runs_both_images_and_joins_them():
    vectors = golden("meter_tiny_nlvr2")
    model = load_checkpoint(GOLDEN / "meter_tiny_nlvr2.ckpt").model
    assert model.task == "nlvr2"
    pair = torch.stack([vectors["image_0"], vectors["image_1"]], dim=1)
    logits = logits_of(model, **{**inputs(vectors, "image_0"), "pixel_values": pair})
    close(logits, vectors["nlvr2_logits"])
    close(TASKS["nlvr2"].loss(logits, one_hot(vectors["answers"], 2)), vectors["nlvr2_loss"])


def test_snli_ve_classifies():
    vectors = golden("meter_tiny_snli")
    model = load_checkpoint(GOLDEN / "meter_tiny_snli.ckpt").model
    assert model.task == "snli-ve"
    logits = logits_of(model, **inputs(vectors))
    close(logits, vectors["snli_logits"])
    close(TASKS["snli-ve"].loss(logits, one_hot(vectors["labels"], 3)), vectors["snli_loss"])


def test_retrieval_scores_pairs():
    vectors = golden("meter_tiny_irtr")
    model = load_checkpoint(GOLDEN / "meter_tiny_irtr.ckpt").model
    assert model.task == "irtr"
    close(logits_of(model, **inputs(vectors))[:, 0], vectors["rank_scores"])


def test_retrieval_trains_each_image_against_false_captions():
    vectors = golden("meter_tiny_irtr")
    model = load_checkpoint(GOLDEN / "meter_tiny_irtr.ckpt").model
    texts = {
        name: torch.stack([vectors[f"text_{end}"], *(vectors[f"false_text_{i}_{end}"] for i in range(3))], dim=1)
        for name, end in (("input_ids", "ids"), ("attention_mask", "masks"))
    }
    flat = {name: rows.flatten(0, 1) for name, rows in texts.items()}  # four captions to each image
    logits = logits_of(model, **flat, pixel_values=vectors["image"])
    close(logits.view(3, 4), vectors["irtr_rank_scores"])
    batch = one_hot(torch.zeros(3), 4)
    close(TASKS["irtr"].loss(logits, batch), vectors["irtr_loss"])


def test_recall_is_what_the_public_code_returns():
    vectors = golden("meter_tiny_irtr")
    owners = torch.tensor([vectors["recall_image_index"].tolist().index(i) for i in vectors["recall_text_image_index"]])
    ours = recalls(vectors["recall_rank_scores"], owners)
    close(torch.tensor(list(ours.values())), vectors["recall_ir_r1_r5_r10_tr_r1_r5_r10"].float())


def test_matching_head_has_its_logits():
    vectors = golden("meter_tiny_irtr")
    model = load_checkpoint(GOLDEN / "meter_tiny_irtr.ckpt", task="itm").model
    close(logits_of(model, **inputs(vectors)), vectors["itm_logits_pairs"])
    mixed = torch.where(vectors["itm_labels"].bool()[:, None, None, None], vectors["image"], vectors["false_image_0"])
    logits = logits_of(model, **{**inputs(vectors), "pixel_values": mixed})
    close(logits, vectors["itm_logits"])
    close(torch.nn.functional.cross_entropy(logits, vectors["itm_labels"].long()), vectors["itm_loss"])


def test_a_pretrained_checkpoint_becomes_what_the_public_code_makes_of_it():
    vectors = golden("meter_tiny_pretrain_init")
    path = GOLDEN / "meter_tiny_pretrain.ckpt"
    pair = load_checkpoint(path, "nlvr2", image_size=80, transfer=Transfer(2)).model
    types = torch.cat([pair.blocks["text_bridge"].token_type, pair.blocks["image_bridge"].token_types])
    close(types.detach(), vectors["nlvr2_token_type_embeddings"])
    ranking = load_checkpoint(path, "irtr", image_size=80, transfer=Transfer(1)).model
    close(ranking.epilogue.head.weight.detach(), vectors["irtr_rank_output_weight"])
    close(ranking.epilogue.head.bias.detach(), vectors["irtr_rank_output_bias"])
    close(ranking.prologue.image.position_embedding.weight.detach(), vectors["irtr_positional_embedding"])


def test_original_meter_computes_what_the_public_code_computes():
    vectors = golden("meter_tiny_vqa")
    seen = run(load_checkpoint(GOLDEN / "meter_tiny_vqa.ckpt").model, vectors)
    layers = [f"{side}_layer_{i}" for side in ("text", "image") for i in range(3)]
    for name in ("roberta_out", "vit_out", "text_feats", "image_feats", "cls_feats", "vqa_logits", *layers):
        close(seen[name], vectors[name])
    close_in_loss_and_score(seen["vqa_logits"], vectors)


BACKBONES = {
    ("meter_tiny_nlvr2", "image_0"): {
        **{name: f"{name}_0" for name in ("text_feats", "image_feats", "cls_feats", "vit_out")},
        "roberta_out": "roberta_out",
    },
    ("meter_tiny_irtr", "image"): {name: name for name in ("text_feats", "image_feats", "cls_feats")},
    ("meter_tiny_snli", "image"): {
        **{name: name for name in ("text_feats", "image_feats", "cls_feats", "roberta_out", "vit_out")},
        **{name: name for side in ("text", "image") for name in (f"{side}_layer_0", f"{side}_layer_1")},
    },
}


@pytest.mark.parametrize(("name", "image"), BACKBONES)
def test_backbones_of_other_tasks_compute_what_the_public_code_computes(name, image):
    vectors = golden(name)
    model = load_backbone(GOLDEN / f"{name}.ckpt").model
    seen = run(model, vectors, image)
    for ours, theirs in BACKBONES[name, image].items():
        close(seen[ours], vectors[theirs])
    assert torch.equal(seen["vqa_logits"], seen["cls_feats"])  # no head: the output is what a head would be given


def test_das_meter_without_skipping():
    vectors = golden("das_meter_tiny_vqa")
    seen = run(load_checkpoint(GOLDEN / "das_meter_tiny_vqa.ckpt").model, vectors)
    for name in ("text_feats", "image_feats", "cls_feats", "vqa_logits"):
        close(seen[name], vectors[f"noskip_{name}"])
    close(seen["roberta_out"], vectors["roberta_out"])
    close(seen["vit_out"], vectors["vit_out"])
    close_in_loss_and_score(seen["vqa_logits"], vectors, "noskip_")


@pytest.mark.parametrize("index", range(12))
def test_das_meter_skipping_one_layer(index):
    vectors = golden("das_meter_tiny_vqa")
    model = load_checkpoint(GOLDEN / "das_meter_tiny_vqa.ckpt").model
    seen = run(remove_layers(model, make_plan(model, [INDEX_TO_LAYER[index]])), vectors)
    close(seen["cls_feats"], vectors[f"only{index}_cls_feats"])
    close(seen["vqa_logits"], vectors[f"only{index}_vqa_logits"])


def test_das_meter_skipping_eight_layers():
    vectors = golden("das_meter_tiny_vqa")
    model = load_checkpoint(GOLDEN / "das_meter_tiny_vqa.ckpt").model
    seen = run(remove_layers(model, make_plan(model, [INDEX_TO_LAYER[i] for i in (1, 2, 3, 4, 6, 7, 10, 11)])), vectors)
    for name in ("text_feats", "image_feats", "cls_feats", "vqa_logits"):
        close(seen[name], vectors[f"skip8_{name}"])
    close_in_loss_and_score(seen["vqa_logits"], vectors, "skip8_")


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


TINY = [
    "meter_tiny_vqa",
    "das_meter_tiny_vqa",
    "meter_tiny_pretrain",
    "meter_tiny_nlvr2",
    "meter_tiny_irtr",
    "meter_tiny_snli",
]


def landed(loaded, state):
    """The keys of ``state`` whose tensors are in the model, whole."""
    written = PUBLIC.table(loaded.model.task).to_checkpoint(loaded.model.state_dict())
    return {key for key, tensor in state.items() if key in written and torch.equal(written[key], tensor)}


@pytest.mark.parametrize("name", TINY)
def test_every_key_is_used_or_named_with_a_reason(name):
    checkpoint = read_checkpoint(GOLDEN / f"{name}.ckpt")
    loaded = load_checkpoint(checkpoint) if "vqa" in name else load_backbone(checkpoint)
    used = landed(loaded, checkpoint.state)
    assert not used & set(loaded.leftovers)
    assert used | set(loaded.leftovers) == set(checkpoint.state)
    assert not [reason for reason in loaded.leftovers.values() if "not part of" in reason or "no such part" in reason]


STRAYS = (
    "cross_modal_text_layers.9.output.dense.weight",
    "cross_modal_image_layers.6.adapter.up_proj.bias",
    "adapter_list_l.9.0.down_proj.weight",
    "text_transformer.encoder.layer.7.output.dense.bias",
    "vit_model.visual.transformer.resblocks.5.attn.in_proj_weight",
    "vit_model.visual.class_embedding_copy",
    "vqa_classifier.7.weight",
    "token4classifier_old",
)


def test_keys_of_layers_that_the_model_does_not_have_are_named():
    checkpoint = read_checkpoint(GOLDEN / "das_meter_tiny_vqa.ckpt")
    state = {**checkpoint.state, **{key: torch.ones(6, 3) for key in STRAYS}, "elsewhere": torch.ones(1)}
    strays = replace(checkpoint, state=state)
    with refused(InputError, "keys-unread", "9 keys", *STRAYS[:4]):
        load_checkpoint(strays)
    loaded = outline_checkpoint(strays, "vqa")
    assert loaded.leftovers_by_reason["no such part in this model"] == list(STRAYS)
    assert loaded.leftovers_by_reason["not part of a meter"] == ["elsewhere"]
    assert landed(load_checkpoint(checkpoint), state) | set(loaded.leftovers) == set(state)


@pytest.mark.parametrize("name", TINY)
def test_inspect_knows_every_head_and_counts_only_what_it_says(name):
    found = inspect_checkpoint(GOLDEN / f"{name}.ckpt", None)
    heads = {head.task: head.compressible for head in found.heads}
    expected = {
        "meter_tiny_vqa": {"vqa": True},
        "das_meter_tiny_vqa": {"vqa": True},
        "meter_tiny_pretrain": {"itm": True, "mlm": False},
        "meter_tiny_nlvr2": {"nlvr2": True},
        "meter_tiny_irtr": {"irtr": True, "itm": True},
        "meter_tiny_snli": {"snli-ve": True},
    }[name]
    assert heads == expected
    assert found.layers
    assert all(layer.macs > 0 for layer in found.layers)
    compressible = tuple(task for task, can in heads.items() if can)
    assert found.tasks == compressible
    assert found.counted_head == compressible[0]


def test_inspect_counts_a_checkpoint_without_a_head_of_a_task(tmp_path):
    given = read_checkpoint(GOLDEN / "meter_tiny_pretrain.ckpt")
    state = {key: tensor for key, tensor in given.state.items() if not key.startswith("itm_score.")}
    torch.save({"state_dict": state, "hyper_parameters": {"config": dict(given.config)}}, tmp_path / "meter.ckpt")
    found = inspect_checkpoint(tmp_path / "meter.ckpt", None)
    assert {head.task: head.compressible for head in found.heads} == {"mlm": False}
    assert (found.tasks, found.counted_head) == ((), None)
    assert "classes" not in found.dims
    assert any("without a head" in note for note in found.notes)
    left = {key for keys in found.leftovers.values() for key in keys}
    assert found.parameters == sum(tensor.numel() for key, tensor in state.items() if key not in left)


def test_a_head_that_another_brings_along_is_meant_only_where_it_is_named():
    both = recognise(GOLDEN / "meter_tiny_irtr.ckpt")
    assert both.tasks == ("irtr", "itm")
    assert [choose_task(both, task) for task in (None, "itm")] == ["irtr", "itm"]
    assert choose_task(recognise(GOLDEN / "meter_tiny_pretrain.ckpt"), None) == "itm"


def test_writing_the_public_format_is_the_inverse_of_reading_it():
    state = read_checkpoint(GOLDEN / "das_meter_tiny_vqa.ckpt").state
    model = load_checkpoint(GOLDEN / "das_meter_tiny_vqa.ckpt").model
    written = PUBLIC.table("vqa").to_checkpoint(model.state_dict())
    assert set(state) - set(written) <= set(load_checkpoint(GOLDEN / "das_meter_tiny_vqa.ckpt").leftovers)
    for key, tensor in written.items():
        assert torch.equal(tensor, state[key]), key
