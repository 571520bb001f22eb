"""Run folders, and what leads to the newest one."""

import errno
import json
import os
from pathlib import Path

import pytest

from compressor.compression import compress
from compressor.errors import InputError
from compressor.saved_run.manifest import read_manifest
from compressor.saved_run.run_folder import Run, open_run
from compressor.saved_run.run_places import point_latest_at
from compressor.settings import Settings
from das.api import load
from tests.support.command_line import das, refused, stopped

BY_HAND = Settings(checkpoint="meter.ckpt", task="vqa", layers=("FL1",), recover="none")


@pytest.fixture
def no_links(monkeypatch):
    """A file system without symbolic links."""

    def refuse(*given, **named):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "symlink", refuse)


def test_a_file_takes_the_place_of_the_link_where_there_are_none(workshop, no_links):
    compress(BY_HAND)
    run = compress(BY_HAND)
    assert Path("runs/latest").read_text() == run.path.name == "meter-vqa-by-hand-2"
    assert sorted(path.name for path in Path("runs").iterdir()) == ["latest", "meter-vqa-by-hand", run.path.name]
    for named in (None, "runs/latest", workshop / "runs" / "latest"):
        assert open_run(named).path == run.path
    assert load("runs/latest").layers == run.load_slim().layers
    told = das("eval", "--json")
    assert json.loads(told.stdout)["value"] == pytest.approx(run.manifest.results.slim.value)


@pytest.mark.parametrize("content", [b"gone", b"\xff\xfe", b""])
def test_a_file_that_leads_nowhere_is_no_run(workshop, content):
    Path("runs").mkdir()
    Path("runs/latest").write_bytes(content)
    with refused(InputError, "run-missing", "no run in runs/latest"):
        open_run()
    stopped(das("eval"), 3, "run-missing")


def test_a_run_is_complete_where_latest_cannot_be_written(workshop, capsys):
    Path("runs").write_text("a file")
    told = das("compress", "meter.ckpt", "--task", "vqa", "--layers", "FL1", "--recover", "none", "--out", "run")
    assert told.exit_code == 0, told.stderr
    assert "runs/latest cannot be written" in told.stderr and str(workshop / "run") in " ".join(told.stderr.split())
    assert open_run("run").manifest.plan.layers == ("FL1",)


def test_a_folder_called_latest_stays(workshop):
    Path("runs/latest").mkdir(parents=True)
    assert "a folder of its own" in point_latest_at(Path("run"))
    assert Path("runs/latest").is_dir() and not Path("runs/latest").is_symlink()


@pytest.mark.parametrize(
    ("dims", "code"),
    [
        ({"fusion_layers": 2**31}, "manifest-damaged"),
        ({"text_layers": 0}, "manifest-damaged"),
        ({"text_vocabulary": 2**70}, "manifest-damaged"),
        ({"vision_ffn": 2**62}, "manifest-damaged"),
        ({"text_vocabulary": 10**11}, "weights-do-not-fit-manifest"),
        ({"fusion_ffn": 10**11}, "weights-do-not-fit-manifest"),
        ({"text_layers": 9}, "weights-do-not-fit-manifest"),
    ],
)
def test_sizes_that_the_weights_do_not_have_are_refused_before_a_model_is_built(shared_run, tmp_path, dims, code):
    for name in ("manifest.json", "model.safetensors"):
        (tmp_path / name).write_bytes((shared_run.path / name).read_bytes())
    content = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(content | {"dims": content["dims"] | dims}))
    with refused(InputError, code, tmp_path):
        open_run(tmp_path).load_slim()


def test_files_of_a_run_that_are_too_deep_are_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("[" * 200_000)
    with refused(InputError, "manifest-damaged", "manifest.json"):
        read_manifest(tmp_path / "manifest.json")
    (tmp_path / "labels.json").write_text("[" * 200_000)
    with refused(InputError, "run-incomplete", "labels.json"):
        Run(tmp_path, None).labels()
