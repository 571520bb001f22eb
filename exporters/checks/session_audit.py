"""In which precision ONNX Runtime computes an export: counted on the kernels of one call, after all fusions.

A file may hold int8 and still be computed in float: only what the session runs tells.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from exporters.checks.audit import Audit, make_audit, precision_of, shares_of
from exporters.graph.onnx import load_graph
from exporters.runtimes.ort_profiler import KernelRunner
from exporters.runtimes.runtime import Trial

Shape = Sequence[int]


def _product(read: Sequence[Shape], written: Shape) -> int:
    """(..., M, K) by (..., K, N), or the transpose of either: K for each of (..., M, N).

    Kernels may swap the rows of the first with its batch, so K is of the second, where its shape is known.
    """
    first, second = read[0], next((shape for shape in read[1:] if len(shape) > 1), None)
    if second:
        inner = math.prod(second[-2:]) // written[-1]
    else:
        inner = math.prod(first[-2:]) // written[-2] if min(len(first), len(written)) > 1 else first[-1]
    return math.prod(written) * inner


def _convolution(read: Sequence[Shape], written: Shape) -> int:
    """Each of (B, M, ...) is a sum over a kernel of weights (M, ...)."""
    weight = max(read[1:], key=len)
    return math.prod(written) * math.prod(weight[1:])


def _attention(read: Sequence[Shape], written: Shape) -> int:
    """Queries and what is written, each by as many keys as there are: (..., keys, size)."""
    queries, keys = read[:2]
    return (math.prod(queries) + math.prod(written)) * keys[-2]


MACS: Mapping[str, Callable[[Sequence[Shape], Shape], int]] = {
    **dict.fromkeys(("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "QGemm", "QLinearMatMul"), _product),
    **dict.fromkeys(("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"), _product),
    **dict.fromkeys(("Conv", "FusedConv", "ConvInteger", "QLinearConv"), _convolution),
    **dict.fromkeys(("Attention", "MultiHeadAttention"), _attention),
}
"""Multiply-adds of an operator from the shapes of what it reads and writes; others have none worth counting."""

ROUNDS_ITSELF = {"DynamicQuantizeMatMul": "int8"}
"""What these compute in, though they read floats; others compute in the type of their first input."""


def audit_session(path: Path, asked: str, trial: Trial, provider: str, file_bytes: int) -> Audit:
    """Run an ONNX file once and count what its kernels multiply and what its session holds, by precision.

    Args:
        path: the file.
        asked: the precision it is meant to run in.
        trial: what it is run with.
        provider: of ONNX Runtime.
        file_bytes: of all files of the export.
    """
    with KernelRunner(path, provider) as runner:
        runner.run(trial.inputs)
        graph, shapes = load_graph(runner.optimised).graph, runner.kernel_shapes()
    weights = {weight.name: weight for weight in graph.initializer}
    layers, macs = [], Counter[str]()
    for node in graph.node:
        if node.op_type in MACS and node.name in shapes:
            kernel = shapes[node.name]
            packed = [list(weights[name].dims) for name in node.input if name in weights]
            read = [*(shape for _, shape in kernel.read), *packed]
            precision = ROUNDS_ITSELF.get(node.op_type) or precision_of(kernel.read[0][0]) or kernel.read[0][0]
            layers.append((precision, 0))
            macs[precision] += MACS[node.op_type](read, kernel.written[0][1])
    held, counted = Counter[str](), []
    for weight in weights.values():
        name, size = _type_of(weight)
        counted.append((precision_of(name), math.prod(weight.dims)))
        held[precision_of(name) or name] += math.prod(weight.dims) * size
    shares = shares_of(asked, macs, held, file_bytes, trial.parameters)
    return make_audit("session", asked, layers, counted, shares)


def _type_of(weight: Any) -> tuple[str, int]:
    """Return the data type of a weight by its name, and its bytes."""
    from onnx import helper

    dtype = helper.tensor_dtype_to_np_dtype(weight.data_type)
    return str(dtype), dtype.itemsize
