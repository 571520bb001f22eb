"""``das verify``: exports run again on the machine they are for."""

import json
import shutil

import onnx
import pytest
import torch
from onnx import numpy_helper

import das as api
from exporters.parity import Parity
from exporters.tensorrt import Passport
from tests.support import das

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
RECORD, PLAN = "model.onnx.parity.json", "model.fp16.rtx.plan"


@pytest.fixture(scope="module")
def exported_once(shared_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "run"
    shutil.copytree(shared_run.path, folder)
    api.export(folder, "onnx")
    return folder


@pytest.fixture
def exported(exported_once, tmp_path):
    """A run with an ONNX export, and an engine's plan as a machine without a GPU leaves it; its bytes are no engine."""
    folder = tmp_path / "run"
    shutil.copytree(exported_once, folder)
    exports = folder / "exports"
    (exports / PLAN).write_bytes(b"plan")
    passport = Passport(
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
    (exports / f"{PLAN}.json").write_text(passport.model_dump_json())
    parity = {"status": "not verified", "reason": "no GPU here", "max_abs_error": None, "precision": "fp16"}
    parity |= {"runtime": "tensorrt_rtx for 8.6", "sha256": {PLAN: ""}, "certificate": None}
    (exports / f"{PLAN}.parity.json").write_text(record(exports).model_copy(update=parity).model_dump_json())
    return folder


def record(exports, name=RECORD):
    return Parity.model_validate_json((exports / name).read_bytes())


@without_gpu
def test_what_can_run_is_verified_and_the_rest_keeps_its_record(exported):
    exports = exported / "exports"
    before, engine = record(exports), (exports / f"{PLAN}.parity.json").read_text()
    stale = before.model_copy(update={"status": "not verified", "reason": "not run", "max_abs_error": None})
    (exports / RECORD).write_text(stale.model_dump_json())
    done = das("verify", exported, "--json")
    assert done.exit_code == 0, done.stderr
    first, second = json.loads(done.stdout)["exports"]
    assert (first["file"], first["parity"]["status"]) == (PLAN, "not verified")
    assert first["parity"]["reason"] == "no CUDA device"
    assert (first["audit"]["counted_on"], first["audit"]["layer_share"]) == ("network", 0.75)
    assert (second["file"], second["parity"]["status"], second["audit"]) == ("model.onnx", "passed", None)
    after = record(exports)
    assert (after.status, after.reason, after.attention) == ("passed", "", before.attention)
    assert after.max_abs_error == pytest.approx(before.max_abs_error, abs=1e-6)
    assert after.certificate.samples == before.certificate.samples
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
    assert done.exit_code == 5
    assert f"{PLAN} cannot be run here: no CUDA device" in done.stderr
    assert "das doctor" in done.stderr


def test_an_export_that_answers_otherwise_fails_and_goes(exported):
    path = exported / "exports" / "model.onnx"
    model = onnx.load(path)
    (bias,) = (entry for entry in model.graph.initializer if entry.name.endswith("epilogue.head.3.bias"))
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 1, bias.name))
    onnx.save(model, path)
    done = das("verify", exported, "--onnx")
    assert done.exit_code == 4
    assert "model.onnx does not answer as the model does" in done.stderr
    assert not path.exists()
    assert record(path.parent).status == "failed"
    assert "model.onnx" in (exported / "report.md").read_text()


def test_a_run_without_exports(run_here):
    done = das("verify")
    assert done.exit_code == 3
    assert "no export (onnx, trt)" in done.stderr
    assert "das export" in done.stderr


def test_a_damaged_record(exported):
    (exported / "exports" / RECORD).write_text("{")
    done = das("verify", exported, "--onnx")
    assert done.exit_code == 3
    assert "the record of an export" in done.stderr
