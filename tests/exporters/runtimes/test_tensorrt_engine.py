"""TensorRT: engines are really built where TensorRT-RTX is installed; only a GPU could run them."""

import ast
import errno
import importlib
import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import exporters.checks.audit
import exporters.graph.onnx
import exporters.runtimes.tensorrt_engine
import exporters.runtimes.tensorrt_runner
from compressor.errors import EnvironmentProblem, InputError
from compressor.files import hashes_of
from exporters.checks.audit import Shares, audit_engine, audit_network, audit_sentences
from exporters.checks.records import Parity, read_record
from exporters.export import export
from exporters.graph.inputs import VARYING, shape_ranges
from exporters.graph.quantise import quantise_static
from exporters.runtimes.tensorrt import RUNTIME
from exporters.runtimes.tensorrt_engine import (
    EngineMetadata,
    Target,
    audit_plan,
    build_engine,
    capabilities_of,
    find_target,
    metadata_path,
    read_metadata,
    save_timing_cache,
    use_timing_cache,
)
from exporters.runtimes.tensorrt_runner import TensorRTRunner
from tests.support.command_line import GOLDEN, refused
from tests.support.marks import slow_but
from tests.support.tiny_exports import full, full_onnx, inputs_of, samples, shallow, shallow_onnx, slim

AHEAD = Target("tensorrt_rtx", ("SM86",), None)
NOWHERE = EngineMetadata(
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
needs_rtx = pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed")
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")

# The class of what each name stands for in the modules that use TensorRT.
CLASS_OF = {
    "boundary": "IAttentionBoundaryLayer",
    "boundary.attention": "IAttention",
    "builder": "Builder",
    "cache": "ITimingCache",
    "config": "IBuilderConfig",
    "engine": "ICudaEngine",
    "error": "ParserError",
    "inspector": "EngineInspector",
    "layer": "ILayer",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "self.context": "IExecutionContext",
    "self.engine": "ICudaEngine",
    "tensor": "ITensor",
    "trt.Runtime(logger)": "Runtime",
}
ONLY_RTX = {
    ("module", "ComputeCapability"),
    ("IBuilderConfig", "get_compute_capability"),
    ("IBuilderConfig", "num_compute_capabilities"),
    ("IBuilderConfig", "set_compute_capability"),
}
# What the walk must find at least: a variable with a new name would hide what is used of it.
CERTAINLY_USED = {
    ("Builder", "build_serialized_network"),
    ("IAttention", "decomposable"),
    ("ICudaEngine", "create_engine_inspector"),
    ("ILayer", "get_output"),
    ("IExecutionContext", "execute_async_v3"),
    ("ITimingCache", "serialize"),
    ("MemoryPoolType", "WORKSPACE"),
    ("OnnxParser", "supports_model_v2"),
}


def used_names():
    """Class and name of every attribute of TensorRT's that the modules touch."""
    for module in (
        exporters.runtimes.tensorrt_engine,
        exporters.checks.audit,
        exporters.runtimes.tensorrt_runner,
    ):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            if not isinstance(node, ast.Attribute):
                continue
            owner = ast.unparse(node.value)
            if owner == "trt":
                yield "module", node.attr
            elif owner in CLASS_OF:
                yield CLASS_OF[owner], node.attr
            elif owner.startswith("trt.") and owner.removeprefix("trt.").isidentifier():
                yield owner.removeprefix("trt."), node.attr


def of_tensorrt():
    """The same without Python's own names."""
    return {(owner, name) for owner, name in used_names() if not name.startswith("__")}


@pytest.mark.parametrize("version", ["10.16.1.11", "11.4.0.106", "rtx_1.7.1.116"])
def test_every_name_that_is_used_is_in_every_tensorrt(version):
    published = json.loads((GOLDEN / "tensorrt_api.json").read_text())[version]
    missing = {
        (owner, name)
        for owner, name in of_tensorrt()
        if name not in (published if owner == "module" else published.get(owner, ()))
    }
    assert missing == (set() if version.startswith("rtx") else ONLY_RTX)
    assert of_tensorrt() >= CERTAINLY_USED


@needs_rtx
def test_every_name_that_is_used_is_in_the_installed_tensorrt():
    import tensorrt_rtx

    for owner, name in set(used_names()):
        assert hasattr(tensorrt_rtx if owner == "module" else getattr(tensorrt_rtx, owner), name), (owner, name)


@needs_rtx
@without_gpu
def test_an_engine_is_built_ahead_of_time_and_said_to_be_unverified(tmp_path, monkeypatch):
    monkeypatch.setattr(exporters.graph.onnx, "export_onnx", lambda model, path, *_, **__: _copy(path))
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
    metadata = EngineMetadata.model_validate_json((tmp_path / "model.fp32.rtx.plan.json").read_bytes())
    assert (metadata.gpu, metadata.capabilities) == (None, ("SM86",))
    assert metadata.profile["input_ids"] == ((1, 1), (2, 12), (4, 12))
    assert metadata.profile["pixel_values"] == ((1, 3, 64, 64), (2, 3, 64, 64), (4, 3, 64, 64))
    assert metadata.onnx_sha256 == onnx_file.parity.sha256
    assert metadata.strongly_typed
    assert not metadata.tf32
    assert (metadata.workspace, metadata.timing_cache) == (None, "does nothing")
    audit = metadata.audit
    assert (audit.counted_on, audit.asked, audit.layer_share, audit.weight_share) == ("network", "fp32", 1, 1)

    def not_again(*_, **__):
        raise AssertionError("the ONNX file is there")

    monkeypatch.setattr(exporters.graph.onnx, "export_onnx", not_again)
    again = export(full(), samples(), tmp_path, ["trt"])
    assert again.exports[0].notes == ("exported before; compared again on a few samples",)


@needs_rtx
@without_gpu
@pytest.mark.parametrize(("precision", "read"), [("fp16", "model.fp16.onnx"), ("int8", "model.int8.qdq.onnx")])
def test_an_engine_of_a_precision_from_model_to_metadata(tmp_path, precision, read):
    model = shallow("meter", "vqa")
    report = export(model, inputs_of(model), tmp_path, ["trt"], precision=precision)
    plan, source = f"model.{precision}.rtx.plan", ["model.onnx"] * (precision == "int8")
    made = [name for file in (*source, read, plan) for name in (file, f"{file}.parity.json")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*made, f"{plan}.json"])
    assert [entry.files[0] for entry in report.exports] == [*source, read, plan]
    assert [entry.parity.status for entry in report.exports] == ["passed"] * (len(source) + 1) + ["not verified"]
    assert [read_record(tmp_path / entry.files[0]) for entry in report.exports] == [
        entry.parity for entry in report.exports
    ]
    metadata = read_metadata(tmp_path / plan)
    assert metadata.onnx_sha256 == hashes_of(tmp_path / read)
    assert metadata.audit.asked == precision
    assert metadata.audit.weight_share > 0.9
    assert 0.1 < metadata.audit.layer_share < 1


