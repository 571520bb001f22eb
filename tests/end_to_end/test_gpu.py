"""What only a machine with an NVIDIA GPU can show; skipped elsewhere, with the reason.

A compression is shared by all, and workers are threads but in one test: each process would start CUDA anew.
"""

import json
import shutil
from contextlib import chdir

import pytest
import torch

from compressor.compression import compress
from compressor.evaluation.evaluate import evaluate
from compressor.evaluation.open_data import open_data
from compressor.saved_run.run_folder import open_run
from compressor.settings import Settings
from compressor.tasks import TASKS
from exporters.runtimes import obstacles
from tests.support.command_line import das
from tests.support.marks import needs_gpu
from tests.support.workers import in_threads


@pytest.fixture(scope="module")
def on_gpu(shared_workshop, tmp_path_factory):
    """A workshop with a run that was made on the GPU, as runs/latest; no test changes it."""
    folder = tmp_path_factory.mktemp("gpu") / "workshop"
    shutil.copytree(shared_workshop, folder)
    settings = Settings(
        checkpoint="meter.ckpt", task="vqa", skip=8, search_epochs=2, recover_epochs=1, batch_size=32, device="cuda"
    )
    with chdir(folder):
        compress(settings)
    return folder


@pytest.fixture
def here(on_gpu, tmp_path, monkeypatch):
    """The same, copied, as the current folder."""
    shutil.copytree(on_gpu, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here")


def profile_of(*arguments):
    result = das("profile", "--device", "cuda", "--seconds", 0.5, "--json", *arguments)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["environment"]["device"].startswith("cuda")
    return {entry["name"]: entry for entry in report["runtimes"]}


@needs_gpu
def test_compress_on_cuda(here):
    run = open_run("runs/latest")
    assert run.manifest.device == "cuda"
    assert len(run.load_slim().skipped) == 8
    part = open_data(run, "data").evaluation.subset(run.answers()["numbers"].numpy())
    for which, model in (("full", run.load_full()), ("slim", run.load_slim())):
        on_cpu = evaluate(model, part, TASKS["vqa"]).logits
        torch.testing.assert_close(run.answers()[which], on_cpu, atol=1e-4, rtol=0)


@needs_gpu
def test_a_profile_in_processes_of_their_own(here):
    (entry,) = profile_of("--runtime", "torch").values()
    assert "full as a CUDA graph" in entry["remark"]
    assert "slim as a CUDA graph" in entry["remark"]
    assert entry["memory"]["full"]["gpu_allocated"] > entry["file_bytes"]["full"]


@needs_gpu
def test_onnx_files_answer_on_cuda_as_the_model_does(here, monkeypatch):
    if why := obstacles("cuda").get("onnxruntime"):
        pytest.skip(why.found)
    in_threads(monkeypatch)
    result = das("export", "--onnx", "--json")
    assert result.exit_code == 0, result.stderr
    assert [entry["parity"]["status"] for entry in json.loads(result.stdout)["exports"]] == ["passed"]
    checked = das("verify", "--device", "cuda", "--json")
    assert checked.exit_code == 0, checked.stderr
    assert "slim as a CUDA graph" in profile_of("--runtime", "onnxruntime")["onnxruntime"]["remark"]
    answer = das("predict", "--image", "scene.png", "--question", "how many things are there?")
    assert answer.exit_code == 0


@needs_gpu
def test_a_tensorrt_engine_answers_as_the_model_does(here):
    pytest.importorskip("tensorrt", reason="tensorrt is not installed")
    result = das("export", "--trt", "--json")
    assert result.exit_code == 0, result.stderr
    engine = json.loads(result.stdout)["exports"][-1]
    assert engine["parity"]["status"] == "passed"
    answer = das("predict", "--runtime", "trt", "--image", "scene.png", "--question", "how many things are there?")
    assert answer.exit_code == 0
