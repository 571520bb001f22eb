"""What can be checked cheaply is reported together, whatever else is wrong."""

import shutil
from itertools import combinations

import pytest

from tests.support.command_line import das, stopped

# code: (exit code, options in place of the sound ones)
FAULTS = {
    "skip-too-large": (2, {"--skip": 99}),
    "unknown-layer": (2, {"--scope": "FX9"}),
    "unknown-strategy": (2, {"--strategy": "magic"}),
    "text-length-impossible": (2, {"--text-length": 10_000}),
    "unknown-device": (2, {"--device": "tpu"}),
    "data-folder-missing": (3, {"--data": "nowhere"}),
    "tokenizer-missing": (3, {"--tokenizer": "nothing.json"}),
    "folder-exists": (3, {"--out": "data"}),
    "checkpoint-missing": (3, {"checkpoint": "gone.ckpt"}),
    "head-missing": (3, {"--task": "nlvr2"}),
    "unknown-task": (2, {"--task": "vqaa"}),
    "cannot-write": (5, {"--out": "meter.ckpt/run"}),
}
NEED_THE_CHECKPOINT = {"skip-too-large", "unknown-layer", "text-length-impossible"}  # and a task that it has


def seen(*codes):
    """Which faults can be seen: what a checkpoint is asked, only where there is one, for a task that it has."""
    hidden = NEED_THE_CHECKPOINT if {"checkpoint-missing", "head-missing", "unknown-task"} & set(codes) else set()
    return set(codes) - hidden - ({"head-missing"} if "checkpoint-missing" in codes else set())


def typed(*codes):
    options = {"checkpoint": "meter.ckpt", "--task": "vqa", "--skip": 8, "--data": "data"}
    for code in codes:
        options |= FAULTS[code][1]
    return [options.pop("checkpoint"), *(part for option in options.items() for part in option)]


def codes_of(result):
    return [line.removeprefix("error: ") for line in result.stderr.splitlines() if line.startswith("error: ")]


PAIRS = [
    pair
    for pair in combinations(FAULTS, 2)
    if not set(FAULTS[pair[0]][1]) & set(FAULTS[pair[1]][1]) and set(pair) != {"skip-too-large", "unknown-layer"}
]


@pytest.fixture(scope="module")
def inputs(shared_workshop, tmp_path_factory):
    """A workshop for all pairs: none of them may change it."""
    folder = tmp_path_factory.mktemp("inputs") / "workshop"
    shutil.copytree(shared_workshop, folder)
    return folder


@pytest.mark.parametrize("command", [("compress",), ("compress", "--dry-run")], ids=" ".join)
def test_two_faults_are_both_reported(inputs, monkeypatch, command):
    monkeypatch.chdir(inputs)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = sorted(path.name for path in inputs.iterdir())
    for pair in PAIRS:
        result = das(*command, *typed(*pair))
        wanted = seen(*pair)
        assert set(codes_of(result)) == wanted, (pair, result.stderr)
        assert result.exit_code == min(FAULTS[code][0] for code in wanted), pair
        assert "Traceback" not in result.stderr
    assert sorted(path.name for path in inputs.iterdir()) == before


def test_three_and_more_faults_in_the_order_they_are_looked_for(workshop):
    options = typed("unknown-strategy", "skip-too-large", "tokenizer-missing", "data-folder-missing", "folder-exists")
    stopped(
        das("compress", *options),
        2,
        ("unknown-strategy", "skip-too-large", "tokenizer-missing", "data-folder-missing", "folder-exists"),
    )


def test_an_evaluation_reports_everything_too(workshop):
    options = ("--batch-size", 0, "--device", "tpu", "--tokenizer", "nothing.json", "--data", "nowhere")
    codes = ("batch-size-too-small", "unknown-device", "tokenizer-missing", "data-folder-missing")
    stopped(
        das("eval", "meter.ckpt", "--text-length", 9999, *options),
        2,
        (*codes[:2], "text-length-impossible", *codes[2:]),
    )
    stopped(das("eval", "meter.ckpt", "--tokenizer", "nothing.json", "--data", "nowhere"), 3, codes[2:])


def test_an_evaluation_of_a_run_reports_everything_too(workshop):
    stopped(das("eval", "runs/latest", "--batch-size", 0), 2, ("batch-size-too-small", "run-missing"))
