"""Counting MACs on the operators that PyTorch executes: the second count, by PyTorch's own counter of FLOPs.

The counter knows matrix products, convolutions and some kernels of attention, but neither the CPU's (pytorch #195460)
nor LayerNorm. Attention is counted here before a kernel is chosen, LayerNorm at 5 per element as fvcore does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from compressor.models.steps import StepModel, steps_of
from profiles.macs.formula import ATTENTION, CONVOLUTION, NORMS, PRODUCTS
from profiles.macs.parts import by_part
from profiles.macs.traced import Macs, Positional, Uncounted, by_kind

FLOPS_PER_MAC = 2
KINDS: Mapping[str, str] = {
    "mm": PRODUCTS,
    "addmm": PRODUCTS,
    "bmm": PRODUCTS,
    "baddbmm": PRODUCTS,
    "convolution": CONVOLUTION,
    "scaled_dot_product_attention": ATTENTION,
    "native_layer_norm": NORMS,
}
"""PyTorch's names of the operators it counts in a model of das."""
MOVING = frozenset({"_to_copy", "arange", "cat", "clone", "copy_", "empty", "full", "ones", "zeros", "zeros_like"})
"""Operators that make or copy tensors and compute nothing; views are left out, too."""


def _attention(query: Any, key: Any, value: Any, *others: Any, out_shape: Any = None, **options: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _layer_norm(x: Any, *others: Any, out_shape: Any = None, **options: Any) -> int:
    return FLOPS_PER_MAC * 5 * prod(x)


RULES: Mapping[Any, Any] = {
    # By its overload the counter finds that it need not take it apart into kernels, by its packet how it is counted.
    torch.ops.aten.scaled_dot_product_attention.default: _attention,
    torch.ops.aten.scaled_dot_product_attention: _attention,
    torch.ops.aten.native_layer_norm: _layer_norm,
}


class _Calls(TorchDispatchMode):
    """Counts the calls of every operator that is executed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[Any] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found[func] += 1
        return func(*args, **(kwargs or {}))


def count_executed(model: StepModel, inputs: Mapping[str, Tensor]) -> Macs:
    """MACs of one forward pass of ``model`` on ``inputs``, as :func:`profiles.macs.traced.count`, counted again.

    The model runs once, where its weights are; on the meta device nothing is computed. ``unused`` stays empty.
    """
    module, calls = Positional(model, tuple(inputs)), _Calls()
    # In inference mode operators arrive before they are taken apart.
    with torch.inference_mode(), calls, FlopCounterMode(display=False, custom_mapping=dict(RULES)) as counter:
        module(*inputs.values())
    found = counter.get_flop_counts()
    uncounted: Counter[str] = Counter()
    for operator, times in calls.found.items():
        packet = operator.overloadpacket
        if packet not in counter.flop_registry and not operator.is_view and packet.__name__ not in MOVING:
            uncounted[packet.__name__] += times
        elif KINDS.get(packet.__name__) == ATTENTION:
            uncounted["softmax (in attention)"] += times

    def macs(name: str) -> int:
        return sum(found.get(f"{Positional.__name__}.model.{name}", {}).values()) // FLOPS_PER_MAC

    return Macs(
        total=counter.get_total_flops() // FLOPS_PER_MAC,
        by_pool=by_part(model, macs),
        by_step={step.name: macs(f"blocks.{step.name}") for step in steps_of(model.rounds)},
        by_kind=by_kind(
            KINDS, {packet.__name__: flops // FLOPS_PER_MAC for packet, flops in found.get("Global", {}).items()}
        ),
        uncounted=tuple(Uncounted(operator=name, calls=times) for name, times in sorted(uncounted.items())),
    )
