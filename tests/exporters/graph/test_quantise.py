"""int8 graphs: weights really are int8, answers stay close, sensitive layers are found and left in float."""

import copy
import importlib
import logging
import shutil
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import exporters.graph.onnx
from compressor.errors import InputError
from compressor.families import FAMILIES
from compressor.files import hashes_of
from compressor.models.steps import steps_of
from compressor.models.surgery import make_plan, remove_layers
from exporters.graph.artifacts import rounded_graph
from exporters.graph.onnx import export_onnx
from exporters.graph.precision import PRECISIONS
from exporters.graph.quantise import (
    find_lookups,
    nodes_of,
    quantise_dynamic,
    quantise_static,
    round_tables,
)
from exporters.graph.sensitivity import hold_back, sensitivities
from exporters.request import Request
from exporters.runtimes.sessions import OnnxRunner
from exporters.runtimes.tensorrt_engine import Target, build_engine
from exporters.runtimes.torch_runner import TorchRunner
from tests.support import tiny_exports as exported
from tests.support import tiny_models as tiny
from tests.support.command_line import refused
from tests.support.marks import slow_but

# Norm of the error of the logits, in norms of the logits; two layers of width 48. Dynamic files have weights of 7 bits.
CLOSE = {"dynamic": 0.1, "static": 0.06}
WAYS, WORDS, EMBEDDINGS = tuple(CLOSE), "word_embeddings", "_embeddings"
needs_rtx = pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed")


class Case:
    """A tiny model, real-looking inputs, and its ONNX files in float and int8, in a folder of their own."""

    def __init__(self, model, samples, folder, source=None):
        self.model, self.samples, self.folder = model, samples, folder
        self.source = source or folder / "model.onnx"
        if source is None:
            export_onnx(model, self.source, samples)
        self.quantise = cache(self.quantise)  # no test changes a file
        with TorchRunner(model, "cpu") as runner:
            self.logits = runner.run(samples)

    def quantise(self, way, name="", kept=()):
        target = self.folder / f"{name}{way}.onnx"
        if way == "dynamic":
            quantise_dynamic(self.source, target, kept)
        else:
            quantise_static(self.source, target, self.samples, kept)
        return target

    def error(self, path):
        with OnnxRunner(path, threads=1) as runner:
            return float((runner.run(self.samples) - self.logits).norm() / self.logits.norm())


def shallow(family, task, prepare=lambda model: None):
    """The tiny model of a family without all but its last two layers."""
    model = tiny.model(family, task)
    prepare(model)
    layers = [step.name for step in steps_of(model.rounds) if step.pool]
    return remove_layers(model, make_plan(model, layers[:-2])).eval()


def samples_of(model):
    given = tiny.batch(model)
    return {name: given[name] for name in FAMILIES[model.family].input_names}


@pytest.fixture(scope="module")
def case_of(tmp_path_factory):
    @cache
    def made(family):
        folder = tmp_path_factory.mktemp(family)
        if family == "meter":
            model = tiny.model("meter", "vqa", shallow=True)
        else:
            model = shallow(family, "vqa" if family == "vilt" else "text-classification")
        return Case(model, samples_of(model), folder)

    return made


def graph_of(path):
    return onnx.load(path).graph


def products_of(path):
    """The linear layer by node name: what can be int8, but for the embeddings."""
    return {node: layer for node, layer in nodes_of(path).items() if not layer.endswith(EMBEDDINGS)}


def values_of(graph):
    return {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}


