"""ONNX export: dynamic axes, opset, data file, parity as a gate, and nothing half-written."""

import json
import os
import shutil
import subprocess
import sys

import onnx
import pytest
import torch

import exporters.checks.validate
import exporters.graph.artifacts
import exporters.graph.onnx
from compressor.architectures.meter import MeterDims
from compressor.costs.parts import weight_bytes
from compressor.errors import CheckFailed, EnvironmentProblem, InputError, UsageError
from compressor.evaluation.reference import Reference
from compressor.families import FAMILIES
from compressor.families.meter.meter_family import build
from compressor.files import PARTIAL, staged
from compressor.models.steps import StepModel
from compressor.tasks import TASKS
from exporters.checks.records import Parity, read_record, record_of
from exporters.export import ExportReport, certify_draft, draft, export, keep, shared_form
from exporters.graph.artifacts import graph, rounded_graph
from exporters.graph.onnx import export_onnx, join_weights, needs_data_file
from exporters.graph.precision import PRECISIONS
from exporters.request import Request
from exporters.runtimes import find_runtime
from exporters.runtimes.sessions import OnnxRunner, require_provider
from exporters.runtimes.torch_runner import TorchRunner
from profiles.comparison.matching_exports import slower_form
from profiles.deployment.recommend_export import Choices
from tests.profiles.comparison.test_profile_run import make_run
from tests.support.command_line import das, refused, stopped
from tests.support.tiny_exports import full, full_onnx, samples, slim, slim_onnx


def graph_of(path):
    return onnx.load(path, load_external_data=False).graph


def axes(values):
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values
    }


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def copied_instead(monkeypatch, written=full_onnx):
    """Let the export write that file, whatever model it is given."""

    def copy(model, path, *given, **options):
        shutil.copy(written(), path)

    monkeypatch.setattr(exporters.graph.onnx, "export_onnx", copy)


def test_inputs_have_their_names_and_dynamic_axes():
    graph = graph_of(full_onnx())
    assert axes(graph.input) == {
        "input_ids": ["batch", "length"],
        "attention_mask": ["batch", "length"],
        "pixel_values": ["batch", 3, 64, 64],
    }
    assert axes(graph.output) == {"logits": ["batch", 11]}


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("length", [12, 5, 1])
def test_onnx_runtime_answers_as_pytorch_does(size, length):
    inputs = {name: rows[:size] for name, rows in samples().items()}
    inputs |= {name: inputs[name][:, :length] for name in ("input_ids", "attention_mask")}
    with OnnxRunner(full_onnx(), threads=1) as theirs, TorchRunner(full(), "cpu") as ours:
        torch.testing.assert_close(theirs.run(inputs), ours.run(inputs), atol=1e-5, rtol=0)


