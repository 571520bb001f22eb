"""Checkpoints as Hugging Face keeps them: folders, shards, names; and what is wrong with damaged ones."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

from compressor.checkpoints.read import checkpoint_sha256, read_checkpoint
from compressor.checkpoints.recognise import recognise
from compressor.checkpoints.sources import locate
from compressor.errors import InputError
from tests.support import command_line

CONFIG = BertConfig(
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=20,
    id2label={0: "no", 1: "yes"},
    label2id={"no": 0, "yes": 1},
)


@pytest.fixture(scope="module")
def library():
    torch.manual_seed(0)
    return BertForSequenceClassification(CONFIG)


@pytest.fixture
def folder(library, tmp_path):
    library.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def sharded(library, tmp_path):
    library.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    return tmp_path / "sharded"


def pickled(folder, shards=1):
    """The same folder with its weights as old versions of the library wrote them."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin")
        return folder
    names = [f"pytorch_model-{number:05}-of-{shards:05}.bin" for number in range(1, shards + 1)]
    where = {key: names[number % shards] for number, key in enumerate(state)}
    for name in names:
        torch.save({key: value for key, value in state.items() if where[key] == name}, folder / name)
    index = {"metadata": {"total_size": 0}, "weight_map": where}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


def same_state(found, library):
    expected = library.state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


def refused(path, code, *values):
    with command_line.refused(InputError, code, "found:", "expected:", "fix:", *values):
        read_checkpoint(path)


def test_a_folder(folder, library):
    found = read_checkpoint(folder)
    assert found.path == folder
    assert same_state(found.state, library)
    assert found.config["model_type"] == "bert"
    assert found.config["architectures"] == ["BertForSequenceClassification"]
    assert found.config["id2label"] == {"0": "no", "1": "yes"}


def test_a_folder_in_shards(sharded, library):
    assert len(list(sharded.glob("model-*.safetensors"))) > 2
    assert same_state(read_checkpoint(sharded).state, library)


@pytest.mark.parametrize("shards", [1, 3])
def test_a_folder_of_pickles(folder, library, shards):
    found = read_checkpoint(pickled(folder, shards))
    assert same_state(found.state, library)
    assert found.config["model_type"] == "bert"


def test_safetensors_are_read_where_there_are_both(folder, library):
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    assert same_state(read_checkpoint(folder).state, library)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_as_it_was_saved(folder, dtype):
    state = {key: value.to(dtype) for key, value in load_file(folder / "model.safetensors").items()}
    save_file(state, folder / "model.safetensors")
    assert {value.dtype for value in read_checkpoint(folder).state.values()} == {dtype}


@pytest.mark.parametrize("as_pickle", [False, True])
def test_norms_named_as_in_tensorflow(folder, library, as_pickle):
    state = load_file(folder / "model.safetensors")
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    for new, name in old.items():
        state = {key.replace(new, name): value for key, value in state.items()}
    assert sum("gamma" in key for key in state) == 5
    save_file(state, folder / "model.safetensors")
    assert same_state(read_checkpoint(pickled(folder) if as_pickle else folder).state, library)


def test_a_safetensors_file_with_its_configuration(folder, library, tmp_path):
    found = read_checkpoint(folder / "model.safetensors")
    assert found.path == folder / "model.safetensors"
    assert same_state(found.state, library)
    assert found.config["model_type"] == "bert"
    shutil.copy(folder / "model.safetensors", tmp_path / "alone.safetensors")
    assert read_checkpoint(tmp_path / "alone.safetensors").config == {}


def test_the_digest_of_a_folder_is_of_what_is_read(folder):
    before = checkpoint_sha256(folder)
    (folder / "README.md").write_text("anything")
    assert checkpoint_sha256(folder) == before
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config + "\n")
    assert checkpoint_sha256(folder) != before
    (folder / "config.json").write_text(config)
    assert checkpoint_sha256(folder) == before
    state = load_file(folder / "model.safetensors")
    state["classifier.bias"] += 1
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert checkpoint_sha256(folder) != before


def test_the_digest_covers_every_shard(sharded):
    before = checkpoint_sha256(sharded)
    last = sorted(sharded.glob("model-*.safetensors"))[-1]
    save_file({key: value + 1 for key, value in load_file(last).items()}, last, metadata={"format": "pt"})
    assert checkpoint_sha256(sharded) != before


def test_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    refused(folder, "weights-missing", "model.safetensors")
    (folder / "meter.ckpt").touch()
    refused(folder, "weights-missing", "meter.ckpt")