@pytest.mark.parametrize("family", slow_but(["meter", "roberta"], ["meter", "vilt", "roberta", "bert"]))
@pytest.mark.parametrize("way", WAYS)
def test_the_answers_stay_close_at_every_size(case_of, family, way):
    case = case_of(family)
    path = case.quantise(way)
    assert 0 < case.error(path) < CLOSE[way]
    length = case.samples["input_ids"].shape[1]
    smaller = {
        name: rows[:1, : length // 2] if rows.shape[1:] == (length,) else rows[:1]
        for name, rows in case.samples.items()
    }
    with OnnxRunner(path, threads=1) as theirs, TorchRunner(case.model, "cpu") as ours:
        expected = ours.run(smaller)
        # Twice as far: static ranges come from other, longer texts.
        assert (theirs.run(smaller) - expected).norm() < 2 * CLOSE[way] * expected.norm()


@pytest.mark.parametrize("family", slow_but(["meter", "roberta"], ["meter", "vilt", "roberta", "bert"]))
def test_every_linear_layer_and_embedding_is_found_by_name(case_of, family):
    case = case_of(family)
    layers = {name for name, module in case.model.named_modules() if isinstance(module, nn.Linear)}
    layers |= {name for name, _ in case.model.named_modules() if name.endswith(EMBEDDINGS)}
    assert Counter(nodes_of(case.source).values()) == Counter(layers)


@pytest.mark.parametrize("family", ["meter", "roberta"])
def test_dynamic_weights_are_int8_and_everything_else_is_as_before(case_of, family):
    case = case_of(family)
    layers = products_of(case.source)
    before, after = values_of(graph_of(case.source)), graph_of(case.quantise("dynamic"))
    products = [node for node in after.node if node.op_type == "MatMulInteger"]
    assert len(products) == len(layers)
    now = values_of(after)
    for node in products:
        weight, scales = now[node.input[1]], now[node.input[1].replace("_quantized", "_scale")]
        assert (len(node.input), weight.dtype, scales.shape) == (
            3,
            np.int8,
            weight.shape[1:],
        )  # per channel, no zero point
        # 7 bits: whatever the activations are, the sum of two products fits into 16 bits.
        assert np.abs(weight.astype(int)).max() in (64, 0)  # 0: an adapter that starts at nothing
        assert 2 * 255 * 64 <= np.iinfo(np.int16).max < 2 * 255 * 65
    for name in now.keys() & before.keys():
        np.testing.assert_array_equal(now[name], before[name])
    tables = {name for name in before if name.endswith(f"{EMBEDDINGS}.weight")}
    assert tables
    assert {f"{name}_quantized" for name in tables} <= now.keys() - tables
    assert not {node.op_type for node in after.node} & {"Gemm"}


@pytest.mark.parametrize("family", ["meter", "roberta"])
def test_static_graphs_have_what_tensorrt_reads(case_of, family):
    case = case_of(family)
    layers = products_of(case.source)
    graph = graph_of(case.quantise("static"))
    values, made_by = values_of(graph), {name: node for node in graph.node for name in node.output}
    assert not {node.domain for node in graph.node} - {"", "ai.onnx"}
    quantised_nodes = [node for node in graph.node if node.name in layers]
    assert len(quantised_nodes) == len(layers)
    for node in quantised_nodes:
        activation, weight = (made_by[name] for name in node.input[:2])
        assert (activation.op_type, weight.op_type) == ("DequantizeLinear", "DequantizeLinear")
        assert made_by[activation.input[0]].op_type == "QuantizeLinear"
        assert values[weight.input[0]].dtype == np.int8
        axis = next(entry.i for entry in weight.attribute if entry.name == "axis")
        assert values[weight.input[1]].shape == (values[weight.input[0]].shape[axis],)
        assert values[activation.input[1]].shape == ()
        assert all(values[name].dtype == np.float16 for name in node.input[2:])  # the bias
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert all(values[node.input[2]].dtype == np.int8 and not values[node.input[2]].any() for node in pairs)
    wide = {name for name, value in values.items() if value.dtype == np.float32}
    assert {node.op_type for node in graph.node if wide & {*node.input}} == {"LayerNormalization"}
    assert {each.type.tensor_type.elem_type for each in graph.output} == {onnx.TensorProto.FLOAT}
    # Residuals and attention read what was never rounded.
    readers = {
        node.op_type
        for node in graph.node
        for name in node.input
        if name in made_by and made_by[name].op_type == "DequantizeLinear"
    }
    assert readers <= {"MatMul", "Gemm", "Gather"}


@pytest.mark.parametrize("way", WAYS)
def test_kept_nodes_stay_float(case_of, way):
    case = case_of("roberta")
    layers = products_of(case.source)
    kept = {name for name, layer in layers.items() if layer.endswith(("query", "head.out_proj"))}
    kept |= {node.name for node in graph_of(case.source).node if node.op_type == "Gemm"}
    path = case.quantise(way, "kept_", tuple(sorted(kept)))
    graph = graph_of(path)
    values = values_of(graph)
    products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm")]
    of_float = [node for node in products if node.input[1] in values]
    assert len(of_float) == len(kept)
    assert {values[node.input[1]].dtype.name for node in of_float} == {"dynamic": {"float32"}, "static": {"float16"}}[
        way
    ]
    assert not any(name.endswith("_DequantizeLinear_Output") for node in of_float for name in node.input)
    int8 = {name for name, value in values.items() if value.dtype == np.int8}
    of_int8 = [node for node in graph.node if node.op_type in ("MatMulInteger", "DequantizeLinear")]
    weights = {node.input[node.op_type == "MatMulInteger"] for node in of_int8} & int8
    others = {node.input[1] for node in graph_of(case.source).node if node.name in layers.keys() - kept}
    assert {name for name in weights if not name.endswith(f"{EMBEDDINGS}.weight_quantized")} == {
        f"{name}_quantized" for name in others
    }
    assert 0 < case.error(path) < CLOSE[way]


@pytest.mark.parametrize("family", slow_but(["bert"], ["meter", "vilt", "roberta", "bert"]))
def test_dynamic_embeddings_are_int8_of_all_8_bits_and_close(case_of, family):
    case = case_of(family)
    source, now = values_of(graph_of(case.source)), values_of(graph_of(case.quantise("dynamic")))
    tables = [name for name in source if name.endswith(f"{EMBEDDINGS}.weight")]
    assert tables
    for name in tables:
        rows, scales, before = now[f"{name}_quantized"], now[f"{name}_scale"], source[name]
        assert (rows.dtype, rows.shape, scales.shape) == (np.int8, before.shape, (len(before), 1))
        assert name not in now
        assert (np.abs(rows).max(1) == 127).all()
        np.testing.assert_allclose(rows * scales, before, atol=scales.max() / 2 * 1.001, rtol=0)
    name = next(name for name in source if name.endswith(f"{WORDS}.weight"))
    (alone,) = (node for node, layer in nodes_of(case.source).items() if layer.endswith(WORDS))
    assert values_of(graph_of(case.quantise("dynamic", "words_", (alone,))))[name].dtype == np.float32
    static = values_of(graph_of(case.quantise("static")))
    for name in tables:
        np.testing.assert_array_equal(static[f"{name}_quantized"], now[f"{name}_quantized"])
        np.testing.assert_allclose(static[f"{name}_scale"], now[f"{name}_scale"][:, 0], rtol=1e-3)


def test_embeddings_alone_in_int8_are_as_exact_as_their_rounding(case_of, tmp_path):
    case = case_of("bert")
    rounded = copy.deepcopy(case.model)
    tables = [module.weight for module in rounded.modules() if isinstance(module, nn.Embedding)]
    with torch.no_grad():
        tables[0][0] = 0  # as the row of the padding token often is: it has no scale
    export_onnx(rounded, tmp_path / "float.onnx", case.samples)
    model = onnx.load(tmp_path / "float.onnx")
    round_tables(model, find_lookups(model))
    onnx.save(model, tmp_path / "words.onnx")
    onnx.checker.check_model(model, full_check=True)
    with torch.no_grad():
        for weight in tables:
            scale = weight.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / 127
            weight.copy_((weight / scale).round() * scale)
    with OnnxRunner(tmp_path / "words.onnx", threads=1) as theirs, TorchRunner(rounded, "cpu") as ours:
        torch.testing.assert_close(theirs.run(case.samples), ours.run(case.samples), atol=1e-5, rtol=0)


def plant(model):
    """Make one channel of the attended values 1,000 times larger and take it back in the next layer: same answers."""
    attention = model.blocks["En5"].layer.attention
    with torch.no_grad():
        attention.self.value.weight[3] *= 1000
        attention.self.value.bias[3] *= 1000
        attention.output.dense.weight[:, 3] /= 1000


def test_a_layer_with_an_outlier_channel_is_found_and_holding_it_back_helps(tmp_path):
    model = shallow("roberta", "text-classification", plant)
    case = Case(model, samples_of(model), tmp_path)
    worst = "blocks.En5.layer.attention.output.dense"
    for way in WAYS:
        errors = sensitivities(case.model, case.samples, symmetric=way == "static")
        ranked = sorted(errors, key=errors.__getitem__, reverse=True)
        assert ranked[0] == worst
        assert errors[ranked[0]] > 10 * errors[ranked[1]]
        held = hold_back(errors, 0.01)
        assert held == (worst,)
        kept = tuple(name for name, layer in nodes_of(case.source).items() if layer in held)
        assert case.error(case.quantise(way, "held_", kept)) < 0.7 * case.error(case.quantise(way))


@pytest.mark.parametrize("way", WAYS)
def test_data_files_on_both_sides_and_not_a_word(case_of, tmp_path, monkeypatch, capfd, way):
    case = case_of("meter")
    onnx.save_model(
        onnx.load(case.source), tmp_path / "model.onnx", save_as_external_data=True, location="model.onnx.data"
    )
    apart = Case(case.model, case.samples, tmp_path, tmp_path / "model.onnx")
    monkeypatch.setattr(exporters.graph.onnx, "ONE_FILE_BYTES", 2**10)
    monkeypatch.setattr(logging.root, "handlers", [])
    path = apart.quantise(way)
    assert logging.root.handlers == []
    assert capfd.readouterr() == ("", "")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        ["model.onnx", "model.onnx.data", f"{way}.onnx", f"{way}.onnx.data"]
    )
    assert apart.error(path) < CLOSE[way]
    size = path.with_name(f"{path.name}.data").stat().st_size
    apart.quantise.__wrapped__(way)  # to the same place again, as where layers are held back
    assert path.with_name(f"{path.name}.data").stat().st_size == size


