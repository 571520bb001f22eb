"""The tools of others take the graphs that das writes: ONNX Runtime's quantiser, and the strictest shape inference."""

import re
from functools import cache
from pathlib import Path

import onnx
import pytest
import torch
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from compressor.errors import CheckFailed
from compressor.families import FAMILIES
from compressor.progress import Progress
from compressor.token_merging.merge_layers import set_merging
from exporters.checks.validate import CHECKED_SIZES, judge
from exporters.graph import onnx as onnx_graph
from exporters.graph.inputs import VARYING
from exporters.graph.onnx import export_onnx
from exporters.graph.precision import PRECISIONS
from exporters.graph.quantise import quantise_dynamic, quantise_static
from exporters.runtimes.sessions import OnnxRunner
from tests.support import tiny_exports as exported
from tests.support import tiny_models as tiny
from tests.support import traces
from tests.support.command_line import refused
from tests.support.marks import slow_but

PAGE = Path(__file__).parents[3] / "docs" / "exports.md"
CLASSIFIER = ("bert", "text-classification")
KINDS = ("fp32", "fp16", "int8", "int8 for TensorRT", "vision tower", "rest")


def answers(path, inputs):
    with OnnxRunner(path, threads=1) as runner:
        return runner.run(inputs)


@pytest.fixture(scope="module")
def file_of(tmp_path_factory, shared_exports):
    """A kind of ONNX file to one of it."""
    folder = tmp_path_factory.mktemp("kinds")

    def quantised(name, quantise, *given):
        quantise(exported.shallow_onnx(*CLASSIFIER), folder / name, *given)
        return folder / name

    kinds = {
        "fp32": lambda: exported.shallow_onnx(*CLASSIFIER),
        "fp16": lambda: exported.shallow_onnx(*CLASSIFIER, precision="fp16"),
        "int8": lambda: quantised("int8.onnx", quantise_dynamic),
        "int8 for TensorRT": lambda: quantised(
            "qdq.onnx", quantise_static, exported.inputs_of(exported.shallow(*CLASSIFIER))
        ),
        "vision tower": lambda: shared_exports / "exports" / "vision.onnx",
        "rest": lambda: shared_exports / "exports" / "rest.onnx",
    }
    return cache(lambda kind: kinds[kind]())


@pytest.mark.parametrize("kind", slow_but([kind for kind in KINDS if kind != "fp16"], KINDS))
def test_shapes_are_said_once_and_are_right(file_of, kind):
    model = onnx.load(file_of(kind))
    weights = {weight.name for weight in model.graph.initializer}
    assert not weights & {value.name for value in model.graph.value_info}
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


@pytest.mark.parametrize(
    ("family", "task"), slow_but([CLASSIFIER], [CLASSIFIER, ("roberta", CLASSIFIER[1]), ("vilt", "vqa")])
)
def test_onnx_runtimes_own_quantiser_takes_model_onnx(tmp_path, family, task):
    source, inputs = exported.shallow_onnx(family, task), exported.inputs_of(exported.shallow(family, task))
    quantize_dynamic(source, tmp_path / "int8.onnx")
    quant_pre_process(str(source), str(tmp_path / "ready.onnx"), auto_merge=True)
    quantize_dynamic(tmp_path / "ready.onnx", tmp_path / "ready-int8.onnx")
    logits = answers(source, inputs)
    torch.testing.assert_close(answers(tmp_path / "ready.onnx", inputs), logits, atol=1e-5, rtol=0)
    for name in ("int8.onnx", "ready-int8.onnx"):
        error = (answers(tmp_path / name, inputs) - logits).norm() / logits.norm()
        assert 0 < error < 0.1


