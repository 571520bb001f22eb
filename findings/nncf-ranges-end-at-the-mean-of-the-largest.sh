#!/usr/bin/env bash
# nncf 3.4.0, openvino 2026.4.1
#
# nncf.quantize(..., model_type=TRANSFORMER) ends the int8 range of an activation at the mean of the samples' largest
# values, not at the largest of all: half of the calibration samples reach beyond it, and are cut off. A layer whose
# values lie around zero hardly notices. Where they lie at the upper end, as behind a ReLU that a bias keeps open
# (adapters that were fitted as linear maps, shifted activations), what tells samples apart is what is cut off. With
# activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX the range ends at the largest value, and the
# error of the whole is a tenth, with and without smooth quantisation. No other setting that was tried (bias
# correction, presets, ignored attention) helps.
#
# Output seen:
#   by default: the range ends at the mean of the samples' largest values; the answer is off by more than 4 %
#   MINMAX: the range ends at the largest value; the answer is off by less than 1 %
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check nncf==3.4.0 openvino==2026.4.1 numpy
cd "$work"
"$work/venv/bin/python" - <<'PYTHON' | tee seen
import contextlib
import io
import logging

import nncf
import numpy as np
import openvino
from nncf.quantization.range_estimator import RangeEstimatorParametersSet
from openvino import opset13 as ops

logging.getLogger("nncf").setLevel(logging.ERROR)
draw = np.random.default_rng(0)
down, up = (draw.normal(size=size).astype(np.float32) for size in ((16, 4), (4, 16)))
bias = np.full((1, 1, 4), 30, np.float32)
samples = [(size * draw.normal(size=(1, 8, 16))).astype(np.float32) for size in np.linspace(0.2, 2, 10)]
inside = [np.maximum(sample @ down + bias, 0) for sample in samples]


def adapter():
    x = ops.parameter([1, 8, 16], np.float32, name="x")
    opened = ops.relu(ops.add(ops.matmul(x, ops.constant(down), False, False), ops.constant(bias)))
    return openvino.Model([ops.matmul(opened, ops.constant(up), False, False)], [x], "adapter")


def upper_ends(model):
    """Of the ranges that activations are rounded in."""
    rounded = [op for op in model.get_ops() if op.get_type_name() == "FakeQuantize"]
    ends = [op.input_value(2).get_node() for op in rounded if op.input_value(0).get_node().get_type_name() == "Relu"]
    return [float(np.ravel(end.get_data())[0]) for end in ends]


def try_ranges(name, **settings):
    unscaled = nncf.AdvancedSmoothQuantParameters(matmul=-1)  # so that ranges are those of the values themselves
    advanced = nncf.AdvancedQuantizationParameters(smooth_quant_alphas=unscaled, **settings)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        rounded = nncf.quantize(
            adapter(),
            nncf.Dataset([{"x": sample} for sample in samples]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(samples),
            advanced_parameters=advanced,
        )
    (end,) = upper_ends(rounded)
    largest = [x.max() for x in inside]
    places = {"the mean of the samples' largest values": np.mean(largest), "the largest value": np.max(largest)}
    place = next((place for place, value in places.items() if abs(end - value) < 0.01 * value), f"{end}")
    (found,) = openvino.Core().compile_model(rounded, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(samples[-1]).values()
    wanted = inside[-1] @ up
    error = np.abs(found - wanted).mean() / wanted.std()
    size = "less than 1 %" if error < 0.01 else "more than 4 %" if error > 0.04 else f"{error:.1%}"
    print(f"{name}: the range ends at {place}; the answer is off by {size}")


try_ranges("by default")
try_ranges("MINMAX", activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX)
PYTHON
diff seen - <<'EXPECTED'
by default: the range ends at the mean of the samples' largest values; the answer is off by more than 4 %
MINMAX: the range ends at the largest value; the answer is off by less than 1 %
EXPECTED
