"""Folders of sentence-transformers: what is read, and what is refused by name."""

import json

import pytest

from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.find_tokenizer import find_tokenizer
from compressor.checkpoints.read import checkpoint_sha256, read_checkpoint
from compressor.checkpoints.recognise import choose_task, recognise
from compressor.checkpoints.sizes import Transfer
from compressor.errors import InputError
from compressor.families.text_encoder.sentence_head import Dense, SentenceHead
from tests.support.command_line import refused
from tests.support.embedders import PARTS, write_embedder


def say(folder, file, **settings):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_everything_that_the_folder_says_is_read(tmp_path):
    prompts = {"prompts": {"query": "q ", "document": ""}, "default_prompt_name": "query", "similarity_fn_name": "dot"}
    folder = write_embedder(
        tmp_path, pooling=("cls", "mean"), modules=(Dense(width=7, bias=False), "normalize"), settings=prompts
    )
    loaded = load_checkpoint(folder)
    assert loaded.model.task == "embedding" and loaded.model.dims.classes == 7
    assert loaded.model.dims.sentence == SentenceHead(
        pooling=("cls", "mean"),
        modules=(Dense(width=7, bias=False), "normalize"),
        prompts={"query": "q "},
        default_prompt="query",
    )
    assert type(loaded.model.dims).model_validate_json(loaded.model.dims.model_dump_json()) == loaded.model.dims
    assert find_tokenizer(None, folder, None).longest == 9
    assert recognise(folder).tasks == ("embedding",)


@pytest.mark.parametrize(
    ("flags", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, ("cls", "mean")),
        ({"pooling_mode_lasttoken": True}, ("lasttoken",)),
        ({}, ("mean",)),
    ],
)
def test_poolings_as_older_releases_say_them(tmp_path, flags, pooling):
    folder = write_embedder(tmp_path)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 48, **flags}))
    assert load_checkpoint(folder).model.dims.sentence.pooling == pooling


def test_the_digest_is_of_every_file_that_is_read(tmp_path):
    folder = write_embedder(tmp_path, modules=(Dense(width=3),))
    before = checkpoint_sha256(folder)
    say(folder, "1_Pooling/config.json", pooling_mode="cls")
    after = checkpoint_sha256(folder)
    say(folder, "sentence_bert_config.json", max_seq_length=5)
    assert len({before, after, checkpoint_sha256(folder)}) == 3
    assert {*read_checkpoint(folder).behind} == {"0.linear.weight", "0.linear.bias"}


def test_texts_are_put_in_lower_case_where_the_folder_says_so(tmp_path):
    folder = write_embedder(tmp_path, texts={"do_lower_case": True})
    tokenizer = find_tokenizer(None, folder, None).tokenizer
    assert tokenizer.encode("A b").ids == tokenizer.encode("a B").ids == [2, 5, 6, 3]


@pytest.mark.parametrize(
    ("file", "settings", "what"),
    [
        ("1_Pooling/config.json", {"include_prompt": False}, "include_prompt false"),
        ("2_Dense/config.json", {"activation_function": "my.Swish"}, "the activation my.Swish"),
        ("2_Dense/config.json", {"use_residual": True}, "use_residual"),
        ("2_Dense/config.json", {"module_input_name": "token_embeddings"}, "module_input_name token_embeddings"),
    ],
)
def test_settings_that_make_another_model_are_refused_by_name(tmp_path, file, settings, what):
    folder = write_embedder(tmp_path, modules=(Dense(width=3),))
    say(folder, file, **settings)
    with refused(InputError, "setting-not-supported", what):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("types", "what"),
    [
        ((PARTS + "Transformer", PARTS + "Pooling", PARTS + "LayerNorm"), "Transformer, Pooling, LayerNorm"),
        (("custom.Transformer", PARTS + "Pooling"), "custom.Transformer, Pooling"),
    ],
)
def test_other_modules_are_refused_by_name_and_the_backbone_can_still_be_tuned(tmp_path, types, what):
    folder = write_embedder(tmp_path)
    paths = ("", "1_Pooling", "2_Normalize")
    listed = [{"type": kind, "path": path} for kind, path in zip(types, paths, strict=False)]
    (folder / "modules.json").write_text(json.dumps(listed))
    with refused(InputError, "setting-not-supported", what):
        load_checkpoint(folder)
    tuned = load_checkpoint(folder, "text-classification", transfer=Transfer(classes=3)).model
    assert tuned.dims.classes == 3 and tuned.dims.sentence is None


@pytest.mark.parametrize(
    ("file", "content", "code"),
    [
        ("modules.json", '[".Pooling"', "modules-unreadable"),
        ("modules.json", json.dumps([{"path": "../..", "type": PARTS + "Pooling"}]), "modules-unreadable"),
        ("modules.json", json.dumps([{"path": "0_T", "type": PARTS + "T.Pooling"}]), "embedder-in-parts"),
        ("1_Pooling/config.json", "[]", "modules-unreadable"),
        ("2_Dense/config.json", "{}", "tensors-missing"),
        ("2_Dense/model.safetensors", "x", "checkpoint-damaged"),
        ("config_sentence_transformers.json", "{", "modules-unreadable"),
        ("1_Pooling/config.json", '{"pooling_mode": "most"}', "model-does-not-fit-together"),
    ],
)
def test_damaged_folders(tmp_path, file, content, code):
    folder = write_embedder(tmp_path, modules=(Dense(width=3),))
    (folder / file).write_text(content)
    with refused(InputError, code):
        load_checkpoint(folder)


def test_a_length_of_texts_that_is_none(tmp_path):
    with refused(InputError, "text-length-impossible", "max_seq_length 0"):
        find_tokenizer(None, write_embedder(tmp_path, texts={"max_seq_length": 0}), None)


def test_a_model_of_transformers_alone_is_no_embedder(tmp_path):
    folder = write_embedder(tmp_path)
    (folder / "modules.json").unlink()
    with refused(InputError, "head-missing", "no folder of sentence-transformers", "SentenceTransformer("):
        choose_task(recognise(folder), "embedding", adapt=True)


def test_the_transformer_in_a_folder_of_its_own(tmp_path):
    folder = write_embedder(tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "config.json").unlink()
    listed = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([listed[0] | {"path": "0_Transformer"}, *listed[1:]]))
    with refused(InputError, "embedder-in-parts", "0_Transformer", "save_pretrained"):
        load_checkpoint(folder)
