"""Which export ``das export`` recommends."""

import shutil

import pytest

from compressor.progress import Progress
from compressor.saved_run.run_folder import open_run
from exporters.checks.records import read_record, record_of
from profiles.deployment import recommend_export as choices
from profiles.deployment.recommend_export import compare_exports, recommend
from profiles.timing.speedups import Speedup


class Said(Progress):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture
def exported(shared_exports, tmp_path):
    """A copy of a run with exports."""
    shutil.copytree(shared_exports, tmp_path / "run")
    return open_run(tmp_path / "run")


def recommended(monkeypatch, run, ratio, low):
    found = Speedup(ratio=ratio, low=low, high=2 * ratio - low)
    monkeypatch.setattr(choices, "estimate_speedup", lambda full, slim: found)
    return compare_exports(run)


def test_the_fastest_is_recommended_if_it_is_clearly_faster(exported, monkeypatch):
    found = recommended(monkeypatch, exported, 2.0, 1.9)
    assert found.recommended == "model.onnx"
    assert (
        "model.onnx, 2.00x faster (95 % interval 1.90 to 2.10 within one measurement) than the slim model in PyTorch"
        in recommend(found)
    )
    found = recommended(monkeypatch, exported, 1.02, 1.005)
    assert (
        recommend(found)
        == "Recommended on this machine's CPU: PyTorch; no export that takes every text is clearly faster."
    )


def test_a_graph_that_refuses_longer_texts_is_not_recommended(exported, monkeypatch):
    path = exported.path / "exports" / "model.onnx"
    shortest = int(exported.samples()["attention_mask"].sum(1).min())
    short = read_record(path).model_copy(update={"text_lengths": (shortest,)})
    record_of(path).write_text(short.model_dump_json())
    monkeypatch.setattr(choices, "_one", lambda run, parity: {name: x[:1] for name, x in run.samples().items()})
    assert recommended(monkeypatch, exported, 2.0, 1.9).recommended == choices.EAGER


def test_exports_that_cannot_be_read_are_left_out_and_named(exported):
    folder, said = exported.path / "exports", Said()
    (folder / "model.int8.onnx").write_bytes(b"cut")
    record_of(folder / "model.int8.onnx").write_text(record_of(folder / "model.onnx").read_text())
    (folder / "model.fp16.onnx").touch()
    record_of(folder / "model.fp16.onnx").write_text("{")
    found = compare_exports(exported, said)
    assert [choice.name for choice in found.choices] == [choices.EAGER, "model.onnx"]
    assert [line.partition(" is not timed")[0] for line in said.lines] == ["model.fp16.onnx", "model.int8.onnx"]
    record_of(folder / "model.onnx").unlink()
    record_of(folder / "model.int8.onnx").unlink()
    assert compare_exports(exported, said) is None
