"""Kernels of ONNX Runtime and the parts of the model they compute."""

from collections import Counter
from functools import cache

import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from compressor.models.steps import steps_of
from compressor.models.trims.simplify import trim
from exporters.graph.onnx import load_graph
from exporters.graph.quantise import quantise_dynamic
from exporters.graph.scopes import NAMES as SCOPES
from exporters.runtimes.ort_profiler import CALL, KernelRunner, find_parts
from exporters.runtimes.runtime import SHARED
from exporters.runtimes.sessions import OnnxRunner, open_session, product
from tests.support.tiny_exports import full, full_onnx, samples, slim, slim_onnx

# Sizes of the inputs, and streams that both sides of a round read and that are rounded to int8 once.
SHARED_OPERATORS = {"full": {"Shape"}, "slim": {"Shape"}, "int8": {"Shape", "DynamicQuantizeLinear"}}


def node(name, reads, writes, scope=None):
    made = helper.make_node("Op", reads, writes, name=name)
    if scope:
        made.metadata_props.append(onnx.StringStringEntryProto(key=SCOPES, value=f"['', 'model', '{scope}', 'op']"))
    return made


def graph(*nodes):
    return helper.make_model(helper.make_graph(nodes, "g", [], []))


def test_values_belong_to_the_module_that_the_exporter_noted():
    made = graph(
        node("a", ["x"], ["a"], "model.prologue.text"),
        node("b", ["a"], ["b"], "model.blocks.FL0.attention.self"),
        node("c", ["b"], ["c"], "model.epilogue"),
    )
    assert find_parts(made) == {"a": "prologue", "b": "blocks.FL0", "c": "epilogue"}


def test_values_without_a_note_belong_to_who_reads_them_and_to_nobody_where_several_do():
    made = graph(
        node("first", ["x"], ["first"]),  # read by the next alone, which FL0 reads
        node("second", ["first", ""], ["second", ""]),
        node("both", ["y", ""], ["both"]),
        node("one", ["second", "both"], ["one"], "model.blocks.FL0"),
        node("other", ["both"], ["other"], "model.blocks.FV0"),
        node("last", ["other"], ["last"]),  # nobody reads it
        node("end", ["one", "other"], ["end"]),
    )
    assert find_parts(made) == {
        "first": "blocks.FL0",
        "second": "blocks.FL0",
        "both": SHARED,
        "one": "blocks.FL0",
        "other": "blocks.FV0",
        "last": "blocks.FV0",
        "end": SHARED,
    }


def test_what_is_known_of_a_value_goes_before_everything():
    made = graph(node("fused", ["x"], ["new", "kept"]), node("b", ["new"], ["b"], "model.blocks.FV0"))
    assert find_parts(made, {"kept": "blocks.FL0"}) == {
        "new": "blocks.FL0",
        "kept": "blocks.FL0",
        "b": "blocks.FV0",
    }


@cache
def model_of(name):
    return {"full": full, "slim": lambda: trim(slim()), "int8": full}[name]()


@pytest.fixture(scope="module")
def runner_of(tmp_path_factory):
    """Each export, run twice with the profiler on."""
    folder = tmp_path_factory.mktemp("exports")
    opened = []

    def quantised():
        quantise_dynamic(full_onnx(), folder / "int8.onnx")
        return folder / "int8.onnx"

    paths = {"full": lambda: full_onnx(), "slim": lambda: slim_onnx(), "int8": quantised}

    @cache
    def run(name):
        runner = KernelRunner(paths[name](), threads=1)
        runner.open()
        opened.append(runner)
        bound = runner.bind(samples())
        bound()
        bound()
        return runner, bound.fetch()["logits"], runner.kernel_times()

    yield run
    for runner in opened:
        runner.close()


@pytest.mark.parametrize("name", ["full", "slim", "int8"])
def test_every_kernel_belongs_to_a_part_of_the_model(runner_of, name):
    runner, _, times = runner_of(name)
    parts = runner.parts_of_kernels()
    assert [kernel for kernel in times if kernel not in parts] == [CALL]
    model = model_of(name)
    blocks = {f"blocks.{step.name}" for step in steps_of(model.rounds)}
    assert set(parts.values()) <= {"prologue", *blocks, "epilogue", SHARED}
    moved = {f"blocks.match_{what}" for what in ("text", "mask", "image")}  # rows that are there already
    assert {f"blocks.{layer}" for layer in (*model.layers, *model.skipped)} <= set(parts.values())
    assert blocks - set(parts.values()) <= moved
    operators = {each.name: each.op_type for each in load_graph(runner.optimised).graph.node}
    assert "SkipLayerNormalization" not in operators.values()  # slower on CPUs than what it is fused from
    shared = {operators[kernel] for kernel, part in parts.items() if part == SHARED}
    assert shared <= SHARED_OPERATORS[name], shared
    assert {len(calls) for calls in times.values()} == {2}


def test_the_products_of_each_part_are_its_linear_layers(runner_of):
    runner, _, _ = runner_of("full")
    parts, model = runner.parts_of_kernels(), full()
    optimised = load_graph(runner.optimised).graph
    weights = {entry.name for entry in optimised.initializer}
    products = [each for each in optimised.node if each.op_type in ("MatMul", "Gemm", "FusedGemm", "FusedMatMul")]
    found = Counter(parts[each.name] for each in products if each.input[1] in weights)
    for name, block in (*model.blocks.items(), ("epilogue", model.epilogue)):
        linear = sum(isinstance(module, nn.Linear) for module in block.modules())
        assert found[name if name == "epilogue" else f"blocks.{name}"] == linear, name


def test_fused_kernels_are_among_them(runner_of):
    runner, _, times = runner_of("full")
    optimised = load_graph(runner.optimised).graph
    fused = {each.name for each in optimised.node if each.domain == "com.microsoft"}
    original = {each.name for each in onnx.load(full_onnx()).graph.node}
    assert fused & set(times)
    assert fused - original


def test_the_answer_is_that_of_the_deployed_session(runner_of):
    with OnnxRunner(full_onnx(), threads=1) as runner:
        assert torch.equal(runner_of("full")[1], runner.run(samples()))


@pytest.mark.parametrize("whole", [1e-3, 1e9])
def test_times_of_parts_sum_those_of_their_kernels(whole, monkeypatch):
    """What a call takes longer with the profiler than without is taken off its kernels in proportion."""
    with KernelRunner(slim_onnx(), threads=1) as runner:
        bound = runner.bind(samples())
        bound()
        folder, parts, kernels = runner.optimised.parent, runner.parts_of_kernels(), runner.kernel_times()
        monkeypatch.setattr(runner, "kernel_times", lambda: {name: list(times) for name, times in kernels.items()})
        (call,) = kernels[CALL]
        expected = Counter()
        for name, (taken,) in kernels.items():
            if name != CALL:
                expected[parts[name]] += taken * min(1.0, whole / call)
        assert {part: pytest.approx(taken) for part, taken in expected.items()} == {
            part: taken for part, (taken,) in runner.part_times(whole).items()
        }
        assert "blocks.FL1" in expected  # its adapter
    assert not folder.exists()


def test_a_product_of_squares():
    session = open_session(product(8), "CPUExecutionProvider")
    a = torch.eye(8).numpy()
    (b,) = session.run(None, {"a": a})
    (doubled,) = session.run(None, {"a": 2 * a})
    assert b.shape == (8, 8)
    assert (doubled == 2 * b).all()
