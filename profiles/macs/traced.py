"""Counting MACs on the traced graph of a model, with everything that was not counted listed beside the total.

1 MAC = 2 FLOPs. fvcore counts one multiply-add as one and a LayerNorm as 5 per element, which is how the paper's
"FLOPs" are counted; attention, which fvcore leaves out, is added here, and products of batches are counted whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import conv_flop_jit, get_shape, linear_flop_jit
from torch import Tensor

from compressor.costs.macs import (
    ATTENTION,
    CONVOLUTION,
    NORMS,
    PRODUCTS,
    Macs,
    Positional,
    Uncounted,
    sum_by_kind,
)
from compressor.costs.parts import by_part
from compressor.models.steps import StepModel, steps_of

Handle = Callable[[list[Any], list[Any]], int]
KINDS: Mapping[str, str] = {
    "linear": PRODUCTS,
    "matmul": PRODUCTS,
    "bmm": PRODUCTS,
    "conv": CONVOLUTION,
    "scaled_dot_product_attention": ATTENTION,
    "layer_norm": NORMS,
}
"""fvcore's names of the operators it counts in a model of das."""


def count_traced(model: StepModel, inputs: Mapping[str, Tensor]) -> Macs:
    """Count the MACs of one forward pass of ``model`` on ``inputs``, of any batch size.

    The graph is traced by fvcore. Counted: matrix products, convolutions, both products of attention, LayerNorm at 5
    per element. Not counted, and listed: everything else, also what hides inside a counted operator.
    """
    hidden: Counter[str] = Counter()
    analysis = FlopCountAnalysis(Positional(model, tuple(inputs)), tuple(inputs.values()))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    analysis.set_op_handle(**_handles(hidden))
    with torch.no_grad():
        counts = analysis.by_module()
    uncounted = hidden + Counter({name.removeprefix("aten::"): n for name, n in analysis.unsupported_ops().items()})
    return Macs(
        total=counts[""],
        by_pool=by_part(model, lambda name: counts[f"model.{name}"]),
        by_step={step.name: counts[f"model.blocks.{step.name}"] for step in steps_of(model.rounds)},
        by_kind=sum_by_kind(KINDS, analysis.by_operator()),
        uncounted=tuple(Uncounted(operator=name, calls=n) for name, n in sorted(uncounted.items())),
    )


def _handles(hidden: Counter[str]) -> dict[str, Handle]:
    """Return rules for operators that fvcore counts in part or not; ``hidden`` collects what the rules leave out."""

    def attention(inputs: list[Any], outputs: list[Any]) -> int:
        """Count Q K^T and its product with V: q (..., Lq, D), k (..., Lk, D), v (..., Lk, Dv)."""
        query, key, value = (get_shape(x) for x in inputs[:3])
        hidden["softmax (in attention)"] += 1
        return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])

    def matmul(inputs: list[Any], outputs: list[Any]) -> int:
        """Count a product of (..., n, k) and (..., k, m), whose batches are repeated where one of them has fewer."""
        return prod(get_shape(outputs[0])) * get_shape(inputs[0])[-1]  # fvcore counts the first batch alone

    def with_bias(rule: Handle, operator: str) -> Handle:
        def counted(inputs: list[Any], outputs: list[Any]) -> int:
            if inputs[2].type().kind() == "TensorType":
                hidden[f"bias (in {operator})"] += 1
            return rule(inputs, outputs)

        return counted

    def relu(inputs: list[Any], outputs: list[Any]) -> int:
        hidden["relu"] += 1  # fvcore ignores it without listing it
        return 0

    return {
        "aten::scaled_dot_product_attention": attention,
        "aten::matmul": matmul,
        "aten::linear": with_bias(linear_flop_jit, "linear"),
        "aten::_convolution": with_bias(conv_flop_jit, "convolution"),
        "aten::relu": relu,
    }
