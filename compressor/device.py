"""Choose the device, the number of CPU threads and what the CPU multiplies float32 with; what it does integers with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cache

import torch

from compressor.distributed import join_processes
from compressor.errors import Problem, UsageError, environment_problem
from compressor.models.steps import StepModel

SMALL_MODEL = 5_000_000  # parameters; the published METER has 326 million
# What integers are multiplied with, the best first, and what PyTorch calls a CPU that has it.
_INSTRUCTIONS: Mapping[str, str] = {
    "amx": "amx_int8",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "avx512": "avx512_bw",
    "avx2": "avx2",
    "i8mm": "i8mm",
    "dotprod": "dot",
    "neon": "neon",
}
# Any of these is enough; what PyTorch calls a CPU that has it.
_PRODUCTS: Mapping[str, tuple[str, ...]] = {
    "bf16": ("avx512_bf16", "amx_bf16", "bf16"),
    "fp16": ("amx_fp16",),
}
_EXACT = ("amx", "avx512_vnni", "avx_vnni", "i8mm", "dotprod", "neon")


def choose_device(name: str | None) -> torch.device:
    """Return the device called ``name``; None is CUDA where there is one, else the CPU. Several processes meet here.

    Raises:
        EnvironmentProblem: CUDA was asked for and is not there, or has fewer GPUs than there are processes.
        UsageError: no such kind of device.
    """
    if name not in (None, "cpu", "cuda"):
        raise UsageError(Problem("unknown-device", f"--device {name}", "cpu or cuda", "--device cpu"))
    if name == "cuda" and not torch.cuda.is_available():
        raise environment_problem(
            "no-cuda-device", "no CUDA device", "a GPU and a CUDA build of PyTorch", "--device cpu, or das doctor"
        )
    device = join_processes(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    compute_fp32_exactly(device)
    return device


def compute_fp32_exactly(device: torch.device) -> None:
    """Keep convolutions on CUDA from TF32, which is PyTorch's default for them: fp32 means fp32, as in other runtimes.

    TF32 rounds the factors to 10 bits: the patches of a METER answered 0.002 apart from the CPU's.
    """
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False


@contextmanager
def use_fast_products(model: StepModel) -> Iterator[None]:
    """Inside, multiply the float32 matrices of a large model with oneDNN where that is faster and as exact.

    PyTorch takes MKL, which leaves the AVX-512 of AMD's processors alone: oneDNN needs half of its time there. The
    small matrices of a small model take longer in it.
    """
    fast = not is_small(model) and _leaves_avx512_alone() and _keeps_float32()
    with _onednn_products() if fast else nullcontext():
        yield


def _leaves_avx512_alone() -> bool:
    """Return whether MKL does so here."""
    known: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return str(known.get("cpu_name")).startswith("AMD") and bool(known.get("avx512_f"))


@cache
def _keeps_float32() -> bool:
    """Return whether oneDNN multiplies all digits of float32: with AMX it takes bfloat16."""
    factors = torch.full((64, 64), 1 + 2**-12)  # 1 in bfloat16
    with _onednn_products():
        return (factors @ torch.eye(64)).equal(factors)


@contextmanager
def _onednn_products() -> Iterator[None]:
    """Let oneDNN multiply, which PyTorch does where bfloat16 would be good enough."""
    products = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = products.fp32_precision
    products.fp32_precision = "bf16"
    try:
        yield
    finally:
        products.fp32_precision = before


def limit_threads(model: StepModel) -> None:
    """Let PyTorch use one CPU thread for a small model: more would wait for each other longer than they work."""
    if is_small(model):
        torch.set_num_threads(1)


def is_small(model: StepModel) -> bool:
    """Return whether a model has so few parameters that what is done beside its products decides on its time."""
    return sum(parameter.numel() for parameter in model.parameters()) < SMALL_MODEL


def cpu_instructions() -> str:
    """Return the best of the CPU's instruction sets for integers ("avx512_vnni"); "" where PyTorch cannot tell."""
    known: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # PyTorch 2.9 has none
    return next((name for name, key in _INSTRUCTIONS.items() if known.get(key)), "")


def missing_products(dtype: torch.dtype, device: str) -> str:
    """Return why ``device`` ("cpu" or "cuda") has no matrix products of its own in ``dtype``; empty where it has.

    PyTorch emulates what is missing, slower than float32.
    """
    if dtype == torch.float32:
        return ""
    name = {torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]
    if device == "cpu":
        known: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        there = any(known.get(key) for key in _PRODUCTS[name])
        return "" if there else f"this CPU has no {name} products ({', '.join(_PRODUCTS[name])})"
    there = name == "fp16" or torch.cuda.is_bf16_supported(including_emulation=False)
    return "" if there else "this GPU has no bf16 products: they came with compute capability 8.0"


def may_saturate(instructions: str) -> bool:
    """Return whether sums of products of uint8 and int8 may be cut to 16 bits: on x86-64 without VNNI and AMX.

    It is vpmaddubsw that does it, which adds two products before anything is 32 bits wide.
    """
    return instructions not in _EXACT
