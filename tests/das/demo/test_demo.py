"""The demo: its checkpoint, its data, and the whole story."""

import json
import re
import shlex
from dataclasses import replace
from functools import partial

import pytest
import torch

from compressor.errors import UsageError
from compressor.evaluation.evaluate import evaluate
from compressor.jobs.prepare_job import prepare_job
from compressor.settings import Settings
from compressor.tasks import TASKS
from das.demo import checkpoints
from das.demo.demos import DEMOS, SHIPPED, find_demo
from das.demo.small_models import meter_dims
from tests.support.command_line import das, refused
from tests.support.workers import in_threads


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAS_DATA", raising=False)
    return tmp_path


def test_the_shipped_checkpoint_is_small_and_far_above_the_floor(folder):
    checkpoints.prepare_demo(SHIPPED, folder / "demo")
    assert (folder / "demo" / "meter.ckpt").stat().st_size < 2_000_000
    job = prepare_job(Settings(checkpoint="demo/meter.ckpt", data="demo/data", skip=8))
    assert len(job.candidates) == 12
    score = evaluate(job.model, job.data.evaluation, TASKS["vqa"]).score
    floor = TASKS["vqa"].baseline.score(job.data.train, job.data.evaluation)
    assert score.value > floor + 0.15


def test_training_the_checkpoint_is_deterministic_and_in_the_public_format(folder):
    TASKS["vqa"].generated.write(folder / "data", 200, 0)
    for name in ("a.ckpt", "b.ckpt"):
        checkpoints.train_checkpoint(SHIPPED, folder / "data", folder / name, steps=3)
    first, second = (torch.load(name, weights_only=True)["state_dict"] for name in ("a.ckpt", "b.ckpt"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    keys = set(first)
    assert keys == set(torch.load(checkpoints.ASSETS / SHIPPED.checkpoint, weights_only=True)["state_dict"])
    assert "vit_model.visual.transformer.resblocks.1.attn.in_proj_weight" in keys


def test_training_in_a_hugging_face_format_is_deterministic_and_names_the_classes(folder):
    TASKS["text-classification"].generated.write(folder / "data", 40, 0)
    found = DEMOS["bert", "text-classification"]
    for name in ("a", "b"):
        checkpoints.train_checkpoint(found, folder / "data", folder / name, steps=3)
    first, second = ((folder / name / "model.safetensors").read_bytes() for name in ("a", "b"))
    assert first == second
    config = json.loads((folder / "a" / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["id2label"] == {"0": "negative", "1": "positive"}


def test_a_retrained_checkpoint_fits_the_demos_data(folder):
    checkpoints.prepare_demo(replace(SHIPPED, images=60, shipped=80, steps=2), folder / "demo", retrain=True)
    assert prepare_job(Settings(checkpoint="demo/meter.ckpt", data="demo/data", skip=8)).candidates


def test_a_demo_of_a_family_or_task_that_there_is_none_of():
    assert find_demo("vilt", None).task == "vqa"
    with refused(UsageError, "unknown-family", "one of meter, vilt, roberta, bert"):
        find_demo("clip", None)
    with refused(UsageError, "unknown-task", "--task vqa for bert"):
        find_demo("bert", "vqa")


def test_the_whole_story(folder, monkeypatch):
    sizes = partial(meter_dims, layers=1, fusion_layers=2)  # tracing takes seconds for a layer
    small = replace(SHIPPED, images=100, steps=5, skip=2, seconds=0.2, shipped=0, dims=sizes)
    monkeypatch.setitem(DEMOS, ("meter", "vqa"), small)
    in_threads(monkeypatch)
    result = das("demo", "demo")
    assert result.exit_code == 0, result.stderr
    assert "2 of 4 candidate layers removed" in result.stdout
    for command in (
        "das compress meter.ckpt --task vqa --skip 2 --recover-epochs 4",
        "das export --onnx --precision int8",
        "das export --trt",
        "das profile",
    ):
        assert f"$ {command}" in result.stderr
    assert re.search(r"strategy auto: \d+ subsets of layers scored in \d+ s, as much work as", result.stderr)
    report = json.loads((folder / "demo" / "runs" / "latest" / "report.json").read_text())
    assert report["command"] == "das compress meter.ckpt --task vqa --skip 2 --recover-epochs 4"
    assert report["settings"]["recover_epochs"] == 4
    assert {entry["file"] for entry in report["exports"]} >= {"model.onnx"}
    assert report["profile"]["runtimes"]
    monkeypatch.chdir(folder / "demo")
    answer = das("predict", "--image", "scene.png", "--question", "how many things are there?", "--runtime", "onnx")
    assert answer.exit_code == 0, answer.stderr


@pytest.mark.slow
def test_the_story_of_another_family_and_task_ends_with_commands_that_work(folder, monkeypatch):
    small = replace(DEMOS["vilt", "nlvr2"], images=40, steps=3, seconds=0.2)
    monkeypatch.setitem(DEMOS, ("vilt", "nlvr2"), small)
    in_threads(monkeypatch)
    result = das("demo", "--family", "vilt", "--task", "nlvr2", "--skip", 2)
    assert result.exit_code == 0, result.stderr
    assert "2 of 6 candidate layers removed" in result.stdout
    monkeypatch.chdir(folder / "demo-vilt-nlvr2")
    typed = [line.strip() for line in result.stdout.splitlines() if line.startswith("  das ")]
    assert typed[0] == "das compress vilt.ckpt --task nlvr2 --skip 2 --recover-epochs 4"
    for command in ("das pareto", "das explain"):
        assert command in typed
        done = das(*shlex.split(command)[1:])
        assert done.exit_code == 0, done.stderr
    assert typed[-1].startswith("das predict --image scene.png --image scene1.png --text")
    answer = das(*shlex.split(typed[-1])[1:])
    assert answer.exit_code == 0, answer.stderr
    assert "True" in answer.stdout
