"""In which precision an engine computes: counted on the engine, or on the network it is built from."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from compressor.values import Value

# Data types as networks and engines name them, from the narrowest to the widest.
NAMES: Mapping[str, str] = {
    "int8": "int8",
    "fp8": "fp8",
    "half": "fp16",
    "fp16": "fp16",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "float": "fp32",
    "fp32": "fp32",
}
WIDTH = {name: place for place, name in enumerate(NAMES.values())}
PRODUCTS = {"MATRIX_MULTIPLY", "CONVOLUTION", "EINSUM"}
# What hands on numbers without computing any; followed from a product back to its weights.
CARRIERS = {"SHUFFLE", "UNSQUEEZE", "SQUEEZE", "IDENTITY", "CAST", "QUANTIZE", "DEQUANTIZE"}
MOVING = CARRIERS | {"CONSTANT", "SLICE", "CONCATENATION", "GATHER", "SHAPE", "REFORMAT", "NOOP"}
DATATYPE_KEYS = ("Format/Datatype", "DataType", "Datatype")  # TensorRT 10; 11


class Audit(Value):
    """The share of an engine that computes in the requested precision.

    Attributes:
        counted_on: ``engine``, what TensorRT made, or ``network``, what it was told to make: strongly typed, before it
            fused anything.
        asked: the precision.
        layers: layers that compute on floating-point or quantised numbers, by precision; copies are left out.
        weights: weights of these layers (of the network: of its matrix products and convolutions), by precision.
        layer_share, weight_share: part of them in the precision asked for, 0 to 1; None when none was counted.
    """

    counted_on: Literal["engine", "network"]
    asked: str
    layers: Mapping[str, int]
    weights: Mapping[str, int]
    layer_share: float | None
    weight_share: float | None


def audit_network(network: Any, asked: str) -> Audit:
    """Count the layers of a parsed, strongly typed ``INetworkDefinition``.

    A product counts in the type of its inputs, as int8 where all of them were dequantised from it just before: these
    are what TensorRT fuses into int8 products.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    producers = {layer.get_output(index).name: layer for layer in layers for index in range(layer.num_outputs)}
    counted = []
    for layer in layers:
        tensors = [tensor for index in range(layer.num_inputs) if (tensor := layer.get_input(index))]
        kind = layer.type.name
        if kind in PRODUCTS:
            sources = [_source(tensor, producers) for tensor in tensors]
            weights = sum(math.prod(tensor.shape) for tensor, (_, fixed) in zip(tensors, sources, strict=True) if fixed)
            counted.append((_widest(name for name, _ in sources), weights))
        elif kind not in MOVING:
            counted.append((_widest(tensor.dtype.name for tensor in tensors), 0))
    return _audit("network", asked, counted, counted)


def audit_engine(information: str, asked: str) -> Audit:
    """Count the layers in what an ``EngineInspector`` says of an engine, as JSON.

    A layer counts in the narrowest type it reads or writes, its weights in their own. Engines that were not built with
    detailed profiling verbosity, and kernels that keep their types to themselves, are not counted.
    """
    described = [entry for entry in json.loads(information)["Layers"] if isinstance(entry, dict)]
    computing = [entry for entry in described if entry["LayerType"].upper() not in MOVING]
    layers = [(_narrowest(_types(entry)), 0) for entry in computing]
    held = [entry["Weights"] for entry in computing if isinstance(entry.get("Weights"), dict)]
    weights = [(_narrowest([entry["Type"]]), entry["Count"]) for entry in held]
    return _audit("engine", asked, layers, weights)


def _source(tensor: Any, producers: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the type a product reads ``tensor`` in, and whether its numbers are fixed."""
    name, layer = tensor.dtype.name, producers.get(tensor.name)
    while layer is not None and layer.type.name in CARRIERS:
        tensor = layer.get_input(0)
        if layer.type.name == "DEQUANTIZE":
            name = tensor.dtype.name
        layer = producers.get(tensor.name)
    return name, layer is not None and layer.type.name == "CONSTANT"


def _types(described: Mapping[str, Any]) -> list[str]:
    values = [*described.get("Inputs", ()), *described.get("Outputs", ())]
    return [str(value[key]) for value in values for key in DATATYPE_KEYS if key in value]


def _known(types: Iterable[str]) -> list[str]:
    words = [word for text in types for word in re.findall(r"[a-z]+\d*", text.lower())]
    return sorted((NAMES[word] for word in words if word in NAMES), key=WIDTH.__getitem__)


def _narrowest(types: Iterable[str]) -> str | None:
    return next(iter(_known(types)), None)


def _widest(types: Iterable[str]) -> str | None:
    return next(reversed(_known(types)), None)


def _audit(
    counted_on: Literal["engine", "network"],
    asked: str,
    layers: list[tuple[str | None, int]],
    weights: list[tuple[str | None, int]],
) -> Audit:
    by_layers = Counter(name for name, _ in layers if name)
    by_weights: Counter[str] = Counter()
    for name, count in weights:
        if name and count:
            by_weights[name] += count
    return Audit(
        counted_on=counted_on,
        asked=asked,
        layers=dict(by_layers),
        weights=dict(by_weights),
        layer_share=_share(by_layers, asked),
        weight_share=_share(by_weights, asked),
    )


def audit_sentences(audit: Audit | None) -> tuple[str, ...]:
    """Say how much computes in the requested precision, in one sentence; none where nobody knows."""
    if audit is None or audit.layer_share is None:
        return ()
    weights = "" if audit.weight_share is None else f", with {audit.weight_share:.1%} of the weights,"
    return (f"{audit.layer_share:.1%} of the {audit.counted_on}'s layers{weights} compute in {audit.asked}",)


def _share(counts: Counter[str], asked: str) -> float | None:
    return counts[asked] / counts.total() if counts else None
