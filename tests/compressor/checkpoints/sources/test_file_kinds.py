"""Files that are no checkpoint are called what they are; the advice is one that helps."""

import gzip
import json
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from compressor.checkpoints.read import read_checkpoint
from compressor.errors import InputError
from tests.support.command_line import refused

PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><body>Sign in</body></html>"
CONTENTS = {
    "meter.ckpt": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "git-lfs-pointer",
        "lfs pull",
    ),
    "model.safetensors": (PAGE, "page-instead-of-file", "download it again"),
    "vilt.ckpt": (b'{"error":"Repository not found"}', "page-instead-of-file", "message of a server"),
    "b.ckpt": (b"<?xml version='1.0'?><Error><Code>AccessDenied", "page-instead-of-file", "web page"),
    "tf_model.h5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "other-format", "from_tf=True"),
    "flax_model.msgpack": (b"\x81\xa4bert\x82", "other-format", "from_flax=True"),
    "model.onnx": (b"\x08\x07\x12\x07pytorch", "other-format", "PyTorch checkpoint"),
    "model.gguf": (b"GGUF\x03\x00\x00\x00", "other-format", "llama.cpp"),
    "bert_model.ckpt.index": (b"\x00\x00\x01\x02", "other-format", "TensorFlow"),
    "model.tar.gz": (gzip.compress(b"anything", mtime=0), "archive-not-unpacked", "unpack it"),
    "a.npy": (b"\x93NUMPY\x01\x00", "other-format", "NumPy"),
    "__0_0.distcp": (b"\x00\x01\x02", "sharded-checkpoint", "merge-weights"),
    "state.pt": (pickle.dumps({"weight": [1.0, 2.0]}), "other-format", "torch.save did not write"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_of_another_kind(tmp_path, name):
    content, code, word = CONTENTS[name]
    (tmp_path / name).write_bytes(content)
    with refused(InputError, code, word, name):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize("member", ["model/config.json", "meter.ckpt", "a/model.safetensors"])
def test_a_zip_archive_of_a_folder(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr(member, "{}")
    with refused(InputError, "archive-not-unpacked", "unpack it"):
        read_checkpoint(tmp_path / "model.zip")


class Halved(nn.Module):
    def forward(self, x):
        return x / 2


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_module_is_named_and_told_how_to_save_itself(tmp_path, zipped):
    torch.save(nn.Sequential(Halved(), nn.Linear(2, 2)), tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    kind = "torch.nn.modules.container.Sequential"
    with refused(InputError, "module-instead-of-weights", kind, "torch.save(model.state_dict()", "save_pretrained"):
        read_checkpoint(tmp_path / "a.pt")
    torch.save({"epoch": 3, "model": Halved()}, tmp_path / "b.pt", _use_new_zipfile_serialization=zipped)
    with refused(InputError, "module-instead-of-weights", "Halved", "model.state_dict()"):
        read_checkpoint(tmp_path / "b.pt")


@pytest.mark.parametrize("content", [[torch.ones(2)], torch.ones(2), 3, {"epoch": 3}])
def test_values_without_names(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with refused(InputError, "checkpoint-without-tensors", type(content).__name__, "state_dict"):
        read_checkpoint(tmp_path / "a.pt")


@pytest.mark.filterwarnings("ignore")
def test_programs_of_pytorch(tmp_path):
    torch.jit.script(Halved()).save(tmp_path / "a.pt")
    with refused(InputError, "other-format", "TorchScript", "state_dict"):
        read_checkpoint(tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:  # the members that torch.export.save writes
        for member in ("a/models/model.json", "a/archive_format", "a/data/weights/weight_0"):
            archive.writestr(member, "pt2")
    with refused(InputError, "other-format", "torch.export", "state_dict"):
        read_checkpoint(tmp_path / "a.pt2")


HELD = {
    "tf_model.h5": ("other-format", "from_tf"),
    "flax_model.msgpack": ("other-format", "from_flax"),
    "bert_model.ckpt.index": ("other-format", "TensorFlow"),
    "model.onnx": ("other-format", "ONNX"),
    "zero_to_fp32.py": ("sharded-checkpoint", "zero_to_fp32.py"),
    "__0_0.distcp": ("sharded-checkpoint", "merge-weights"),
    "best.pt": ("weights-missing", "best.pt"),
}


@pytest.mark.parametrize("held", HELD)
def test_a_folder_that_holds_something_else(tmp_path, held):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / held).write_bytes(b"anything")
    code, word = HELD[held]
    with refused(InputError, code, word):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("folders", "code", "word"),
    [
        (["checkpoint-500", "checkpoint-1000", "runs"], "folder-of-checkpoints", "checkpoint-1000"),
        (["pytorch_model_fsdp_0"], "sharded-checkpoint", "merge-weights"),
        (["global_step9"], "sharded-checkpoint", "zero_to_fp32.py"),
    ],
)
def test_a_folder_of_folders(tmp_path, folders, code, word):
    for name in folders:
        (tmp_path / name).mkdir()
    with refused(InputError, code, word, tmp_path):
        read_checkpoint(tmp_path)


def test_a_shard_of_deepspeed_is_not_taken_for_the_whole(tmp_path):
    path = tmp_path / "zero_pp_rank_0_mp_rank_00_model_states.pt"
    torch.save({"module": {"weight": torch.zeros(0)}}, path)
    with refused(InputError, "sharded-checkpoint", "zero_to_fp32.py"):
        read_checkpoint(path)


def test_the_only_one_of_one_file_is_whole(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "model-00001-of-00001.safetensors")
    assert list(read_checkpoint(tmp_path / "model-00001-of-00001.safetensors").state) == ["weight"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_a_pointer_in_the_place_of_settings(tmp_path, name):
    (tmp_path / name).write_bytes(CONTENTS["meter.ckpt"][0])
    if name == "config.json":
        save_file({"weight": torch.ones(2)}, tmp_path / "model.safetensors")
    with refused(InputError, "git-lfs-pointer", name):
        read_checkpoint(tmp_path)


def test_a_good_file_is_read_whatever_it_is_called(tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "weights.h5")
    assert torch.equal(read_checkpoint(tmp_path / "weights.h5").state["weight"], torch.ones(2))
    assert json.dumps(read_checkpoint(tmp_path / "weights.h5").config) == "{}"
