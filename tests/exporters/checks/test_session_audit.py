"""How much of an export runs in its precision: counted on ONNX Runtime's kernels, and held against PyTorch's count."""

import pytest

from compressor.costs.macs import linear_share
from exporters.checks.audit import Shares, describe_shares
from exporters.checks.parity import falls_short
from exporters.checks.session_audit import MACS, audit_session
from exporters.graph.quantise import quantise_dynamic
from exporters.runtimes.runtime import Trial
from exporters.runtimes.sessions import CPU
from tests.support.tiny_exports import inputs_of, shallow, shallow_onnx

KINDS = {"meter": "vqa", "bert": "text-classification"}


def audited(family, path, asked):
    model = shallow(family, KINDS[family])
    return audit_session(path, asked, Trial(model, inputs_of(model), "cpu"), CPU, path.stat().st_size)


@pytest.mark.parametrize("family", KINDS)
def test_in_int8_run_the_macs_of_the_linear_layers_and_no_others(family, tmp_path):
    path, model = tmp_path / "model.int8.onnx", shallow(family, KINDS[family])
    quantise_dynamic(shallow_onnx(family, KINDS[family]), path)
    found = audited(family, path, "int8")
    assert found.counted_on == "session"
    assert found.shares.macs == pytest.approx(linear_share(model, inputs_of(model)), abs=1e-9)
    parameters = sum(weight.numel() for weight in model.parameters())
    assert found.shares.bytes_per_parameter == path.stat().st_size / parameters
    weights = found.weights["int8"] + 4 * found.weights["fp32"]
    assert found.shares.bytes == pytest.approx(found.weights["int8"] / weights, abs=0.06)  # sizes are int64
    assert found.shares.bytes < found.weight_share < 1


@pytest.mark.parametrize(
    ("read", "written", "macs"),
    [
        ([(2, 15, 48), (48, 96)], (2, 15, 96), 2 * 15 * 48 * 96),
        ([(1, 48), (2,), (2, 48)], (1, 2), 48 * 2),  # weights the other way round, behind their scales
        ([(1, 4, 12), (4, 12, 48)], (4, 1, 48), 4 * 12 * 48),  # the batch is the rows of the first
        ([(4, 1, 48), (1, 15, 48)], (1, 4, 15), 4 * 48 * 15),
    ],
)
def test_a_product_has_its_multiply_adds_whatever_its_kernel_transposes(read, written, macs):
    assert MACS["FusedMatMul"](read, written) == macs


def test_a_file_in_half_precision_is_computed_in_float_on_a_cpu():
    found = audited("meter", shallow_onnx("meter", "vqa", precision="fp16"), "fp16")
    assert found.shares.macs == 0
    assert found.shares.bytes < 0.01


def test_shares_are_said_with_what_nobody_knows_left_out():
    shares = Shares(macs=0.9642, bytes=0.91, bytes_per_parameter=1.058)
    assert describe_shares("int8", shares) == "int8: 96.4 % of MACs, 91.0 % of bytes; 1.06 bytes a parameter"
    unknown = shares.model_copy(update={"macs": None})
    assert describe_shares("int8", unknown) == "int8: 91.0 % of bytes; 1.06 bytes a parameter"


@pytest.mark.parametrize(
    ("macs", "least", "short"), [(0.5, 0.5, False), (0.4, 0.5, True), (0, 0, True), (None, 1, False)]
)
def test_nothing_or_less_than_the_least_is_too_little(macs, least, short):
    why = falls_short(Shares(macs=macs, bytes=None, bytes_per_parameter=4), least)
    assert bool(why) is short
    assert "at least 0.0" not in why
