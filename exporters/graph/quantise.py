"""int8 for the linear layers of an exported graph and its embeddings.

Weights are rounded per output channel, activations per tensor. Attention's own products, convolutions, biases and
everything else stay float. For CPUs weights have 7 bits: x86-64 without VNNI adds two products of 8 by 8 bits in 16,
which overflow and are cut off; of 8 by 7 bits they never do. Embeddings are int8, too, each row with a scale of its own
and all 8 bits: rows are looked up and multiplied by their scale, and never by each other. For TensorRT what stays float
is float16.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compressor.errors import input_error, one_line
from compressor.progress import QUIET, Progress
from exporters.graph.inputs import batches_of
from exporters.graph.onnx import load_graph, needs_data_file
from exporters.graph.scopes import CLASSES, module_name, scopes_of
from exporters.runtimes.sessions import open_session

Shorten = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""Takes the padding from a batch."""

PRODUCTS = ("MatMul", "Gemm")
EMBEDDING = "aten.embedding.default"
WHOLE, REDUCED = 127, 64  # steps of a weight to either side of 0, in 8 and in 7 bits


def quantise_dynamic(source: Path, target: Path, excluded: Collection[str] = ()) -> None:
    """Write ``source`` with int8 products and embeddings for ONNX Runtime on CPUs; activations get scales as it runs.

    Args:
        source: a float32 ONNX file, its data beside it.
        target: the int8 one; weights above 1 GiB go to ``<target>.data`` beside it.
        excluded: names of nodes that stay float.

    Raises:
        InputError: ``source`` cannot be read, or has no linear layer to quantise.
    """
    model = load_graph(source, weights=True)
    products = _products(model, excluded)
    lookups = [node for node in find_lookups(model) if node.name not in excluded]
    del model.graph.value_info[:]
    round_tables(model, lookups)
    _round_products(model, products)
    _save(model, target)


def quantise_static(
    source: Path,
    target: Path,
    samples: Mapping[str, Tensor],
    excluded: Collection[str] = (),
    progress: Progress = QUIET,
    shorten: Shorten = dict,
) -> None:
    """Write ``source`` with Q/DQ pairs as TensorRT reads them: int8 with zero points of 0, scales fixed beforehand.

    What is not int8 becomes float16, but for norms and softmax: TensorRT fuses attention in half precision alone, and
    on Turing has no int8 products in a float32 graph. Inputs and outputs stay float32.

    Args:
        source: a float32 ONNX file, its data beside it.
        target: the int8 one; weights above 1 GiB go to ``<target>.data`` beside it.
        samples: real inputs, (N, ...) by name; the largest magnitude of each activation on them becomes 127.
        excluded: names of nodes that stay float.
        progress: told about the samples.
        shorten: what is padding tells nothing of activations, and may have the largest.

    Raises:
        InputError: ``source`` cannot be read, has no linear layer to quantise, or does not take ``samples``.
    """
    import numpy as np
    from onnx import TensorProto, helper

    largest = _largest(source, samples, excluded, progress, shorten)
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import add_infer_metadata

    model = load_graph(source, weights=True)
    names, lookups = set(_products(model, excluded)), find_lookups(model)
    ranges = {name: TensorData(lowest=np.float32(-x), highest=np.float32(x)) for name, x in largest.items()}
    del model.graph.value_info[:]
    model.graph.value_info.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ranges)
    with _quiet():
        add_infer_metadata(model)
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
            nodes_to_quantize=names,
            nodes_to_exclude=(),
            op_types_to_quantize=PRODUCTS,
            extra_options={
                "ActivationSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": list(PRODUCTS),
            },
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    # The library rounds an activation for everyone who reads it; residuals and kept products read the float one.
    rounded = {f"{name}_DequantizeLinear_Output": name for name in largest}
    for node in quantizer.model.nodes():
        if node.name not in names:
            node.input[:] = [rounded.get(name, name) for name in node.input]
    _store_rounded(quantizer.model.model, {node.input[0] for node in lookups if node.name not in excluded})
    _save(_in_half(quantizer.model.model), target)


def _store_rounded(model: Any, tables: Collection[str]) -> None:
    """Make ``tables`` int8, with a scale for each row, dequantised for whoever reads them: TensorRT fuses both."""
    import numpy as np
    from onnx import helper, numpy_helper

    graph = model.graph
    for table in [weight for weight in graph.initializer if weight.name in tables]:
        name, rows = table.name, numpy_helper.to_array(table)
        scales = np.maximum(np.abs(rows).max(1) / WHOLE, np.finfo(np.float32).tiny).astype(np.float32)
        table.CopyFrom(numpy_helper.from_array(np.rint(rows / scales[:, None]).astype(np.int8), f"{name}_quantized"))
        graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scale"))
        graph.initializer.append(numpy_helper.from_array(np.zeros(len(rows), np.int8), f"{name}_zero_point"))
        inputs = [f"{name}_{part}" for part in ("quantized", "scale", "zero_point")]
        graph.node.insert(0, helper.make_node("DequantizeLinear", inputs, [name], f"{name}_dequantized", axis=0))


