"""Peaks and rooflines: formulas on known values, and figures of this machine that can be."""

import pytest
import torch

from profiles.timing.layer_times import LayerTime
from profiles.timing.roofline import ARITHMETIC, MEMORY, SIDES, Peaks, compute_roofline, measure_peaks, measure_product

PEAKS = Peaks(runtime="torch", gflops=100, gbs=10)


def layer(ms=2.0, macs=50_000_000, moved=1_000_000):
    return LayerTime(name="FL0", pool="fusion-language", ms=ms, macs=macs, bytes=moved)


def test_a_layer_of_many_operations_for_each_byte_is_bound_by_arithmetic():
    found = compute_roofline(layer(), PEAKS)
    assert found.gflops == pytest.approx(50)  # 2 x 50 million in 2 ms
    assert found.share == pytest.approx(0.5)
    assert found.intensity == pytest.approx(100)
    assert found.bound == ARITHMETIC


@pytest.mark.parametrize(("moved", "bound"), [(10_000_001, MEMORY), (10_000_000, ARITHMETIC)])
def test_the_ridge_divides_the_two(moved, bound):
    assert PEAKS.ridge == 10
    assert compute_roofline(layer(moved=moved), PEAKS).bound == bound


@pytest.mark.parametrize("nothing", [{"macs": 0}, {"ms": 0.0}, {"ms": -0.1}, {"moved": 0}])
def test_what_computes_nothing_has_no_roofline(nothing):
    assert compute_roofline(layer(**nothing), PEAKS) is None


def test_the_time_of_a_product_is_two_operations_for_each_of_its_cubes(monkeypatch):
    monkeypatch.setattr("profiles.timing.roofline._best_ms", lambda call, device: 8.0)
    assert measure_product("torch", "cpu", 1, side=1000) == pytest.approx(250)


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_the_peaks_of_this_machine(runtime, monkeypatch):
    monkeypatch.setattr("profiles.timing.roofline.SECONDS", 0)
    monkeypatch.setattr("profiles.timing.roofline.COPIED", 2**22)
    monkeypatch.setitem(SIDES, "cpu", 64)
    found = measure_peaks(runtime, "cpu", torch.get_num_threads())
    assert found.runtime == runtime
    assert found.gflops > 0
    assert found.gbs > 0
