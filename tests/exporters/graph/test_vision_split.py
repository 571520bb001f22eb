"""Split exports: the vision tower apart, each image paid for once, and their use by predict and profile."""

import shutil

import onnx
import pytest
import torch

import exporters.graph.artifacts
from compressor.errors import CheckFailed, InputError, UsageError
from compressor.families import FAMILIES
from compressor.models.surgery import make_plan, remove_layers
from compressor.models.trims.simplify import trim
from compressor.saved_run.run_folder import open_run
from compressor.token_merging.merge_layers import set_merging
from das.predict import choose_runner
from exporters.checks.records import Parity
from exporters.export import export_split
from exporters.folder import REST, VISION, ExportsFolder
from exporters.graph.vision_split import (
    SplitRunner,
    check_splittable,
    image_streams,
    rest,
    split_runner,
    vision_part,
)
from exporters.runtimes import find_runtime
from exporters.runtimes.runner import Bound, Runner
from exporters.runtimes.runtime import ModelSource
from exporters.runtimes.sessions import OnnxRunner
from profiles.timing.shared_image import measure_questions
from tests.support import tiny_models as tiny
from tests.support.command_line import das, lines_of, refused, stopped

IMAGES = FAMILIES["meter"].names_of("image")
PARITY = f"{REST}.parity.json"  # of both together
SPLITTABLE = [(family, task) for family, task in tiny.EVERY if family == "meter"]


class Part(Runner):
    """Half of a model in PyTorch; counts the rows it is given."""

    def __init__(self, model, input_names, output_names):
        self.model, self.input_names, self.output_names, self.rows = model, input_names, output_names, []
        self.name = "a part"

    def open(self):
        pass

    def close(self):
        pass

    def bind(self, inputs):
        left = {}

        @torch.no_grad()
        def execute():
            self.rows.append(len(next(iter(inputs.values()))))
            made = self.model(**inputs)
            left.update(zip(self.output_names, made if isinstance(made, tuple) else (made,), strict=True))

        return Bound(execute, lambda: left)


def in_parts(model):
    streams, texts = image_streams(model), FAMILIES[model.family].names_of("text")
    return SplitRunner(Part(vision_part(model), IMAGES, streams), Part(rest(model), (*texts, *streams), ("logits",)))


def inputs_of(model):
    """One text for each image, or pair of images."""
    given = {name: rows for name, rows in tiny.batch(model).items() if name != "targets"}
    return {name: rows[: len(given["pixel_values"])] for name, rows in given.items()}


@pytest.fixture(scope="module")
def folder(shared_exports):
    """The split export of a run's slim model, and the whole graph beside it."""
    return shared_exports / "exports"


@pytest.fixture(scope="module")
def model(shared_exports):
    """What was exported."""
    return open_run(shared_exports).load_slim()


@pytest.fixture(scope="module")
def samples(shared_exports):
    """Inputs of it."""
    return open_run(shared_exports).samples()


@pytest.mark.parametrize(("family", "task"), SPLITTABLE)
def test_both_parts_answer_as_the_model_does(family, task):
    model = tiny.model(family, task)
    inputs = inputs_of(model)
    merging = set_merging(model, [3, *(model.dims.vision_layers - 1) * [1]])
    for whole in (model, trim(remove_layers(model, make_plan(model, ["VEn0", "FL1", "FV0"]))), merging):
        with torch.no_grad(), in_parts(whole) as parts:
            torch.testing.assert_close(parts.run(inputs), whole(**inputs), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("family", "task"), [entry for entry in tiny.EVERY if entry not in SPLITTABLE])
def test_a_model_without_a_tower_of_its_own_is_refused(family, task):
    model = tiny.model(family, task)
    with refused(UsageError, "nothing-to-split", family):
        check_splittable(family, model.rounds)
    with refused(UsageError, "nothing-to-split"):
        vision_part(model)


def test_a_model_of_images_alone_is_refused():
    with refused(UsageError, "nothing-to-split", "vit", "no text"):
        check_splittable("vit", FAMILIES["vit"].rounds(FAMILIES["vit"].dims_type()))


