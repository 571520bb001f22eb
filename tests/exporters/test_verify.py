"""``das verify``: exports run again on the machine they are for."""

import json
import shutil

import onnx
import pytest
import torch
from onnx import numpy_helper

import exporters.verify
from compressor.data.generated.questions import write_vqa
from compressor.device import cpu_instructions
from compressor.errors import EnvironmentProblem
from compressor.files import sha256
from exporters.checks.records import Parity
from exporters.folder import REST, VISION
from exporters.runtimes import find_runtimes
from exporters.runtimes.tensorrt_engine import EngineMetadata
from exporters.verify import runtime_device
from tests.support.command_line import das, stopped
from tests.support.tiny_exports import facts_in

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
RECORD, PLAN = "model.onnx.parity.json", "model.fp16.rtx.plan"
SPLIT = f"{REST}.parity.json"


@pytest.fixture
def exported(shared_exports, tmp_path):
    """A run with an ONNX export, and an engine's plan as a machine without a GPU leaves it; its bytes are no engine."""
    folder = tmp_path / "run"
    shutil.copytree(shared_exports, folder)
    exports = folder / "exports"
    (exports / PLAN).write_bytes(b"plan")
    metadata = EngineMetadata(
        package="tensorrt_rtx",
        version="1",
        gpu=None,
        capabilities=("SM86",),
        onnx_sha256={},
        profile={"input_ids": ((1, 1), (8, 12), (32, 12))},
        flags=(),
        tf32=False,
        audit={
            "counted_on": "network",
            "asked": "fp16",
            "layers": {"fp16": 3, "fp32": 1},
            "weights": {"fp16": 10},
            "layer_share": 0.75,
            "weight_share": 1,
        },
        messages=(),
    )
    (exports / f"{PLAN}.json").write_text(metadata.model_dump_json())
    parity = {"status": "not verified", "reason": "no GPU here", "max_abs_error": None, "precision": "fp16"}
    parity |= {"runtime": "tensorrt_rtx for 8.6", "sha256": {PLAN: sha256(exports / PLAN)}, "certificate": None}
    (exports / f"{PLAN}.parity.json").write_text(record(exports).model_copy(update=parity).model_dump_json())
    return folder


def record(exports, name=RECORD):
    return Parity.model_validate_json((exports / name).read_bytes())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def shift(path, ending):
    """Add 1 to the weight of an ONNX file whose name ends so."""
    model = onnx.load(path)
    (weight,) = (entry for entry in model.graph.initializer if entry.name.endswith(ending))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + 1, weight.name))
    onnx.save(model, path)


