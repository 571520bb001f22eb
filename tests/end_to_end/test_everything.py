"""Every family with every task, from a small checkpoint to a profile, by the commands a user types."""

import importlib.util
import json
import shutil
from math import isfinite

import pytest
import torch

from compressor.data.images import decode_image
from compressor.data.layouts.columns import NamedColumns
from compressor.data.read_data import read_data
from compressor.saved_run.run_folder import open_run
from compressor.tasks import TASKS
from das.demo.demos import DEMOS
from tests.support.command_line import das, lines_of
from tests.support.marks import slow_but
from tests.support.small_demos import answered, small_demo
from tests.support.workers import in_threads

TENSORRT = importlib.util.find_spec("tensorrt" if torch.cuda.is_available() else "tensorrt_rtx")
FORMATS = ("--onnx", "--trt") if TENSORRT else ("--onnx",)
# Two images, and a family without any: the slow tests export the others, too. METER for VQA is the demo's own, whose
# story is told elsewhere.
DIFFERENT = {("vilt", "nlvr2"), ("bert", "text-classification")}


def question(folder, task):
    """Options of ``das predict``: the pictures and the text of a sample, all of them files of the folder."""
    splits = read_data(folder / "data", task).splits
    sample = splits.get("test", splits["val"]).samples[0]
    options = ["--text", sample.text] if TASKS[task].texts else []
    for number, picture in enumerate(sample.images):
        decode_image(picture.read(), picture.origin).save(folder / f"{number}.png")
        options += ["--image", f"{number}.png"]
    return options


def as_row(task, options):
    """The same question as a line of JSON, under the first names that the task's columns have."""
    layout = next(layout for layout in TASKS[task].layouts if isinstance(layout, NamedColumns))
    form = next(form.columns for form in layout.unlabelled if "second" not in form.columns)
    return json.dumps({form[role][0]: value for role, value in zip(form, options[1::2], strict=True)})


every_cell = pytest.mark.parametrize(("family", "task"), DEMOS)


@pytest.fixture
def cell(family, task, monkeypatch):
    """The folder of a small checkpoint, its data and its run, as the current one; no test changes them."""
    monkeypatch.delenv("DAS_DATA", raising=False)
    folder = small_demo(family, task)
    monkeypatch.chdir(folder / "demo")
    return folder


@every_cell
def test_a_run_is_made_and_used(cell, family, task):
    checkpoint, report = DEMOS[family, task].checkpoint, json.loads((cell / "report.json").read_text())
    assert [head["task"] for head in answered("inspect", checkpoint)["heads"]] == [task]
    assert (report["family"], report["task"]) == (family, task)
    searched = open_run("runs/latest")
    # Of one sample, as reports count: of retrieval an image with one caption, not with those it is told from.
    assert searched.search_result().macs == pytest.approx(report["costs"]["macs"]["full"], rel=0.1)
    scored = [(entry.layers, entry.samples) for entry in searched.search_log()]
    assert len(set(scored)) == len(scored)  # a score is in the log once
    assert list(report["apart"]) == (["val"] if TASKS[task].report_val else [])
    for which, subject in (("full", checkpoint), ("slim", "runs/latest")):
        assert answered("eval", subject)["value"] == pytest.approx(report[which]["value"])
    asked = question(cell / "demo", task)
    best = answered("predict", *asked, "--runtime", "torch")["answers"]
    assert isfinite(best[0]["score" if TASKS[task].ranked else "probability"])
    (streamed,) = lines_of(das("predict", "--file", "-", "--json", given_in=as_row(task, asked)))
    assert (streamed["texts"], streamed["answers"]) == ([asked[1]] if TASKS[task].texts else [], best)
    page = (cell / "demo" / "runs" / "latest" / "report.md").read_text()
    for words in (TASKS[task].metric, TASKS[task].baseline.name, TASKS[task].samples):
        assert words in page
    assert ("IR R@1" in page) == TASKS[task].ranked


@pytest.mark.parametrize(("family", "task"), slow_but(DIFFERENT, DEMOS))
def test_a_run_is_exported_in_every_precision(cell, family, task, tmp_path, monkeypatch):
    shutil.copytree(cell / "demo", tmp_path / "demo", symlinks=True)
    monkeypatch.chdir(tmp_path / "demo")
    in_threads(monkeypatch)
    samples = min(200, json.loads((cell / "report.json").read_text())["slim"]["samples"])

    exports = answered("export", *FORMATS)["exports"]
    assert [made["format"] for made in exports] == [name.removeprefix("--") for name in FORMATS]
    assert exports[0]["parity"]["status"] == "passed"
    assert exports[0]["parity"]["certificate"]["samples"] == samples
    assert all(made["parity"]["status"] in ("passed", "not verified") for made in exports)
    for precision in ("fp16", "int8"):
        made = answered("export", "--precision", precision)["exports"][-1]
        assert made["files"] == [f"model.{precision}.onnx"]
        assert made["parity"]["status"] == "passed"
        assert made["parity"]["certificate"]["samples"] == samples
    # ONNX Runtime would need a second trace; the stories of the demo profile in all runtimes.
    profile = answered("profile", "--seconds", 0.2, "--runtime", "torch", "--device", "cpu", "--threads", 1)
    assert [entry["name"] for entry in profile["runtimes"]] == ["torch"]
    assert profile["macs"]["slim"] < profile["macs"]["full"]

    asked = question(tmp_path / "demo", task)
    ours, theirs = (answered("predict", *asked, "--runtime", name)["answers"] for name in ("torch", "onnx"))
    assert ours[0]["answer"] == theirs[0]["answer"]
    said = "score" if TASKS[task].ranked else "probability"
    assert ours[0][said] == pytest.approx(theirs[0][said], abs=1e-4)
    page = (tmp_path / "demo" / "runs" / "latest" / "report.md").read_text()
    assert "model.onnx" in page and "Latency" in page


def test_a_family_has_a_demo_of_every_task_with_data_it_has_a_head_for_or_of_none():
    from compressor.families import FAMILIES

    shown, made = {family for family, _ in DEMOS}, {name for name, task in TASKS.items() if task.generated}
    assert set(DEMOS) == {(family, task) for family in shown for task in FAMILIES[family].heads if task in made}
    assert made - {task for _, task in DEMOS} == {"retrieval", "zero-shot"}  # two towers have no demo yet