def _in_half(model: Any) -> Any:
    """Return a graph in float16 but for norms and softmax, its inputs and outputs in float32."""
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    in_float = [*DEFAULT_OP_BLOCK_LIST, "LayerNormalization", "RMSNormalization", "Softmax"]
    with _quiet():
        half = ONNXModel(convert_float_to_float16(model, keep_io_types=True, op_block_list=in_float))
    # The library casts a value back once for each norm that reads it, every time under the same name.
    made = {node.output[0]: node for node in half.nodes()}
    del half.graph().node[:]
    half.graph().node.extend(made.values())
    half.topological_sort()
    return half.model


def nodes_of(path: Path) -> dict[str, str]:
    """Return the layer in the model by node name, for the nodes of an exported graph that can be int8.

    They are the products of its linear layers, and where it looks up rows of an embedding.

    Raises:
        InputError: the file cannot be read, or has no linear layer.
    """
    graph = load_graph(path)
    nodes = (*find_lookups(graph), *_products(graph).values())
    return {node.name: module_name(scopes_of(node)[-2]) for node in nodes}


def _products(model: Any, excluded: Collection[str] = ()) -> dict[str, Any]:
    """Return the nodes that are products of linear layers, by name, without those of ``excluded``."""
    from onnx import TensorProto

    weights = {x.name for x in model.graph.initializer if x.data_type == TensorProto.FLOAT}
    nodes = [node for node in model.graph.node if node.op_type in PRODUCTS and node.input[1] in weights]
    linear = [node for node in nodes if scopes_of(node, CLASSES)[-1:] == ("aten.linear.default",)]
    products = {node.name: node for node in linear if node.name not in excluded}
    if not products:
        raise input_error(
            "nothing-to-quantise",
            f"none of the graph's {len(linear)} linear layers in float32 is to be quantised",
            "a float32 graph with at least one that is",
            "das export --onnx, then quantise what it wrote",
        )
    return products


def find_lookups(model: Any) -> list[Any]:
    """Return the nodes that look up rows of embeddings."""
    from onnx import TensorProto

    tables = {x.name for x in model.graph.initializer if x.data_type == TensorProto.FLOAT and len(x.dims) == 2}
    nodes = [node for node in model.graph.node if node.op_type == "Gather" and node.input[0] in tables]
    return [node for node in nodes if scopes_of(node, CLASSES)[-1:] == (EMBEDDING,)]


def round_tables(model: Any, lookups: Collection[Any]) -> None:
    """Make the tables that ``lookups`` read int8, with a scale for each row, and what they return float."""
    import numpy as np
    from onnx import numpy_helper

    graph, names = model.graph, {node.input[0] for node in lookups}
    for table in [weight for weight in graph.initializer if weight.name in names]:
        rows, name = numpy_helper.to_array(table), table.name
        scales = np.maximum(np.abs(rows).max(1, keepdims=True) / WHOLE, np.finfo(np.float32).tiny).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(np.rint(rows / scales).astype(np.int8), f"{name}_quantized"))
        graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scale"))
    replaced = {node.name: _look_up_rounded(node) for node in lookups}
    nodes = [part for node in graph.node for part in replaced.get(node.name, [node])]
    _replace_nodes(graph, nodes)


