"""docs/add-a-runtime.md executed as printed: one file and one line in a copy of exporters/, then every command."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.small_demos import small_demo

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add-a-runtime.md").read_text()
*FILE, LINE = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
(COMMANDS,) = re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
# All commands in one process: most of their time is imports. --json where a command prints what the test reads.
SCRIPT = """
import contextlib, io, json, shlex, sys
from das.main import app
from profiles.deployment import recommend_export
from profiles.timing import latency, paired, template
from tests.support.workers import ThreadProcess

template.Popen, template.CAN_FORK = ThreadProcess, False
recommend_export.SECONDS, latency.WARM_UP_SECONDS, latency.BLOCK_MS = 0.05, 0.0, 1.0
paired.LEAST_GROUPS = paired.USUAL_GROUPS = 2
for line in sys.stdin:
    line = line.replace("--seconds 1", "--seconds 0.05")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = 0
        try:
            app(shlex.split(line)[1:] + ["--json"])
        except SystemExit as end:
            code = end.code or 0
    print(json.dumps([code, out.getvalue()]), flush=True)
"""


def test_the_page_has_fewer_than_60_lines_of_code():
    code = [line for block in (*FILE, LINE) for line in block.splitlines() if line.strip()]
    assert len(code) < 60
    assert max(map(len, PAGE.splitlines())) <= 120


@pytest.fixture(scope="module")
def answers(shared_workshop, tmp_path_factory):
    """What each command of the page exits with and prints, by its name."""
    run = small_demo("meter", "vqa") / "demo" / "runs" / "latest"
    folder = tmp_path_factory.mktemp("runtime")
    shutil.copytree(ROOT / "exporters", folder / "house" / "exporters", ignore=shutil.ignore_patterns("__pycache__"))
    runtimes = folder / "house" / "exporters" / "runtimes"
    (runtimes / "double.py").write_text("\n\n".join(FILE))
    listed = (runtimes / "__init__.py").read_text()
    changed, count = re.subn(r"^FILES = .*\n", LINE, listed, flags=re.MULTILINE)
    assert count == 1
    (runtimes / "__init__.py").write_text(changed)
    shutil.copytree(run, folder / "runs" / "latest")
    shutil.copy(shared_workshop / "scene.png", folder)
    paths = os.pathsep.join([str(folder / "house"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT],
        input=COMMANDS,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [code for code, _ in results] == [0] * 5, done.stderr
    names = [line.split()[1] for line in COMMANDS.splitlines()]
    return {name: json.loads(printed) for name, (_, printed) in zip(names, results, strict=True)} | {"folder": folder}


def test_it_is_exported_compared_and_verified(answers):
    (made,) = answers["export"]["exports"]
    assert (made["format"], made["files"], made["opset"]) == ("double", ["model.double.safetensors"], None)
    assert made["parity"]["status"] == "passed" and made["notes"] == ["weights in float64"]
    assert made["parity"]["certificate"]["samples"] > 0
    (verified,) = answers["verify"]["exports"]
    assert (verified["file"], verified["parity"]["status"]) == ("model.double.safetensors", "passed")
    assert verified["parity"]["runtime"] == "PyTorch in float64, CPU"


def test_it_answers_and_is_timed(answers):
    assert answers["predict"]["runtime"] == "double" and len(answers["predict"]["answers"]) == 3
    timed = {entry["name"]: entry for entry in answers["profile"]["runtimes"]}
    assert list(timed) == ["torch", "double"]
    full = answers["folder"] / "runs" / "latest" / "exports" / "full" / "model.double.safetensors"
    assert timed["double"]["file_bytes"]["full"] == full.stat().st_size


def test_the_doctor_looks_at_it(answers):
    (item,) = (item for item in answers["doctor"]["items"] if item["name"].startswith("double"))
    assert item["ok"] and item["name"] == "double on cpu"
