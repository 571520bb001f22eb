"""OpenVINO: files of every precision answer as the model does, compute in what they say, and layers stay in float."""

import shutil
import sys
from contextlib import ExitStack
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from compressor.costs.macs import linear_share
from compressor.errors import EnvironmentProblem, InputError
from compressor.families import FAMILIES
from compressor.files import hashes_of
from exporters.checks.parity import check, parity_batches
from exporters.export import export
from exporters.folder import count_bytes
from exporters.graph.inputs import VARYING
from exporters.graph.precision import PRECISIONS
from exporters.runtimes import find_runtime
from exporters.runtimes.openvino import openvino_audit, openvino_ir, openvino_runner
from exporters.runtimes.openvino.openvino_ir import calibration_batches, read_graph, write_float, write_int8
from exporters.runtimes.openvino.openvino_runner import OpenVINORunner, compile_file, has_bf16, read_model
from exporters.runtimes.runner import Refused
from exporters.runtimes.runtime import ModelSource, Trial
from exporters.runtimes.torch_runner import TorchRunner
from tests.support.command_line import refused
from tests.support.marks import slow_but
from tests.support.tiny_exports import inputs_of, shallow, shallow_onnx

OPENVINO = find_runtime("ov")
TRIED = ("meter", "vilt", "roberta", "bert", "distilbert", "mpnet", "albert")


class Case:
    """A shallow model, its graph, what it reads, and the files that are made of it."""

    def __init__(self, family, folder):
        task = "vqa" if family in ("meter", "vilt") else "text-classification"
        self.model, self.graph, self.folder = shallow(family, task), shallow_onnx(family, task), folder
        self.inputs = inputs_of(self.model)
        self.write = cache(self.write)

    def write(self, precision, in_float=()):
        path = self.folder / f"model.{precision}.{len(in_float)}.ov.xml"
        if precision == "int8":
            write_int8(self.graph, path, calibration_batches(self.model, self.inputs, VARYING), in_float)
        else:
            write_float(self.graph, path, "bf16" if precision == "bf16" else "f32", halved=precision != "fp32")
        return path

    def compare(self, precision):
        """Compare at every size: batches, shorter texts, narrower images."""
        family, kind = FAMILIES[self.model.family], PRECISIONS[precision]
        with TorchRunner(self.model, "cpu") as ours, OpenVINORunner(self.write(precision), threads=1) as theirs:
            batches = parity_batches(self.model, self.inputs, (1, 2))
            return check(family, ours, theirs, batches, family.tolerances[precision], kind.relative)


@pytest.fixture(scope="module")
def case_of(tmp_path_factory):
    return cache(lambda family: Case(family, tmp_path_factory.mktemp(family)))


@pytest.mark.parametrize("family", slow_but(["roberta"], TRIED))
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_answers_are_the_models_at_every_size(case_of, family, precision):
    comparison = case_of(family).compare(precision)
    assert comparison.status == "passed", comparison.reason
    assert len(comparison.text_lengths) == 2
    assert comparison.max_abs_error > {"fp32": 0, "fp16": 1e-5, "int8": 1e-3}[precision]


def test_bfloat16_is_computed_where_the_cpu_has_it_and_refused_elsewhere(case_of, monkeypatch):
    case, bf16 = case_of("roberta"), PRECISIONS["bf16"]
    if has_bf16():
        comparison = case.compare("bf16")
        assert comparison.status == "passed"
        assert comparison.max_abs_error > 1e-4
        assert OPENVINO.refuses(bf16, "cpu") == ""
    monkeypatch.setattr(openvino_runner, "has_bf16", lambda: False)
    assert "avx512_bf16" in OPENVINO.refuses(bf16, "cpu")
    with refused(EnvironmentProblem, "precision-not-here"), OpenVINORunner(case.write("bf16")):
        pass


def spelled(setting):
    """A property as it is told to OpenVINO."""
    return setting.to_string() if hasattr(setting, "to_string") else getattr(setting, "name", setting)


def test_float32_is_pinned_also_where_the_cpu_has_bfloat16(case_of):
    compiled = compile_file(case_of("roberta").write("fp32"), threads=1)
    told = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    for name, value in {**told, "ENABLE_CPU_PINNING": False}.items():
        assert spelled(compiled.get_property(name)) == value, name


def test_operations_have_the_names_of_their_modules(case_of):
    case = case_of("roberta")
    names = [op.get_friendly_name() for op in read_graph(case.graph).get_ops() if op.get_type_name() == "MatMul"]
    modules = {name.partition("/")[0] for name in names}
    linear = {name for name, module in case.model.named_modules() if type(module).__name__ == "Linear"}
    assert linear <= modules  # the products of attention are those of modules above
    others = [op for op in read_graph(case.graph).get_ops() if op.get_type_name() not in openvino_ir.WITHOUT_TIME]
    assert sum("/" not in op.get_friendly_name() for op in others) < len(others) / 10


