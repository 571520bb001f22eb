"""What can be checked cheaply about a command on a run is reported together, whatever else is wrong."""

import shutil
from itertools import combinations

import pytest

from tests.support.command_line import das

# For each command: code: (exit code, options in place of the sound ones)
RUN = {"run-missing": (3, {"run": "gone"})}
DATA = {"data-folder-missing": (3, {"--data": "nowhere"})}
DEVICE = {"unknown-device": (2, {"--device": "tpu"})}
FAULTS = {
    "export": RUN
    | DATA
    | {
        "batch-unreadable": (2, {"--batch": "1:8"}),
        "workspace-unreadable": (2, {"--workspace": "4XB"}),
        "unknown-runtime": (2, {"--to": "coreml"}),
        "unknown-precision": (2, {"--precision": "fp8"}),
        "unknown-attention": (2, {"--attention": "flash"}),
        "opset-not-written": (2, {"--opset": 999}),
        "text-length-impossible": (2, {"--text-length": 9999}),
    },
    "profile": RUN
    | DEVICE
    | {
        "setting-not-positive": (2, {"--threads": 0}),
        "unknown-runtime": (2, {"--runtime": "coreml"}),
        "unknown-precision": (2, {"--precision": "fp8"}),
        "wrong-claim": (2, {"--assert": "speedup"}),
        "wrong-sweep": (2, {"--sweep": "batch=few"}),
    },
    "predict": RUN
    | {
        "unknown-runtime": (2, {"--runtime": "coreml"}),
        "unknown-precision": (2, {"--precision": "fp8"}),
        "top-too-small": (2, {"--top": 0}),
        "text-empty": (2, {"--text": " "}),
        "image-missing": (3, {"--image": "gone.png"}),
        "batch-size-too-small": (2, {"--batch-size": 0}),
        "questions-missing": (3, {"--file": "gone.txt"}),
    },
    "verify": RUN | DATA | DEVICE | {"unknown-runtime": (2, {"--runtime": "coreml"})},
}
SOUND = {"predict": {"--image": "scene.png", "--text": "how many things are there?"}}
# What is asked of the run, or of the runtimes, only where they are known.
HIDDEN = {
    "export": {
        ("text-length-impossible", "run-missing"),
        ("opset-not-written", "unknown-runtime"),
        ("opset-not-written", "unknown-precision"),
        ("opset-not-written", "unknown-attention"),
    },
    "profile": {("wrong-claim", "unknown-runtime"), ("wrong-claim", "unknown-device")},
    "predict": set(),
    "verify": set(),
}


@pytest.fixture
def beside_a_run(shared_workshop, shared_run, tmp_path, monkeypatch):
    """A folder with an image and no run; the shared run's."""
    shutil.copyfile(shared_workshop / "scene.png", tmp_path / "scene.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAS_DATA", raising=False)
    return shared_run.path


def typed(command, run, codes):
    options = {"run": run} | SOUND.get(command, {})
    for code in codes:
        options |= FAULTS[command][code][1]
    return [options.pop("run"), *(part for option in options.items() for part in option)]


def codes_of(result):
    return {line.removeprefix("error: ") for line in result.stderr.splitlines() if line.startswith("error: ")}


@pytest.mark.parametrize("command", FAULTS)
def test_two_faults_are_both_reported(beside_a_run, command):
    faults = FAULTS[command]
    before = sorted(beside_a_run.iterdir())
    for pair in [*combinations(faults, 2), tuple(faults)]:
        result = das(command, *typed(command, beside_a_run, pair))
        wanted = {code for code in pair if not any((code, other) in HIDDEN[command] for other in pair)}
        assert codes_of(result) == wanted, (pair, result.stderr)
        assert result.exit_code == min(faults[code][0] for code in wanted), pair
    assert sorted(beside_a_run.iterdir()) == before


def test_one_text_more_than_the_task_has_is_told_beside_a_missing_image(beside_a_run):
    result = das("predict", beside_a_run, "--image", "gone.png", "--image", "lost.png", "--text", "what is it?")
    assert codes_of(result) == {"wrong-number-of-images", "image-missing"}
    assert result.exit_code == 2
    assert "gone.png" in result.stderr and "lost.png" in result.stderr


def test_a_comparison_names_every_run_that_cannot_be_read(beside_a_run, tmp_path):
    shutil.copytree(beside_a_run, tmp_path / "damaged")
    (tmp_path / "damaged" / "profile.json").write_text("{")
    result = das("compare", "gone", "damaged", "lost", beside_a_run)
    assert result.exit_code == 3
    assert codes_of(result) == {"run-missing", "profile-unreadable"}
    assert all(f"no run in {name}" in result.stderr for name in ("gone", "lost"))
