"""Small data, a small checkpoint and small runs, made once for all tests."""

from __future__ import annotations

import os
import shutil
from contextlib import chdir
from dataclasses import replace

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests never look anything up

import numpy as np
import pytest
import torch

from compressor.data.generated.scenes import draw, scene
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.data.generated.vqa import write_vqa
from compressor.data.tables import read_table
from compressor.job import Settings
from compressor.pipeline import compress
from compressor.runs import ROOT, point_latest_at
from das.demo import ASSETS, DEMOS, SHIPPED, prepare_demo

torch.set_num_threads(1)  # tiny models: threads cost more than they bring


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """``das export`` times what it made; no test looks at the times."""
    monkeypatch.setattr("profiles.choices.SECONDS", 0.05)


def make_workshop(folder):
    """What a user has: a checkpoint, its tokenizer, and tables."""
    folder.mkdir(exist_ok=True)
    write_vqa(folder / "data", 150, 0)
    questions = read_table(folder / "data" / "vqav2_train.arrow", ["questions"])["questions"].to_pylist()
    word_tokenizer([question for asked in questions for question in asked]).save(str(folder / "tokenizer.json"))
    shutil.copyfile(ASSETS / SHIPPED.checkpoint, folder / SHIPPED.checkpoint)
    rng = np.random.default_rng(0)
    (folder / "scene.png").write_bytes(draw(scene(rng), 192, rng))
    return folder


@pytest.fixture(scope="session")
def shared_workshop(tmp_path_factory):
    """A workshop that no test changes."""
    return make_workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def workshop(shared_workshop, tmp_path, monkeypatch):
    """The same, copied, as the current folder."""
    folder = tmp_path / "workshop"
    shutil.copytree(shared_workshop, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DAS_DATA", raising=False)
    return folder


@pytest.fixture(scope="session")
def shared_sentences(tmp_path_factory):
    """A small RoBERTa that classifies sentences, hardly trained, and sentences; no test changes it."""
    folder = tmp_path_factory.mktemp("sentences") / "workshop"
    prepare_demo(replace(DEMOS["roberta", "text-classification"], images=60, steps=2), folder)
    return folder


@pytest.fixture
def sentences(shared_sentences, tmp_path, monkeypatch):
    """The same, copied, as the current folder."""
    folder = tmp_path / "sentences"
    shutil.copytree(shared_sentences, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DAS_DATA", raising=False)
    return folder


@pytest.fixture(scope="session")
def shared_run(shared_workshop, tmp_path_factory):
    """A searched and recovered run with 8 of 12 fusion layers skipped."""
    settings = Settings(
        checkpoint=str(shared_workshop / SHIPPED.checkpoint),
        task="vqa",
        skip=8,
        data=str(shared_workshop / "data"),
        search_epochs=2,
        recover_epochs=1,
        batch_size=32,
    )
    with chdir(tmp_path_factory.mktemp("runs")):  # runs/ appears in the current folder
        return compress(settings)


@pytest.fixture
def run_here(shared_run, workshop):
    """The workshop with a copy of the run as runs/latest."""
    folder = workshop / ROOT / shared_run.path.name
    shutil.copytree(shared_run.path, folder)
    point_latest_at(folder)
    return folder
