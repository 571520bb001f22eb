"""Forms of a graph: how attention is written, in which precision, and which axes are fixed."""

import time
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

import exporters.export
from compressor.errors import UsageError
from compressor.families import FAMILIES
from compressor.models.trims.simplify import trim
from exporters.checks.parity import LEAST_SHARE
from exporters.export import export, make_all
from exporters.graph.artifacts import graph
from exporters.graph.attention import FORMS, Numerics
from exporters.graph.inputs import Fixed
from exporters.graph.onnx import export_onnx, trace
from exporters.graph.precision import in_precision
from exporters.request import Request
from exporters.runtimes.sessions import OnnxRunner
from exporters.runtimes.torch_runner import TorchRunner
from tests.support import tiny_models as tiny
from tests.support.command_line import refused
from tests.support.marks import slow_but
from tests.support.tiny_exports import inputs_of, shallow, shallow_onnx

TASK = {"meter": "vqa", "vilt": "vqa", "bert": "text-classification"}
OPERATOR = {"composed": None, "operator": "Attention", "fused": "MultiHeadAttention"}


def model(family):
    return shallow(family, TASK[family])


def inputs(family):
    return inputs_of(model(family))


def graph_of(family, **form):
    return shallow_onnx(family, TASK[family], **form)


def counts(path):
    return Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)


def types(path):
    """Element type of every value, as ONNX infers them."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    known = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    return graph, known | {tensor.name: tensor.data_type for tensor in graph.initializer}


@pytest.mark.parametrize(
    ("family", "form"),
    slow_but(
        [*(("meter", form) for form in FORMS), ("vilt", "composed"), ("bert", "fused")],
        [(family, form) for family in TASK for form in FORMS],
    ),
)
def test_every_form_of_attention_answers_as_pytorch_does(family, form):
    given, path = inputs(family), graph_of(family, form=form)
    with OnnxRunner(path, threads=1) as theirs, TorchRunner(model(family), "cpu") as ours:
        torch.testing.assert_close(theirs.run(given), ours.run(given), atol=1e-5, rtol=0)
        few = {name: value[:1] for name, value in given.items()}
        torch.testing.assert_close(theirs.run(few), ours.run(few), atol=1e-5, rtol=0)
    found = counts(path)
    for name, operator in OPERATOR.items():
        assert bool(found[operator]) == (name == form and operator is not None)


@pytest.mark.parametrize("family", slow_but(["bert"], TASK))
def test_half_precision_keeps_norms_and_softmax_in_float32(family):
    given, path = inputs(family), graph_of(family, precision="fp16")
    graph, known = types(path)
    for node in graph.node:
        if node.op_type in ("LayerNormalization", "Softmax"):
            assert {known[name] for name in node.input} == {TensorProto.FLOAT}, node.name
        if node.op_type in ("MatMul", "Gemm") and "blocks" in str(node.metadata_props):
            assert {known[name] for name in node.input} == {TensorProto.FLOAT16}, node.name
    floats = [value for value in (*graph.input, *graph.output) if known[value.name] != TensorProto.INT64]
    assert {known[value.name] for value in floats} == {TensorProto.FLOAT}
    with OnnxRunner(path, threads=1) as theirs, TorchRunner(model(family), "cpu") as ours:
        difference = (theirs.run(given) - ours.run(given)).abs().max()
    assert 0 < difference < 0.02


def test_bfloat16_is_written_and_not_called_verified_on_a_cpu(tmp_path):
    report = export(model("bert"), inputs("bert"), tmp_path, ["onnx"], precision="bf16")
    (made,) = report.exports
    assert made.files == ("model.bf16.onnx",)
    assert (made.parity.status, made.parity.max_abs_error) == ("not verified", None)
    assert "bf16" in made.parity.reason
    _, known = types(tmp_path / "model.bf16.onnx")
    assert TensorProto.BFLOAT16 in known.values()


def test_a_model_in_half_precision_is_a_copy():
    before = {name: value.clone() for name, value in model("meter").state_dict().items()}
    half = in_precision(model("meter"), torch.float16)
    assert in_precision(model("meter"), torch.float32) is model("meter")
    for name, value in model("meter").state_dict().items():
        assert torch.equal(value, before[name])
    norms = {name for name, module in half.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    for name, parameter in half.named_parameters():
        assert parameter.dtype == (torch.float32 if name.rpartition(".")[0] in norms else torch.float16)


@pytest.mark.parametrize("family", slow_but(["bert"], ["meter", "bert"]))
def test_fixed_axes_leave_no_shape_arithmetic(family):
    given, path = inputs(family), graph_of(family, fixed=Fixed(batch=3, text_length=tiny.LENGTH))
    assert counts(graph_of(family))["Shape"] > 0
    assert counts(path)["Shape"] == 0
    with OnnxRunner(path, threads=1) as theirs, TorchRunner(model(family), "cpu") as ours:
        torch.testing.assert_close(theirs.run(given), ours.run(given), atol=1e-5, rtol=0)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with pytest.raises(Exception, match="Got: 1 Expected: 3"):
        session.run(None, {name: value[:1].numpy() for name, value in given.items()})


def test_an_export_of_fixed_size_is_compared_at_that_size_alone(tmp_path):
    report = export(model("bert"), inputs("bert"), tmp_path, ["onnx"], fixed=Fixed(2, tiny.LENGTH))
    (made,) = report.exports
    assert made.files == (f"model.b2.t{tiny.LENGTH}.onnx",)
    assert (made.parity.status, made.parity.batch_sizes) == ("passed", (2,))
    assert made.parity.text_lengths == (tiny.LENGTH,)


def test_a_text_length_that_no_sample_fits(tmp_path):
    with refused(UsageError, "text-length-impossible", "length of 2"):
        export(model("bert"), inputs("bert"), tmp_path, ["onnx"], fixed=Fixed(text_length=2))
    assert not list(tmp_path.iterdir())


def test_int8_comes_with_the_float_file_it_is_made_from(tmp_path, monkeypatch):
    judge, comparisons = exporters.export.judge, []

    def timed(*arguments, **options):
        started = time.perf_counter()
        outcome = judge(*arguments, **options)
        comparisons.append(time.perf_counter() - started)
        return outcome

    monkeypatch.setattr(exporters.export, "judge", timed)
    report = export(model("bert"), inputs("bert"), tmp_path, ["onnx"], precision="int8")
    assert [made.files[0] for made in report.exports] == ["model.onnx", "model.int8.onnx"]
    assert [made.parity.status for made in report.exports] == ["passed", "passed"]
    assert report.exports[1].parity.precision == "int8"
    assert report.exports[1].parity.shares.macs > LEAST_SHARE
    assert report.exports[1].seconds > sum(comparisons[1:])  # every attempt counts, as it was compared, too
    again = export(model("bert"), inputs("bert"), tmp_path, ["onnx"], precision="int8")
    assert "exported before" in again.exports[0].notes[0]
    weights = np.unique([tensor.data_type for tensor in onnx.load(tmp_path / "model.int8.onnx").graph.initializer])
    assert TensorProto.INT8 in weights


def test_tensorrt_reads_no_operators_of_onnx_runtime(tmp_path):
    with refused(UsageError, "attention-not-standard", "fused"):
        export(model("bert"), inputs("bert"), tmp_path, ["trt"], attention="fused")


def test_the_operator_needs_its_opset(tmp_path):
    with refused(UsageError, "opset-not-written", "opset 20", "opset 23"):
        export(model("bert"), inputs("bert"), tmp_path, ["onnx"], attention="operator", opset=20)


def test_one_file_has_attention_in_one_form(tmp_path):
    request = Request(model("bert"), inputs("bert"), tmp_path)
    artifacts = [graph(request), graph(replace(request, form=FORMS["fused"]))]
    with refused(UsageError, "attention-forms-differ", "model.onnx", "composed and fused"):
        make_all(artifacts)
    assert not list(tmp_path.iterdir())


class Attends(torch.nn.Module):
    """PyTorch's attention with some settings."""

    def __init__(self, **settings):
        super().__init__()
        self.project, self.settings = torch.nn.Linear(4, 4), settings

    def forward(self, x):
        x = self.project(x)
        return torch.nn.functional.scaled_dot_product_attention(x, x[:, :1], x[:, :1], **self.settings)