def _look_up_rounded(node: Any) -> list[Any]:
    """Return what stands in for a look-up: rows of int8 and their scales are looked up and multiplied."""
    from onnx import TensorProto, helper

    (table, ids), (output,) = node.input, node.output
    rows, scales = f"{output}_quantized", f"{output}_scale"
    made = [
        helper.make_node("Gather", [f"{table}_quantized", ids], [rows], f"{node.name}_quant"),
        helper.make_node("Cast", [rows], [f"{output}_cast"], f"{node.name}_cast", to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{table}_scale", ids], [scales], f"{node.name}_scale"),
        helper.make_node("Mul", [f"{output}_cast", scales], [output], f"{node.name}_scaled"),
    ]
    for part in made:
        part.metadata_props.extend(node.metadata_props)  # of the same module
    return made


def _round_products(model: Any, products: Collection[str]) -> None:
    """Make the linear layers' products int8, in the operators that ONNX Runtime fuses into one kernel.

    Written here because ONNX Runtime's quantiser rounds channel after channel: ten times as long, and zero points.
    """
    from onnx import helper, numpy_helper

    graph, nodes, rounded, made = model.graph, list[Any](), set[str](), dict[str, Any]()
    weights = {weight.name: weight for weight in graph.initializer}
    for node in graph.node:
        if node.name not in products:
            nodes.append(node)
            continue
        x, name = node.input[:2]
        if x not in rounded:  # once for all the products that read it
            rounded.add(x)
            values = [f"{x}_quantized", f"{x}_scale", f"{x}_zero_point"]
            nodes.append(helper.make_node("DynamicQuantizeLinear", [x], values, f"{x}_QuantizeLinear"))
        if f"{name}_quantized" not in made:
            transposed = any(each.name == "transB" and each.i for each in node.attribute)
            values, scales = _round_columns(numpy_helper.to_array(weights[name]), transposed)
            for suffix, array in (("_quantized", values), ("_scale", scales)):
                made[name + suffix] = numpy_helper.from_array(array, name + suffix)
        nodes += _multiply_rounded(node)
    graph.initializer.extend(made.values())
    _replace_nodes(graph, nodes)


def _replace_nodes(graph: Any, nodes: Collection[Any]) -> None:
    """Give a graph these nodes in place of its own, and take away the weights that none of them reads."""
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    for place in reversed(range(len(graph.initializer))):  # one by one: what stays is not copied
        if graph.initializer[place].name not in read:
            del graph.initializer[place]


def _round_columns(weight: Any, transposed: bool) -> tuple[Any, Any]:
    """Return a weight, (in, out) or ``transposed``, as int8 of 7 bits, (in, out), and the scales of its columns."""
    import numpy as np

    columns = weight.T if transposed else weight
    scales = np.maximum(np.abs(columns).max(0) / REDUCED, np.finfo(np.float32).tiny).astype(np.float32)
    return np.ascontiguousarray(np.rint(columns / scales).astype(np.int8)), scales


def _multiply_rounded(node: Any) -> list[Any]:
    """Return what stands in for a product of a linear layer: the sum of integers, scaled, and the bias."""
    from onnx import TensorProto, helper

    (x, weight, *bias), (output,), name = node.input, node.output, node.name
    product = f"{output}_product" if bias else output
    made = [
        helper.make_node(
            "MatMulInteger",
            [f"{x}_quantized", f"{weight}_quantized", f"{x}_zero_point"],
            [f"{output}_integer"],
            f"{name}_quant",
        ),
        helper.make_node("Cast", [f"{output}_integer"], [f"{output}_cast"], f"{name}_cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{x}_scale", f"{weight}_scale"], [f"{output}_scale"], f"{name}_scales"),
        helper.make_node("Mul", [f"{output}_cast", f"{output}_scale"], [product], f"{name}_scaled"),
        *([helper.make_node("Add", [product, *bias], [output], f"{name}_bias")] if bias else []),
    ]
    for part in made:
        part.metadata_props.extend(node.metadata_props)  # of the same module
    return made


def _largest(
    source: Path, samples: Mapping[str, Tensor], excluded: Collection[str], progress: Progress, shorten: Shorten
) -> dict[str, float]:
    """Return the largest magnitude of every activation that is to be rounded."""
    from onnx import TensorProto, helper

    model = load_graph(source)
    names = sorted({node.input[0] for node in _products(model, excluded).values()})
    outputs = [(f"{name}_smallest", f"{name}_largest") for name in names]
    for name, ends in zip(names, outputs, strict=True):  # not the maximum of Abs, which is as large as the activation
        for operator, output in zip(("ReduceMin", "ReduceMax"), ends, strict=True):
            model.graph.node.append(helper.make_node(operator, [name], [output], keepdims=0))
            model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    largest = torch.zeros(len(names))
    try:
        session = open_session(model.SerializeToString(), weights_in=source.parent)
        fixed = session.get_inputs()[0].shape[0]
        batches = batches_of(samples, fixed if isinstance(fixed, int) else 1)  # every activation is held to the end
        for batch in progress.track(batches, "measuring activations"):
            values = session.run(sum(outputs, ()), {name: value.numpy() for name, value in shorten(batch).items()})
            pairs = torch.tensor([float(end) for end in values]).view(-1, 2)
            largest = torch.maximum(largest, pairs.abs().amax(1))
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise input_error(
            "runtime-refused",
            f"ONNX Runtime cannot run {source} ({one_line(error)})",
            "an ONNX file and samples that fit it",
            "das export --onnx again",
        ) from error
    return dict(zip(names, largest.tolist(), strict=True))


def _save(model: Any, path: Path) -> None:
    import onnx

    apart = needs_data_file(model.ByteSize())
    path.with_name(f"{path.name}.data").unlink(missing_ok=True)  # onnx writes behind what is there
    onnx.save_model(model, path, save_as_external_data=apart, location=f"{path.name}.data")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's remarks, which it gives to the root logger, from the user."""
    silent, before = logging.NullHandler(), logging.root.manager.disable
    logging.root.addHandler(silent)  # with no handler at all, the library's first remark would install one for good
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
        logging.root.removeHandler(silent)
