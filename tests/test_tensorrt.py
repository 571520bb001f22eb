"""TensorRT: engines are really built where TensorRT-RTX is installed; only a GPU could run them."""

import ast
import importlib
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

import exporters.export
import exporters.runners
import exporters.tensorrt
from compressor.errors import EnvironmentProblem, InputError
from exporters.export import export
from exporters.parity import Parity
from exporters.runners import TensorRTRunner
from exporters.tensorrt import Passport, Target, build_engine, find_target
from tests.exported import full, full_onnx, samples, slim

AHEAD = Target("tensorrt_rtx", ("SM86",), None)
needs_rtx = pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed")
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")

# Every name of TensorRT's that das uses, by class. All are in TensorRT 10.16, 11.4 and TensorRT-RTX 1.7.
IN_EVERY_TENSORRT = {
    "module": {
        "Builder",
        "BuilderFlag",
        "DataType",
        "ILogger",
        "NetworkDefinitionCreationFlag",
        "OnnxParser",
        "Runtime",
        "TensorIOMode",
        "__version__",
    },
    "Builder": {
        "build_serialized_network",
        "create_builder_config",
        "create_network",
        "create_optimization_profile",
    },
    "BuilderFlag": {"TF32", "__members__"},
    "DataType": {"BF16", "BOOL", "FLOAT", "HALF", "INT32", "INT64"},
    "IBuilderConfig": {"add_optimization_profile", "clear_flag", "get_flag"},
    "ICudaEngine": {
        "create_execution_context",
        "get_tensor_dtype",
        "get_tensor_mode",
        "get_tensor_name",
        "num_io_tensors",
    },
    "IExecutionContext": {"execute_async_v3", "get_tensor_shape", "set_input_shape", "set_tensor_address"},
    "ILogger": {"ERROR", "INTERNAL_ERROR", "WARNING", "__init__"},
    "IOptimizationProfile": {"set_shape"},
    "NetworkDefinitionCreationFlag": {"STRONGLY_TYPED"},
    "OnnxParser": {"get_error", "num_errors", "parse_from_file"},
    "ParserError": {"code", "desc", "node_operator"},
    "Runtime": {"deserialize_cuda_engine"},
    "TensorIOMode": {"INPUT"},
}
ONLY_RTX = {
    "module": {"ComputeCapability"},
    "ComputeCapability": {"__members__"},
    "IBuilderConfig": {"num_compute_capabilities", "set_compute_capability"},
}
CLASS_OF = {
    "trt": "module",
    "builder": "Builder",
    "config": "IBuilderConfig",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "self.engine": "ICudaEngine",
    "self.context": "IExecutionContext",
}
CLASS_OF |= {f"trt.{name}": name for name in IN_EVERY_TENSORRT["module"] | ONLY_RTX["module"]}
CLASS_OF |= {"trt.Runtime(logger)": "Runtime", "error": "ParserError"}


def used_names():
    """Class and name of every attribute of TensorRT's that the modules touch."""
    for module in (exporters.tensorrt, exporters.runners):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in CLASS_OF:
                yield CLASS_OF[ast.unparse(node.value)], node.attr


def test_every_name_that_is_used_is_in_every_tensorrt():
    used = set(used_names())
    known = {
        (owner, name) for table in (IN_EVERY_TENSORRT, ONLY_RTX) for owner, names in table.items() for name in names
    }
    assert used == known


@needs_rtx
def test_every_name_that_is_used_is_in_the_installed_tensorrt():
    import tensorrt_rtx

    for owner, name in set(used_names()):
        assert hasattr(tensorrt_rtx if owner == "module" else getattr(tensorrt_rtx, owner), name), (owner, name)


@needs_rtx
@without_gpu
def test_an_engine_is_built_ahead_of_time_and_said_to_be_unverified(tmp_path, monkeypatch):
    monkeypatch.setattr(exporters.tensorrt, "AHEAD_OF_TIME", ("SM86",))
    monkeypatch.setattr(exporters.export, "export_onnx", lambda model, path, *_: _copy(path))
    report = export(full(), samples(), tmp_path, ["trt"], batch=(1, 2, 4))
    assert [made.format for made in report.exports] == ["onnx", "trt"]
    onnx_file, engine = report.exports
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.fp32.rtx.plan",
        "model.fp32.rtx.plan.json",
        "model.fp32.rtx.plan.parity.json",
        "model.onnx",
        "model.onnx.parity.json",
    ]
    assert onnx_file.parity.status == "passed"
    parity = Parity.model_validate_json((tmp_path / "model.fp32.rtx.plan.parity.json").read_bytes())
    assert parity == engine.parity
    assert parity.status == "not verified"
    assert parity.reason == "no GPU here: built ahead of time (tensorrt_rtx for 8.6) and not run"
    assert parity.max_abs_error is None
    passport = Passport.model_validate_json((tmp_path / "model.fp32.rtx.plan.json").read_bytes())
    assert (passport.gpu, passport.capabilities) == (None, ("SM86",))
    assert passport.profile["input_ids"] == ((1, 1), (2, 12), (4, 12))
    assert passport.profile["pixel_values"] == ((1, 3, 64, 64), (2, 3, 64, 64), (4, 3, 64, 64))
    assert passport.onnx_sha256 == onnx_file.parity.sha256
    assert passport.strongly_typed
    assert not passport.tf32

    def not_again(*_):
        raise AssertionError("the ONNX file is there")

    monkeypatch.setattr(exporters.export, "export_onnx", not_again)
    again = export(full(), samples(), tmp_path, ["trt"])
    assert again.exports[0].notes == ("exported before; compared again",)