def _copy(path):
    path.write_bytes(full_onnx().read_bytes())
    return full_onnx()


@needs_rtx
@without_gpu
def test_an_onnx_file_that_answers_differently_is_not_built_from(tmp_path, monkeypatch):
    monkeypatch.setattr(exporters.graph.onnx, "export_onnx", lambda model, path, *_, **__: _copy(path))
    export(full(), samples(), tmp_path, ["onnx"])

    class Reached(Exception):
        pass

    def reached(*_, **__):
        raise Reached

    monkeypatch.setattr(exporters.graph.onnx, "export_onnx", reached)
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
    with refused(EnvironmentProblem, "graph-refused", "DynamicQuantizeLinear: UNSUPPORTED_NODE"):
        build_engine(tmp_path / "model.onnx", tmp_path / "model.plan", {}, AHEAD, parameters=100)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def saved(folder, nodes, weights=(), opset=20):
    """An ONNX file of x, (batch, 4), to y with these nodes and weights."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
    kept = [numpy_helper.from_array(value, name) for name, value in weights]
    graph = helper.make_graph(nodes, "graph", [x], [y], kept)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), folder / "model.onnx")
    return folder / "model.onnx"


SHAPES = {"x": ((1, 4), (2, 4), (8, 4))}


@needs_rtx
@without_gpu
def test_every_node_that_tensorrt_refuses_is_named(tmp_path):
    chain = ["x", *(f"value{number}" for number in range(7)), "last", "y"]
    operators = ["FastGelu"] * 7 + ["QuickGelu", "Identity"]
    domains = ["com.microsoft"] * 8 + [""]
    nodes = [
        helper.make_node(operator, [chain[place]], [chain[place + 1]], name=f"node_{place}", domain=domains[place])
        for place, operator in enumerate(operators)
    ]
    with pytest.raises(EnvironmentProblem) as failure:
        build_engine(saved(tmp_path, nodes), tmp_path / "model.plan", SHAPES, AHEAD, parameters=100)
    assert failure.value.codes == ("graph-refused",)
    found = failure.value.problems[0].found
    assert "at node_0, node_1, node_2, node_3, node_4 and 2 more" in found
    assert "QuickGelu" in found
    assert "node_7" in found


@needs_rtx
@without_gpu
def test_a_workspace_is_kept_to_or_the_engine_is_not_built(tmp_path):
    weights = [("w", np.ones((4, 4), np.float32))]
    path = saved(tmp_path, [helper.make_node("MatMul", ["x", "w"], ["y"])], weights)
    engine = build_engine(path, tmp_path / "model.plan", SHAPES, AHEAD, parameters=100, workspace=1 << 30)
    assert engine.metadata.workspace == 1 << 30
    assert EngineMetadata.model_validate_json(metadata_path(engine.path).read_bytes()) == engine.metadata
    shapes = {name: ((1, *rows.shape[1:]), tuple(rows.shape), tuple(rows.shape)) for name, rows in samples().items()}
    with refused(EnvironmentProblem, "engine-not-built", "1024 bytes") as failure:
        build_engine(full_onnx(), tmp_path / "other.plan", shapes, AHEAD, parameters=100, workspace=1024)
    assert failure.value.problems[0].fix == "a larger --workspace, or none"
    assert not (tmp_path / "other.plan").exists()


TASK = {"meter": "vqa", "vilt": "vqa", "bert": "text-classification"}


def built(family, path, plan):
    """The engine of a graph of a shallow model, for batches of one to three."""
    model = shallow(family, TASK[family])
    return build_engine(path, plan, shape_ranges(model, inputs_of(model), (1, 2, 3), VARYING), AHEAD, parameters=100)


@needs_rtx
@without_gpu
@pytest.mark.parametrize("family", slow_but(["bert"], TASK))  # those of text have heads of 12, no multiple of 8
def test_attention_operators_build_in_every_precision(tmp_path, family):
    graph = shallow_onnx(family, TASK[family], form="operator")
    quantise_static(graph, tmp_path / "model.onnx", inputs_of(shallow(family, TASK[family])))
    half = shallow_onnx(family, TASK[family], form="operator", precision="fp16")
    for path in (graph, half, tmp_path / "model.onnx"):
        assert built(family, path, tmp_path / "model.plan").bytes


@needs_rtx
@without_gpu
def test_an_engine_of_attention_operators_that_is_not_built_has_another_form(tmp_path):
    model, graph = shallow("bert", TASK["bert"]), shallow_onnx("bert", TASK["bert"], form="operator")
    shapes = shape_ranges(model, inputs_of(model), (1, 2, 3), VARYING)
    with refused(EnvironmentProblem, "engine-not-built") as failure:
        build_engine(graph, tmp_path / "model.plan", shapes, AHEAD, parameters=100, workspace=1024)
    assert failure.value.problems[0].fix == "a larger --workspace, or none, or --attention composed"


def parsed(path):
    """The network TensorRT-RTX makes of an ONNX file, with what must outlive it."""
    import tensorrt_rtx as trt

    builder = trt.Builder(exporters.runtimes.tensorrt_engine._logger(trt)[0])
    network = exporters.runtimes.tensorrt_engine._network(trt, builder)
    parser = trt.OnnxParser(network, builder.logger)
    assert parser.parse_from_file(str(path))
    return network, (builder, parser)


@needs_rtx
@without_gpu
def test_the_audit_counts_what_stayed_in_float32(tmp_path):
    weights = [
        ("w", np.ones((4, 4), np.float16)),
        ("v", np.ones((4, 4), np.float16)),
        ("u", np.ones((4, 4), np.float32)),
    ]
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["half", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "v"], ["b"]),
        helper.make_node("Cast", ["b"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["c", "u"], ["d"]),
        helper.make_node("Softmax", ["d"], ["y"]),
    ]
    network, _alive = parsed(saved(tmp_path, nodes, weights))
    found = audit_network(network, "fp16", 300, 100)
    assert found.layers == {"fp16": 2, "fp32": 2}
    assert found.weights == {"fp16": 32, "fp32": 16}
    assert (found.layer_share, found.weight_share) == (0.5, pytest.approx(2 / 3))


@needs_rtx
@without_gpu
def test_the_audit_takes_a_product_between_quantised_numbers_for_int8(tmp_path):
    weights = [
        ("scale", np.float32(0.1)),
        ("scales", np.full(4, 0.1, np.float32)),
        ("zero", np.int8(0)),
        ("zeros", np.zeros(4, np.int8)),
        ("w", np.ones((4, 4), np.int8)),
        ("v", np.ones((4, 4), np.float32)),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "scales", "zeros"], ["wd"], axis=1),
        helper.make_node("MatMul", ["d", "wd"], ["a"]),
        helper.make_node("MatMul", ["a", "v"], ["y"]),
    ]
    network, _alive = parsed(saved(tmp_path, nodes, weights))
    found = audit_network(network, "int8", 300, 100)
    assert found.layers == {"int8": 1, "fp32": 1}
    assert found.weights == {"int8": 16, "fp32": 16}
    assert found.shares == Shares(macs=None, bytes=found.shares.bytes, bytes_per_parameter=3.0)
    assert 0.1 < found.shares.bytes < 16 / (16 + 4 * 16)  # beside the weights there are scales
    sentence, held = audit_sentences(found)
    assert sentence.endswith("compute in int8, as declared, not as executed")
    assert held.startswith("int8: 1") and held.endswith(" % of bytes; 3.00 bytes a parameter")


def layers_of(version):
    """An engine's layers as inspectors of TensorRT 10 and 11 write them."""

    def value(kind):
        return {"Format/Datatype": kind[0]} if version == 10 else {"Format": "LINEAR", "DataType": kind[1]}

    half, wide, quantised = ("Half", "FP16"), ("Row major linear FP32 format", "FP32"), ("Int8", "INT8")
    return [
        {"Name": "copy", "LayerType": "Reformat", "Inputs": [value(wide)], "Outputs": [value(half)]},
        {"Name": "a", "LayerType": "gemm", "Inputs": [value(half)], "Outputs": [value(half)]},
        {
            "Name": "b",
            "LayerType": "CaskGemmConvolution",
            "Inputs": [value(quantised)],
            "Outputs": [value(half)],
            "Weights": {"Type": "Int8", "Count": 30},
        },
        {
            "Name": "c",
            "LayerType": "kgen",
            "Inputs": [value(wide)],
            "Outputs": [value(wide)],
            "Weights": {"Type": "Half", "Count": 10},
        },
        {"Name": "d", "LayerType": "shape_call"},
    ]


