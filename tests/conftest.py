"""Small data, a small checkpoint and small runs, made once for all tests."""

from __future__ import annotations

import gc
import os
import shutil
from contextlib import chdir
from dataclasses import replace

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests never look anything up
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: threads cost more than they bring, also in processes

import numpy as np
import PIL.Image
import pytest
import torch

import das
from compressor.checkpoints import build, read
from compressor.compression import compress
from compressor.data.arrow_files import read_table
from compressor.data.generated.questions import write_vqa
from compressor.data.generated.scenes import draw_scene, render
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.saved_run.run_folder import open_run
from compressor.saved_run.run_places import LATEST, ROOT, point_latest_at
from compressor.settings import Settings
from das.demo.checkpoints import ASSETS, prepare_demo
from das.demo.demos import DEMOS, SHIPPED
from tests.support import traces
from tests.support.once import once, use

torch.set_num_threads(1)
gc.set_threshold(
    100_000, 20, 20
)  # tracing makes objects by the million; looking for cycles among them is a tenth of it


@pytest.fixture(scope="session", autouse=True)
def made_once(tmp_path_factory):
    """Where all processes that run tests keep what they share."""
    use(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session", autouse=True)
def quickly(made_once):
    """Commands time what they will do and what they made, build engines for four kinds of GPU, and trace a model anew.

    No test looks at the times or the GPUs, or needs a second trace of a model.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("profiles.deployment.recommend_export.SECONDS", 0.05)
        patch.setattr("profiles.deployment.best_export.FIRST_SECONDS", 0.05)
        patch.setattr("profiles.deployment.best_export.SECONDS", 0.05)
        patch.setattr("profiles.timing.latency.WARM_UP_SECONDS", 0.0)
        patch.setattr("profiles.timing.paired.LEAST_GROUPS", 2)
        patch.setattr("profiles.timing.paired.USUAL_GROUPS", 2)
        patch.setattr("compressor.training.expected_time.LEAST_SECONDS", 0.0)
        patch.setattr("compressor.training.expected_time.MOST_SECONDS", 0.0)
        patch.setattr("profiles.timing.latency.BLOCK_MS", 1.0)
        patch.setattr("exporters.runtimes.tensorrt_engine.ahead_of_time", lambda trt: ("SM86",))
        patch.setattr("torch.onnx.export", traces.export)
        yield


def make_workshop(folder):
    """What a user has: a checkpoint, its tokenizer, and tables."""
    write_vqa(folder / "data", 150, 0)
    questions = read_table(folder / "data" / "vqav2_train.arrow", ["questions"])["questions"].to_pylist()
    word_tokenizer([question for asked in questions for question in asked]).save(str(folder / "tokenizer.json"))
    shutil.copyfile(ASSETS / SHIPPED.checkpoint, folder / SHIPPED.checkpoint)
    rng = np.random.default_rng(0)
    (folder / "scene.png").write_bytes(render(draw_scene(rng), 192, rng))


@pytest.fixture(scope="session")
def shared_workshop():
    """A workshop that no test changes."""
    return once("workshop", make_workshop)


@pytest.fixture
def workshop(shared_workshop, tmp_path, monkeypatch):
    """The same, copied, as the current folder."""
    folder = tmp_path / "workshop"
    shutil.copytree(shared_workshop, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DAS_DATA", raising=False)
    return folder


@pytest.fixture(scope="session")
def shared_sentences():
    """A small RoBERTa that classifies sentences, hardly trained, and sentences; no test changes it."""
    small = replace(DEMOS["roberta", "text-classification"], images=60, steps=2)
    return once("sentences", lambda folder: prepare_demo(small, folder / "workshop")) / "workshop"


@pytest.fixture
def sentences(shared_sentences, tmp_path, monkeypatch):
    """The same, copied, as the current folder."""
    folder = tmp_path / "sentences"
    shutil.copytree(shared_sentences, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DAS_DATA", raising=False)
    return folder


@pytest.fixture(scope="session")
def shared_run(shared_workshop):
    """A searched and recovered run with 8 of 12 fusion layers skipped; no test changes it."""
    settings = Settings(
        checkpoint=str(shared_workshop / SHIPPED.checkpoint),
        task="vqa",
        skip=8,
        data=str(shared_workshop / "data"),
        search_epochs=2,
        recover_epochs=1,
        batch_size=32,
        device="cpu",
    )

    def make(folder):
        with chdir(folder):  # runs/ appears in the current folder
            compress(settings)

    return open_run(once("run", make) / ROOT / LATEST)


@pytest.fixture(scope="session")
def shared_exports(shared_run):
    """The same run with ONNX exports, the vision tower apart as well; no test changes it."""

    def make(folder):
        shutil.copytree(shared_run.path, folder / "run")
        das.export(folder / "run", "onnx", split=True)

    return once("exports", make) / "run"


@pytest.fixture
def run_here(shared_run, workshop):
    """The workshop with a copy of the run as runs/latest."""
    folder = workshop / ROOT / shared_run.path.name
    shutil.copytree(shared_run.path, folder)
    point_latest_at(folder)
    return folder


@pytest.fixture
def reads(monkeypatch):
    """Return how often a function was called from now on, wherever it was imported."""
    from compressor.jobs import prepare_job

    calls = {"hash": 0, "load": 0, "image": 0}

    def counted(name, function):
        def call(*arguments, **options):
            calls[name] += 1
            return function(*arguments, **options)

        return call

    hashed, loaded = counted("hash", read.checkpoint_sha256), counted("load", build.load_checkpoint)
    for modules in ((prepare_job, prepare_job), (read, build)):  # a run imports both where it needs them
        for module, name, function in zip(
            modules, ("checkpoint_sha256", "load_checkpoint"), (hashed, loaded), strict=True
        ):
            monkeypatch.setattr(module, name, function)
    monkeypatch.setattr(PIL.Image, "open", counted("image", PIL.Image.open))
    return calls
