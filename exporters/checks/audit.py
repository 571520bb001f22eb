"""In which precision an export computes: counted on what a runtime makes of it, or on what an engine is built from."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from compressor.values import Value

# Data types as networks, engines and sessions name them, from the narrowest to the widest.
NAMES: Mapping[str, str] = {
    "int8": "int8",
    "uint8": "int8",
    "fp8": "fp8",
    "half": "fp16",
    "fp16": "fp16",
    "float16": "fp16",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "float": "fp32",
    "float32": "fp32",
    "fp32": "fp32",
}
WIDTH = {name: place for place, name in enumerate(dict.fromkeys(NAMES.values()))}
PRODUCTS = {"MATRIX_MULTIPLY", "CONVOLUTION", "EINSUM"}
# What hands on numbers without computing any; followed from a product back to its weights.
CARRIERS = {"SHUFFLE", "UNSQUEEZE", "SQUEEZE", "IDENTITY", "CAST", "QUANTIZE", "DEQUANTIZE"}
MOVING = CARRIERS | {"CONSTANT", "SLICE", "CONCATENATION", "GATHER", "SHAPE", "REFORMAT", "NOOP"}
BYTES = {"int8": 1, "fp8": 1, "fp16": 2, "bf16": 2, "fp32": 4}  # a number takes
DATATYPE_KEYS = ("Format/Datatype", "DataType", "Datatype")  # TensorRT 10; 11


class Shares(Value):
    """How much of an export runs in the precision that was asked for: what counts in its time, and in its size.

    Attributes:
        macs: part of a call's multiply-adds, in products, convolutions and attention, 0 to 1; None: nobody tells.
        bytes: part of the bytes of all weights as the runtime holds them, embeddings too, 0 to 1; None: nobody tells.
        bytes_per_parameter: bytes of the export's files for each parameter of the model.
    """

    macs: float | None
    bytes: float | None
    bytes_per_parameter: float


class Audit(Value):
    """The share of an export that computes in the requested precision.

    Attributes:
        counted_on: ``engine``, what TensorRT made; ``network``, what it was told to make: strongly typed, before it
            fused anything; ``session``, the graph that another runtime executes, after its fusions.
        asked: the precision.
        layers: layers that compute on floating-point or quantised numbers, by precision; copies are left out, and of a
            session all but products, convolutions and attention.
        weights: weights of these layers (of the network: of its matrix products and convolutions; of a session: all
            weights), by precision.
        layer_share, weight_share: part of them in the precision asked for, 0 to 1; None when none was counted.
        shares: by multiply-adds and bytes; None where nobody counted them.
    """

    counted_on: Literal["engine", "network", "session"]
    asked: str
    layers: Mapping[str, int]
    weights: Mapping[str, int]
    layer_share: float | None
    weight_share: float | None
    shares: Shares | None = None


def audit_network(network: Any, asked: str, file_bytes: int, parameters: int) -> Audit:
    """Count the layers of a parsed, strongly typed ``INetworkDefinition``.

    A product counts in the type of its inputs, as int8 where all of them were dequantised from it just before: these
    are what TensorRT fuses into int8 products. All of it is as declared: kernels are chosen later, and nobody counts
    the multiply-adds of a network whose sizes vary.

    Args:
        network: parsed.
        asked: the precision.
        file_bytes: of the engine that was built from it.
        parameters: of the model.
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
    held: Counter[str] = Counter()
    for constant in (layer.get_output(0) for layer in layers if layer.type.name == "CONSTANT"):
        if name := precision_of(constant.dtype.name):
            held[name] += math.prod(constant.shape) * BYTES[name]
    shares = shares_of(asked, Counter(), held, file_bytes, parameters)
    return make_audit("network", asked, counted, counted, shares)


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
    return make_audit("engine", asked, layers, weights)


def shares_of(asked: str, macs: Counter[str], held: Counter[str], file_bytes: int, parameters: int) -> Shares:
    """Return the shares of an export in the precision ``asked`` for.

    Args:
        asked: a key of ``PRECISIONS``.
        macs: multiply-adds of a call, by the precision they run in.
        held: bytes of all weights as the runtime holds them, by their precision.
        file_bytes: of all files of the export.
        parameters: of the model.
    """
    return Shares(macs=_share(macs, asked), bytes=_share(held, asked), bytes_per_parameter=file_bytes / parameters)


def describe_shares(asked: str, shares: Shares) -> str:
    """Return the shares as das prints them: "int8: 96.4 % of MACs, 91.0 % of bytes; 1.06 bytes a parameter"."""
    parts = {"MACs": shares.macs, "bytes": shares.bytes}
    known = ", ".join(f"{100 * share:.1f} % of {what}" for what, share in parts.items() if share is not None)
    return f"{asked}: {known or 'nobody tells what runs'}; {shares.bytes_per_parameter:.2f} bytes a parameter"


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


def precision_of(name: str) -> str | None:
    """Return the precision that a runtime's data type is of, ``uint8`` int8; None of others."""
    return next(iter(_known([name])), None)


def _known(types: Iterable[str]) -> list[str]:
    words = [word for text in types for word in re.findall(r"[a-z]+\d*", text.lower())]
    return sorted((NAMES[word] for word in words if word in NAMES), key=WIDTH.__getitem__)


def _narrowest(types: Iterable[str]) -> str | None:
    return next(iter(_known(types)), None)


def _widest(types: Iterable[str]) -> str | None:
    return next(reversed(_known(types)), None)


def make_audit(
    counted_on: Literal["engine", "network", "session"],
    asked: str,
    layers: Sequence[tuple[str | None, int]],
    weights: Sequence[tuple[str | None, int]],
    shares: Shares | None = None,
) -> Audit:
    """Return the audit of ``layers``, by the precision of each, and of ``weights``, by precision and number."""
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
        shares=shares,
    )


def audit_sentences(audit: Audit | None) -> tuple[str, ...]:
    """Say how much computes in the requested precision, and how much is held in it; none where nobody knows."""
    if audit is None or audit.layer_share is None:
        return ()
    declared = ", as declared, not as executed" if audit.counted_on == "network" else ""
    held = (describe_shares(audit.asked, audit.shares),) if audit.shares else ()
    weights = "" if audit.weight_share is None else f", with {audit.weight_share:.1%} of the weights,"
    layers = f"{audit.layer_share:.1%} of the {audit.counted_on}'s layers{weights} compute in {audit.asked}{declared}"
    return layers, *held


def _share(counts: Counter[str], asked: str) -> float | None:
    return counts[asked] / counts.total() if counts else None