def int8_products(path):
    """The modules whose products read int8 weights."""

    def weighted(op):
        source = op.input_value(1).get_node()
        while source.get_type_name() in ("Multiply", "Convert", "Subtract"):
            source = source.input_value(0).get_node()
        return source.get_type_name() == "Constant" and source.get_element_type().to_string() == "i8"

    products = [op for op in read_model(path).get_ops() if op.get_type_name() == "MatMul"]
    return {op.get_friendly_name().partition("/")[0] for op in products if weighted(op)}


def test_held_back_layers_stay_in_float(case_of):
    case = case_of("roberta")
    every = int8_products(case.write("int8"))
    held = tuple(sorted(every))[:2]
    assert int8_products(case.write("int8", held)) == every - set(held)


def test_no_range_ends_below_what_a_sample_has(tmp_path):
    """As in a fitted adapter, whose ReLU is kept open by its bias: what tells samples apart lies at the upper end."""
    rng = np.random.default_rng(0)
    down, up = rng.normal(size=(16, 4)), rng.normal(size=(4, 16))
    constants = {"down": down, "bias": np.full(4, 30.0), "up": up}
    nodes = [
        ("MatMul", ["x", "down"], "h"),
        ("Add", ["h", "bias"], "b"),
        ("Relu", ["b"], "r"),
        ("MatMul", ["r", "up"], "y"),
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, reads, [writes], name=f"{kind}_{writes}") for kind, reads, writes in nodes],
        "adapter",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 8, 16])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 8, 16])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "adapter.onnx")
    samples = [
        size * torch.tensor(rng.normal(size=(1, 8, 16)), dtype=torch.float32) for size in np.linspace(0.2, 2, 10)
    ]
    write_int8(tmp_path / "adapter.onnx", tmp_path / "adapter.ov.xml", [{"x": x} for x in samples])
    largest = samples[-1].numpy()
    expected = np.maximum(largest @ down + 30, 0) @ up
    (found,) = compile_file(tmp_path / "adapter.ov.xml", 1)({"x": largest}).values()
    assert np.abs(found - expected).mean() < 0.03 * expected.std()


@pytest.mark.parametrize("family", ["meter", "bert"])
def test_int8_is_what_nncf_makes_of_the_model(case_of, family):
    case = case_of(family)
    nncf = openvino_runner.import_nncf()
    samples = [
        {name: x.numpy() for name, x in one.items()} for one in calibration_batches(case.model, case.inputs, VARYING)
    ]
    model, options = read_graph(case.graph), nncf.quantization.advanced_parameters
    left = openvino_ir._lookups_of_one_row(model.get_ordered_ops())
    expected = nncf.quantize(
        model,
        nncf.Dataset(samples),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(samples),
        ignored_scope=nncf.IgnoredScope(names=left),
        advanced_parameters=options.AdvancedQuantizationParameters(
            smooth_quant_alphas=options.AdvancedSmoothQuantParameters(matmul=-1),
            activations_range_estimator_params=nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX,
            disable_bias_correction=True,
        ),
    )
    found = read_model(case.write("int8"))
    ours, theirs = (
        [op.data for op in each.get_ordered_ops() if op.get_type_name() == "Constant"] for each in (found, expected)
    )
    assert len(ours) == len(theirs)
    for own, nncfs in zip(ours, theirs, strict=True):
        assert own.dtype == nncfs.dtype
        np.testing.assert_array_equal(own, nncfs)


def test_ranges_are_taken_from_the_first_samples(case_of):
    case = case_of("roberta")
    many = {name: x[torch.arange(40) % len(x)] for name, x in case.inputs.items()}
    batches = calibration_batches(case.model, many, VARYING)
    assert len(batches) == openvino_ir.SAMPLES
    assert all(len(batch["input_ids"]) == 1 for batch in batches)
    case = case_of("meter")
    many = {name: x[torch.arange(40) % len(x)] for name, x in case.inputs.items()}
    assert len(calibration_batches(case.model, many, VARYING)) == openvino_ir.SAMPLES


def test_int8_says_nothing_and_takes_one_byte_a_weight(case_of, capfd):
    case = case_of("roberta")
    path = case.folder / "quiet.int8.ov.xml"
    write_int8(case.graph, path, calibration_batches(case.model, case.inputs, VARYING))
    assert capfd.readouterr() == ("", "")
    assert set(hashes_of(path)) == {"quiet.int8.ov.xml", "quiet.int8.ov.bin"}
    weights = sum(parameter.numel() for parameter in case.model.parameters())
    assert path.with_suffix(".bin").stat().st_size < 1.6 * weights  # tiny ones have as many scales as weights
    assert count_bytes(path) == sum(part.stat().st_size for part in (path, path.with_suffix(".bin")))


