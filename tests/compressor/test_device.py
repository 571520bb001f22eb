"""What the CPU multiplies with, and whether that is exact."""

from types import MappingProxyType

import pytest
import torch

from compressor import device
from compressor.device import cpu_instructions, may_saturate, use_fast_products
from exporters.runtimes.sessions import session_options
from tests.support import tiny_models as tiny

HASWELL = {"avx2": True, "avx512_bw": False, "avx_vnni": False, "architecture": "x86_64"}
SKYLAKE = {**HASWELL, "avx512_bw": True, "avx512_vnni": False}
MACHINES = [
    (HASWELL, "avx2", True),
    (SKYLAKE, "avx512", True),
    ({**SKYLAKE, "avx512_vnni": True}, "avx512_vnni", False),
    ({**SKYLAKE, "avx512_vnni": True, "amx_int8": True}, "amx", False),
    ({**HASWELL, "avx_vnni": True}, "avx_vnni", False),
    ({"neon": True, "dot": True, "i8mm": False}, "dotprod", False),
    ({"architecture": "x86_64"}, "", True),
]


@pytest.mark.parametrize(("capabilities", "instructions", "saturates"), MACHINES)
def test_the_instruction_set_decides_how_sessions_multiply(monkeypatch, capabilities, instructions, saturates):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: MappingProxyType(capabilities), raising=False)
    assert cpu_instructions() == instructions
    assert may_saturate(instructions) == saturates
    options = session_options()
    if saturates:
        assert options.get_session_config_entry("session.x64quantprecision") == "1"
    else:
        with pytest.raises(RuntimeError):  # it is not set
            options.get_session_config_entry("session.x64quantprecision")


def test_an_older_pytorch_cannot_tell(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert cpu_instructions() == ""


def test_this_cpu_is_named_as_pytorch_knows_it():
    assert ("avx512" in cpu_instructions()) <= (torch.backends.cpu.get_cpu_capability() == "AVX512")


AMD = {"cpu_name": "AMD EPYC", "avx512_f": True}


@pytest.mark.parametrize("amx", [False, True])
@pytest.mark.parametrize(
    ("capabilities", "small", "chosen"),
    [(AMD, False, True), (AMD, True, False), ({**AMD, "avx512_f": False}, False, False), ({}, False, False)],
)
def test_onednn_multiplies_where_mkl_leaves_avx512_alone(monkeypatch, capabilities, small, chosen, amx):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: MappingProxyType(capabilities), raising=False)
    monkeypatch.setattr(device, "SMALL_MODEL", 10**9 if small else 0)
    monkeypatch.setattr(device, "_keeps_float32", lambda: not amx)
    products = torch.backends.mkldnn.matmul
    before = products.fp32_precision
    with pytest.raises(KeyError), use_fast_products(tiny.model("bert", "text-classification")):
        inside = products.fp32_precision
        raise KeyError
    assert inside == ("bf16" if chosen and not amx else before)
    assert products.fp32_precision == before


def test_products_that_are_chosen_keep_the_digits_of_float32(monkeypatch):
    monkeypatch.setattr(device, "SMALL_MODEL", 0)
    left, right = torch.randn(2, 96, 96, generator=torch.Generator().manual_seed(0))
    with use_fast_products(tiny.model("bert", "text-classification")):
        product = left @ right
    torch.testing.assert_close(product, (left.double() @ right.double()).float(), atol=1e-4, rtol=0)
