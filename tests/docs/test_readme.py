"""The README's commands and code run as written; the tutorial's commands exist."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from das.demo.checkpoints import prepare_demo
from das.demo.demos import SHIPPED
from das.demo.small_models import meter_dims
from tests.support.command_line import das
from tests.support.once import once
from tests.support.workers import in_threads

ROOT = Path(__file__).parents[2]
READING = ("doctor", "pareto", "explain", "predict", "eval", "flops")


def blocks(name, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(), flags=re.DOTALL)


def commands(name):
    lines = [line for block in blocks(name, "bash") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("das ")]


@pytest.fixture
def shallow(workshop, monkeypatch):
    """What a user has, with a model that is hardly trained and has 10 layers, not 16: tracing takes seconds."""
    small = replace(SHIPPED, images=100, steps=5, shipped=0, dims=partial(meter_dims, layers=1, fusion_layers=4))
    demo = once("readme", lambda folder: prepare_demo(small, folder / "demo")) / "demo"
    for name in ("meter.ckpt", "tokenizer.json"):
        shutil.copy(demo / name, workshop / name)
    in_threads(monkeypatch)


def run(lines):
    for arguments in lines:
        if arguments[:2] == ["export", "--trt"]:
            pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: no engine can be built here")
        if arguments[0] == "profile":
            arguments = [*arguments, "--seconds", "0.2"]  # the default measures for longer, nothing else differs
        result = das(*arguments)
        assert result.exit_code == 0, f"das {' '.join(arguments)}\n{result.stdout}{result.stderr}"
        assert max((len(line) for line in result.stdout.splitlines()), default=0) <= 80 or "/" in result.stdout


def test_the_first_commands_of_the_readme_and_those_that_read(shallow):
    found = commands("README.md")
    first, others = found[:4], found[4:]
    assert [name for name, *_ in first] == ["inspect", "compress", "export", "profile"]
    reading = [arguments for arguments in others if arguments[0] in READING]
    assert {name for name, *_ in reading} >= {"pareto", "explain", "predict", "eval", "flops"}
    run([*first, *reading])


@pytest.mark.slow
def test_the_commands_of_the_readme_run_in_order(shallow):
    run(commands("README.md"))


def test_the_python_of_the_readme_runs(shallow):
    (code,) = blocks("README.md", "python")
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    model, slim, run = names["model"], names["slim"], names["run"]
    assert set(model.layers) - set(slim.layers) == {"FL1", "FV0"}
    assert len(run.manifest.plan.skip) == 8
    assert (run.path / "exports" / "model.onnx").exists()
    assert json.loads((run.path / "profile.json").read_text())["runtimes"]


def test_every_command_of_the_tutorial_is_one(workshop):
    for name, *arguments in commands("docs/tutorial.md"):
        help_text = das(name, "--help").stdout
        for argument in arguments:
            if argument.startswith("--"):
                assert argument in help_text, f"das {name} {argument}"


def test_links_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_lines_of_pages_written_by_hand_fit():
    """But for tables and blocks of code."""
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        long = [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")]
        assert page.name == "results.md" or long == [], page