@pytest.mark.parametrize("task", ["vqa", "nlvr2"])
def test_an_image_goes_through_the_tower_once_and_is_remembered(task):
    model = tiny.model("meter", task)
    inputs = inputs_of(model)
    one = {name: rows[:1] if name in IMAGES else rows for name, rows in inputs.items()}
    repeated = {name: rows.expand(3, *rows.shape[1:]) if name in IMAGES else rows for name, rows in one.items()}
    with torch.no_grad(), in_parts(model) as parts:
        expected = model(**repeated)
        for given in (one, repeated, {name: rows[:2] for name, rows in repeated.items()}):
            found = parts.run(given)
            torch.testing.assert_close(found, expected[: len(found)], atol=1e-5, rtol=0)
        assert parts.vision.rows == [1]
        parts.run(inputs)
        parts.run(one)
        assert parts.vision.rows == [1, 3, 1]
        torch.testing.assert_close(parts.run(inputs), model(**inputs), atol=1e-5, rtol=0)


def test_what_is_bound_runs_both_parts_in_every_call():
    model = tiny.model("meter", "vqa")
    inputs = inputs_of(model)
    with torch.no_grad(), in_parts(model) as parts:
        parts.run(inputs)
        bound = parts.bind({name: rows[[0, 0, 1]] for name, rows in inputs.items()})
        bound()
        bound()
        assert parts.vision.rows == [3, 2, 2]
        assert bound.fetch()["logits"].shape == (3, model.dims.classes)


def test_images_with_several_texts_each():
    model = tiny.model("meter", "irtr")
    captions = tiny.batch(model, samples=2)
    captions.pop("targets")
    with torch.no_grad(), in_parts(model) as parts:
        torch.testing.assert_close(parts.run(captions), model(**captions), atol=1e-5, rtol=0)
        uneven = {name: rows if name in IMAGES else rows[:5] for name, rows in captions.items()}
        with refused(InputError, "texts-do-not-divide", "5 texts", "2 images"):
            parts.run(uneven)


def test_the_files_hold_their_own_side_alone(folder):
    graphs = {name: onnx.load(folder / name).graph for name in (VISION, REST)}
    weights = {name: {tensor.name for tensor in graph.initializer} for name, graph in graphs.items()}
    assert not any("LEn" in name or "prologue.text" in name or "FL" in name for name in weights[VISION])
    assert not any("VEn" in name or "prologue.image" in name for name in weights[REST])
    assert [value.name for value in graphs[VISION].output] == ["image"]
    assert [value.name for value in graphs[REST].input] == ["input_ids", "attention_mask", "image"]


@pytest.mark.parametrize(("size", "length"), [(1, 12), (2, 5), (3, 1)])
def test_the_files_answer_as_the_model_does(folder, model, samples, size, length):
    inputs = {name: rows[:size] for name, rows in samples.items()}
    inputs |= {name: inputs[name][:, :length] for name in ("input_ids", "attention_mask")}
    with split_runner(folder, threads=1) as parts, torch.no_grad():
        assert parts.input_names == ("input_ids", "attention_mask", "pixel_values")
        torch.testing.assert_close(parts.run(inputs), model(**inputs), atol=1e-5, rtol=1e-5)
        one = {name: rows[:1] if name in IMAGES else rows for name, rows in inputs.items()}
        repeated = {**one, "pixel_values": one["pixel_values"].expand(size, -1, -1, -1)}
        torch.testing.assert_close(parts.run(one), model(**repeated), atol=1e-5, rtol=1e-5)


def test_the_record_is_of_both_files(folder, samples):
    parity = Parity.model_validate_json((folder / PARITY).read_bytes())
    assert parity.status == "passed"
    assert set(parity.sha256) == {VISION, REST}
    assert parity.batch_sizes == (1, 2, 8)
    shorter, longest = parity.text_lengths
    assert shorter < longest == samples["input_ids"].shape[1]