@pytest.mark.parametrize(("version", "values"), [(10, "Bindings"), (11, "I/O Tensors")])
def test_the_audit_reads_what_both_versions_say_of_an_engine(version, values):
    found = audit_engine(json.dumps({"Layers": layers_of(version), values: []}), "fp16")
    assert found.counted_on == "engine"
    assert found.layers == {"fp16": 1, "int8": 1, "fp32": 1}
    assert found.weights == {"int8": 30, "fp16": 10}
    assert (found.layer_share, found.weight_share) == (pytest.approx(1 / 3), 0.25)


def test_an_engine_that_names_its_layers_only_is_not_counted():
    found = audit_engine(json.dumps({"Layers": ["gemm", "softmax"], "Bindings": []}), "fp16")
    assert (found.layers, found.layer_share, found.weight_share) == ({}, None, None)


class Inspected:
    """An engine and TensorRT as far as :func:`audit_plan` looks."""

    class LayerInformationFormat:
        JSON = "JSON"

    def create_engine_inspector(self):
        return self

    def get_engine_information(self, form):
        return json.dumps({"Layers": layers_of(11), "I/O Tensors": []})


def test_the_finding_replaces_the_metadata_whole_or_not_at_all(tmp_path, monkeypatch):
    plan = tmp_path / "model.fp16.rtx.plan"
    plan.write_bytes(b"plan")
    metadata_path(plan).write_text(NOWHERE.model_dump_json())
    monkeypatch.setattr(exporters.runtimes.tensorrt_engine, "load_engine", lambda path: (Inspected(), Inspected))
    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_text", full_disk)
        with refused(EnvironmentProblem, "cannot-write", "No space left"):
            audit_plan(plan, "fp16")
    assert read_metadata(plan) == NOWHERE
    assert audit_plan(plan, "fp16") == read_metadata(plan)
    assert read_metadata(plan).audit.counted_on == "engine"
    assert sorted(tmp_path.iterdir()) == [plan, metadata_path(plan)]


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@needs_rtx
@without_gpu
def test_times_are_kept_and_used_again(tmp_path):
    import tensorrt_rtx as trt

    # Its timing cache measures nothing, but is stored and loaded like TensorRT's.
    config = trt.Builder(exporters.runtimes.tensorrt_engine._logger(trt)[0]).create_builder_config()
    path = tmp_path / "timing.cache"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert use_timing_cache(config, path) == "new"
        save_timing_cache(config, path)
        assert path.stat().st_size
        assert use_timing_cache(config, path) == "used"


