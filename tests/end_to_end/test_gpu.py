"""What only a machine with an NVIDIA GPU can show; skipped elsewhere, with the reason."""

import json

import pytest
import torch

from compressor.compression import compress
from compressor.evaluation.evaluate import evaluate
from compressor.evaluation.open_data import open_data
from compressor.settings import Settings
from compressor.tasks import TASKS
from exporters.runtimes import obstacles
from tests.support.command_line import das

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


def test_compress_on_cuda(workshop):
    settings = Settings(
        checkpoint="meter.ckpt", task="vqa", skip=8, search_epochs=2, recover_epochs=1, batch_size=32, device="cuda"
    )
    run = compress(settings)
    assert run.manifest.device == "cuda"
    assert len(run.load_slim().skipped) == 8
    part = open_data(run, "data").evaluation.subset(run.answers()["numbers"].numpy())
    for which, model in (("full", run.load_full()), ("slim", run.load_slim())):
        on_cpu = evaluate(model, part, TASKS["vqa"]).logits
        torch.testing.assert_close(run.answers()[which], on_cpu, atol=1e-4, rtol=0)


def test_profile_on_cuda(run_here):
    result = das("profile", "--device", "cuda", "--runtime", "torch", "--seconds", 1, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["environment"]["device"].startswith("cuda")


def test_onnx_files_answer_on_cuda_as_the_model_does(run_here):
    if why := obstacles("cuda").get("onnxruntime"):
        pytest.skip(why.found)
    result = das("export", "--json")
    assert result.exit_code == 0, result.stderr
    assert [entry["parity"]["status"] for entry in json.loads(result.stdout)["exports"]] == ["passed"]
    checked = das("verify", "--device", "cuda", "--json")
    assert checked.exit_code == 0, checked.stderr
    timed = das("profile", "--device", "cuda", "--runtime", "onnxruntime", "--seconds", 1, "--json")
    assert timed.exit_code == 0, timed.stderr
    assert [entry["name"] for entry in json.loads(timed.stdout)["runtimes"]] == ["onnxruntime"]


def test_a_tensorrt_engine_answers_as_the_model_does(run_here):
    pytest.importorskip("tensorrt", reason="tensorrt is not installed")
    result = das("export", "--trt", "--json")
    assert result.exit_code == 0, result.stderr
    engine = json.loads(result.stdout)["exports"][-1]
    assert engine["parity"]["status"] == "passed"
    answer = das("predict", "--runtime", "trt", "--image", "scene.png", "--question", "how many things are there?")
    assert answer.exit_code == 0