def test_it_quantises_per_channel_as_the_page_says(tmp_path, monkeypatch):
    (code,) = re.findall(r"^```python\n(.*?per_channel.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    source, inputs = exported.shallow_onnx(*CLASSIFIER), exported.inputs_of(exported.shallow(*CLASSIFIER))
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(source.read_bytes())
    exec(compile(code, PAGE.name, "exec"), {})
    logits = answers(source, inputs)
    assert 0 < (answers(Path("int8.onnx"), inputs) - logits).norm() / logits.norm() < 0.1


def compared(model, samples, path):
    """Export a model, and compare the graph with it."""
    export_onnx(model, path, samples)
    runner = OnnxRunner(path, threads=1)
    settings = {"reference": None, "precision": PRECISIONS["fp32"], "fixed": VARYING, "progress": Progress()}
    return judge(runner, model, samples, CHECKED_SIZES, **settings)[0]


class ReadsALength(nn.Module):
    """Adds nothing, for every row of the batch, whose number it reads with ``len``."""

    def __init__(self, prologue):
        super().__init__()
        self.prologue = prologue

    def forward(self, **inputs):
        streams = self.prologue(**inputs)
        zeros = torch.zeros(len(inputs["input_ids"]), 1, 1)
        return {**streams, "hidden": streams["hidden"] + zeros}


def test_a_size_that_is_read_as_a_number_is_named(tmp_path):
    model = tiny.model("bert", "text-classification", shallow=True)
    model.prologue = ReadsALength(model.prologue)
    with refused(CheckFailed, "axis-fixed", "input_ids of size 2 along axis 0", "x.shape[0] for len(x)"):
        export_onnx(model, tmp_path / "model.onnx", tiny.batch(model))
    assert list(tmp_path.iterdir()) == []


class ChoosesByALength(nn.Module):
    """Adds 1 to small batches, or to short texts: of a choice by a size a graph keeps one side, and says nothing."""

    def __init__(self, prologue, axis, small):
        super().__init__()
        self.prologue, self.axis, self.small = prologue, axis, small

    def forward(self, **inputs):
        streams = self.prologue(**inputs)
        added = 1 if inputs["input_ids"].shape[self.axis] < self.small else 0
        return {**streams, "hidden": streams["hidden"] + added * torch.linspace(0, 1, streams["hidden"].shape[-1])}


KEPT = ((1, 4, "failed"), (0, 2, "failed"), (1, 0, "passed"))


@pytest.mark.parametrize(("axis", "small", "status"), slow_but(KEPT[:1], KEPT))
def test_a_graph_that_keeps_one_side_of_a_choice_by_a_size_fails(tmp_path, axis, small, status):
    model = tiny.model(*CLASSIFIER, shallow=True)
    samples = exported.inputs_of(model)
    model.prologue = ChoosesByALength(model.prologue, axis, small)
    samples["attention_mask"][0, 3:] = 0
    assert compared(model, samples, tmp_path / "model.onnx").status == status


class RoundsHalfUp(nn.Module):
    """Adds half the length of the texts, rounded up as -(-n // 2): a graph rounds it down, and says nothing."""

    def __init__(self, prologue):
        super().__init__()
        self.prologue = prologue

    def forward(self, **inputs):
        streams = self.prologue(**inputs)
        length = inputs["input_ids"].shape[1]
        half = (torch.arange(length) < -(-length // 2)).sum()
        return {**streams, "hidden": streams["hidden"] + half * torch.linspace(0, 1, streams["hidden"].shape[-1])}


def test_a_graph_that_rounds_a_size_down_fails_though_all_texts_are_even(tmp_path):
    model = tiny.model(*CLASSIFIER, shallow=True)
    samples = FAMILIES["bert"].cut(exported.inputs_of(model), length=8)
    model.prologue = RoundsHalfUp(model.prologue)
    samples["attention_mask"][0, 4:] = 0
    assert compared(model, samples, tmp_path / "model.onnx").status == "failed"


def test_a_graph_with_merged_tokens_answers_as_the_model_does(tmp_path):
    """And scatters nothing: a scattered mean would be written as the last value alone."""
    model = tiny.model("meter", "vqa", shallow=True)
    merging = set_merging(model, [3] * model.dims.vision_layers)
    assert compared(merging, exported.inputs_of(model), tmp_path / "model.onnx").status == "passed"
    assert not any("Scatter" in node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node)


def test_weights_that_lie_transposed_in_memory_are_straightened_for_the_file():
    program = traces.EXPORT(nn.Linear(8, 4).eval(), (torch.ones(2, 3, 8),), dynamo=True, verbose=False)
    held = [value.const_value for value in program.model.graph.initializers.values()]
    assert not all(weight.numpy().flags.c_contiguous for weight in held)
    onnx_graph._straighten(program)
    for before, value in zip(held, program.model.graph.initializers.values(), strict=True):
        assert value.const_value.numpy().flags.c_contiguous
        assert (value.const_value.name, value.const_value.tobytes()) == (before.name, before.tobytes())