def test_nothing_is_reported_to_the_makers(case_of):
    case_of("roberta").write("int8")
    assert sys.modules.get("openvino_telemetry", "") is not None  # nobody else is kept from it
    from nncf.telemetry import telemetry

    assert not hasattr(telemetry, "MEASUREMENT_ID") or "Mock" in type(telemetry).__name__


def test_an_export_has_its_graph_its_weights_and_a_record(case_of, tmp_path, capfd, monkeypatch):
    case = case_of("roberta")
    monkeypatch.setattr("exporters.graph.onnx.export_onnx", lambda model, path, *_, **__: shutil.copy(case.graph, path))
    report = export(case.model, case.inputs, tmp_path, ["openvino"], precision="int8")
    assert capfd.readouterr() == ("", "")
    graph, made = report.exports
    assert graph.files == ("model.onnx",)
    assert made.files == ("model.int8.ov.xml", "model.int8.ov.bin")
    assert made.parity.status == "passed"
    assert set(made.parity.sha256) == set(made.files)
    assert {"openvino", "nncf"} <= made.parity.versions.keys()
    assert "NUM_STREAMS=1, ENABLE_CPU_PINNING=False" in made.parity.runtime


def test_a_damaged_file_is_refused(case_of, tmp_path):
    path = tmp_path / "model.ov.xml"
    with refused(InputError, "export-missing"), OpenVINORunner(path):
        pass
    path.write_text("<net>")
    with refused(Refused, "export-unreadable"), OpenVINORunner(path):
        pass
    write_float(case_of("roberta").graph, path, "f32", halved=False)
    path.with_suffix(".bin").write_bytes(b"few")
    with refused(Refused, "export-unreadable"), OpenVINORunner(path):
        pass


def test_inputs_that_do_not_fit_are_refused(case_of):
    case = case_of("roberta")
    ids = case.inputs["input_ids"]
    with OpenVINORunner(case.write("fp32"), threads=1) as runner:
        with refused(InputError, "input-missing"):
            runner.run({"input_ids": ids})
        for wrong in (ids.float(), ids.flatten()):
            with refused(Refused, "runtime-refused"):
                runner.run({**case.inputs, "input_ids": wrong})
        with refused(Refused, "shapes-differ", "input_ids"):
            runner.run({**case.inputs, "input_ids": ids[:, :-1]})


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with refused(EnvironmentProblem, "openvino-missing", "das-toolkit[openvino]"):
        OPENVINO.check("cpu")
    (probe,) = OPENVINO.probe()
    assert not probe.ok
    with refused(EnvironmentProblem, "openvino-on-cpu"):
        OPENVINO.check("cuda")


def audited(case, path, precision):
    trial = Trial(case.model, case.inputs, "cpu")
    return OPENVINO.audit(path, PRECISIONS[precision], trial)


def test_shares_are_those_of_the_kernels_that_ran(case_of):
    case = case_of("roberta")
    linear = linear_share(case.model, case.inputs)
    rounded, plain = (audited(case, case.write(kind), "int8") for kind in ("int8", "fp32"))
    assert rounded.shares.macs >= linear
    assert plain.shares.macs == 0  # its name alone makes no file int8
    assert plain.layers.keys() <= {"fp32", "unknown"}
    held = audited(case, case.write("int8", tuple(sorted(int8_products(case.write("int8"))))), "int8")
    assert held.shares.macs < 1 - linear
    assert rounded.shares.bytes_per_parameter == pytest.approx(
        count_bytes(case.write("int8")) / sum(parameter.numel() for parameter in case.model.parameters())
    )
    if has_bf16():
        assert audited(case, case.write("bf16"), "bf16").shares.macs > 0.9


def test_kernels_that_keep_their_types_to_themselves_are_not_said_to_be_float(case_of, monkeypatch):
    monkeypatch.setattr(openvino_audit, "KERNELS", ())
    case = case_of("roberta")
    assert audited(case, case.write("int8"), "int8").shares.macs is None


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_times_of_kernels_are_those_of_layers(case_of, precision):
    case = case_of("roberta")
    with ExitStack() as stack:
        source = ModelSource(lambda: case.model, case.write(precision))
        watched = OPENVINO.watch(source, case.inputs, "cpu", 1, stack)
        for _ in range(6):
            watched.watched()
        taken = watched.taken(1e9)
    assert {"prologue", *case.model.layers, "head"} <= taken.keys()
    layers = sum(taken[name][0] for name in case.model.layers)
    assert layers > 0
    assert taken.get("shared", [0.0])[0] < layers / 4


def test_its_own_product_is_one(case_of):
    assert OPENVINO.product(8, "cpu", 1)() is not None
