"""Weights as training loops leave them: in a dict with other things, under wrappers, beside their own average."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models
from transformers import BertConfig, BertForSequenceClassification

from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.recognise import recognise
from compressor.errors import InputError
from tests.support.command_line import GOLDEN, das, refused, stopped

SIZES = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 20,
}  # fmt: skip
IDS = {
    "input_ids": torch.tensor([[2, 7, 9, 3]]),
    "attention_mask": torch.ones(1, 4, dtype=torch.long),
    "token_type_ids": torch.zeros(1, 4, dtype=torch.long),
}


@pytest.fixture(scope="module")
def library():
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**SIZES)).eval()


@pytest.fixture
def home(library, tmp_path):
    """A folder with the library's config.json."""
    library.config.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["BertForSequenceClassification"]}))
    return tmp_path


def prefixed(state, prefix):
    return {prefix + key: tensor for key, tensor in state.items()}


def answers_alike(path, library):
    loaded = load_checkpoint(path)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(**IDS), library(**IDS).logits, atol=1e-6, rtol=0)
    return loaded.notes


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "module._orig_mod.", "_forward_module.module.", "model.net.", "ema_model."],
)
def test_keys_that_a_wrapper_has_prefixed(home, library, prefix):
    torch.save(prefixed(library.state_dict(), prefix), home / "best.pt")
    notes = answers_alike(home / "best.pt", library)
    assert all(part in " ".join(notes) for part in prefix.strip(".").split("."))


def test_wrappers_inside_of_keys(home, library):
    inside = {
        f"_fsdp_wrapped_module.{key.replace('layer.1.', 'layer.1._fsdp_wrapped_module._orig_mod.')}": tensor
        for key, tensor in library.state_dict().items()
    }
    torch.save(inside, home / "fsdp.pt")
    (note,) = answers_alike(home / "fsdp.pt", library)
    assert "_fsdp_wrapped_module, _orig_mod" in note


@pytest.mark.parametrize("name", ["model_state_dict", "model", "net", "params", "module", "ema_state_dict"])
def test_a_state_dict_under_another_name(home, library, name):
    adam = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}
    torch.save({"epoch": 3, "rng": torch.ones(5), name: library.state_dict(), "optimizer": adam}, home / "last.pth")
    (note,) = answers_alike(home / "last.pth", library)
    assert note == f"the weights are those that the file calls {name}; not read: rng, optimizer"


def test_a_state_dict_under_its_own_name_needs_no_note(home, library):
    torch.save({"epoch": 3, "state_dict": library.state_dict()}, home / "last.ckpt")
    assert answers_alike(home / "last.ckpt", library) == ()


def test_a_name_and_a_prefix(home, library):
    torch.save({"state": {"model": prefixed(library.state_dict(), "module.")}}, home / "last.pth")
    first, second = answers_alike(home / "last.pth", library)
    assert "calls state/model" in first
    assert "module." in second


def test_an_averaged_model_of_pytorch(home, library):
    averaged = torch.optim.swa_utils.AveragedModel(library)
    torch.save(averaged.state_dict(), home / "swa.pt")
    answers_alike(home / "swa.pt", library)


def test_a_lightning_file_around_a_model_of_the_library(home, library):
    content = {
        "pytorch-lightning_version": "2.4.0",
        "state_dict": prefixed(library.state_dict(), "model."),
        "hyper_parameters": {"learning_rate": 2e-5},
        "callbacks": {"ema": {"weights": library.state_dict()}},
    }
    torch.save(content, home / "epoch=3.ckpt")
    answers_alike(home / "epoch=3.ckpt", library)


@pytest.mark.parametrize("both", [("model.", "ema."), ("", "ema_model."), ("student.", "teacher.")])
def test_two_sets_of_weights_are_never_chosen_from(home, library, both):
    state = library.state_dict()
    torch.save(prefixed(state, both[0]) | prefixed(state, both[1]), home / "two.pt")
    with refused(InputError, "weights-ambiguous", "2 sets", both[1], "save the set"):
        recognise(home / "two.pt")


