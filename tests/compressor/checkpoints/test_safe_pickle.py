"""Hostile checkpoints, in both formats of PyTorch: nothing runs, and nothing of this process changes."""

import argparse
import collections
import copy
import datetime
import os
import pathlib
import struct
import sys
import zipfile

import numpy as np
import pytest
import torch

from compressor.checkpoints.read import read_checkpoint
from compressor.errors import InputError
from tests.support.command_line import GOLDEN, das, refused, stopped

PLACE = "the exploit goes here"
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def text(value):
    """Opcodes that push a string."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def name(module, attribute):
    """Opcodes that push a global."""
    return f"c{module}\n{attribute}\n".encode()


def small(number):
    """Opcodes that push a number."""
    return b"J" + struct.pack("<i", number)


def raw(content):
    """Opcodes that push a Python 2 string, bytes to PyTorch's unpickler before it decodes them."""
    return b"U" + bytes([len(content)]) + content


def with_exploit(path, opcodes, zipped):
    """A good checkpoint whose pickle also runs ``opcodes``, which push one value."""
    content = {"state_dict": {"weight": torch.arange(6.0)}, "callbacks": PLACE}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    if zipped:
        with zipfile.ZipFile(path) as archive:
            records = {entry: archive.read(entry) for entry in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for entry, record in records.items():
                archive.writestr(entry, record.replace(text(PLACE), opcodes))
    else:
        path.write_bytes(path.read_bytes().replace(text(PLACE), opcodes))
    return path


def still_works():
    """A good checkpoint loads in this process, as if nothing had happened."""
    assert len(read_checkpoint(GOLDEN / "meter_tiny_vqa.ckpt").state) > 100
    assert not [entry for entry in torch.serialization.get_safe_globals() if isinstance(entry, tuple)]
    copied = copy.deepcopy(torch.ones(2, 2))
    assert not copied.is_cuda
    assert copied.untyped_storage().nbytes() == 16


@FORMATS
def test_the_tests_own_way_of_writing_pickles_makes_good_checkpoints(tmp_path, zipped):
    path = with_exploit(tmp_path / "a.ckpt", text("harmless"), zipped)
    assert torch.equal(read_checkpoint(path).state["weight"], torch.arange(6.0))


@FORMATS
@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_no_python_object_is_made_from_an_address(tmp_path, zipped, module):
    # numpy.dtype("O") with a forged state, then a scalar of that type from eight bytes: an object at any address.
    forged = small(3) + text("|") + b"NNN" + small(-1) + small(-1) + small(63)
    dtype = name("numpy", "dtype") + b"(" + text("O8") + b"\x89\x88tR" + b"(" + forged + b"tb"
    address = name("_codecs", "encode") + b"(" + text("AAAAAAAA") + text("latin1") + b"tR"
    opcodes = name(module, "scalar") + b"(" + dtype + address + b"tR"
    path = with_exploit(tmp_path / "a.ckpt", opcodes, zipped)
    assert torch.equal(read_checkpoint(path).state["weight"], torch.arange(6.0))  # the scalar is never made
    assert np.dtype("O").itemsize == 8
    still_works()


TARGETS = {
    "storage class": ("torch.storage", "TypedStorage", "is_cuda", torch.storage.TypedStorage),
    "tensor rebuilder": ("torch._utils", "_rebuild_tensor_v2", "__defaults__", torch._utils._rebuild_tensor_v2),
    "layouts": ("torch.serialization", "_get_layout", "cache", torch.serialization._get_layout),
    "tensor class": ("torch", "Tensor", "is_cuda", torch.Tensor),
    "argparse": ("argparse", "Namespace", "owned", argparse.Namespace),
}


@FORMATS
@pytest.mark.parametrize("target", TARGETS)
def test_no_attribute_of_a_real_object_is_set(tmp_path, zipped, target):
    module, attribute, slot, real = TARGETS[target]
    before = getattr(real, slot, None)
    # BUILD with the state of an object with slots: (None, {slot: value}) sets attributes one by one.
    opcodes = name(module, attribute) + b"(N}" + text(slot) + small(7) + b"st" + b"b"
    path = with_exploit(tmp_path / "a.ckpt", opcodes, zipped)
    with refused(InputError, "checkpoint-damaged", "Can only build"):
        read_checkpoint(path)
    assert getattr(real, slot, None) is before
    still_works()


CALLS = {
    "posix.system": name("posix", "system"),
    "os.system": name("os", "system"),
    "builtins.eval": name("__builtin__", "eval"),
    "builtins.exec": name("builtins", "exec"),
    "builtins.getattr": name("__builtin__", "getattr"),
    "subprocess.Popen": name("subprocess", "Popen"),
    "cPickle.loads": name("cPickle", "loads"),
    "functools.partial": name("functools", "partial"),
    "torch.hub.load": name("torch.hub", "load"),
    "numpy.memmap": name("numpy", "memmap"),
    "numpy.load": name("numpy", "load"),
}


@FORMATS
@pytest.mark.parametrize("called", CALLS)
def test_a_call_is_refused_by_name(tmp_path, zipped, called):
    marker = tmp_path / "owned"
    opcodes = CALLS[called] + b"(" + text(f"touch {marker}") + b"tR"
    path = with_exploit(tmp_path / "a.ckpt", opcodes, zipped)
    result = das("inspect", path)
    stopped(result, 3, "checkpoint-unsafe", f"call {called} when")
    assert not marker.exists()
    still_works()


@FORMATS
@pytest.mark.parametrize(
    "opcodes",
    [
        b"\x8c\x05posix\x8c\x06system\x93" + b"(" + text("true") + b"tR",  # STACK_GLOBAL of protocol 4
        b"(" + text("true") + b"iposix\nsystem\n",  # INST of protocol 0
        b"(" + name("posix", "system")[:-1] + b"\n" + text("true") + b"o",  # OBJ
        b"\x82\x01",  # EXT1
        b"P1234\n",  # PERSID of protocol 0
        b"Q",  # a persistent id that is no storage
        name("torch.storage", "_load_from_bytes") + b"(" + raw(b"\x80\x02N.") + b"tR",
    ],
)
def test_other_ways_to_reach_a_call_are_refused(tmp_path, zipped, opcodes):
    with pytest.raises(InputError):
        read_checkpoint(with_exploit(tmp_path / "a.ckpt", opcodes, zipped))
    still_works()


class Command:
    """Calls ``function`` when it is unpickled by anyone less careful."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@FORMATS
def test_a_call_hidden_in_the_arguments_of_a_harmless_value(tmp_path, zipped):
    marker = tmp_path / "owned"
    hidden = Command(pathlib.PosixPath, Command(os.system, f"touch {marker}"))
    torch.save({"weight": torch.ones(2), "path": hidden}, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    with refused(InputError, "checkpoint-unsafe", "posix.system"):
        read_checkpoint(tmp_path / "a.ckpt")
    assert not marker.exists()


class Foreign:
    """Keeps what it was unpickled with."""

    unpickled = 0

    def __init__(self):
        self.value = 3

    def __setstate__(self, state):
        Foreign.unpickled += 1


@FORMATS
def test_what_old_lightning_files_hold_beside_tensors_is_harmless(tmp_path, zipped):
    config = {
        "num_heads": 2,
        "namespace": argparse.Namespace(lr=0.1),
        "path": pathlib.PosixPath("somewhere"),
        "counts": collections.defaultdict(int, {"a": 1}),
        "ordered": collections.OrderedDict(a=1),
        "scalar": np.float64(0.5),
        "array": np.arange(3),
        "when": datetime.datetime(2022, 6, 1),
        "class": Foreign,
        "instance": Foreign(),
    }
    content = {"state_dict": {"weight": torch.arange(6.0)}, "hyper_parameters": {"config": config}}
    torch.save(content, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(found.state["weight"], torch.arange(6.0))
    assert found.config["num_heads"] == 2
    assert found.config["counts"] == {"a": 1}
    assert found.config["ordered"] == {"a": 1}
    assert repr(found.config["path"]) == "<pathlib.PosixPath, not read>"
    for key in ("namespace", "path", "scalar", "array", "when", "instance"):
        assert type(found.config[key]) is not type(config[key]), key
        assert not vars(found.config[key])
    assert found.config["class"] is not Foreign
    assert Foreign.unpickled == 0
    still_works()


def test_refusals_do_not_advise_to_load_the_file_unsafely(tmp_path):
    class Counted(dict):
        """A foreign kind of dict, which weights_only cannot fill."""

    Counted.__qualname__ = "Counted"
    sys.modules[__name__].Counted = Counted
    torch.save({"weight": torch.ones(2), "counted": Counted(a=1)}, tmp_path / "a.ckpt")
    with refused(InputError, "checkpoint-damaged", "Can only SETITEM for dict") as refusal:
        read_checkpoint(tmp_path / "a.ckpt")
    assert "weights_only" not in str(refusal.value)
