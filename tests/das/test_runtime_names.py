"""One vocabulary: every command takes every name and alias of the runtimes, and suggests the nearest for any other."""

import pytest

from exporters.runtimes import RUNTIMES, find_runtime, find_runtimes, obstacles, require_distinct_suffixes
from exporters.runtimes.onnxruntime import OnnxRuntime
from tests.support.command_line import das

COMMANDS = {
    "export": ("export", "--to"),
    "verify": ("verify", "--runtime"),
    "profile": ("profile", "--device", "cpu", "--runtime"),
    "predict": ("predict", "--image", "scene.png", "--question", "what?", "--runtime"),
    "compress": ("compress", "absent.ckpt", "--task", "vqa", "--max-latency", "0.7x", "--runtime"),
}
WORDS = [(word, runtime) for runtime in RUNTIMES for word in (runtime.name, *runtime.aliases)]
EXECUTE_FILES = ("export", "verify")


@pytest.fixture(autouse=True)
def nothing_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("word", "runtime"), WORDS, ids=[word for word, _ in WORDS])
def test_every_command_knows_every_name(command, word, runtime):
    """There is no run and no checkpoint: a name that is known leads to these, one that is not is a usage error."""
    result = das(*COMMANDS[command], word)
    if command in EXECUTE_FILES and not runtime.suffix:
        assert result.exit_code == 2 and "executes the model itself" in " ".join(result.stderr.split())
    else:
        assert result.exit_code == (5 if command == "compress" and not runtime.times_layers else 3)
        if command == "profile" and runtime.name in obstacles("cpu"):
            assert f"error: {obstacles('cpu')[runtime.name].code}\n" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_the_nearest_name_is_suggested(command):
    result = das(*COMMANDS[command], "onxruntime")
    assert result.exit_code == 2
    assert f"{COMMANDS[command][-1]} onnxruntime" in " ".join(result.stderr.split("fix:")[1].split())


def test_names_are_told_apart_by_commas_and_come_once():
    assert [runtime.name for runtime in find_runtimes(["trt, onnx", "tensorrt"])] == ["onnxruntime", "tensorrt"]
    assert find_runtime("TensorRT") is find_runtime("trt")


def test_no_name_stands_for_two():
    words = [word for word, _ in WORDS]
    assert len(words) == len(set(words))


def test_no_suffix_stands_for_two():
    class Twin(OnnxRuntime):
        name = "twin"

    with pytest.raises(ValueError, match="onnxruntime and twin have the same suffix"):
        require_distinct_suffixes((*RUNTIMES, Twin()))
