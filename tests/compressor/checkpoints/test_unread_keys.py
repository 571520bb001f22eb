"""Weights that are stored as something else are refused by the name of what did it; nothing is cast in silence."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

from compressor.checkpoints.build import load_checkpoint, outline_checkpoint
from compressor.checkpoints.recognise import recognise
from compressor.errors import InputError
from tests.support.command_line import GOLDEN, refused

QUERY = "bert.encoder.layer.0.attention.self.query"
CONFIG = BertConfig(
    vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48,
    max_position_embeddings=20,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    BertForSequenceClassification(CONFIG).save_pretrained(tmp_path)
    return tmp_path


def change(folder, with_, without=(), method=None):
    """Put tensors into a folder's weights and take some out; let config.json name a method of quantisation."""
    state = load_file(folder / "model.safetensors") | dict(with_)
    state = {key: tensor.clone() for key, tensor in state.items() if key not in without}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    if method:
        config["quantization_config"] = {"quant_method": method}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


ONES, BYTES = torch.ones(4, 32), torch.ones(32, 32, dtype=torch.int8)
LAYOUTS = {
    "loralib": ({f"{QUERY}.lora_A": ONES, f"{QUERY}.lora_B": ONES}, "adapter-not-merged", "merge"),
    "peft": (
        {f"base_model.model.{QUERY}.lora_A.default.weight": ONES, f"base_model.model.{QUERY}.base_layer.weight": ONES},
        "adapter-not-merged",
        "merge_and_unload",
    ),
    "peft embedding": (
        {"bert.embeddings.word_embeddings.lora_embedding_A.default": ONES},
        "adapter-not-merged",
        "merge",
    ),
    "peft dora": ({f"{QUERY}.lora_magnitude_vector.default.weight": ONES}, "adapter-not-merged", "merge"),
    "bitsandbytes 8": ({f"{QUERY}.weight": BYTES, f"{QUERY}.SCB": ONES[0]}, "weights-quantised", "dequantize"),
    "bitsandbytes 4": (
        {f"{QUERY}.weight.absmax": ONES[0], f"{QUERY}.weight.quant_state.bitsandbytes__nf4": BYTES[0]},
        "weights-quantised",
        "4-bit weights of bitsandbytes",
    ),
    "GPTQ": (
        {f"{QUERY}.qweight": BYTES, f"{QUERY}.qzeros": BYTES, f"{QUERY}.scales": ONES, f"{QUERY}.g_idx": BYTES[0]},
        "weights-quantised",
        "quantised by GPTQ",
    ),
    "AWQ": ({f"{QUERY}.qweight": BYTES, f"{QUERY}.scales": ONES}, "weights-quantised", "AWQ"),
    "compressed-tensors": (
        {f"{QUERY}.weight_packed": BYTES, f"{QUERY}.weight_scale": ONES},
        "weights-quantised",
        "scales",
    ),
    "quanto": ({f"{QUERY}.weight._data": BYTES, f"{QUERY}.weight._scale": ONES}, "weights-quantised", "scales"),
    "pruned": ({f"{QUERY}.weight_orig": ONES, f"{QUERY}.weight_mask": ONES}, "weights-in-parts", "prune.remove"),
    "parametrised": (
        {f"{QUERY}.parametrizations.weight.original0": ONES},
        "weights-in-parts",
        "remove_parametrizations",
    ),
    "flattened": ({"_fsdp_wrapped_module._flat_param": ONES}, "sharded-checkpoint", "FULL_STATE_DICT"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_stored_as_something_else(folder, layout):
    added, code, word = LAYOUTS[layout]
    kept = f"{QUERY}.weight" in added or layout in ("loralib", "peft embedding", "peft dora")
    change(folder, added, () if kept else [f"{QUERY}.weight"])
    with refused(InputError, code, word, QUERY if QUERY in next(iter(added)) else next(iter(added))):
        recognise(folder)


def test_the_method_is_the_one_that_config_json_names(folder):
    change(folder, {f"{QUERY}.qweight": BYTES}, [f"{QUERY}.weight"], "auto-round")
    with refused(InputError, "weights-quantised", "config.json says auto-round"):
        recognise(folder)


def test_a_model_that_was_dequantised_is_read(folder):
    assert load_checkpoint(change(folder, {}, (), "bitsandbytes")).model.family == "bert"


def test_an_adapter_alone(folder):
    change(folder, {f"base_model.model.{QUERY}.lora_A.weight": ONES}, load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    with refused(InputError, "adapter-not-merged", "lora_A"):
        recognise(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "bert-base-uncased"}))
    with refused(InputError, "adapter-not-merged", "made for bert-base-uncased"):
        recognise(folder)


def test_an_adapter_beside_the_weights_it_belongs_to(folder):
    (folder / "adapter_config.json").write_text("{")
    with refused(InputError, "adapter-not-merged", "adapter_config.json", "does not name"):
        recognise(folder)


NUMBERS = [torch.int8, torch.uint8, torch.int32, torch.int64, torch.bool, torch.float8_e4m3fn]


@pytest.mark.parametrize("dtype", NUMBERS)
def test_weights_that_are_no_floats_are_never_cast(folder, dtype):
    change(folder, {f"{QUERY}.weight": torch.ones(32, 32).to(dtype)})
    with refused(InputError, "weights-not-float", str(dtype).removeprefix("torch."), f"{QUERY}.weight"):
        load_checkpoint(folder)
    assert outline_checkpoint(folder, None).problems[0].code == "weights-not-float"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_read(folder, dtype):
    weight = torch.randn(32, 32).to(dtype)
    change(folder, {f"{QUERY}.weight": weight})
    found = load_checkpoint(folder).model.blocks["En0"].layer.attention.self.query.weight
    assert torch.equal(found, weight.float())


def test_everything_wrong_is_said_at_once(folder):
    change(folder, {f"{QUERY}.weight": BYTES, "bert.encoder.layer.0.gate": ONES, "score.weight": ONES})
    with refused(InputError, ("keys-unread", "weights-not-float"), "2 keys", "layer.0.gate", "score.weight"):
        load_checkpoint(folder)


OF_NO_USE = {
    "bert": (
        "bert.embeddings.position_ids",
        "cls.predictions.bias",
        "cls.seq_relationship.weight",
        "qa_outputs.weight",
    ),
    "meter": (
        "vit_model.token_embedding.weight",
        "vit_model.visual.proj",
        "vit_model.text_projection",
        "vit_model.transformer.resblocks.0.ln_1.weight",
        "text_transformer.embeddings.position_ids",
        "text_transformer.pooler.dense.weight",
        "itm_score.fc.weight",
        "mlm_score.decoder.weight",
        "snli_classifier.0.weight",
        "gqa_classifier.0.weight",
    ),
    "vilt": ("text_embeddings.position_ids", "mlm_score.bias", "mpp_score.decoder.bias", "nlvr2_classifier.0.weight"),
}


@pytest.mark.parametrize("family", ["meter", "vilt"])
def test_what_the_public_code_leaves_behind_has_a_reason(tmp_path, family):
    content = torch.load(GOLDEN / f"{family}_tiny_vqa.ckpt", weights_only=True)
    content["state_dict"] |= dict.fromkeys(OF_NO_USE[family], ONES)
    torch.save(content, tmp_path / "a.ckpt")
    loaded = load_checkpoint(tmp_path / "a.ckpt", "vqa")
    assert set(OF_NO_USE[family]) <= set(loaded.leftovers)
    assert all(loaded.leftovers.values())


def test_what_the_library_leaves_behind_has_a_reason(folder):
    loaded = load_checkpoint(change(folder, dict.fromkeys(OF_NO_USE["bert"], ONES)))
    assert set(loaded.leftovers) == set(OF_NO_USE["bert"])
