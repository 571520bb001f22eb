"""docs/add-a-task.md executed as printed; its task through the commands, and one with images through other families."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from tokenize import COMMENT, generate_tokens

import pytest
import torch

from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.recognise import recognise
from compressor.checkpoints.sizes import Transfer
from compressor.checkpoints.write import save_public_checkpoint
from compressor.data.read_data import read_data
from compressor.families import FAMILIES
from compressor.saved_run.run_folder import open_run
from compressor.tasks import TASKS
from compressor.tasks.vqa import VQA
from das.demo.checkpoints import prepare_demo
from das.demo.demos import DEMOS, MODELS
from tests.support import tiny_models as tiny
from tests.support.command_line import das

PAGE = Path(__file__).parents[2] / "docs" / "add-a-task.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module", autouse=True)
def page():
    """What the code of the page defines; its task is known until the last test."""
    before = dict(TASKS)
    names = {"__name__": "page"}
    try:
        for number, code in enumerate(BLOCKS, 1):
            exec(compile(code, f"{PAGE.name}, block {number}", "exec"), names)
        yield names
    finally:
        TASKS.clear()
        TASKS.update(before)


@pytest.fixture(scope="module")
def folder(page, tmp_path_factory):
    """A small model of the task, hardly trained, and its data."""
    folder = tmp_path_factory.mktemp("emotion")
    demo = MODELS["bert"](task="emotion", images=60, steps=10)
    shallow = replace(demo, dims=lambda sizes: tiny.of_few_layers(demo.dims(sizes)))
    prepare_demo(shallow, folder)
    return folder


def answer(*arguments):
    done = das(*arguments, "--json")
    assert done.exit_code == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_page_has_fewer_than_60_lines_of_code():
    code = "\n".join(BLOCKS)
    comments = [token for token in generate_tokens(io.StringIO(code).readline) if token.type == COMMENT]
    assert len([line for line in code.splitlines() if line.strip()]) < 60
    assert not comments and "; " not in code
    assert max(len(line) for line in PAGE.read_text().splitlines()) <= 120


def test_the_commands_take_the_task(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert [head["task"] for head in answer("inspect", "bert")["heads"]] == ["text-classification"]
    quick = ("--search-epochs", 0.5, "--recover-epochs", 0.2, "--batch-size", 8)
    report = answer("compress", "bert", "--task", "emotion", "--skip", 1, *quick)
    assert (report["task"], report["slim"]["metric"]) == ("emotion", "valence")
    sides = [sample.labels[0] in (1, 2, 5) for sample in read_data(Path("data"), "emotion").splits["test"].samples]
    assert report["floor"] in (pytest.approx(sum(sides) / len(sides)), pytest.approx(1 - sum(sides) / len(sides)))
    assert "the usual side" in Path("runs/latest/report.md").read_text()
    assert open_run("runs/latest").labels() == ("sadness", "joy", "love", "anger", "fear", "surprise")
    for which, subject in (("full", ("bert", "--task", "emotion")), ("slim", ("runs/latest",))):
        assert answer("eval", *subject)["value"] == pytest.approx(report[which]["value"])
    (export,) = answer("export", "--onnx")["exports"]
    assert export["parity"]["status"] == "passed"
    assert export["parity"]["certificate"]["metric"]["metric"] == "valence"
    torch_s, onnx_s = (
        answer("predict", "--text", "i feel glad", "--runtime", name) for name in ("torch", "onnxruntime")
    )
    assert torch_s["answers"][0]["answer"] == onnx_s["answers"][0]["answer"]


def test_a_head_for_other_classes_is_replaced_where_tasks_share_its_keys(page, folder, monkeypatch):
    monkeypatch.setitem(TASKS, "mood", replace(page["EMOTION"], name="mood", classes=3))
    adapted = load_checkpoint(folder / "bert", task="mood", transfer=Transfer(classes=3))
    assert adapted.model.dims.classes == 3
    assert set(adapted.leftovers.values()) == {"a head for other classes; a new one is trained"}


def test_rows_that_are_no_emotion_are_listed(tmp_path):
    (tmp_path / "train.txt").write_text("i feel fine;joy\nno label\n;fear\nwell; then;anger\n")
    records = read_data(tmp_path, "emotion").splits["train"]
    assert [(sample.text, sample.labels) for sample in records.samples] == [("i feel fine", (1,)), ("well; then", (3,))]
    assert [place.partition(":")[0] for place in records.unreadable] == ["train.txt, row 1", "train.txt, row 2"]


@pytest.mark.parametrize("family", ["meter", "vilt"])
@pytest.mark.parametrize("images", [1, 2])
def test_families_that_read_images_carry_a_new_task_with_images(family, images, tmp_path, monkeypatch):
    monkeypatch.setitem(TASKS, "yes-no", replace(VQA, name="yes-no", images=images))
    assert "yes-no" in FAMILIES[family].heads and "yes-no" not in FAMILIES["bert"].heads
    monkeypatch.setitem(DEMOS, (family, "yes-no"), MODELS[family](task="yes-no", images=1, steps=1))
    monkeypatch.setitem(tiny.SIZES, (family, "yes-no"), tiny.SIZES[family, "nlvr2"])
    model = tiny.model(family, "yes-no", shallow=True)
    path = tmp_path / "yes-no.ckpt"
    save_public_checkpoint(model, path, DEMOS[family, "yes-no"].config(model.dims, None))
    found = recognise(path)
    assert found.heads == found.tasks == ("yes-no",)
    loaded = load_checkpoint(found)
    inputs = FAMILIES[family].example_inputs(model.dims)
    with torch.no_grad():
        assert torch.equal(loaded.model(**inputs), model(**inputs))
    assert not loaded.leftovers