def test_a_table_that_something_else_reads_stays_there_in_float(case_of, tmp_path):
    case = case_of("bert")
    model = onnx.load(case.source)
    lookup = next(node for node in find_lookups(model) if node.input[0].endswith(f"{WORDS}.weight"))
    table = lookup.input[0]
    model.graph.node.append(onnx.helper.make_node("ReduceSum", [table], ["whole"], keepdims=0))
    model.graph.output.append(onnx.helper.make_tensor_value_info("whole", onnx.TensorProto.FLOAT, []))
    onnx.save(model, tmp_path / "model.onnx")
    quantise_dynamic(tmp_path / "model.onnx", tmp_path / "int8.onnx")
    onnx.checker.check_model(tmp_path / "int8.onnx", full_check=True)
    values = values_of(graph_of(tmp_path / "int8.onnx"))
    assert (values[table].dtype, values[f"{table}_quantized"].dtype) == (np.float32, np.int8)


def test_static_ranges_of_a_graph_with_a_fixed_batch(case_of, tmp_path):
    case = case_of("roberta")
    model = onnx.load(case.source)
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save_model(model, tmp_path / "model.onnx")
    quantise_static(tmp_path / "model.onnx", tmp_path / "int8.onnx", case.samples)  # three samples
    fixed, free = (values_of(graph_of(path)) for path in (tmp_path / "int8.onnx", case.quantise("static")))
    assert fixed.keys() == free.keys()
    for name in fixed:
        np.testing.assert_allclose(fixed[name], free[name], rtol=1e-4, atol=1)  # atol: int8 steps