@needs_rtx
@without_gpu
def test_a_profile_that_does_not_fit(tmp_path):
    shapes = {name: (tuple(rows.shape[1:]),) * 3 for name, rows in samples().items()}  # the batch axis forgotten
    with refused(EnvironmentProblem, "engine-not-built", "tensorrt_rtx"):
        build_engine(full_onnx(), tmp_path / "model.plan", shapes, AHEAD, parameters=100)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ModuleNotFoundError("none"), ImportError("libnvonnxparser"), OSError("libnvinfer")])
@without_gpu
def test_without_tensorrt_the_command_that_installs_it(tmp_path, monkeypatch, error):
    def missing(name):
        raise error

    monkeypatch.setattr(importlib, "import_module", missing)
    with refused(EnvironmentProblem, "tensorrt-missing", "pip install tensorrt-rtx") as failure:
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
    reason = "does not build for 9.0, only for 7.5, "
    with refused(EnvironmentProblem, "tensorrt-missing", reason) as failure:
        find_target()
    assert failure.value.problems[0].fix == "pip install tensorrt"


@needs_rtx
def test_a_gpu_that_rtx_does_not_know_is_named_by_doctor_and_before_anything_is_traced(tmp_path, monkeypatch):
    Gpu(monkeypatch, 9, 0)
    _, rtx = RUNTIME.probe()
    assert not rtx.ok
    assert "does not build for 9.0, only for 7.5, " in rtx.found
    assert "das-toolkit[tensorrt]" in rtx.fix
    if importlib.util.find_spec("tensorrt"):
        return  # which builds for it
    monkeypatch.setattr(exporters.graph.onnx, "export_onnx", None)
    with refused(EnvironmentProblem, "tensorrt-missing", rtx.found):
        export(full(), samples(), tmp_path, ["trt"])
    assert not any(tmp_path.iterdir())


