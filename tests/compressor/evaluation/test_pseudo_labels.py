"""Compressing from inputs without answers: who judges, and that answers in the data play no part."""

import csv
import json
import shutil
import signal

import numpy as np
import pytest
import torch

from compressor.compression import compress
from compressor.data.arrow_files import read_table, write_table
from compressor.data.generated.captions import write_retrieval
from compressor.data.read_data import read_data
from compressor.errors import InputError, Interrupted, UsageError
from compressor.evaluation.evaluate import evaluate
from compressor.jobs.prepare_job import prepare_job
from compressor.search.reuse import settings_of
from compressor.settings import Settings
from compressor.tasks import TASKS
from tests.support.command_line import GOLDEN, das, refused, stopped
from tests.support.data_files import (
    png,
)
from tests.support.progress import StepProgress


@pytest.fixture(autouse=True)
def ctrl_c_arrives():
    """Workers that run tests in parallel ignore Ctrl-C; here it means what it means in a terminal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def asked(checkpoint, **changes):
    return Settings(
        **{"checkpoint": checkpoint, "skip": 2, "recover": "closed-form", "calibration": "inputs", **changes}
    )


def weights(run):
    return run.load_slim().state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def write_sentences(folder, rows, name="inputs.csv"):
    folder.mkdir(exist_ok=True)
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def unlabelled(sentences):
    """The workshop of sentences with a folder ``inputs`` of sentences alone."""
    found = read_data(sentences / "data", "text-classification").splits["train"]
    write_sentences(sentences / "inputs", [["text"], *([sample.text] for sample in found.samples)])
    return sentences


def logits(model, split):
    with torch.no_grad():
        return model(**split.inputs(range(len(split))))


def test_the_score_is_agreement_with_the_full_model(unlabelled):
    run = compress(asked("roberta"))
    results, data = run.manifest.results, prepare_job(asked("roberta")).data
    full, slim = logits(run.load_full(), data.evaluation), logits(run.load_slim(), data.evaluation)
    agreed = (full.argmax(-1) == slim.argmax(-1)).double().mean()
    assert results.slim.value == pytest.approx(float(agreed))
    assert results.full.value == 1
    assert results.slim.metric == results.full.metric == "agreement with the full model"
    assert run.search_result().metric == "agreement with the full model"
    fitted = logits(run.load_full(), data.train).argmax(-1)
    most = fitted.bincount().argmax()
    assert results.floor == pytest.approx(float((full.argmax(-1) == most).double().mean()))
    assert [entry["answers"] for entry in run.manifest.data] == ["the full model's own"] * 3
    assert [entry["rows"] for entry in run.manifest.data] == [len(part) for part in data.splits]


def test_answers_in_the_data_play_no_part(sentences):
    samples = read_data(sentences / "data", "text-classification").splits["train"].samples
    rng, runs = np.random.default_rng(0), []
    for shuffled in (False, True):
        labels = [sample.labels[0] for sample in samples]
        rng.shuffle(labels) if shuffled else None
        rows = [[sample.text, label] for sample, label in zip(samples, labels, strict=True)]
        write_sentences(sentences / "inputs", [["text", "label"], *rows], "train.csv")
        runs.append(compress(asked("roberta")))
    assert runs[0].manifest.plan == runs[1].manifest.plan
    assert same(weights(runs[0]), weights(runs[1]))
    assert runs[0].manifest.results.slim == runs[1].manifest.results.slim


def test_no_report_claims_an_accuracy(unlabelled):
    result = das("compress", "roberta", "--skip", 2, "--recover", "closed-form", "--calibration", "inputs", "--details")
    assert result.exit_code == 0, result.stderr
    words = " ".join(result.stdout.split())
    assert "gives the full model's answer to" in words
    assert "answers: the full model's own" in words
    assert "not measured, accuracy" in words
    report = json.loads((unlabelled / "runs" / "latest" / "report.json").read_text())
    assert report["slim"]["metric"] == "agreement with the full model"
    assert report["floor_name"] == "its most frequent answer"
    text = (unlabelled / "runs" / "latest" / "report.md").read_text()
    assert "accuracy" not in text.replace("accuracy: no answers were given", "").replace("no accuracy cost", "")


def test_such_a_run_is_scored_on_data_with_answers_only(unlabelled):
    run = compress(asked("roberta", recover="none"))
    stopped(das("eval", run.path), 3, "run-without-answers", run.path, "--data")
    scored = das("eval", run.path, "--data", "data", "--json")
    assert scored.exit_code == 0, scored.stderr
    assert json.loads(scored.stdout)["metric"] == "accuracy"
    answered = das("predict", run.path, "--text", "good")
    assert answered.exit_code == 0, answered.stderr


def test_another_size_from_its_search_needs_no_answers_either(unlabelled):
    first = compress(asked("roberta"))
    again = compress(settings_of(from_run=first.path, skip=1, recover="none"))
    assert again.manifest.plan.layers == first.search_result().chosen[1]
    assert again.manifest.results.slim.metric == "agreement with the full model"


def test_layers_named_by_hand_are_fitted_too(unlabelled):
    fitted = compress(asked("roberta", skip=None, layers=("En1",)))
    bare = compress(asked("roberta", skip=None, layers=("En1",), recover="none"))
    assert fitted.search_result() is None
    assert fitted.manifest.results.slim.loss < bare.manifest.results.slim.loss


class InterruptAt(StepProgress):
    """Presses Ctrl-C when a stage begins."""

    def __init__(self, label):
        self.label = label

    def begin(self, label):
        if self.label in label:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("stage", ["Evaluating the full", "Scoring"])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(unlabelled, stage):
    whole = compress(asked("roberta", out="runs/whole"))
    with pytest.raises(Interrupted, match="--resume"):
        compress(asked("roberta", out="runs/broken"), progress=InterruptAt(stage))
    shutil.move("inputs", "moved")
    resumed = compress(asked("roberta", out="runs/broken", calibration="moved"), resume=True)
    assert resumed.manifest.plan == whole.manifest.plan
    assert same(weights(resumed), weights(whole))
    assert resumed.manifest.results.slim == whole.manifest.results.slim


def test_other_inputs_are_no_resume(unlabelled):
    with pytest.raises(Interrupted):
        compress(asked("roberta", out="runs/broken"), progress=InterruptAt("Scoring"))
    with (unlabelled / "inputs" / "inputs.csv").open("a") as file:
        file.write("one more\n")
    with refused(InputError, "settings-changed"):
        compress(asked("roberta", out="runs/broken"), resume=True)


@pytest.fixture
def questions(workshop):
    """The workshop with a folder ``inputs`` of images and questions alone."""
    (workshop / "inputs").mkdir()
    table = read_table(workshop / "data" / "vqav2_train.arrow", ["image", "questions"])
    kept = {name: table[name].to_pylist()[:60] for name in ("image", "questions")}
    write_table(workshop / "inputs" / "anything.arrow", kept)
    return workshop


def test_no_image_is_in_two_parts(questions):
    data = prepare_job(asked("meter.ckpt", task="vqa", skip=8)).data
    images = [{picture for sample in split.samples for picture in sample.images} for split in data.splits]
    assert [len(part) for part in images] == [30, 15, 15]
    assert len(set().union(*images)) == 60


def test_vqa_without_answers(questions):
    run = compress(asked("meter.ckpt", task="vqa", skip=8))
    data = prepare_job(asked("meter.ckpt", task="vqa", skip=8)).data
    full, slim = logits(run.load_full(), data.evaluation), logits(run.load_slim(), data.evaluation)
    agreed = (full.argmax(-1) == slim.argmax(-1)).double().mean()
    results = run.manifest.results
    assert (results.full.value, results.slim.value) == (1, pytest.approx(float(agreed)))
    assert results.slim.value > 0
    assert len(run.search_result().chosen[8]) == 8
    assert set(run.labels()) == {f"<class {number}>" for number in range(len(run.labels()))}


def test_fitting_on_inputs_alone_brings_answers_back(questions):
    data = prepare_job(asked("meter.ckpt", task="vqa", calibration=None, data="data")).data
    scores = []
    for recover in ("none", "closed-form"):
        run = compress(asked("meter.ckpt", task="vqa", skip=None, layers=("FL0-3", "FV0-2"), recover=recover))
        scores.append(evaluate(run.load_slim(), data.evaluation, TASKS["vqa"]).score.value)
    assert scores[1] > scores[0] + 0.05


@pytest.mark.parametrize(
    ("changes", "codes", "values"),
    [
        ({"recover": "train"}, "calibration-without-answers", ["--recover train"]),
        ({"strategy": "das"}, "calibration-without-answers", ["--strategy das"]),
        ({"adapt": True}, ("adapt-without-training", "calibration-without-answers"), ["--adapt"]),
        ({"train_head": True}, "calibration-without-answers", ["--train-head"]),
        ({"data": "data"}, "data-beside-calibration", ["--data", "--calibration"]),
    ],
)
def test_what_needs_answers_is_refused(workshop, changes, codes, values):
    (workshop / "inputs").mkdir()
    with refused(UsageError, codes, *values):
        prepare_job(asked("meter.ckpt", **changes))


def test_retrieval_has_no_inputs_without_answers(workshop):
    write_retrieval(workshop / "inputs", 20, 0)
    with refused(UsageError, "task-needs-answers", "irtr"):
        prepare_job(asked(str(GOLDEN / "meter_tiny_irtr.ckpt"), task="irtr", tokenizer="tokenizer.json"))


def test_unusable_folders_of_inputs(unlabelled):
    result = das("compress", "roberta", "--skip", 1, "--recover", "none", "--calibration", "nowhere")
    stopped(result, 3, "calibration-folder-missing", "no folder nowhere")
    (unlabelled / "texts.txt").write_text("a text\n")
    result = das("compress", "roberta", "--skip", 1, "--recover", "none", "--calibration", "texts.txt")
    stopped(result, 3, "calibration-folder-missing", "texts.txt is a file")
    write_sentences(unlabelled / "few", [["text"], *[[f"sentence {n % 15}"] for n in range(40)]])
    result = das("compress", "roberta", "--skip", 1, "--recover", "none", "--calibration", "few")
    stopped(result, 3, "too-few-inputs", "15 different")
    write_sentences(unlabelled / "blank", [["text"], *[[f"sentence {n}"] for n in range(40)], [" "], [" "]])
    result = das("compress", "roberta", "--skip", 1, "--recover", "none", "--calibration", "blank")
    stopped(result, 3, "too-many-unusable-rows", "2 of 42")


def test_few_images_are_few_inputs_however_many_questions(workshop):
    (workshop / "inputs").mkdir()
    write_table(workshop / "inputs" / "a.arrow", {"image": [png(1), png(2)], "questions": [list("abcdefghij")] * 2})
    with refused(InputError, "too-few-inputs", "20 different", "2 of them without an image in common"):
        prepare_job(asked("meter.ckpt", task="vqa"))
