"""The demo: its checkpoint, its data, and the whole story."""

import functools
import json

import pytest
import torch

import das as api
from compressor.evaluation import evaluate
from compressor.job import Settings, prepare
from compressor.tasks import TASKS
from das import demo
from tests.support import das


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAS_DATA", raising=False)
    return tmp_path


def test_the_shipped_checkpoint_is_small_and_far_above_the_floor(folder):
    demo.prepare_demo(folder / "demo")
    assert (folder / "demo" / "meter.ckpt").stat().st_size < 2_000_000
    job = prepare(Settings(checkpoint="demo/meter.ckpt", data="demo/data", skip=8))
    assert len(job.candidates) == 12
    score = evaluate(job.model, job.data.evaluation, TASKS["vqa"]).score
    floor = TASKS["vqa"].floor(job.data.train, job.data.evaluation)
    assert score.value > floor + 0.15


def test_training_the_checkpoint_is_deterministic_and_in_the_public_format(folder):
    for name in ("a.ckpt", "b.ckpt"):
        demo.train_checkpoint(folder / name, steps=3)
    first, second = (torch.load(name, weights_only=True)["state_dict"] for name in ("a.ckpt", "b.ckpt"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    keys = set(first)
    assert keys == set(torch.load(demo.ASSETS / demo.CHECKPOINT, weights_only=True)["state_dict"])
    assert "vit_model.visual.transformer.resblocks.1.attn.in_proj_weight" in keys


def test_the_whole_story(folder, monkeypatch):
    monkeypatch.setattr(demo, "TABLES", {"train": (200, 0), "val": (40, 1), "test": (60, 2)})
    monkeypatch.setattr(api, "profile", functools.partial(api.profile, seconds=1))
    result = das("demo")
    assert result.exit_code == 0, result.stderr
    assert "8 of 12 candidate layers removed" in result.stdout
    for command in (
        "das compress meter.ckpt --task vqa --skip 8",
        "das export --onnx",
        "das export --trt",
        "das profile",
    ):
        assert f"$ {command}" in result.stderr
    report = json.loads((folder / "demo" / "runs" / "latest" / "report.json").read_text())
    assert {entry["file"] for entry in report["exports"]} >= {"model.onnx"}
    assert report["profile"]["runtimes"]
    monkeypatch.chdir(folder / "demo")
    answer = das("predict", "--image", "scene.png", "--question", "how many things are there?", "--runtime", "onnx")
    assert answer.exit_code == 0, answer.stderr
