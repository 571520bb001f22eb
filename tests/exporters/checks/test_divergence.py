"""Where the error of an ONNX file starts: one weight of it is changed, and the module is to be found again."""

from dataclasses import dataclass
from functools import cache

import onnx
import pytest
import torch
from onnx import numpy_helper

from compressor.models.trims.simplify import trim
from exporters.checks.divergence import locate
from exporters.graph.quantise import quantise_dynamic
from tests.support.marks import slow
from tests.support.tiny_exports import full, full_onnx, inputs_of, samples, shallow, shallow_onnx, slim, slim_onnx

FINE, HALF, COARSE = 1e-4, 2e-2, 0.2  # of a module's largest value: fp32, fp16, int8


@dataclass(frozen=True)
class Case:
    """A model, its ONNX file, and a batch of its inputs."""

    model: object
    path: object
    inputs: dict


@pytest.fixture(scope="module")
def case_of(tmp_path_factory):
    """Each case by its name, traced once."""
    folder = tmp_path_factory.mktemp("exports")

    def of_family(family, task, precision="fp32"):
        model = shallow(family, task)
        return Case(model, shallow_onnx(family, task, precision=precision), inputs_of(model))

    def quantised():
        quantise_dynamic(full_onnx(), folder / "int8.onnx", [])
        return Case(full(), folder / "int8.onnx", samples())

    makers = {
        "meter": lambda: Case(full(), full_onnx(), samples()),
        "meter, trimmed": lambda: Case(trim(slim()), slim_onnx(), samples()),
        "meter, int8": quantised,
        "vilt": lambda: of_family("vilt", "vqa"),
        "bert": lambda: of_family("bert", "text-classification"),
        "bert, fp16": lambda: of_family("bert", "text-classification", "fp16"),
    }
    return cache(lambda name: makers[name]())


def changed(case, weight, tmp_path):
    """The file with one weight's first number much larger."""
    model = onnx.load(case.path)
    (found,) = (entry for entry in model.graph.initializer if entry.name.endswith(weight))
    values = numpy_helper.to_array(found).copy()
    values.flat[0] += 9
    found.CopyFrom(numpy_helper.from_array(values, found.name))
    onnx.save(model, tmp_path / "changed.onnx")
    return tmp_path / "changed.onnx"


@pytest.mark.parametrize(
    ("name", "tolerance", "module", "weight", "operator"),
    [
        ("meter", FINE, "prologue.text.LayerNorm", "bias", "LayerNormalization"),
        ("meter", FINE, "blocks.VEn0.mlp.fc1", "bias", "Add"),
        ("meter", FINE, "blocks.FL1.crossattention.self.query", "bias", "Add"),
        ("meter", FINE, "blocks.FL1.crossattention.output.LayerNorm", "weight", "LayerNormalization"),
        ("meter", FINE, "epilogue.head.3", "bias", "Gemm"),
        slow(("meter, trimmed", FINE, "blocks.FL2.block.output.LayerNorm", "bias", "LayerNormalization")),
        ("meter, int8", COARSE, "blocks.FV0.output.LayerNorm", "bias", "LayerNormalization"),
        ("meter, int8", COARSE, "epilogue.text_pooler.dense", "bias", "Add"),
        ("vilt", FINE, "blocks.En0.mlp.fc1", "bias", "Add"),
        ("bert", FINE, "blocks.En1.layer.intermediate.dense", "bias", "Add"),
        ("bert, fp16", HALF, "blocks.En0.layer.attention.output.dense", "bias", "Add"),
    ],
)
def test_the_changed_module_is_named(case_of, name, tolerance, module, weight, operator, tmp_path):
    case = case_of(name)
    path = changed(case, f"{module}.{weight}", tmp_path)
    found = locate(case.model, path, case.inputs, tolerance)
    assert found.divergence, found.reason
    assert (found.divergence.module, found.divergence.operator) == (module, operator)
    assert found.divergence.error > tolerance
    nodes = {node.name: node for node in onnx.load(path).graph.node}
    assert nodes[found.divergence.node].op_type == operator
    assert f"starts in {module}, at node {found.divergence.node}" in found.text


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("meter", FINE),
        ("meter, trimmed", FINE),
        ("meter, int8", COARSE),
        ("vilt", FINE),
        ("bert", FINE),
        ("bert, fp16", HALF),
    ],
)
def test_nothing_is_named_in_an_untouched_file(case_of, name, tolerance):
    case = case_of(name)
    found = locate(case.model, case.path, case.inputs, tolerance)
    assert found.divergence is None
    assert "modules compared are within" in found.text


def test_what_is_not_a_number_is_off(case_of, tmp_path):
    case = case_of("meter")
    model = onnx.load(changed(case, "blocks.FL0.output.LayerNorm.bias", tmp_path))
    (bias,) = (entry for entry in model.graph.initializer if entry.name.endswith("blocks.FL0.output.LayerNorm.bias"))
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) * float("nan"), bias.name))
    onnx.save(model, tmp_path / "broken.onnx")
    found = locate(case.model, tmp_path / "broken.onnx", case.inputs, FINE)
    assert found.divergence.module == "blocks.FL0.output.LayerNorm"


def test_weights_may_lie_beside_the_file(case_of, tmp_path):
    case = case_of("meter")
    model = onnx.load(changed(case, "blocks.FL1.intermediate.dense.bias", tmp_path))
    path = tmp_path / "apart.onnx"
    onnx.save(model, path, save_as_external_data=True, location="apart.onnx.data")
    assert locate(case.model, path, case.inputs, FINE).divergence.module == "blocks.FL1.intermediate.dense"


def test_without_notes_the_reason_is_given(case_of, tmp_path):
    case = case_of("meter")
    model = onnx.load(changed(case, "epilogue.head.3.bias", tmp_path))
    for node in model.graph.node:
        del node.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    found = locate(case.model, tmp_path / "bare.onnx", case.inputs, FINE)
    assert found.divergence is None
    assert "the nodes of bare.onnx do not name their modules" in found.text


def test_inputs_that_the_runtime_refuses_are_a_reason(case_of):
    case = case_of("meter")
    inputs = case.inputs | {"pixel_values": torch.zeros(2, 3, 64, 64)}
    found = locate(case.model, case.path, {**inputs, "input_ids": inputs["input_ids"].int()}, FINE)
    assert found.divergence is None
    assert "ONNX Runtime" in found.text
