"""How das starts: what only reads JSON imports neither PyTorch nor transformers."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

from compressor.search.strategies import STRATEGIES
from compressor.tasks import TASKS
from das.commands import options
from tests.support.command_line import das, stopped

HEAVY = ("torch", "transformers", "onnx", "onnxruntime", "pyarrow", "tokenizers", "PIL")
LIGHT = """
import json, sys
from typer.testing import CliRunner
from das.main import app
found = {}
for given in json.loads(sys.argv[1]):
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, (given, done.output)
    loaded = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
    found[" ".join(given)] = loaded
print(json.dumps(found))
"""


def test_what_only_reads_json_starts_without_the_libraries_of_models(shared_run, tmp_path):
    """In one process, the one after the other: whatever one of them imports is found behind it."""
    run, seeds = str(shared_run.path), str(tmp_path)
    (tmp_path / "seed-0").symlink_to(shared_run.path)
    commands = [
        ["--version"],
        ["--help"],
        ["inspect", "--help"],
        ["pareto", run],
        ["pareto", run, "--json"],
        ["explain", run],
        ["explain", run, "--json"],
        ["compare", run, run],
        ["compare", run, run, "--markdown"],
        ["compare", run, "--json"],
        ["compare", seeds, run],
    ]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, json.dumps(commands), json.dumps(HEAVY)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {" ".join(given): [] for given in commands}


def test_what_needs_a_model_says_at_once_that_it_loads_the_libraries(monkeypatch):
    monkeypatch.delitem(sys.modules, "compressor.families")
    assert das("verify", "nothing").stderr.startswith("Loading PyTorch and transformers ...\n")


@pytest.mark.parametrize("given", [("--version",), ("--version", "pareto")])
def test_version(given):
    done = das(*given)
    assert (done.exit_code, done.stdout) == (0, f"das {version('das-toolkit')}\n")


def test_doctor_names_the_version():
    items = {item["name"]: item["found"] for item in json.loads(das("doctor", "--json").stdout)["items"]}
    assert items["das"] == version("das-toolkit")


LOOKING = "no file or folder metr-vqa here: looking among earlier downloads, as HF_HUB_OFFLINE is set"


@pytest.mark.parametrize("command", ["inspect", "compress", "eval", "doctor"])
def test_a_mistyped_path_is_told_before_anything_is_looked_up(workshop, command):
    more = ("--skip", 2) if command == "compress" else ()
    found = das(command, "metr-vqa", *more)
    stopped(found, 3, "model-not-found", "not downloaded earlier, and HF_HUB_OFFLINE is set")
    assert found.stderr.splitlines()[0] == LOOKING
    elsewhere = das(command, "models/old/metr", *more)
    stopped(elsewhere, 3, "checkpoint-missing")
    assert "downloads" not in elsewhere.stderr


def test_a_mistyped_tokenizer_is_told_too(workshop):
    given = ("compress", "meter.ckpt", "--task", "vqa", "--skip", 2, "--dry-run", "--tokenizer")
    found = das(*given, "metr-vqa")
    stopped(found, 3, "tokenizer-missing", "metr-vqa (not downloaded earlier, and HF_HUB_OFFLINE is set)")
    assert found.stderr.splitlines()[0] == LOOKING
    elsewhere = das(*given, "models/tokenizer.json")
    stopped(elsewhere, 3, "tokenizer-missing", "models/tokenizer.json (not there)")
    assert "downloads" not in elsewhere.stderr


def test_names_that_are_completed_are_those_that_there_are(run_here):
    assert tuple(TASKS) == options.TASK_NAMES
    assert tuple(STRATEGIES) == options.STRATEGY_NAMES
    assert options.complete_strategy("gr") == ["greedy"]
    assert options.complete_task("te") == ["text-classification"]
    assert options.complete_run("runs/") == ["runs/latest", f"runs/{run_here.name}"]
