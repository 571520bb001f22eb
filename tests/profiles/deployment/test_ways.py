"""What --runtime and --precision ask for, by names and by "all"."""

import pytest

from compressor.errors import EnvironmentProblem, Problem, UsageError
from exporters.graph.precision import PRECISIONS
from exporters.runtimes import find_runtime
from profiles.deployment import ways
from profiles.deployment.ways import choose_ways, why_not
from tests.support.command_line import refused


@pytest.fixture
def here(monkeypatch):
    """A machine without TensorRT and a compiler."""
    reasons = {name: Problem(f"no-{name}", f"no {name}", "it", "install it") for name in ("tensorrt", "compile")}
    monkeypatch.setattr(ways, "obstacles", lambda device: reasons)


def names(found):
    return [one.name for one in found]


def test_all_is_what_runs_here_and_names_are_all_or_nothing(here):
    every = choose_ways(["all"], ["all"], "cpu")
    assert {"torch", "onnxruntime"} <= {*names(every.runtimes)}
    assert not {"tensorrt", "compile"} & {*names(every.runtimes)}
    assert names(every.precisions) == list(PRECISIONS)
    assert every.every and every.asks_for_fastest
    with refused(EnvironmentProblem, "no-compile", "no compile"):
        choose_ways(["all,compile"], (), "cpu")
    with refused(UsageError, "unknown-runtime", "--runtime fastest"):
        choose_ways(["all", "fastest"], (), "cpu")


def test_lists_are_parted_by_commas_or_options_and_the_usual_ones_ask_no_question(here):
    some = choose_ways(["ort,torch"], ["int8,FP32"], "cpu")
    assert (names(some.runtimes), names(some.precisions)) == (["torch", "onnxruntime"], ["fp32", "int8"])
    assert some.asks_for_fastest
    usual = choose_ways((), (), "cpu")
    assert (names(usual.runtimes), usual.precisions, usual.asks_for_fastest) == (["torch", "onnxruntime"], (), False)


def test_what_was_named_and_cannot_run_is_refused_with_the_reason(here):
    with refused(UsageError, "unknown-precision", "--precision fp8", "fp32, fp16, bf16, int8, all"):
        choose_ways((), ["fp8"], "cpu")
    with refused(EnvironmentProblem, "precision-not-here", "--precision bf16: ONNX Runtime has no bf16 kernels"):
        choose_ways(["onnxruntime"], ["fp32,bf16"], "cpu")
    with refused(EnvironmentProblem, "precision-not-here", "--runtime torch: PyTorch has no int8"):
        choose_ways(["torch,onnxruntime"], ["int8"], "cpu")


@pytest.mark.parametrize(
    ("runtime", "precision", "device", "found"),
    [
        ("torch", "fp32", "cpu", ""),
        ("torch", "int8", "cpu", "PyTorch has no int8"),
        ("onnxruntime", "bf16", "cpu", "ONNX Runtime has no bf16 kernels for CPUs"),
        ("onnxruntime", "bf16", "cuda", ""),
    ],
)
def test_every_precision_that_is_left_out_has_a_reason(runtime, precision, device, found):
    assert why_not(find_runtime(runtime), PRECISIONS[precision], device) == found
