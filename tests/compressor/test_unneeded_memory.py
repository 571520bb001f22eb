"""Memory that is given back, and what of it can be read again."""

import sys

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from compressor.unneeded_memory import give_back, page_out


def resident():
    return psutil.Process().memory_info().rss


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has a call for it")
def test_weights_that_lie_in_a_file_are_let_go_and_read_again(tmp_path):
    given = {name: torch.arange(8 * 2**20, dtype=torch.float32) + place for place, name in enumerate("ab")}
    save_file(given, tmp_path / "weights.safetensors")
    weights = load_file(tmp_path / "weights.safetensors")
    total = sum(weight.sum() for weight in weights.values())  # reads all of them
    give_back()
    before = resident()
    page_out(weights.values())
    assert before - resident() > 0.8 * sum(weight.nbytes for weight in weights.values())
    assert sum(weight.sum() for weight in weights.values()) == total
    assert all(torch.equal(weights[name], given[name]) for name in given)


def test_weights_that_lie_nowhere_else_are_kept():
    weights = [torch.arange(1000.0), torch.empty(0)]
    page_out(weights)
    assert torch.equal(weights[0], torch.arange(1000.0))
