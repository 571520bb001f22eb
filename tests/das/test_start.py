"""How das starts: what only reads JSON imports neither PyTorch nor transformers."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

from tests.support.command_line import das

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


def test_what_only_reads_json_starts_without_the_libraries_of_models(shared_run):
    """In one process, the one after the other: whatever one of them imports is found behind it."""
    run = str(shared_run.path)
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
    ]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, json.dumps(commands), json.dumps(HEAVY)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {" ".join(given): [] for given in commands}


def test_what_needs_a_model_says_at_once_that_it_loads_the_libraries(monkeypatch):
    monkeypatch.delitem(sys.modules, "compressor.families")
    assert das("flops", "bert").stderr.startswith("Loading PyTorch and transformers ...\n")


@pytest.mark.parametrize("options", [("--version",), ("--version", "pareto")])
def test_version(options):
    done = das(*options)
    assert (done.exit_code, done.stdout) == (0, f"das {version('das-toolkit')}\n")


def test_doctor_names_the_version():
    items = {item["name"]: item["found"] for item in json.loads(das("doctor", "--json").stdout)["items"]}
    assert items["das"] == version("das-toolkit")
