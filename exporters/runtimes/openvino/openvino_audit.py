"""In which precision OpenVINO computes a file: products of the file, by the kernels that one call ran them with.

A fused kernel is int8 as a whole where some of its products are: attention's second product stays float in it where V
was not rounded. So a product counts as int8 where both of its factors were rounded and its kernel is of int8.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from exporters.checks.audit import Audit, make_audit, shares_of
from exporters.runtimes.openvino.openvino_runner import OpenVINORunner, read_model
from exporters.runtimes.runtime import Trial

TYPES: Mapping[str, tuple[str, int]] = {
    "i8": ("int8", 1),
    "u8": ("int8", 1),
    "f16": ("fp16", 2),
    "bf16": ("bf16", 2),
    "f32": ("fp32", 4),
}
"""Precision and bytes of OpenVINO's types; others hold indices and shapes, or are a kernel's secret."""
UNKNOWN = ("unknown", 0)
KERNELS = ("FullyConnected", "MatMul", "Convolution", "Subgraph", "ScaledDotProductAttention")
MOVING = ("Transpose", "Reshape", "Unsqueeze", "Squeeze")
DEQUANTISING = (*MOVING, "Convert", "Subtract", "Multiply")


def audit_compiled(path: Path, asked: str, trial: Trial, file_bytes: int) -> Audit:
    """Run a file once and count what its kernels multiply and what OpenVINO holds, by precision.

    Args:
        path: a file of das for OpenVINO.
        asked: the precision that it is meant to run in.
        trial: what it is run with.
        file_bytes: of all files of the export.
    """
    with OpenVINORunner(path) as runner:
        runner.run(trial.inputs)
        executed = [(node, _facts(node)) for node in runner.compiled.get_runtime_model().get_ops()]
    kernels = {
        name: TYPES.get(facts["primitiveType"].rpartition("_")[2].lower(), UNKNOWN)[0]
        for _, facts in executed
        if facts["layerType"] in KERNELS
        for name in facts["originalLayersNames"].split(",")
    }
    layers, macs = [], Counter[str]()
    for product, count in _products(path, trial):
        precision = _precision(product, kernels)
        layers.append((precision, 0))
        macs[precision] += count
    if not macs.keys() - {UNKNOWN[0]}:  # kernels of this CPU tell nothing: not the same as none in int8
        macs.clear()
    held, weights = Counter[str](), []
    for node, facts in executed:
        if facts["layerType"] == "Const" and facts["outputPrecisions"] in TYPES:
            precision, size = TYPES[facts["outputPrecisions"]]
            numbers = math.prod(node.get_output_shape(0))
            weights.append((precision, numbers))
            held[precision] += numbers * size
    if asked in ("fp16", "bf16"):  # kernels keep copies of such weights in types of their own
        held, weights = Counter(), []
    shares = shares_of(asked, macs, held, file_bytes, trial.parameters)
    return make_audit("session", asked, layers, weights, shares)


def _facts(node: Any) -> dict[str, str]:
    """Return what OpenVINO says of a node of the graph that it executes."""
    info = node.get_rt_info()
    names = ("layerType", "primitiveType", "originalLayersNames", "outputPrecisions")
    return {name: info[name].astype(str) for name in names}


def _products(path: Path, trial: Trial) -> Iterator[tuple[Any, int]]:
    """Yield the products and convolutions of a file with their multiply-adds for the inputs of the trial."""
    model = read_model(path)
    names = {port.any_name for port in model.inputs}
    model.reshape({name: list(x.shape) for name, x in trial.inputs.items() if name in names})
    for op in model.get_ordered_ops():
        kind = op.get_type_name()
        if kind == "MatMul":
            inner = op.get_input_shape(0)[-2 if op.get_attributes()["transpose_a"] else -1]
            yield op, math.prod(op.get_output_shape(0)) * inner
        elif kind == "Convolution":
            yield op, math.prod(op.get_output_shape(0)) * math.prod(op.get_input_shape(1)[1:])


def _precision(product: Any, kernels: Mapping[str, str]) -> str:
    """Return what a product is computed in; "unknown" where no kernel names it, nor the sum with its bias."""
    readers = [port.get_node() for port in product.output(0).get_target_inputs()]
    names = [op.get_friendly_name() for op in (product, *readers)]
    of_it = (kernels[other] for name in names for other in kernels if f"{other}/".startswith(f"{name}/"))
    kernel = next(of_it, UNKNOWN[0])
    rounded = all(_is_rounded(value.get_node()) for value in product.input_values())
    return "fp32" if kernel == "int8" and not rounded else kernel


def _is_rounded(node: Any) -> bool:
    """Return whether a factor is a constant of int8, or was rounded to it just before."""
    behind = node
    while behind.get_type_name() in MOVING:
        behind = behind.input_value(0).get_node()
    if behind.get_type_name() == "FakeQuantize":
        return True
    while behind.get_type_name() in DEQUANTISING:
        behind = behind.input_value(0).get_node()
    return behind.get_type_name() == "Constant" and behind.get_element_type().to_string() in ("i8", "u8")