def test_parts_that_answer_differently_fail_and_leave_only_their_record(
    folder, model, samples, shared_run, tmp_path, monkeypatch
):
    def copy(model, samples, vision, others, form):
        for path in (vision, others):
            shutil.copy(folder / path.name, path)

    monkeypatch.setattr(exporters.graph.artifacts, "write_split", copy)
    made = export_split(model, samples, tmp_path)
    assert ExportsFolder(tmp_path).split()
    assert made.files == (VISION, REST)
    assert made.bytes == sum((tmp_path / name).stat().st_size for name in made.files)
    with refused(CheckFailed, "parity-failed", REST):
        export_split(shared_run.load_full(), samples, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [PARITY]
    failed = Parity.model_validate_json((tmp_path / PARITY).read_bytes())
    assert failed.starts_at.startswith("the error starts in ")
    assert not ExportsFolder(tmp_path).split()


def test_an_unreadable_half_is_an_input_error_and_the_other_is_closed(folder, tmp_path):
    shutil.copy(folder / VISION, tmp_path)
    (tmp_path / REST).write_bytes(b"not an onnx file")
    parts = split_runner(tmp_path)
    with refused(InputError, "runtime-refused", REST):
        parts.open()
    assert parts.vision.session is None


def test_questions_on_one_image_are_timed_whole_and_in_parts(folder, model, samples):
    runtime, source = find_runtime("onnxruntime"), ModelSource(lambda: model, folder / "model.onnx")
    subjects = dict.fromkeys(("full", "slim"), source)
    inputs = {name: rows[[0, 1, 2, 0]] for name, rows in samples.items()}
    found = measure_questions(FAMILIES["meter"], runtime, subjects, inputs, device="cpu", threads=1, seconds=0.05)
    assert found.count == 4
    assert found.full.whole.n == found.slim.split.n >= 10
    assert found.full.split.throughput == pytest.approx(4e3 / found.full.split.mean_ms)


def asked(*texts):
    return [part for text in texts for part in ("--question", text)]


def test_predict_answers_many_questions_on_one_image(run_here, shared_exports):
    texts = ("how many things are there?", "what colour is the square?", "how many things are there?")
    question = ("predict", "--image", "scene.png", "--top", 2, "--json")
    by_torch = lines_of(das(*question, *asked(*texts)))
    assert [(line["texts"], len(line["answers"])) for line in by_torch] == [([text], 2) for text in texts]
    (alone,) = lines_of(das(*question, *asked(texts[1])))
    assert [entry["answer"] for entry in alone["answers"]] == [entry["answer"] for entry in by_torch[1]["answers"]]

    (run_here / "exports").mkdir()
    for name in (VISION, REST, PARITY):
        shutil.copy(shared_exports / "exports" / name, run_here / "exports")
    by_parts = lines_of(das(*question, *asked(*texts), "--runtime", "onnx"))
    for ours, theirs in zip(by_torch, by_parts, strict=True):
        for mine, other in zip(ours["answers"], theirs["answers"], strict=True):
            assert mine["answer"] == other["answer"]
            assert mine["probability"] == pytest.approx(other["probability"], abs=1e-4)


def test_predict_takes_the_very_file_of_a_precision(run_here):
    exports, run = run_here / "exports", open_run(run_here)
    exports.mkdir()
    for name in ("model.b1.onnx", "model.int8.onnx", "model.onnx"):
        (exports / name).touch()
    for precision, name in (("fp32", "model.onnx"), ("int8", "model.int8.onnx")):
        assert choose_runner(run, "onnx", precision, run.samples())[0].path == exports / name
    (exports / VISION).touch()
    (exports / REST).touch()
    assert isinstance(choose_runner(run, "onnx", "fp32", run.samples())[0], SplitRunner)
    assert isinstance(choose_runner(run, "onnx", "int8", run.samples())[0], OnnxRunner)
    missing = das("predict", "--image", "scene.png", *asked("what?"), "--runtime", "onnx", "--precision", "fp16")
    stopped(missing, 3, "export-missing", "no model.fp16.onnx", "model.int8.onnx")


@pytest.mark.parametrize(
    "wrong", [("--precision", "int8"), ("--batch", "4"), ("--text-length", "8"), ("--opset", "20"), ("--trt",)]
)
def test_a_split_export_in_another_form_is_refused(run_here, wrong):
    done = das("export", "--split", *wrong)
    stopped(done, 2, "split-not-alone", "--split")
    assert not (run_here / "exports").exists()


@pytest.mark.parametrize(
    "wrong",
    [("--precision", "fp64"), ("--precision", "int8"), ("--runtime", "onnx", "--top", "0"), ("--runtime", "abacus")],
)
def test_predict_explains_wrong_usage(run_here, wrong):
    assert das("predict", "--image", "scene.png", *asked("what?"), *wrong).exit_code == 2
