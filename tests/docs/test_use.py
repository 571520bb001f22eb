"""docs/use.md executed as printed, on a small run: every language that this machine has."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import types
from contextlib import chdir
from pathlib import Path

import onnxruntime
import pytest
import torch

import das
from compressor.saved_run.run_folder import open_run
from tests.support.once import once

PAGE = Path(__file__).parents[2] / "docs" / "use.md"
BLOCKS = re.findall(r"^```(python|js|cpp)\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
TEXTS = ["the plot is dull", "a warm and funny film", "the dialogue is cold , but the film is funny ."]
NODE_MODULES = ("onnxruntime-node", "@huggingface/tokenizers")


def code_with(word):
    """The one block of the page that has ``word``."""
    (code,) = (code for _, code in BLOCKS if word in code)
    return code


def executed(code, name="page"):
    module = types.ModuleType(name)
    exec(compile(code, PAGE.name, "exec"), module.__dict__)
    return module


@pytest.fixture(scope="module")
def used(shared_sentences):
    """A folder with what the page starts from: ``exports`` and ``slim`` of a run, and the run."""

    def make(folder):
        roberta, data = str(shared_sentences / "roberta"), str(shared_sentences / "data")
        made = das.compress(roberta, data=data, layers=("En1", "En3"), recover="none", out=str(folder / "run"))
        das.export(made, "onnx")
        das.save(made, to=folder / "slim")
        (folder / "exports").symlink_to(folder / "run" / "exports")

    folder = once("used", make)
    with chdir(folder):
        yield folder


@pytest.fixture(scope="module")
def expected(used):
    """What das answers: logits and the names of the classes."""
    run = open_run(used / "run")
    with torch.no_grad():
        logits = run.load_slim()(**run.transforms().text(TEXTS))
    return logits, [run.labels()[number] for number in logits.argmax(1)]


def test_every_block_is_one_of_those_below():
    assert [language for language, _ in BLOCKS] == ["python", "python", "python", "js", "cpp"]
    assert len(code_with("FastAPI(").splitlines()) <= 25


def test_transformers(used, expected, capsys):
    page = executed(code_with("pipeline("))
    assert "label" in capsys.readouterr().out
    answers = page.classify(TEXTS)
    assert [answer["label"] for answer in answers] == expected[1]
    assert answers[0]["score"] == pytest.approx(float(expected[0].softmax(1)[0].max()), abs=1e-6)


def test_onnx_runtime_in_python(used, expected):
    page = executed(code_with("onnxruntime.InferenceSession"))
    assert page.classify(TEXTS) == expected[1]
    assert page.classify([TEXTS[2]]) == expected[1][2:]


@pytest.mark.skipif(
    not importlib.util.find_spec("fastapi"), reason="fastapi is not installed: pip install 'das-toolkit[dev]'"
)
def test_a_service(used, expected, monkeypatch):
    from fastapi.testclient import TestClient

    monkeypatch.setitem(sys.modules, "classify", executed(code_with("onnxruntime.InferenceSession"), "classify"))
    module = types.ModuleType("service")
    monkeypatch.setitem(sys.modules, "service", module)
    exec(compile(code_with("FastAPI("), "service.py", "exec"), module.__dict__)
    client = TestClient(module.app)
    assert client.post("/classify", json={"texts": TEXTS}).json() == {"labels": expected[1]}
    assert client.post("/classify", json={"texts": []}).status_code == 422


def test_javascript(used, expected, tmp_path):
    node = shutil.which("node")
    if not node:
        pytest.skip("no node on this machine")
    found = subprocess.run([node, "-e", "".join(f"require('{name}');" for name in NODE_MODULES)], capture_output=True)
    if found.returncode:
        pytest.skip(
            f"node does not find {' and '.join(NODE_MODULES)}: npm install them, and name the folder in NODE_PATH"
        )
    (tmp_path / "classify.cjs").write_text(code_with("require("))
    done = subprocess.run([node, tmp_path / "classify.cjs", *TEXTS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected[1]


def test_cpp(used, expected, tmp_path):
    compiler = shutil.which("g++")
    if not compiler:
        pytest.skip("no g++ on this machine")
    header = "#include <onnxruntime_cxx_api.h>\n"
    found = subprocess.run(
        [compiler, "-std=c++17", "-E", "-x", "c++", "-"], input=header, text=True, capture_output=True
    )
    if found.returncode:
        pytest.skip(
            "g++ does not find onnxruntime_cxx_api.h: put ONNX Runtime's headers in a folder and name it in CPATH"
        )
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (tmp_path / name).symlink_to(library)
    (tmp_path / "classify.cpp").write_text(code_with("onnxruntime_cxx_api.h"))
    program, place = tmp_path / "classify", f"-L{tmp_path}"
    command = [compiler, "-std=c++17", tmp_path / "classify.cpp", place, "-lonnxruntime", "-o", program]
    subprocess.run(command, check=True)
    numbers = [str(number) for number in open_run("run").transforms().text(TEXTS[:1])["input_ids"][0].tolist()]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run([program, *numbers], capture_output=True, text=True, check=True, env=environment)
    labels, *logits = done.stdout.splitlines()
    assert all(name in labels for name in open_run("run").labels())
    torch.testing.assert_close(torch.tensor([float(x) for x in logits]), expected[0][0], atol=1e-4, rtol=0)