@pytest.mark.parametrize("setting", ["is_causal", "enable_gqa"])
@pytest.mark.parametrize("form", FORMS)
def test_attention_that_no_graph_carries_is_refused(form, setting, monkeypatch):
    x, module = {"x": torch.randn(2, 2, 3, 4)}, Attends(**{setting: True}).eval()
    with pytest.raises(UsageError) as error, Numerics(FORMS[form]):
        module(**x)
    (problem,) = error.value.problems
    assert problem.code == "attention-not-carried" and f"{setting}=True" in problem.found
    assert problem.expected and problem.fix
    if form == "composed":
        monkeypatch.undo()  # the exporter itself, not a trace that other tests share
        with pytest.raises(UsageError):
            trace(module, x, ("y",), None)


def test_a_mask_may_be_given_by_position():
    q, k, v = torch.randn(3, 1, 2, 5, 4)
    mask = torch.arange(5) < torch.tensor(3)
    attend = torch.nn.functional.scaled_dot_product_attention
    with Numerics(FORMS["composed"]):
        found = attend(q, k, v, mask[None, None, None])
        nowhere = attend(q, k, v, torch.zeros_like(mask)[None, None, None])
    torch.testing.assert_close(found, attend(q, k, v, mask[None, None, None]), atol=1e-6, rtol=0)
    torch.testing.assert_close(nowhere, v.mean(2, keepdim=True).expand_as(v), atol=1e-6, rtol=0)  # finite


def test_rms_norms_compute_in_float32_too():
    norm, x = torch.nn.RMSNorm(64), 100 * torch.randn(3, 64)
    with Numerics(FORMS["composed"]):
        found = norm(x.half())
    assert found.dtype == torch.float16
    torch.testing.assert_close(found, norm(x.half().float()).half(), atol=0, rtol=0)


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_graphs_of_any_length_read_the_last_token_or_the_mean(readout, tmp_path, monkeypatch):
    monkeypatch.setitem(FAMILIES, "bert", replace(FAMILIES["bert"], readout=lambda dims, task: {"hidden": readout}))
    whole = tiny.model("bert", TASK["bert"], shallow=True)
    whole.epilogue.readout = readout
    export_onnx(trim(whole), tmp_path / "model.onnx", inputs("bert"))
    with OnnxRunner(tmp_path / "model.onnx", threads=1) as runner, torch.no_grad():
        for given in (inputs("bert"), {name: x[:1, :1] for name, x in inputs("bert").items()}):
            torch.testing.assert_close(runner.run(given), whole(**given), atol=1e-5, rtol=0)