@needs_rtx
@without_gpu
def test_an_engine_is_for_the_capabilities_that_the_builder_was_told_and_never_for_the_current_one(tmp_path):
    import tensorrt_rtx as trt

    assert not {"CURRENT", "NONE"} & {*capabilities_of(trt)}
    path = saved(tmp_path, [helper.make_node("Identity", ["x"], ["y"])])
    target = Target("tensorrt_rtx", ("SM89", "SM120"), None)
    assert build_engine(path, tmp_path / "model.plan", SHAPES, target, parameters=100).metadata.capabilities == (
        "SM89",
        "SM120",
    )


@without_gpu
def test_an_engine_is_not_run_without_a_gpu(tmp_path):
    with (
        refused(EnvironmentProblem, "no-cuda-device", tmp_path / "model.plan"),
        TensorRTRunner(tmp_path / "model.plan"),
    ):
        pass


def test_an_engine_without_its_metadata_or_for_another_gpu(tmp_path, monkeypatch):
    Gpu(monkeypatch, 9, 0)
    plan = tmp_path / "model.fp32.rtx.plan"
    plan.write_bytes(b"plan")
    with refused(InputError, "export-unreadable", plan), TensorRTRunner(plan):
        pass
    metadata_path(plan).write_text(NOWHERE.model_dump_json())
    with refused(EnvironmentProblem, "engine-for-other-gpu", "SM90"), TensorRTRunner(plan):
        pass
