"""How attention is written into a graph, and arithmetic that stays in float32 whatever the graph's precision.

Runtimes differ in which form they run fastest (docs/results.md has the measurements), so the form is chosen when the
model is traced: attention is spelled out in plain operators, is ONNX's own operator, or is ONNX Runtime's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from compressor.errors import usage_error

# Added to the scores of masked positions for operators: some take no boolean masks, and TensorRT-RTX 1.7 builds no
# half-precision engine of those and heads that are no multiple of 8 wide.
MASKED = -10000.0

Call = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], Tensor]


@dataclass(frozen=True)
class AttentionForm:
    """One way to write attention into a graph.

    Attributes:
        name: as users type it.
        call: query, key, value (B, heads, N, d), mask (B, 1, 1 or N, M), bool or additive, or None, and the scale of
            the scores to the attended values (B, heads, N, d).
        opset: the ONNX operators it needs at least; None takes any.
        standard: whether the graph has ONNX's own operators only: TensorRT reads no others.
    """

    name: str
    call: Call
    opset: int | None = None
    standard: bool = True


def _attend_decomposed(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    scores = ((query * scale) @ key.transpose(-2, -1)).float()
    if mask is not None:
        # Not -inf: of that TensorRT-RTX 1.7 builds no half-precision engine where heads are no multiple of 8 wide.
        lowest = torch.finfo(scores.dtype).min
        # Added: to choose in all the scores, as masked_fill does, takes ONNX Runtime twice as long.
        scores = scores + (torch.where(mask, 0.0, lowest) if mask.dtype == torch.bool else mask)
    return scores.softmax(-1).to(value.dtype) @ value


def _additive(mask: Tensor, query: Tensor) -> Tensor:
    """Return (B, 1, N, M), added to the scores. ONNX Runtime's kernels do not broadcast masks over the queries."""
    added = torch.where(mask, 0.0, MASKED) if mask.dtype == torch.bool else mask
    return added.to(query.dtype).expand(-1, -1, query.shape[-2], -1)


def _attend_by_operator(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    if mask is not None:
        mask = _additive(mask, query)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


def _attend_fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    heads = query.shape[1]
    rows = [x.transpose(1, 2).flatten(2) for x in (query, key, value)]
    inputs: list[Tensor | None] = list(rows)
    if mask is not None:
        inputs += [None, None, _additive(mask, query)]
    out = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        inputs,
        {"num_heads": heads, "scale": scale},
        dtype=query.dtype,
        shape=rows[0].shape,
        version=1,
    )
    return out.unflatten(-1, (heads, -1)).transpose(1, 2)


FORMS: Mapping[str, AttentionForm] = {
    form.name: form
    for form in (
        AttentionForm("composed", _attend_decomposed),
        AttentionForm("operator", _attend_by_operator, opset=23),
        AttentionForm("fused", _attend_fused, standard=False),
    )
}


class Numerics(TorchFunctionMode):
    """While it is entered, attention is computed in one form, and LayerNorm and RMSNorm in float32.

    Norms of a half-precision model keep float32 weights; what they return is as precise as what they are given.
    """

    def __init__(self, form: AttentionForm) -> None:
        super().__init__()
        self.form = form

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **kwargs)
        if func in (F.layer_norm, F.rms_norm) and args[0].dtype in (torch.float16, torch.bfloat16):
            return func(args[0].float(), *args[1:], **kwargs).to(args[0].dtype)
        return func(*args, **kwargs)

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Return the attended values; the arguments are those of PyTorch's function.

        Raises:
            UsageError: attention of a kind that no form carries; the graph would compute another one.
        """
        settings = {"dropout_p": dropout_p, "is_causal": is_causal, "enable_gqa": enable_gqa}
        if refused := [f"{name}={setting}" for name, setting in settings.items() if setting]:
            raise usage_error(
                "attention-not-carried",
                f"scaled_dot_product_attention with {', '.join(refused)}",
                "attention of as many key heads as query heads, in eval mode, with what is masked in attn_mask",
                "in the family, repeat the key and value heads, and make the causal mask a tensor",
            )
        return self.form.call(query, key, value, attn_mask, scale or query.shape[-1] ** -0.5)
