"""What the CPU multiplies integers with, and whether its sums may be cut off."""

from types import MappingProxyType

import pytest
import torch

from compressor.device import cpu_instructions, may_saturate
from exporters.runtimes.sessions import session_options

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