def test_an_empty_folder(tmp_path):
    refused(tmp_path, "weights-missing", tmp_path)


def test_a_folder_of_runs(tmp_path):
    for name in ("seed-0", "seed-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").touch()
    refused(tmp_path, "weights-missing", f"one of {tmp_path}/seed-0, {tmp_path}/seed-1")


def test_a_folder_without_configuration(folder):
    (folder / "config.json").unlink()
    refused(folder, "config-missing", "config.json")


@pytest.mark.parametrize(
    ("content", "value"), [("{", "JSON"), ("", "JSON"), ("[1]", "list"), (b"\xff\xfe\x00", "JSON")]
)
def test_a_configuration_that_is_none(folder, content, value):
    (folder / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(folder, "config-not-json", value, "config.json")
    refused(folder / "model.safetensors", "config-not-json", value, "config.json")


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.99])
def test_truncated_safetensors(folder, share):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: int(share * len(content))])
    refused(folder, "checkpoint-damaged", "model.safetensors")


def test_a_pointer_to_the_weights_in_their_place(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    refused(folder, "git-lfs-pointer", "model.safetensors", "git lfs pull")


def test_safetensors_without_tensors(folder):
    save_file({}, folder / "model.safetensors")
    refused(folder, "checkpoint-without-tensors", "model.safetensors")


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_truncated_pickles(folder, share):
    path = pickled(folder) / "pytorch_model.bin"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(folder, "checkpoint-damaged" if share else "checkpoint-empty", "pytorch_model.bin")


class Hostile:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_would_run_code(folder, tmp_path):
    pickled(folder)
    torch.save({"weight": torch.ones(2), "more": Hostile(tmp_path / "owned")}, folder / "pytorch_model.bin")
    refused(folder, "checkpoint-unsafe", "pytorch_model.bin", "system")
    assert not (tmp_path / "owned").exists()


def test_a_missing_shard(sharded):
    last = sorted(sharded.glob("model-*.safetensors"))[-1]
    last.unlink()
    refused(sharded, "shard-missing", last.name)


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": ["a"]}, {"weight_map": {"key": 3}}])
def test_an_index_that_names_nothing(sharded, index):
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(sharded, "index-empty", "index.json")


def test_an_index_that_is_no_json(sharded):
    (sharded / "model.safetensors.index.json").write_text("weights")
    refused(sharded, "config-not-json", "index.json")


def test_a_run_is_no_checkpoint(folder):
    (folder / "manifest.json").write_text("{}")
    refused(folder, "run-instead-of-checkpoint", folder)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of models downloaded earlier, and no network."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def put(hub, name, folder):
    model, commit = hub / f"models--{name.replace('/', '--')}", "a" * 40
    shutil.copytree(folder, model / "snapshots" / commit)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)
    return model / "snapshots" / commit


@pytest.mark.parametrize("name", ["someone/bert-base-SST.2", "bert_tiny"])
@pytest.mark.parametrize("as_pickle", [False, True])
def test_a_hugging_face_name(hub, folder, library, name, as_pickle):
    snapshot = put(hub, name, pickled(folder) if as_pickle else folder)
    found = read_checkpoint(name)
    assert found.path.resolve() == snapshot.resolve()
    assert same_state(found.state, library)
    assert found.config["model_type"] == "bert"


def test_what_das_does_not_take_is_refused_before_its_weights_are_downloaded(monkeypatch, tmp_path):
    asked = []

    def answer(name, patterns):
        asked.append(patterns)
        (tmp_path / "config.json").write_text('{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}')
        return tmp_path

    monkeypatch.setattr(locate, "download", answer)
    with command_line.refused(InputError, "model-generates", "GPT2LMHeadModel"):
        recognise("someone/gpt2")
    assert asked == [["config.json"]]


@pytest.mark.parametrize("name", ["someone/unknown", "bert-nowhere"])
def test_an_unknown_name_without_a_network(hub, name):
    refused(name, "model-not-found", name, "Hugging Face")


def test_a_mistyped_file_name_without_suffix_is_helped(hub, tmp_path):
    (tmp_path / "meter.ckpt").touch()
    refused("metre", "model-not-found", "meter.ckpt")


@pytest.mark.parametrize("name", ["nowhere.ckpt", "a/nowhere.safetensors", "a/b/c", "/nowhere/at/all", "../up", "a b"])
def test_paths_are_never_looked_up(hub, name):
    refused(name, "checkpoint-missing", name)
