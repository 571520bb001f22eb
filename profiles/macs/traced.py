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
from torch import Tensor, nn

from compressor.models.simplify import FirstRow
from compressor.models.steps import StepModel, steps_of
from compressor.values import Value
from profiles.macs.formula import ATTENTION, CONVOLUTION, NORMS, PRODUCTS
from profiles.macs.parts import by_part

HEADER = "MACs (1 MAC = 2 FLOPs)"

Handle = Callable[[list[Any], list[Any]], int]
KINDS: Mapping[str, str] = {
    "linear": PRODUCTS,
    "matmul": PRODUCTS,
    "conv": CONVOLUTION,
    "scaled_dot_product_attention": ATTENTION,
    "layer_norm": NORMS,
}
"""fvcore's names of the operators it counts in a model of das."""


class Uncounted(Value):
    """An operator that adds nothing to the total, and how often the graph calls it."""

    operator: str
    calls: int


class Macs(Value):
    """Multiply-accumulates of one forward pass; 1 MAC = 2 FLOPs.

    ``by_pool``, ``by_kind`` (of operator) and ``by_step`` each sum to ``total``, the last together with the prologue
    and the head. ``unused`` names modules with weights that the pass never called.
    """

    total: int
    by_pool: dict[str, int]
    by_step: dict[str, int]
    by_kind: dict[str, int]
    uncounted: tuple[Uncounted, ...]
    unused: tuple[str, ...] = ()


class Positional(nn.Module):
    """The model with positional inputs, as tracers want them.

    The streams follow the blocks to their device, so that a model whose blocks are on the meta device can be counted.
    """

    def __init__(self, model: StepModel, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        """The inputs in the order of their names to the logits, (B, classes)."""
        model, device = self.model, next(self.model.epilogue.parameters()).device
        streams = model.prologue(**dict(zip(self.names, inputs, strict=True)))
        return model.epilogue(model.advance({name: x.to(device) for name, x in streams.items()}, model.rounds))


def count(model: StepModel, inputs: Mapping[str, Tensor]) -> Macs:
    """MACs of one forward pass of ``model`` on ``inputs``, whatever their batch size.

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
        by_kind=by_kind(KINDS, analysis.by_operator()),
        uncounted=tuple(Uncounted(operator=name, calls=n) for name, n in sorted(uncounted.items())),
        unused=_unused(model, {name.removeprefix("model.") for name in analysis.uncalled_modules()}),
    )


def by_kind(kinds: Mapping[str, str], by_operator: Mapping[str, int]) -> dict[str, int]:
    """MACs by kind of operator; operators of none of the ``kinds`` keep their names."""
    found: Counter[str] = Counter()
    for operator, macs in by_operator.items():
        found[kinds.get(operator, operator)] += macs
    return dict(found)


def _handles(hidden: Counter[str]) -> dict[str, Handle]:
    """Rules for the operators fvcore leaves out, or counts only in part; ``hidden`` gathers what they leave out."""

    def attention(inputs: list[Any], outputs: list[Any]) -> int:
        """Q K^T and its product with V: q (..., Lq, D), k (..., Lk, D), v (..., Lk, Dv)."""
        query, key, value = (get_shape(x) for x in inputs[:3])
        hidden["softmax (in attention)"] += 1
        return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])

    def matmul(inputs: list[Any], outputs: list[Any]) -> int:
        """(..., n, k) and (..., k, m), whose batches are repeated where one of them has fewer."""
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


def _unused(model: StepModel, uncalled: set[str]) -> tuple[str, ...]:
    """The outermost of the uncalled modules that hold weights."""
    # A block that computes its first row reads its weights without calling all of its modules.
    inside = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, FirstRow))
    return tuple(
        name
        for name, module in model.named_modules()
        if name in uncalled
        and name.rpartition(".")[0] not in uncalled
        and not name.startswith(inside)
        and any(True for _ in module.parameters())
    )
