#!/usr/bin/env bash
# tensorrt-rtx 1.7.1.116 (Linux, x86-64, no GPU needed), onnx 1.23.2
#
# Attention in float16 whose scores are set to minus infinity where a bool mask says so, softmax in float32: what
# PyTorch's scaled_dot_product_attention means, and what exporters write. TensorRT-RTX builds it where the heads are a
# multiple of 8 wide. Heads of 12 or 20 end in an internal error of the compiler, "op->input_layouts().size() > idx",
# and no plan, for every capability and whether the mask chooses or is added. The message names neither heads nor mask.
# With the smallest float32 in place of minus infinity the same graph builds; a row that is masked everywhere is then
# the mean of its values and no NaN.
#
# Output seen:
#   heads of 16, minus infinity: a plan
#   heads of 12, minus infinity: no plan, op->input_layouts().size() > idx
#   heads of 20, minus infinity: no plan, op->input_layouts().size() > idx
#   heads of 12, smallest float32: a plan
#   heads of 20, smallest float32: a plan
set -euo pipefail
[ "$(uname -sm)" = "Linux x86_64" ] || { echo "not run: needs Linux on x86-64"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tensorrt-rtx==1.7.1.116 onnx==1.23.2 numpy
cd "$work"
"$work/venv/bin/python" - 2> log <<'PYTHON' | tee seen
import numpy as np
import onnx
import tensorrt_rtx as trt
from onnx import TensorProto, helper, numpy_helper

HEADS, LENGTH = 2, 16
CHECK = "op->input_layouts().size() > idx"


class Log(trt.ILogger):
    """Keeps the errors."""

    def __init__(self):
        super().__init__()
        self.errors = []

    def log(self, severity, message):
        if severity <= trt.ILogger.Severity.ERROR:
            self.errors.append(message)


def attention(width, low):
    """Heads of a width, scores of masked keys set to a number."""
    hidden, draw = HEADS * width, np.random.default_rng(0)
    constants = {f"weights {name}": draw.normal(size=(hidden, hidden)).astype(np.float16) for name in "qkv"}
    constants["heads"], constants["joined"] = np.array([0, 0, HEADS, width]), np.array([0, 0, hidden])
    constants["scale"], constants["low"] = np.array(width**-0.5, np.float16), np.array(low, np.float32)
    constants["axes"] = np.array([1, 2])
    nodes = []

    def add(operator, inputs, output, **attributes):
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))

    for name, order in (("q", (0, 2, 1, 3)), ("k", (0, 2, 3, 1)), ("v", (0, 2, 1, 3))):
        add("MatMul", ["x", f"weights {name}"], f"{name} joined")
        add("Reshape", [f"{name} joined", "heads"], f"{name} apart")
        add("Transpose", [f"{name} apart"], name, perm=order)
    add("Mul", ["q", "scale"], "scaled")
    add("MatMul", ["scaled", "k"], "half scores")
    add("Cast", ["half scores"], "scores", to=TensorProto.FLOAT)
    add("Unsqueeze", ["mask", "axes"], "kept")
    add("Where", ["kept", "scores", "low"], "masked")
    add("Softmax", ["masked"], "shares", axis=-1)
    add("Cast", ["shares"], "half shares", to=TensorProto.FLOAT16)
    add("MatMul", ["half shares", "v"], "context")
    add("Transpose", ["context"], "turned", perm=(0, 2, 1, 3))
    add("Reshape", ["turned", "joined"], "y")
    shape = ["batch", LENGTH, hidden]
    graph = helper.make_graph(
        nodes,
        "attention",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT16, shape),
            helper.make_tensor_value_info("mask", TensorProto.BOOL, shape[:2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    return model.SerializeToString()


def build(width, low, name):
    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, log).parse(attention(width, low))
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    for number in range(network.num_inputs):
        tensor = network.get_input(number)
        profile.set_shape(tensor.name, *((batch, *tensor.shape[1:]) for batch in (1, 2, 4)))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    why = f", {CHECK}" if any(CHECK in message for message in log.errors) else ""
    print(f"heads of {width}, {name}: {'no plan' if plan is None else 'a plan'}{why}")


build(16, -np.inf, "minus infinity")
build(12, -np.inf, "minus infinity")
build(20, -np.inf, "minus infinity")
build(12, np.finfo(np.float32).min, "smallest float32")
build(20, np.finfo(np.float32).min, "smallest float32")
PYTHON
diff seen - <<'EXPECTED'
heads of 16, minus infinity: a plan
heads of 12, minus infinity: no plan, op->input_layouts().size() > idx
heads of 20, minus infinity: no plan, op->input_layouts().size() > idx
heads of 12, smallest float32: a plan
heads of 20, smallest float32: a plan
EXPECTED