def test_a_slim_model_with_attention_operators_and_a_data_file(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(exporters.graph.onnx, "ONE_FILE_BYTES", 2**20)
    report = export(slim(), samples(), tmp_path, ["onnx"], attention="operator")
    assert capfd.readouterr() == ("", "")
    (made,) = report.exports
    assert made.files == ("model.onnx", "model.onnx.data")
    assert names_in(tmp_path) == ["model.onnx", "model.onnx.data", "model.onnx.parity.json"]
    assert made.bytes == sum((tmp_path / name).stat().st_size for name in made.files)
    assert made.opset == 23
    graph = graph_of(tmp_path / "model.onnx")
    assert "Attention" in {node.op_type for node in graph.node}
    weights = {tensor.name for tensor in graph.initializer}
    assert any("FL0.attention" in name for name in weights)
    assert not any("FL1.attention" in name or "FV0.attention" in name for name in weights)
    parity = Parity.model_validate_json((tmp_path / "model.onnx.parity.json").read_bytes())
    assert parity == made.parity
    assert parity.status == "passed"
    assert parity.max_abs_error <= parity.tightest_tolerance <= parity.tolerance
    assert (parity.samples, parity.batch_sizes, parity.text_lengths) == (3, (1, 2, 8), (3, 12))
    assert set(parity.sha256) == set(made.files)


def test_weights_above_a_gibibyte_go_beside_the_graph():
    assert not needs_data_file(2**30)
    assert needs_data_file(2**30 + 1)
    with torch.device("meta"):
        published = build(MeterDims(), "vqa")
    assert needs_data_file(weight_bytes(published))


def test_an_export_that_answers_differently_fails_and_leaves_only_its_record(tmp_path, monkeypatch):
    copied_instead(monkeypatch)
    export(full(), samples(), tmp_path, ["onnx"])
    with pytest.raises(CheckFailed) as failure:
        export(slim(), samples(), tmp_path, ["onnx"])
    assert failure.value.exit_code == 4
    assert failure.value.codes == ("parity-failed",)
    assert "model.onnx" in failure.value.problems[0].found
    assert "an output is" in failure.value.problems[0].found  # the sentence of the record: why, and by how much
    assert names_in(tmp_path) == ["model.onnx.parity.json"]
    parity = Parity.model_validate_json((tmp_path / "model.onnx.parity.json").read_bytes())
    assert parity.status == "failed"
    assert parity.max_abs_error > parity.tolerance


def test_drafts_ask_the_model_once_and_only_what_is_kept_gets_a_record(tmp_path, monkeypatch):
    copied_instead(monkeypatch)
    model, opened, asked = full(), [], []

    def worth(runner):
        opened.append(runner)
        return True

    hidden, folder = tmp_path / "hidden", tmp_path / "exports"
    hidden.mkdir()
    request = Request(model, samples(), hidden, precision=PRECISIONS["int8"])
    hook = model.register_forward_hook(lambda *_: asked.append(1))
    try:
        drafts = [draft(graph(request.in_float), worth)]
        once = len(asked)
        drafts.append(draft(rounded := rounded_graph(request, calibrated=False), worth))
        assert len(asked) == once > 1
    finally:
        hook.remove()
    assert [made.parity.status for made in drafts] == ["passed", "passed"]
    assert len(opened) == 2
    assert names_in(hidden) == ["model.int8.onnx", "model.onnx"]
    record = certify_draft(rounded, drafts[1], reference_of(model))
    assert (record.certificate.samples, record.sha256) == (3, {})
    assert record.shares.macs > 0.5
    kept = keep(rounded, drafts[1], record, folder)
    assert names_in(folder) == ["model.int8.onnx", "model.int8.onnx.parity.json"]
    assert read_record(folder / "model.int8.onnx").sha256.keys() == {"model.int8.onnx"}
    assert kept.parity == read_record(folder / "model.int8.onnx")


def reference_of(model):
    """The samples with the model's own answers."""
    with TorchRunner(model, "cpu") as runner:
        slim = runner.run(samples())
    return Reference(
        samples=len(slim),
        inputs=lambda rows: {name: x[rows] for name, x in samples().items()},
        slim=slim,
        full=None,
        targets=None,
        task=TASKS["vqa"],
        family=FAMILIES["meter"],
        fingerprint="few",
    )


def test_a_draft_that_answers_differently_is_gone(tmp_path, monkeypatch):
    copied_instead(monkeypatch)
    with refused(CheckFailed, "parity-failed", "an output is"):
        draft(graph(Request(slim(), samples(), tmp_path)))
    assert names_in(tmp_path) == []


def test_weights_that_lay_apart_are_joined_to_the_file(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save_model(onnx.load(full_onnx()), path, save_as_external_data=True, location="model.onnx.data")
    with OnnxRunner(path, threads=1) as runner:
        apart = runner.run(samples())
    assert names_in(tmp_path) == ["model.onnx", "model.onnx.data"]
    join_weights(path)
    assert names_in(tmp_path) == ["model.onnx"]
    with OnnxRunner(path, threads=1) as runner:
        assert torch.equal(runner.run(samples()), apart)
    join_weights(path)
    assert names_in(tmp_path) == ["model.onnx"]


def test_an_int8_export_that_computes_in_float_fails_though_its_answers_are_right(tmp_path, monkeypatch):
    copied_instead(monkeypatch)
    monkeypatch.setattr(
        exporters.graph.artifacts, "quantise_dynamic", lambda source, target, _: shutil.copy(source, target)
    )
    with refused(CheckFailed, "precision-not-run", "0.0 % of its MACs run in int8, not at least 78."):
        export(full(), samples(), tmp_path, ["onnx"], precision="int8")
    assert not (tmp_path / "model.int8.onnx").exists()
    record = read_record(tmp_path / "model.int8.onnx")
    assert (record.status, record.shares.macs, record.starts_at) == ("failed", 0, "")


def test_an_export_that_the_runtime_refuses_fails_the_check(tmp_path, monkeypatch):
    def broken(model, path, *given, **options):
        path.write_bytes(b"not an onnx file")
        return full_onnx()

    monkeypatch.setattr(exporters.graph.onnx, "export_onnx", broken)
    with refused(CheckFailed, "parity-failed", "ONNX Runtime cannot run"):
        export(full(), samples(), tmp_path, ["onnx"])
    assert names_in(tmp_path) == ["model.onnx.parity.json"]


def test_an_interrupted_export_leaves_nothing_and_keeps_the_one_before(tmp_path, monkeypatch):
    copied_instead(monkeypatch)
    export(full(), samples(), tmp_path, ["onnx"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporters.checks.validate, "check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(full(), samples(), tmp_path, ["onnx"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_a_killed_process_left_is_removed_by_the_next_export(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for process in (ended.pid, os.getpid()):
        (tmp_path / f"{PARTIAL}{process}-abc").mkdir()
        (tmp_path / f"{PARTIAL}{process}-abc" / "model.onnx").write_text("half of it")
    with staged(tmp_path / "model.onnx") as temporary:
        temporary.write_text("whole")
    assert names_in(tmp_path) == [f"{PARTIAL}{os.getpid()}-abc", "model.onnx"]


def test_an_opset_that_the_exporter_does_not_write(tmp_path):
    depth = {"fusion_layers": 1, "text_layers": 0, "vision_layers": 0}
    shallow = build(full().dims.model_copy(update=depth), "vqa")
    with refused(UsageError, "opset-not-written", "opset 16", "opset 18"):
        export_onnx(shallow, tmp_path / "model.onnx", samples(), opset=16)
    assert names_in(tmp_path) == []


def test_an_opset_that_does_not_exist_is_refused_before_tracing(tmp_path, monkeypatch):
    monkeypatch.setattr(StepModel, "forward", None)
    with refused(UsageError, "opset-not-written", "opset 99"):
        export(slim(), samples(), tmp_path, ["onnx"], opset=99)


def test_everything_wrong_with_a_request_is_said_at_once(tmp_path):
    with pytest.raises(UsageError) as failure:
        export(slim(), samples(), tmp_path, ["coreml"], precision="fp4", batch=(8, 1, 32))
    assert failure.value.codes == ("unknown-runtime", "unknown-precision", "batch-out-of-order")
    assert [problem.found for problem in failure.value.problems] == [
        "--to coreml",
        "precision 'fp4'",
        "batch 8:1:32",
    ]
    assert names_in(tmp_path) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with refused(EnvironmentProblem, "cannot-write", tmp_path / "file"):
        export(slim(), samples(), tmp_path / "file" / "exports", ["onnx"])


def test_samples_without_an_input(tmp_path):
    with refused(InputError, "input-missing", "pixel_values"):
        export_onnx(
            slim(),
            tmp_path / "model.onnx",
            {"input_ids": samples()["input_ids"]} | {"attention_mask": samples()["attention_mask"]},
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_no_silent_fallback_to_the_cpu():
    with (
        refused(EnvironmentProblem, "provider-not-used", "CUDAExecutionProvider"),
        OnnxRunner(full_onnx(), "CUDAExecutionProvider"),
    ):
        pass
    with refused(EnvironmentProblem, "no-cuda-device"), TorchRunner(full(), "cuda"):
        pass


def test_a_provider_that_is_there_is_used_alone():
    require_provider("CPUExecutionProvider")
    with OnnxRunner(full_onnx(), "CPUExecutionProvider") as runner:
        assert runner.session.get_providers() == ["CPUExecutionProvider"]


def test_a_missing_file(tmp_path):
    with refused(InputError, "export-missing", tmp_path / "model.onnx"), OnnxRunner(tmp_path / "model.onnx"):
        pass


def das_export(monkeypatch, folder, *options, written=slim_onnx):
    copied_instead(monkeypatch, written)
    make_run(folder / "run")
    return das("export", folder / "run", *options)


def test_the_command_prints_a_table_that_fits_eighty_columns(tmp_path, monkeypatch):
    done = das_export(monkeypatch, tmp_path, "--onnx")
    assert done.exit_code == 0
    assert "model.onnx" in done.stdout
    assert "passed" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()[:-1]) <= 80  # the last is the folder, never wrapped
    assert "Recommended on this machine" in done.stdout
    assert (tmp_path / "run" / "exports" / "model.onnx.parity.json").exists()
    beside = "config.json, tokenizer_config.json, preprocessor_config.json, tokenizer.json"
    assert f"Complete for ONNX tools, with {beside}: see docs/use.md." in " ".join(done.stdout.split())
    assert {path.name for path in (tmp_path / "run" / "exports").iterdir()} >= set(beside.split(", "))


def test_the_command_prints_one_json_document(tmp_path, monkeypatch):
    done = das_export(monkeypatch, tmp_path, "--onnx", "--json")
    document = json.loads(done.stdout)
    assert ExportReport.model_validate(document).exports[0].parity.status == "passed"
    assert Choices.model_validate(document["choices"]).choices[1].name == "model.onnx"


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ("--batch", "1:8", "batch-unreadable"),
        ("--batch", "8:4:2", "batch-out-of-order"),
        ("--batch", "0", "size-too-small"),
        ("--precision", "fp4", "unknown-precision"),
        ("--attention", "flash", "unknown-attention"),
        ("--opset", 99, "opset-not-written"),
        ("--workspace", "4XB", "workspace-unreadable"),
        ("--text-length", 99, "text-length-impossible"),
    ],
)
def test_wrong_options_exit_with_two(tmp_path, monkeypatch, option, value, code):
    stopped(das_export(monkeypatch, tmp_path, option, value), 2, code, option.removeprefix("--"), value)


def test_a_failed_parity_check_exits_with_four(tmp_path, monkeypatch):
    done = das_export(monkeypatch, tmp_path, "--onnx", written=full_onnx)
    stopped(done, 4, "parity-failed", "model.onnx")


def test_attention_on_a_gpu_is_never_written_out_by_default():
    onnxruntime, tensorrt = find_runtime("onnxruntime"), find_runtime("tensorrt")
    assert (onnxruntime.attention_on("cuda"), onnxruntime.attention_on("cpu")) == ("fused", onnxruntime.attention)
    assert shared_form([onnxruntime], "cuda") is None
    assert shared_form([onnxruntime, tensorrt], "cuda") == "composed"  # which both read, in the graph that they share


def test_a_profile_on_a_gpu_names_attention_that_is_slow_there(tmp_path):
    path, onnxruntime = tmp_path / "model.onnx", find_runtime("onnxruntime")
    assert slower_form(onnxruntime, path, "cuda") == ""  # nothing is there
    outcome = {"status": "passed", "tolerance": 1e-4, "runtime": "", "precision": "fp32", "versions": {}, "sha256": {}}
    for form, slower in (("composed", "composed"), ("fused", "")):
        record_of(path).write_text(Parity(**outcome, attention=form).model_dump_json())
        assert slower_form(onnxruntime, path, "cuda") == slower
        assert slower_form(onnxruntime, path, "cpu") == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_an_export_for_a_gpu_that_is_not_there_is_refused(run_here):
    stopped(das("export", "--onnx", "--device", "cuda"), 5, "no-cuda-device")
