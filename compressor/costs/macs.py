"""Count the MACs of a model on the operators that PyTorch executes: for searches, budgets, manifests and reports.

1 MAC = 2 FLOPs. Counted are matrix products, convolutions, both products of attention, and LayerNorm at 5 per element,
as fvcore counts it and the paper's "FLOPs" are counted. PyTorch's own counter knows neither the CPU's attention
(pytorch #195460) nor LayerNorm: attention is counted before a kernel is chosen. ``profiles.macs`` checks the counts in
two other ways, on the traced graph and by formula.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import chain
from math import prod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from compressor.costs.layer_macs import ATTENTION, CONVOLUTION, NORMS, PRODUCTS
from compressor.costs.parts import by_part
from compressor.models.steps import StepModel, steps_of
from compressor.values import Value

T = TypeVar("T")

FLOPS_PER_MAC = 2
LINEAR = ("mm", "addmm")  # what linear layers call
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
HIDDEN = {"scaled_dot_product_attention": "softmax (in attention)", "addmm": "bias (in linear)"}
"""What is not counted of an operator that is."""
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


class Uncounted(Value):
    """An operator that adds nothing to the total, and how often it is called."""

    operator: str
    calls: int


class Macs(Value):
    """Multiply-accumulates of one forward pass; 1 MAC = 2 FLOPs.

    ``by_pool``, ``by_kind`` (of operator) and ``by_step`` each sum to ``total``, the last together with the prologue
    and the head.
    """

    total: int
    by_pool: dict[str, int]
    by_step: dict[str, int]
    by_kind: dict[str, int]
    uncounted: tuple[Uncounted, ...]


class Positional(nn.Module):
    """The model with positional inputs, as tracers want them.

    The streams follow the blocks to their device, so that a model whose blocks are on the meta device can be counted.
    """

    def __init__(self, model: StepModel, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the logits, (B, classes), for the inputs in the order of their names."""
        model = self.model
        device = next(chain(model.epilogue.parameters(), model.blocks.parameters())).device  # of no head: no weights
        streams = model.prologue(**dict(zip(self.names, inputs, strict=True)))
        return model.epilogue(model.advance({name: x.to(device) for name, x in streams.items()}, model.rounds))


class _Calls(TorchDispatchMode):
    """Counts the calls of every operator that is executed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[Any] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found[func] += 1
        return func(*args, **(kwargs or {}))


def count_macs(model: StepModel, inputs: Mapping[str, Tensor]) -> Macs:
    """Return the MACs of one forward pass of ``model`` on ``inputs``, whatever their batch size.

    The model runs once, where its weights are; on the meta device nothing is computed.
    """
    module, calls = Positional(model, tuple(inputs)), _Calls()
    with torch.inference_mode(), calls, _counter() as counter:
        module(*inputs.values())
    flops = counter.get_flop_counts()
    uncounted: Counter[str] = Counter()
    for operator, times in calls.found.items():
        packet = operator.overloadpacket
        if packet not in counter.flop_registry and not operator.is_view and packet.__name__ not in MOVING:
            uncounted[packet.__name__] += times
        elif packet.__name__ in HIDDEN:
            uncounted[HIDDEN[packet.__name__]] += times

    def macs(name: str) -> int:
        return sum(flops.get(f"{Positional.__name__}.model.{name}", {}).values()) // FLOPS_PER_MAC

    return Macs(
        total=counter.get_total_flops() // FLOPS_PER_MAC,
        by_pool=by_part(model, macs),
        by_step={step.name: macs(f"blocks.{step.name}") for step in steps_of(model.rounds)},
        by_kind=sum_by_kind(
            KINDS, {packet.__name__: count // FLOPS_PER_MAC for packet, count in flops.get("Global", {}).items()}
        ),
        uncounted=tuple(Uncounted(operator=name, calls=times) for name, times in sorted(uncounted.items())),
    )


def linear_share(model: StepModel, inputs: Mapping[str, Tensor]) -> float:
    """Return the part of the multiply-adds of a forward pass that is in linear layers, 0 to 1, norms left out.

    Products of batches of matrices are of attention, that of a single query among them. Nothing is computed.
    """
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode(), _counter() as counter:
        Positional(model, tuple(inputs))(*inputs.values())
    flops = {packet.__name__: count for packet, count in counter.get_flop_counts().get("Global", {}).items()}
    norms = sum(count for name, count in flops.items() if KINDS.get(name) == NORMS)
    return sum(flops.get(name, 0) for name in LINEAR) / (sum(flops.values()) - norms)


def count_call(call: Callable[..., T], *arguments: object) -> tuple[T, int]:
    """Return what ``call`` returns for the arguments, and its MACs."""
    with torch.inference_mode(), _counter() as counter:
        result = call(*arguments)
    return result, counter.get_total_flops() // FLOPS_PER_MAC


def sum_by_kind(kinds: Mapping[str, str], by_operator: Mapping[str, int]) -> dict[str, int]:
    """Return MACs by kind of operator; operators of none of the ``kinds`` keep their names."""
    sums: Counter[str] = Counter()
    for operator, macs in by_operator.items():
        sums[kinds.get(operator, operator)] += macs
    return dict(sums)


def _counter() -> FlopCounterMode:
    """Return PyTorch's counter with the rules above; in inference mode it sees operators before their decomposition."""
    return FlopCounterMode(display=False, custom_mapping=dict(RULES))
