"""Files and folders appear whole, or not at all."""

import os
from pathlib import Path

import pytest

from compressor.errors import EnvironmentProblem
from compressor.files import atomic_file, atomic_folder, read_settings, staged, write_json


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_the_place_of_an_older_one_when_it_is_complete(tmp_path):
    path = tmp_path / "report.json"
    write_json(path, {"a": 1})
    with atomic_file(path) as temporary:
        temporary.write_text("{}")
        assert path.read_text() == '{\n  "a": 1\n}'
    assert (path.read_text(), names(tmp_path)) == ("{}", ["report.json"])


@pytest.mark.parametrize("write", [atomic_file, atomic_folder])
@pytest.mark.parametrize(
    ("error", "raised"), [(OSError(28, "No space left"), EnvironmentProblem), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_nothing_is_left_of_what_was_not_completed(tmp_path, write, error, raised):
    with pytest.raises(raised), write(tmp_path / "run") as temporary:
        (temporary / "half" if temporary.is_dir() else temporary).write_text("half")
        raise error
    assert names(tmp_path) == []


def test_a_folder_is_not_overwritten(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("{}")
    with pytest.raises(EnvironmentProblem), atomic_folder(tmp_path / "run") as temporary:
        (temporary / "manifest.json").write_text("other")
    assert (tmp_path / "run" / "manifest.json").read_text() == "{}"


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    path, synced, fsync = tmp_path / "report.json", [], os.fsync

    def note(descriptor):
        synced.append((os.fstat(descriptor).st_ino, path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write_json(path, {})
    assert synced == [(path.stat().st_ino, False)]


def test_weights_move_first_and_records_last(tmp_path, monkeypatch):
    written = ("model.onnx", "model.onnx.data", "model.onnx.parity.json")
    moved, replace = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: moved.append(self.name) or replace(self, target))
    with staged(tmp_path / "model.onnx") as temporary:
        for name in written:
            temporary.with_name(name).write_text(name)
    assert moved == ["model.onnx.data", "model.onnx", "model.onnx.parity.json"]
    assert names(tmp_path) == sorted(written)


@pytest.mark.parametrize("content", ["", "{", "[]", "7", "[" * 200_000, "\udcff"])
def test_what_is_no_json_of_settings_is_a_value_error(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError):  # whatever it says, its readers say what was expected
        read_settings(path)


def test_settings_are_read_by_name(tmp_path):
    (tmp_path / "config.json").write_text('{"é": 1}', encoding="utf-8")
    assert read_settings(tmp_path / "config.json") == {"é": 1}