@without_gpu
def test_what_can_run_is_verified_and_the_rest_keeps_its_record(exported):
    exports = exported / "exports"
    before, engine = record(exports), (exports / f"{PLAN}.parity.json").read_text()
    stale = before.model_copy(update={"status": "not verified", "reason": "not run", "max_abs_error": None})
    (exports / RECORD).write_text(stale.model_dump_json())
    done = das("verify", exported, "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    first, second, third = report["exports"]
    assert report["device"] == "cpu"
    assert (third["file"], third["parity"]["status"], third["notes"]) == (REST, "passed", [])
    assert (first["file"], first["parity"]["status"]) == (PLAN, "not verified")
    assert first["parity"]["reason"] == "no CUDA device"
    assert (first["audit"]["counted_on"], first["audit"]["layer_share"]) == ("network", 0.75)
    assert (second["file"], second["parity"]["status"], second["audit"]) == ("model.onnx", "passed", None)
    after = record(exports)
    assert (after.status, after.reason, after.attention) == ("passed", "", before.attention)
    assert after.max_abs_error == pytest.approx(before.max_abs_error, abs=1e-6)
    assert after.certificate.samples == before.certificate.samples
    assert (after.runtime, after.graph_sha256) == (before.runtime, before.graph_sha256)
    assert (exports / f"{PLAN}.parity.json").read_text() == engine


@without_gpu
def test_the_table_says_what_did_not_run_and_what_the_engine_is_made_of(exported):
    done = das("verify", exported)
    assert done.exit_code == 0, done.stderr
    assert "passed" in done.stdout
    said = " ".join(done.stdout.split())
    assert "not verified: no CUDA device" in said
    assert "75.0% of the layers and 100.0% of the weights in fp16, counted on the network" in said
    assert max(map(len, done.stdout.splitlines()[:6])) <= 80


@without_gpu
def test_nothing_that_can_run_here_is_the_environment(exported):
    done = das("verify", exported, "--trt")
    stopped(done, 5, "export-cannot-run-here", PLAN, "no CUDA device", "das doctor")


def test_an_export_that_answers_otherwise_fails_and_goes(exported):
    path = exported / "exports" / "model.onnx"
    shift(path, "epilogue.head.3.bias")
    done = das("verify", exported, "--onnx", "--json")  # das() holds what it printed to be one document: the report
    stopped(done, 4, "parity-failed", "model.onnx")
    assert json.loads(done.stdout)["schema_version"] and "problems" not in done.stdout
    assert not path.exists()
    failed = record(path.parent)
    assert failed.status == "failed"
    assert failed.starts_at.startswith("the error starts in epilogue")
    assert failed.starts_at in " ".join(done.stderr.split())
    assert "model.onnx" in (exported / "report.md").read_text()


def test_a_run_without_exports(run_here):
    done = das("verify")
    stopped(done, 3, "export-missing", "(onnx, openvino, trt)", "das export")


def test_a_damaged_record(exported):
    (exported / "exports" / RECORD).write_text("{")
    done = das("verify", exported, "--onnx")
    stopped(done, 3, "record-unreadable", RECORD)


def test_no_export_is_written_to(exported):
    exports = exported / "exports"
    before = contents(exports)
    assert das("verify", exported, "--onnx").exit_code == 0
    after = contents(exports)
    assert {name for name in before if before[name] != after[name]} <= {RECORD, SPLIT}
    assert set(after) == set(before)
    for name in ("model.onnx", VISION, REST):
        assert record(exports, SPLIT if name != "model.onnx" else RECORD).sha256[name] == sha256(exports / name)


@pytest.mark.parametrize(
    ("gone", "found"),
    [(PLAN, f"no {PLAN}"), (f"{PLAN}.json", f"{PLAN}.json"), (VISION, f"no {VISION}"), (REST, f"no {REST}")],
)
def test_a_missing_file_is_named_before_anything_runs(exported, gone, found):
    exports = exported / "exports"
    (exports / gone).unlink()
    before = contents(exports)
    done = das("verify", exported)
    stopped(done, 3, "export-unreadable" if gone == f"{PLAN}.json" else "export-incomplete", found)
    assert contents(exports) == before


def test_weights_that_were_left_behind(exported):
    exports = exported / "exports"
    named = record(exports).model_copy(update={"sha256": {"model.onnx": "", "model.onnx.data": ""}})
    (exports / RECORD).write_text(named.model_dump_json())
    done = das("verify", exported, "--onnx")
    stopped(done, 3, "export-incomplete", "model.onnx.data")
    assert (exports / "model.onnx").exists()


def test_an_export_of_two_files_has_one_certificate_and_goes_as_a_whole(exported):
    exports = exported / "exports"
    whole, split = record(exports), record(exports, SPLIT)
    assert split.certificate.fingerprint == whole.certificate.fingerprint
    for name in (VISION, REST):
        inside = Parity.model_validate({**json.loads(facts_in(exports / name)["certificate"]), "sha256": {}})
        assert (inside.runtime, inside.certificate) == (split.runtime, split.certificate)
    assert facts_in(exports / REST)["graph"] == split.graph_sha256
    (exports / RECORD).unlink()
    shift(exports / VISION, "VEn0.layer_norm2.bias")
    assert das("verify", exported, "--onnx").exit_code == 4
    assert not (exports / VISION).exists() and not (exports / REST).exists()
    failed = record(exports, SPLIT)
    assert failed.status == "failed"
    assert failed.starts_at.startswith("the error starts in blocks.VEn0.")


def test_a_certificate_on_fewer_samples_does_not_replace_one_on_more(exported, tmp_path):
    write_vqa(tmp_path / "few", 30, 0)
    path, other = exported / "exports" / RECORD, "a CPU of another kind"
    before = record(exported / "exports")
    elsewhere = before.certificate.model_copy(update={"instructions": other})
    before = before.model_copy(update={"certificate": elsewhere})
    path.write_text(before.model_dump_json())
    done = das("verify", exported, "--onnx", "--data", tmp_path / "few", "--json")
    assert done.exit_code == 0, done.stderr
    entry = json.loads(done.stdout)["exports"][0]
    fewer = entry["certificate"]["samples"]
    assert fewer < before.certificate.samples == entry["parity"]["certificate"]["samples"]
    expected = f"ran here on {fewer} samples; its record keeps the certificate on {before.certificate.samples}"
    cpu = f"the CPU here has {cpu_instructions()}, the one that it was certified on {other}"
    assert entry["notes"] == [expected, cpu]
    after = record(exported / "exports").certificate
    assert after == before.certificate.model_copy(update={"note": "made earlier, in ONNX Runtime, CPU"})
    said = " ".join(das("verify", exported, "--onnx", "--data", tmp_path / "few").stdout.split())
    assert expected in said


def test_other_bytes_that_answer_alike_are_said_to_be_others(exported):
    exports = exported / "exports"
    model = onnx.load(exports / "model.onnx")
    model.doc_string = "by another hand"
    onnx.save(model, exports / "model.onnx")
    done = das("verify", exported, "--onnx", "--json")
    assert done.exit_code == 0, done.stderr
    entry = json.loads(done.stdout)["exports"][0]
    assert entry["notes"] == [f"not what was exported: {RECORD} named another SHA-256"]
    assert record(exports).sha256["model.onnx"] == sha256(exports / "model.onnx")
    assert record(exports).graph_sha256 is None


def test_the_report_follows_the_records_when_a_later_export_is_interrupted(exported, monkeypatch):
    exports, judge, judged = exported / "exports", exporters.verify.judge, []
    shift(exports / "model.onnx", "epilogue.head.3.bias")

    def interrupted(candidate, *given, **options):
        judged.append(candidate)
        if len(judged) == 2:
            raise KeyboardInterrupt
        return judge(candidate, *given, **options)

    monkeypatch.setattr(exporters.verify, "judge", interrupted)
    done = das("verify", exported, "--onnx")
    assert done.exit_code != 0
    assert record(exports).status == "failed"
    (entry,) = (
        entry
        for entry in json.loads((exported / "report.json").read_text())["exports"]
        if entry["file"] == "model.onnx"
    )
    assert entry["parity"]["status"] == "failed"


@without_gpu
@pytest.mark.parametrize(("device", "code", "found"), [("cuda", 5, "no-cuda-device"), ("tpu", 2, "unknown-device")])
def test_a_device_that_is_not_here(exported, device, code, found):
    done = das("verify", exported, "--device", device)
    stopped(done, code, found, device if code == 2 else "CUDA")


@without_gpu
def test_cuda_is_where_it_works_in_the_runtimes_that_have_a_choice(monkeypatch):
    monkeypatch.setattr(exporters.verify, "choose_device", lambda name: torch.device(name or "cuda"))
    onnxruntime, tensorrt = find_runtimes(["onnx", "trt"])
    assert runtime_device(None, [onnxruntime, tensorrt]) == "cpu"
    assert runtime_device(None, [tensorrt]) == "cuda"
    with pytest.raises(EnvironmentProblem):
        runtime_device("cuda", [onnxruntime])


def test_a_runtime_without_the_device_runs_on_its_own(exported, monkeypatch):
    (runtime,) = find_runtimes(["onnx"])
    monkeypatch.setattr(type(runtime), "devices", ("cpu",))
    monkeypatch.setattr(exporters.verify, "choose_device", lambda name: torch.device("cuda"))
    (exported / "exports" / SPLIT).unlink()
    done = das("verify", exported, "--onnx", "--json")
    assert done.exit_code == 0, done.stderr
    (entry,) = json.loads(done.stdout)["exports"]
    assert (entry["parity"]["status"], entry["parity"]["runtime"]) == ("passed", "ONNX Runtime, CPU")


@without_gpu
def test_what_no_cpu_can_compute_is_not_verified_and_stays(exported):
    exports = exported / "exports"
    for name in (RECORD, SPLIT, f"{PLAN}.parity.json"):
        (exports / name).unlink()
    shutil.copy(exports / "model.onnx", exports / "model.bf16.onnx")
    half = Parity(status="not verified", tolerance=0.1, runtime="", precision="bf16", versions={}, sha256={})
    (exports / "model.bf16.onnx.parity.json").write_text(half.model_dump_json())
    done = das("verify", exported, "--onnx")
    stopped(done, 5, "export-cannot-run-here", "no bf16 kernels for CPUs")
    assert (exports / "model.bf16.onnx").exists()
