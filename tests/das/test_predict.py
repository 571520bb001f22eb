"""Which export of a run ``das predict`` takes, where graphs are fixed to one batch or text length."""

import importlib.util

import pytest

from compressor.errors import InputError
from compressor.saved_run.run_folder import open_run
from das.predict import choose_runner
from exporters.graph.inputs import Fixed
from exporters.graph.onnx import export_onnx
from exporters.runtimes.tensorrt_engine import find_target
from tests.support.command_line import das, lines_of, refused, stopped
from tests.support.embedders import embedder_run


def questions(*texts):
    return [part for text in texts for part in ("--question", text)]


def test_predict_takes_a_graph_of_fixed_sizes_when_the_questions_fit(run_here):
    run, exports = open_run(run_here), run_here / "exports"
    texts = ("how many things are there?", "what colour is the square?")
    mask = run.transforms().text(texts)["attention_mask"]
    needed = int(mask.sum(1).max())
    path = exports / f"model.b1.t{needed}.onnx"
    export_onnx(run.load_slim(), path, run.samples(), fixed=Fixed(1, needed))
    given = ("predict", "--image", "scene.png", "--json", "--top", 1)
    by_torch, by_graph = (
        [line["answers"][0] for line in lines_of(das(*given, *questions(*texts), "--runtime", runtime))]
        for runtime in ("torch", "onnx")
    )
    assert [entry["answer"] for entry in by_graph] == [entry["answer"] for entry in by_torch]
    assert by_graph[1]["probability"] == pytest.approx(by_torch[1]["probability"], abs=1e-4)

    longer = das(*given, *questions("how many things of any colour are there in it?"), "--runtime", "onnx")
    stopped(longer, 3, "export-missing", f"there is {path.name}")


def test_predict_prefers_the_graph_that_takes_most(run_here):
    run, exports = open_run(run_here), run_here / "exports"
    exports.mkdir()
    inputs = {name: rows[:1] for name, rows in run.samples().items()}
    padded, needed = inputs["attention_mask"].shape[1], int(inputs["attention_mask"].sum())
    assert needed < padded
    for fixed in (Fixed(8), Fixed(1, needed - 1)):  # other batches and too short texts are never taken
        (exports / f"model{fixed.suffix}.onnx").touch()
    with refused(InputError, "export-missing", "model.b8.onnx"):
        choose_runner(run, "onnx", "fp32", inputs)
    for fixed in (Fixed(1, padded), Fixed(None, needed), Fixed(1), Fixed()):
        path = exports / f"model{fixed.suffix}.onnx"
        path.touch()
        runner, found = choose_runner(run, "onnx", "fp32", inputs)
        assert (runner.path, found) == (path, fixed)


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed")
def test_predict_takes_an_engine_of_fixed_sizes(run_here):
    run, exports = open_run(run_here), run_here / "exports"
    exports.mkdir()
    inputs = run.samples()
    plan = exports / f"model.fp16.b1.t{inputs['attention_mask'].shape[1]}.{find_target().tag}.plan"
    plan.touch()
    runner, fixed = choose_runner(run, "trt", "fp16", inputs)
    assert (runner.plan, fixed.batch) == (plan, 1)


def test_an_embedder_answers_with_the_vector_of_each_text(tmp_path):
    run = embedder_run(tmp_path)
    vectors = [line["vector"] for line in lines_of(das("predict", run.path, "--text", "a b", "--text", "c", "--json"))]
    expected = run.load_slim()(**run.transforms().text(["a b", "c"]))
    assert vectors == [pytest.approx(row.tolist(), abs=1e-5) for row in expected]
    shown = das("predict", run.path, "--text", "a b").stdout
    assert shown.startswith(" ".join(f"{number:+.3f}" for number in vectors[0][:3]) + " ... (7 numbers)  a b")
