#!/usr/bin/env bash
# onnxruntime 1.31.1, onnx 1.23.2
#
# onnxruntime.transformers.float16.convert_float_to_float16 leaves some operators in float32: those of its default
# list, Max and Min among them, and what the caller adds, such as the Softmax and LayerNormalization of an encoder. Where
# two of them read one value it casts the value back once for each, under one name, and the graph it returns without a
# word does not load. The names come of the value since empty node names were found to collide; before that they came of
# the node and were two. One of the two casts is enough: of nodes that make the same output keep one, and it loads and
# gives the numbers of float32 within the rounding of float16.
#
# Output seen:
#   one reader: casts back 1, loads
#   two readers: casts back 2, of one name; Fail
#   one cast kept: loads, float32's numbers within 1 %
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.31.1 onnx==1.23.2 numpy
cd "$work"
"$work/venv/bin/python" - <<'PYTHON' | tee seen
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

onnxruntime.set_default_logger_severity(4)
draw = np.random.default_rng(0)
weights = draw.normal(size=(8, 8)).astype(np.float32)
feeds = {"x": draw.normal(size=(2, 8)).astype(np.float32)}


def product_read_by(operators):
    """A product, and operators that compare it with 0."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "product")]
    nodes += [helper.make_node(operator, ["y", "zero"], [operator], operator) for operator in operators]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 8])],
        [helper.make_tensor_value_info(operator, TensorProto.FLOAT, [2, 8]) for operator in operators],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.zeros(1, np.float32), "zero")],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def open_session(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def casts_back(model):
    return [node for node in model.graph.node if node.op_type == "Cast" and node.input[0] == "y"]


one = convert_float_to_float16(product_read_by(["Max"]), keep_io_types=True)
open_session(one)
print(f"one reader: casts back {len(casts_back(one))}, loads")

model = product_read_by(["Max", "Min"])
two = convert_float_to_float16(model, keep_io_types=True)
names = {node.name for node in casts_back(two)}
try:
    open_session(two)
    seen = "loads"
except Exception as error:
    seen = type(error).__name__
print(f"two readers: casts back {len(casts_back(two))}, of {'one name' if len(names) == 1 else 'two names'}; {seen}")

made = {node.output[0]: node for node in two.graph.node}
del two.graph.node[:]
two.graph.node.extend(made.values())
wanted, found = (open_session(graph).run(None, feeds) for graph in (model, two))
same = all(np.allclose(a, b, atol=0.01 * np.abs(a).max()) for a, b in zip(wanted, found))
print("one cast kept: loads, float32's numbers within 1 %" if same else "one cast kept: other numbers")
PYTHON
diff seen - <<'EXPECTED'
one reader: casts back 1, loads
two readers: casts back 2, of one name; Fail
one cast kept: loads, float32's numbers within 1 %
EXPECTED
