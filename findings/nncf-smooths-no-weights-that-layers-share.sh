#!/usr/bin/env bash
# nncf 3.4.0, openvino 2026.4.1
#
# nncf.quantize(..., model_type=TRANSFORMER) smooths activations with outliers (SmoothQuant) before it rounds them. A
# product whose weights another product reads, too, it leaves out without a word: in an encoder whose layers share their
# weights, as ALBERT's do, no product at all is smoothed, and the int8 model is what it would be with smoothing switched
# off. The same layers with copies of the same weights are smoothed, and with one outlier channel their error is a third.
# Copies are the way out where smoothing is wanted: give each product a constant of its own before quantising.
#
# That nncf's backend for ONNX fails on shared weights is reported (openvinotoolkit/nncf: issue 4172). Of smoothing that
# is left out no thread was found.
# das has SmoothQuant off for every model (docs/exports.md), and tests each int8 file against its float file:
# tests/exporters/runtimes/test_openvino.py.
#
# Output seen, of four layers of two products each, one channel of the samples 8 times as large as the others:
#   copies: products smoothed 8 of 8
#   shared: products smoothed 0 of 8
#   shared, smoothing off: products smoothed 0 of 8
#   before quantising, shared is the same function as copies: True
#   the error of shared is more than twice that of copies: True
#   shared answers as without smoothing: True
#   nncf mentions it: False
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check nncf==3.4.0 openvino==2026.4.1 numpy
cd "$work"
"$work/venv/bin/python" - 2> messages <<'PYTHON' | tee seen
import contextlib
import io
import logging
from pathlib import Path

import nncf
import numpy as np
import openvino
from openvino import opset13 as ops

log = io.StringIO()
logging.getLogger("nncf").addHandler(logging.StreamHandler(log))
draw = np.random.default_rng(0)
WEIGHTS = {
    "gain": 1 + 0.1 * draw.normal(size=(1, 1, 16)),
    "up": draw.normal(size=(16, 64)) / 4,
    "bias": 0.3 * draw.normal(size=(1, 1, 64)),
    "down": draw.normal(size=(64, 16)) / 8,
}
SAMPLES = [draw.normal(size=(1, 8, 16)).astype(np.float32) for _ in range(20)]
for sample in SAMPLES:
    sample[..., 3] *= 8
LAYERS = 4


def encoder(shared):
    """Feed-forward layers in front of which values are normalised, as in an encoder."""
    made = {}

    def weight(name):
        if name not in made or not shared:
            made[name] = ops.constant(WEIGHTS[name].astype(np.float32))
        return made[name]

    x = hidden = ops.parameter([-1, -1, 16], np.float32, name="x")
    for _ in range(LAYERS):
        normed = ops.mvn(hidden, ops.constant(np.array([-1])), True, 1e-5, "inside_sqrt")
        inside = ops.matmul(ops.multiply(normed, weight("gain")), weight("up"), False, False)
        inside = ops.gelu(ops.add(inside, weight("bias")), "erf")
        hidden = ops.add(hidden, ops.matmul(inside, weight("down"), False, False))
    return openvino.Model([hidden], [x], "encoder")


def answer(model):
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(SAMPLES[0])[0]


def quantise(name, shared, **settings):
    with contextlib.redirect_stdout(io.StringIO()):
        rounded = nncf.quantize(
            encoder(shared),
            nncf.Dataset([{"x": sample} for sample in SAMPLES]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(SAMPLES),
            advanced_parameters=nncf.AdvancedQuantizationParameters(**settings),
        )
    products = [op for op in rounded.get_ops() if op.get_type_name() == "MatMul"]
    scales = [op for op in rounded.get_ops() if op.get_type_name() == "Multiply"]
    smoothed = sum(op.get_friendly_name().endswith("nncf_smooth_quant") for op in scales)
    print(f"{name}: products smoothed {smoothed} of {len(products)}")
    return answer(rounded)


off = nncf.AdvancedSmoothQuantParameters(matmul=-1)
wanted = answer(encoder(shared=False))
copies = quantise("copies", shared=False)
written = len(log.getvalue())
shared = quantise("shared", shared=True)
told = log.getvalue()[written:].lower()
plain = quantise("shared, smoothing off", shared=True, smooth_quant_alphas=off)
same = np.array_equal(answer(encoder(shared=True)), wanted)
print(f"before quantising, shared is the same function as copies: {same}")
errors = [np.abs(found - wanted).max() for found in (shared, copies)]
print(f"the error of shared is more than twice that of copies: {errors[0] > 2 * errors[1]}")
print(f"shared answers as without smoothing: {np.allclose(shared, plain, atol=1e-5)}")
told += Path("messages").read_text().lower()
print(f"nncf mentions it: {'smooth' in told or 'shared' in told}")
PYTHON
diff seen - <<'EXPECTED'
copies: products smoothed 8 of 8
shared: products smoothed 0 of 8
shared, smoothing off: products smoothed 0 of 8
before quantising, shared is the same function as copies: True
the error of shared is more than twice that of copies: True
shared answers as without smoothing: True
nncf mentions it: False
EXPECTED