def _copy(path):
    path.write_bytes(full_onnx().path.read_bytes())
    return full_onnx()


@needs_rtx
@without_gpu
def test_an_onnx_file_that_answers_differently_is_not_built_from(tmp_path, monkeypatch):
    monkeypatch.setattr(exporters.export, "export_onnx", lambda model, path, *_: _copy(path))
    export(full(), samples(), tmp_path, ["onnx"])

    class Reached(Exception):
        pass

    def reached(*_):
        raise Reached

    monkeypatch.setattr(exporters.export, "export_onnx", reached)
    with pytest.raises(Reached):
        export(slim(), samples(), tmp_path, ["trt"])


@needs_rtx
@without_gpu
def test_a_graph_that_tensorrt_refuses_is_reported_in_its_words(tmp_path):
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("y", TensorProto.UINT8, ["batch", 4])
    graph = helper.make_graph([node], "graph", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "model.onnx")
    with pytest.raises(EnvironmentProblem, match="DynamicQuantizeLinear: UNSUPPORTED_NODE"):
        build_engine(tmp_path / "model.onnx", tmp_path / "model.plan", {}, AHEAD)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@needs_rtx
@without_gpu
def test_a_profile_that_does_not_fit(tmp_path):
    shapes = {name: (tuple(rows.shape[1:]),) * 3 for name, rows in samples().items()}  # the batch axis forgotten
    with pytest.raises(EnvironmentProblem, match="tensorrt_rtx"):
        build_engine(full_onnx().path, tmp_path / "model.plan", shapes, AHEAD)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ModuleNotFoundError("none"), ImportError("libnvonnxparser"), OSError("libnvinfer")])
@without_gpu
def test_without_tensorrt_the_command_that_installs_it(tmp_path, monkeypatch, error):
    def missing(name):
        raise error

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(EnvironmentProblem, match="pip install tensorrt-rtx") as failure:
        export(full(), samples(), tmp_path, ["trt"])
    assert failure.value.exit_code == 5
    assert str(error) in failure.value.problems[0].found
    assert not any(tmp_path.iterdir())


class Gpu:
    """A GPU as far as :func:`find_target` looks."""

    def __init__(self, monkeypatch, *capability):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)


def test_tensorrt_is_preferred_where_there_is_a_gpu(monkeypatch):
    Gpu(monkeypatch, 9, 0)
    monkeypatch.setattr(importlib, "import_module", lambda name: None)
    target = find_target()
    assert (target.package, target.tag, str(target)) == ("tensorrt", "sm90", "tensorrt for 9.0")


@needs_rtx
def test_rtx_builds_for_the_gpu_that_is_there_or_not_at_all(monkeypatch):
    if importlib.util.find_spec("tensorrt"):
        pytest.skip("tensorrt is installed and goes first")
    Gpu(monkeypatch, 12, 0)
    assert find_target() == Target("tensorrt_rtx", ("SM120",), "a GPU")
    Gpu(monkeypatch, 9, 0)
    with pytest.raises(EnvironmentProblem, match="does not build for SM90") as failure:
        find_target()
    assert failure.value.problems[0].fix == "pip install tensorrt"


@without_gpu
def test_an_engine_is_not_run_without_a_gpu(tmp_path):
    with pytest.raises(EnvironmentProblem, match="no CUDA device"), TensorRTRunner(tmp_path / "model.plan"):
        pass


def test_an_engine_without_its_passport_or_for_another_gpu(tmp_path, monkeypatch):
    Gpu(monkeypatch, 9, 0)
    plan = tmp_path / "model.fp32.rtx.plan"
    plan.write_bytes(b"plan")
    with pytest.raises(InputError, match="cannot be read"), TensorRTRunner(plan):
        pass
    passport = Passport(
        package="tensorrt_rtx",
        version="1",
        gpu=None,
        capabilities=("SM86",),
        onnx_sha256={},
        profile={},
        flags=(),
        tf32=False,
        messages=(),
    )
    plan.with_name(f"{plan.name}.json").write_text(passport.model_dump_json())
    with pytest.raises(EnvironmentProblem, match="an engine for SM90"), TensorRTRunner(plan):
        pass
