"""Runners: inputs bound to a runtime, outputs by name, and torch.compile."""

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from compressor.errors import EnvironmentProblem, InputError
from exporters.runtimes.runner import Remembering
from exporters.runtimes.sessions import OnnxRunner
from exporters.runtimes.torch_runner import TorchRunner, require_compiler
from profiles.deployment.ways import choose_runtimes
from tests.support.command_line import refused
from tests.support.tiny_exports import full, full_onnx, samples


@pytest.fixture
def graph(tmp_path):
    """x (rows, 2) to twice x and, in half precision, x itself."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])
    twice = helper.make_tensor_value_info("twice", TensorProto.FLOAT, ["rows", 2])
    half = helper.make_tensor_value_info("half", TensorProto.FLOAT16, ["rows", 2])
    nodes = [helper.make_node("Add", ["x", "x"], ["twice"]), helper.make_node("Cast", ["x"], ["half"], to=10)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [twice, half]), ir_version=8, opset_imports=[helper.make_opsetid("", 13)]
    )
    onnx.save(model, tmp_path / "graph.onnx")
    return tmp_path / "graph.onnx"


def test_outputs_have_their_names_and_are_float32(graph):
    with OnnxRunner(graph) as runner:
        assert (runner.input_names, runner.output_names) == (("x",), ("twice", "half"))
        found = runner.outputs({"x": torch.ones(3, 2)})
    assert found["twice"].tolist() == [[2, 2]] * 3
    assert found["half"].dtype == torch.float32
    assert found["half"].tolist() == [[1, 1]] * 3


def test_a_graph_is_fed_what_it_declares(graph):
    with OnnxRunner(graph) as runner:
        assert "twice" in runner.outputs({"x": torch.ones(1, 2), "dropped_by_the_trace": torch.ones(5)})
        with refused(InputError, "input-missing", "no x among", "(y)"):
            runner.bind({"y": torch.ones(1, 2)})


def test_a_shape_that_does_not_fit_is_an_input_error(graph):
    with OnnxRunner(graph) as runner, refused(InputError, "runtime-refused", graph):
        runner.outputs({"x": torch.ones(1, 3)})


def test_inputs_that_do_not_lie_in_a_row_are_bound_as_they_are_meant(graph):
    rows = torch.arange(6.0).reshape(2, 3).T
    with OnnxRunner(graph) as runner:
        assert torch.equal(runner.outputs({"x": rows})["twice"], 2 * rows)


@pytest.mark.parametrize(
    "make", [lambda: OnnxRunner(full_onnx(), threads=1), lambda: TorchRunner(full(), "cpu")], ids=["onnx", "torch"]
)
def test_what_is_bound_side_by_side_stays_apart(make):
    one, three = {name: rows[:1] for name, rows in samples().items()}, samples()
    with torch.no_grad():
        expected = full()(**three)
    with make() as runner:
        first, second = runner.bind(one), runner.bind(three)
        for _ in range(2):
            first()
            second()
        torch.testing.assert_close(first.fetch()["logits"], expected[:1], atol=1e-5, rtol=0)
        torch.testing.assert_close(second.fetch()["logits"], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(runner.run(three), expected, atol=1e-5, rtol=0)
        assert set(runner.input_names) == set(three)


class Doubled(nn.Module):
    family, task = "bert", "text-classification"  # whose outputs it has

    def forward(self, x):
        return torch.tanh(x) * 2


def doubled(**options):
    return TorchRunner(Doubled(), "cpu", inputs=("x",), **options)


def test_a_module_without_a_family_declares_its_inputs():
    with doubled() as runner:
        assert (runner.input_names, runner.output_names) == (("x",), ("output",))
        assert runner.run({"x": torch.zeros(2)}).tolist() == [0, 0]


@pytest.mark.slow
def test_a_compiled_model_answers_as_it_does_without(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    inputs = {"x": torch.randn(4, 3)}
    with doubled(compiled=True) as compiled, doubled() as eager:
        assert compiled.name == "torch.compile on cpu"
        torch.testing.assert_close(compiled.run(inputs), eager.run(inputs))


def test_without_a_compiler_torch_compile_is_refused(monkeypatch):
    monkeypatch.setenv("CXX", "/no/such/compiler")
    with refused(EnvironmentProblem, "compiler-missing", "/no/such/compiler"):
        require_compiler()
    with refused(EnvironmentProblem, "compiler-missing", "CXX"), doubled(compiled=True):
        pass
    with pytest.raises(EnvironmentProblem):
        choose_runtimes(["compile"], "cpu")


def test_a_compiler_that_fails_is_an_environment_problem(monkeypatch, tmp_path):
    from torch._inductor import config  # takes seconds to import

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    with (
        config.patch({"cpp.cxx": ("false",)}),  # a program that is there and always fails
        refused(EnvironmentProblem, "compiler-fails"),
        doubled(compiled=True) as runner,
    ):
        runner.bind({"x": torch.ones(2)})


def test_torch_compile_is_used_only_when_it_is_named():
    assert [runtime.name for runtime in choose_runtimes((), "cpu")] == ["torch", "onnxruntime"]
    assert [runtime.name for runtime in choose_runtimes(["compile"], "cpu")] == ["compile"]


def test_the_same_inputs_are_run_once():
    calls, known = [], {}
    model = nn.Identity()
    model.forward = lambda x: calls.append(x) or 2 * x

    def run(x):
        with Remembering(TorchRunner(model, "cpu", inputs=("x",)), known) as runner:
            return runner.run({"x": x})

    ones = torch.ones(2, 3)
    assert torch.equal(run(ones), 2 * ones)
    assert torch.equal(run(torch.ones(2, 3)), 2 * ones)
    assert len(calls) == 1
    others = ones.T, ones.reshape(1, 6), ones.int(), -ones  # of the same bytes in another shape or type, or not
    assert all(torch.equal(run(x), (2 * x).float()) for x in others)
    assert len(calls) == 1 + len(others)