@pytest.mark.parametrize("family", ["roberta", "vilt"])
def test_padding_is_in_no_static_range(case_of, tmp_path, family):
    case, known = case_of(family), FAMILIES[family]
    ids, mask = known.names_of("text")[0], known.mask_of("text")
    one = {name: rows[:1] for name, rows in case.samples.items()}
    one[mask] = (torch.arange(one[mask].shape[1]) < 3).long()[None]
    one[ids] = one[ids].where(one[mask] == 1, 1)  # the id of the padding, for which RoBERTa has a position
    real = known.cut(one, length=3)
    if family == "vilt":
        one["pixel_mask"] = one["pixel_mask"].clone()
        one["pixel_mask"][..., case.model.dims.patch :] = 0
        real = known.cut(one, length=3, width=case.model.dims.patch)
    shutil.copy(case.source, tmp_path / "model.onnx")
    request = Request(case.model, one, tmp_path, precision=PRECISIONS["int8"])
    rounded_graph(request, calibrated=True).write(tmp_path / "made.onnx", ())
    ranges = {}
    for name, samples in (("real", real), ("padded", one)):
        quantise_static(case.source, tmp_path / f"{name}.onnx", samples)
        ranges[name] = values_of(graph_of(tmp_path / f"{name}.onnx"))
    made = values_of(graph_of(tmp_path / "made.onnx"))
    assert all((made[name] == value).all() for name, value in ranges["real"].items())
    assert not all((made[name] == value).all() for name, value in ranges["padded"].items())


