#!/usr/bin/env bash
# onnxruntime 1.31.1 (CPU), onnx 1.23.2
#
# An int8 product in Q/DQ form whose weights, (inputs, outputs), have a scale for each input (DequantizeLinear with axis
# 0) is valid ONNX. At its default level ONNX Runtime fuses it into an operator that knows scales of the outputs alone,
# and does not look at the axis. In a square product, as those of attention are, the scales of the inputs are then taken
# for those of the outputs: other numbers, without a word. Any other product ends in an error that names the fused
# operator. With optimisation disabled both are right; with a scale for each output (axis 1) all are.
#
# onnxsim/onnxsim issue 749 reports that 4-bit weights in blocks are fused wrongly along axis 0. Of whole int8 rows no
# thread was found.
# das writes a scale for each output, and compares each int8 file with its float file as ONNX Runtime executes it:
# tests/exporters/graph/test_quantise.py.
#
# Output seen: the largest error against the same formula in numpy, in standard deviations of the answers
#   (64, 64), axis 1, default: MatMulIntegerToFloat, less than 0.001
#   (64, 64), axis 0, disabled: MatMul, less than 0.001
#   (64, 64), axis 0, default: MatMulIntegerToFloat, more than 1
#   (64, 32), axis 0, disabled: MatMul, less than 0.001
#   (64, 32), axis 0, default: MatMulIntegerToFloat, Fail
#   (64, 64), axis 0, default, answers rounded: QLinearMatMul, more than 1
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

onnxruntime.set_default_logger_severity(4)
LEVELS = {
    "default": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "disabled": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
STEP = np.float32(0.03)  # of the activations


def show(inputs, outputs, axis, level, rounded=False):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(4, inputs)).astype(np.float32)
    weights = draw.integers(-127, 128, (inputs, outputs)).astype(np.int8)
    scales = draw.uniform(0.001, 0.03, (inputs, outputs)[axis]).astype(np.float32)
    steps, zero = np.round(x / STEP).clip(-128, 127) * STEP, np.array(0, np.int8)
    wanted = steps @ (weights * (scales[:, None] if axis == 0 else scales))
    coarse = np.float32(np.abs(wanted).max() / 127)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["a"]),
        helper.make_node("DequantizeLinear", ["w", "scales"], ["b"], axis=axis),
        helper.make_node("MatMul", ["a", "b"], ["product" if rounded else "y"]),
    ]
    if rounded:
        nodes.append(helper.make_node("QuantizeLinear", ["product", "coarse", "zero"], ["r"]))
        nodes.append(helper.make_node("DequantizeLinear", ["r", "coarse", "zero"], ["y"]))
    constants = {"step": STEP, "zero": zero, "w": weights, "scales": scales, "coarse": coarse}
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, wanted.shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level, options.optimized_model_filepath = LEVELS[level], "optimised.onnx"
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (product,) = (node.op_type for node in onnx.load("optimised.onnx").graph.node if "MatMul" in node.op_type)
    try:
        error = np.abs(session.run(None, {"x": x})[0] - wanted).max() / wanted.std()
        seen = "less than 0.001" if error < 0.001 else "more than 1" if error > 1 else f"{error:.3f}"
    except Exception as error:
        seen = type(error).__name__
    print(f"({inputs}, {outputs}), axis {axis}, {level}{', answers rounded' * rounded}: {product}, {seen}")


show(64, 64, 1, "default")
show(64, 64, 0, "disabled")
show(64, 64, 0, "default")
show(64, 32, 0, "disabled")
show(64, 32, 0, "default")
show(64, 64, 0, "default", rounded=True)
PYTHON
diff seen - <<'EXPECTED'
(64, 64), axis 1, default: MatMulIntegerToFloat, less than 0.001
(64, 64), axis 0, disabled: MatMul, less than 0.001
(64, 64), axis 0, default: MatMulIntegerToFloat, more than 1
(64, 32), axis 0, disabled: MatMul, less than 0.001
(64, 32), axis 0, default: MatMulIntegerToFloat, Fail
(64, 64), axis 0, default, answers rounded: QLinearMatMul, more than 1
EXPECTED
