"""The precisions a model can be exported in."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from compressor.models.steps import StepModel


@dataclass(frozen=True)
class Precision:
    """One precision of a graph.

    Attributes:
        name: as users type it.
        dtype: of weights and activations in the traced graph; norms and softmax are computed in float32.
        quantised: matrix products are made int8 after tracing.
        opset: the ONNX operators it needs at least; None takes any.
        on_cpu: whether ONNX Runtime's CPU provider can execute it.
        relative: the tolerance is multiplied by the largest logit of the reference, where that is above 1.
    """

    name: str
    dtype: torch.dtype = torch.float32
    quantised: bool = False
    opset: int | None = None
    on_cpu: bool = True
    relative: bool = True

    @property
    def suffix(self) -> str:
        """In file names; fp32 has none."""
        return "" if self.name == "fp32" else f".{self.name}"


PRECISIONS: Mapping[str, Precision] = {
    precision.name: precision
    for precision in (
        Precision("fp32", relative=False),
        Precision("fp16", torch.float16),
        Precision("bf16", torch.bfloat16, opset=22, on_cpu=False),  # convolutions in bfloat16 came with opset 22
        Precision("int8", quantised=True),
    )
}


def in_precision(model: StepModel, dtype: torch.dtype) -> StepModel:
    """Return ``model`` with weights of ``dtype``, PyTorch's norms left in float32; itself where nothing changes.

    It is to be run inside :class:`exporters.graph.attention.Numerics`, which computes norms and softmax in float32.
    RMSNorms of other libraries keep weights of ``dtype``: they compute in float32 by themselves.
    """
    if dtype == torch.float32:
        return model
    half = copy.deepcopy(model).to(dtype)
    for module in half.modules():
        if isinstance(module, nn.LayerNorm | nn.RMSNorm):
            module.float()
    return half