@needs_rtx
@pytest.mark.parametrize("family", slow_but(["roberta"], ["meter", "vilt", "roberta"]))
@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_tensorrt_builds_the_static_graph(case_of, tmp_path, family):
    case = case_of(family)
    shapes = {name: ((1, *rows.shape[1:]), tuple(rows.shape), tuple(rows.shape)) for name, rows in case.samples.items()}
    target = Target("tensorrt_rtx", ("SM86",), None)
    source = case.quantise("static")
    engine = build_engine(source, tmp_path / "model.plan", shapes, target, parameters=100)
    assert engine.path.stat().st_size == engine.bytes > 0
    assert engine.metadata.onnx_sha256 == hashes_of(source)


def unreadable(folder):
    path = folder / "model.onnx"
    path.write_bytes(b"not an onnx file")
    return path


def empty(folder):
    path = folder / "model.onnx"
    path.touch()
    return path


def missing(folder):
    return folder / "model.onnx"


def without_data(folder):
    path = folder / "model.onnx"
    onnx.save_model(onnx.load(exported.full_onnx()), path, save_as_external_data=True, location="lost")
    (folder / "lost").unlink()
    return path


def int8_already(folder):
    quantise_dynamic(exported.full_onnx(), folder / "model.onnx")
    return folder / "model.onnx"


@pytest.mark.parametrize("broken", [unreadable, empty, missing, without_data, int8_already])
@pytest.mark.parametrize("way", WAYS)
def test_a_source_that_cannot_be_used(tmp_path, way, broken):
    source = broken(tmp_path)
    quantise = {"dynamic": quantise_dynamic, "static": lambda *paths: quantise_static(*paths, exported.samples())}[way]
    with pytest.raises(InputError) as failure:
        quantise(source, tmp_path / "int8.onnx")
    (problem,) = failure.value.problems
    assert problem.code in {"export-unreadable", "runtime-refused", "nothing-to-quantise"}
    assert all((problem.found, problem.expected, problem.fix))
    assert not (tmp_path / "int8.onnx").exists()


def test_samples_that_do_not_fit(tmp_path):
    shutil.copy(exported.full_onnx(), tmp_path / "model.onnx")
    samples = {name: exported.samples()[name] for name in ("input_ids", "attention_mask")}
    with refused(InputError, "runtime-refused", tmp_path / "model.onnx"):
        quantise_static(tmp_path / "model.onnx", tmp_path / "int8.onnx", samples)


def test_nothing_left_to_quantise(case_of):
    case = case_of("roberta")
    with refused(InputError, "nothing-to-quantise"):
        quantise_dynamic(case.source, Path("never.onnx"), nodes_of(case.source))