def test_two_state_dicts_are_never_chosen_from(home, library):
    torch.save({"model": library.state_dict(), "model_ema": library.state_dict()}, home / "two.pt")
    with refused(InputError, "weights-ambiguous", "model/ and model_ema/"):
        recognise(home / "two.pt")


def test_a_key_with_and_without_its_wrapper(home, library):
    state = library.state_dict()
    torch.save({**state, "_orig_mod.classifier.bias": state["classifier.bias"]}, home / "two.pt")
    with refused(InputError, "weights-ambiguous", "classifier.bias is there with and without _orig_mod"):
        recognise(home / "two.pt")


def test_keys_beside_the_model_are_refused(home, library):
    state = prefixed(library.state_dict(), "model.") | {"criterion.weight": torch.ones(2)}
    torch.save(state, home / "beside.pt")
    with refused(InputError, "keys-unread", "criterion.weight"):
        load_checkpoint(home / "beside.pt")


@pytest.mark.parametrize("name", ["meter_tiny_vqa", "vilt_tiny_nlvr2", "das_meter_tiny_vqa"])
def test_the_public_formats_under_a_wrapper(tmp_path, name):
    content = torch.load(GOLDEN / f"{name}.ckpt", weights_only=True)
    content["state_dict"] = prefixed(content["state_dict"], "module.")
    torch.save(content, tmp_path / "a.ckpt")
    expected, found = load_checkpoint(GOLDEN / f"{name}.ckpt"), load_checkpoint(tmp_path / "a.ckpt")
    theirs, ours = expected.model.state_dict(), found.model.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert found.notes == ("the keys start with module., which is left out", *expected.notes)


def test_a_config_of_something_else_beside_a_public_checkpoint(tmp_path):
    shutil.copy(GOLDEN / "meter_tiny_vqa.ckpt", tmp_path / "meter.ckpt")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "roberta", "id2label": {"0": "no", "1": "yes"}}))
    found = recognise(tmp_path / "meter.ckpt")
    assert (found.family.name, found.labels, found.checkpoint.config["num_heads"]) == ("meter", (), 4)


def test_the_settings_of_a_bare_state_dict_lie_beside_it(tmp_path):
    content = torch.load(GOLDEN / "meter_tiny_vqa.ckpt", weights_only=True)
    torch.save(content["state_dict"], tmp_path / "meter.pt")
    (tmp_path / "config.json").write_text(json.dumps({"num_heads": 4, "max_text_len": 12}))
    assert load_checkpoint(tmp_path / "meter.pt").model.dims.heads == 4


def test_weights_that_are_named_directly_are_read_with_their_config(home, library, tmp_path):
    library.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    torch.save(library.state_dict(), home / "pytorch_model.bin")
    assert answers_alike(home / "pytorch_model.bin", library) == ()
    assert answers_alike(tmp_path / "sharded" / "model.safetensors.index.json", library) == ()
    shard = sorted((tmp_path / "sharded").glob("model-*"))[0]
    assert len(load_file(shard)) < len(library.state_dict())
    with refused(InputError, "shard-alone", "one of ", tmp_path / "sharded"):
        recognise(shard)


def test_the_commands_say_what_was_left_out(home, library):
    torch.save(prefixed(library.state_dict(), "module."), home / "best.pt")
    assert "the keys start with module." in " ".join(das("inspect", home / "best.pt").stdout.split())
    torch.save({**library.state_dict(), "extra.weight": torch.ones(2)}, home / "more.pt")
    seen = das("inspect", home / "more.pt")
    assert seen.exit_code == 0
    assert "every other command refuses it" in " ".join(seen.stdout.split())
    Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1}, unk_token="[UNK]")).save(str(home / "tokenizer.json"))
    stopped(das("eval", home / "more.pt", "--data", home), 3, "keys-unread", "extra.weight")
