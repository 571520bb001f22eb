"""Samples that the user names for the choice of layers."""

import csv
import json
from pathlib import Path

import pytest

from compressor.data.held_out import HELD_OUT, add_held_out
from compressor.data.labels import align_labels
from compressor.data.read_data import read_data
from compressor.data.roles import TENTH
from compressor.data.types import Reading
from compressor.errors import InputError, UsageError
from compressor.jobs.check_work import remark_on_held_out
from compressor.jobs.prepare_job import prepare_job
from compressor.saved_run.run_folder import open_run
from compressor.settings import make_settings
from compressor.tasks import TASKS
from tests.support.command_line import das, refused, stopped
from tests.support.data_files import write_columns

TASK = "text-classification"
NAMES = ("bad", "good")


def rows(*labels, start=0):
    return [{"text": f"text {number}", "label": label} for number, label in enumerate(labels, start)]


def texts(records):
    return [(sample.text, sample.labels) for sample in records.samples]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split, start in (("train", 0), ("val", 100), ("test", 200)):
        write_columns(tmp_path / "data", f"{split}.csv", rows(*NAMES, start=start))
    return tmp_path


def added(named, columns=None):
    dataset = align_labels(read_data(Path("data"), TASK), NAMES, TASKS[TASK])
    return add_held_out(dataset, named, TASK, Reading(), columns or {})


def test_a_split_of_the_data(folder):
    found = added("val")
    assert list(found.splits) == ["train", "test", HELD_OUT]
    assert texts(found.splits[HELD_OUT]) == [("text 100", (0,)), ("text 101", (1,))]


@pytest.mark.parametrize("name", ["mine.csv", "mine.jsonl", "mine.tsv"])
def test_a_file_whose_classes_are_those_of_the_training(folder, name):
    write_columns(folder, name, rows("good", "good", start=300))
    found = added(name)
    assert list(found.splits) == ["train", "val", "test", HELD_OUT]
    assert texts(found.splits[HELD_OUT]) == [("text 300", (1,)), ("text 301", (1,))]


def test_a_folder_gives_what_a_model_would_be_scored_on(folder):
    write_columns(folder / "other", "val.csv", rows("good", start=400))
    write_columns(folder / "other", "train.csv", rows(*NAMES, start=500))
    assert texts(added("other").splits[HELD_OUT]) == [("text 400", (1,))]


def test_a_file_with_columns_that_the_user_names(folder):
    write_columns(folder, "mine.csv", [{"body": "text 300", "stars": "good"}])
    assert texts(added("mine.csv", {"text": "body", "label": "stars"}).splits[HELD_OUT]) == [("text 300", (1,))]
    with refused(InputError, "file-not-of-task", "body, stars", "--columns"):
        added("mine.csv")


@pytest.mark.parametrize(
    ("named", "kind", "code", "values"),
    [
        ("gone.csv", InputError, "held-out-missing", ("gone.csv", "train, val, test")),
        ("train", UsageError, "held-out-needed-elsewhere", ("--holdout train",)),
        ("data/test.csv", UsageError, "held-out-needed-elsewhere", ("scores come from",)),
        ("mine.txt", InputError, "file-not-of-task", ("mine.txt", ".csv")),
    ],
)
def test_what_cannot_be_held_out(folder, named, kind, code, values):
    (folder / "mine.txt").write_text("text 1\n")
    with refused(kind, code, *values):
        added(named)


def test_the_only_split_with_scores_cannot_be_held_out(folder):
    (folder / "data" / "test.csv").unlink()
    with refused(UsageError, "held-out-needed-elsewhere", "add a test split"):
        added("val")


def sentences_in_columns(folder):
    """The sentences in files whose columns no list of names has, and some of them as held-out samples."""
    for split in ("train", "dev"):
        with (folder / "data" / f"{split}.tsv").open() as file:
            found = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        said = [{"body": row["sentence"], "verdict": ("negative", "positive")[int(row["label"])]} for row in found]
        write_columns(folder / "mine", f"{split}.csv", said)
    write_columns(folder, "held.csv", said[:6])


def test_columns_and_held_out_samples_go_through_a_compression(sentences):
    sentences_in_columns(sentences)
    write_columns(sentences, "held.csv", [{"body": "the film is moving", "verdict": "positive"}] * 6)
    given = ("roberta", "--skip", 1, "--recover", "none", "--data", "mine", "--holdout", "held.csv")
    stopped(
        das("compress", *given), 3, "data-not-of-task", "train.csv has the columns body, verdict", "--columns text="
    )
    done = das("compress", *given, "--columns", "text=body,label=verdict", "--json")
    assert done.exit_code == 0, done.stderr
    assert "--holdout names other data" not in done.stderr
    run = open_run()
    train, held_out, evaluation = run.manifest.data
    assert (held_out["name"], held_out["files"], held_out["rows"]) == (HELD_OUT, ["held.csv"], 6)
    assert (train["rows"], evaluation["files"]) == (60, ["dev.csv"])  # no tenth is taken away
    assert run.manifest.settings.columns == {"text": "body", "label": "verdict"}
    scored = json.loads(das("eval", "--json").stdout)
    assert scored["value"] == pytest.approx(run.manifest.results.slim.value)
    again = json.loads(
        das("eval", "roberta", "--data", "mine", "--columns", "text=body,label=verdict", "--json").stdout
    )
    assert again["value"] == pytest.approx(run.manifest.results.full.value)
    write_columns(sentences, "asked.csv", [{"body": "dull"}])
    assert das("predict", "--file", "asked.csv", "--top", 1).stdout.split()[-1] == "dull"


def test_a_budget_out_of_reach_names_the_whole_command(sentences):
    sentences_in_columns(sentences)
    given = ("--columns", "text=body,label=verdict", "--holdout", "held.csv", "--train-head")
    result = das("compress", "roberta", "--max-macs", "0.01x", "--data", "mine", *given)
    command = "das compress roberta --task text-classification --data mine"
    stopped(result, 4, "budget-out-of-reach", f"{command} {' '.join(given)} --max-macs")


def test_a_choice_on_training_data_is_remarked_and_kept(sentences):
    given = ("roberta", "--skip", 1, "--data", "data")
    done = das("compress", *given, "--recover", "none")
    run = open_run()
    assert run.manifest.data[1]["name"] == TENTH
    (remark,) = [remark for remark in run.manifest.results.remarks if "--holdout" in remark]
    for text in (done.stderr, (run.path / "report.md").read_text(), das("search", *given).stderr):
        assert remark in " ".join(text.split())


@pytest.mark.parametrize(
    ("options", "remark"),
    [
        ({"skip": 1}, "The layers are chosen on"),
        ({"max_drop": 1}, "The layers are chosen and --max-drop is decided on"),
        ({"layers": ("En1",)}, ""),
        ({"skip": 1, "holdout": "data/train.tsv"}, "The layers are chosen on"),
        ({"skip": 1, "adapt": True}, ""),
    ],
)
def test_when_a_choice_is_remarked(sentences, options, remark):
    job = prepare_job(make_settings(checkpoint="roberta", data="data", recover="none", **options))
    remarks = remark_on_held_out(job)
    assert [said.startswith(remark) for said in remarks] == [True] * bool(remark)


def test_held_out_samples_without_answers_are_not_replaced_by_a_tenth(sentences):
    write_columns(sentences, "held.jsonl", [{"text": "the film", "label": "-"}])
    given = ("roberta", "--skip", 1, "--data", "data", "--holdout", "held.jsonl")
    stopped(das("compress", *given), 3, "held-out-without-answers", "held.jsonl")


def test_held_out_samples_beside_calibration_are_refused(sentences):
    given = ("--calibration", "data", "--recover", "closed-form", "--skip", 1, "--holdout", "x.csv")
    stopped(das("compress", "roberta", *given), 2, "holdout-beside-calibration", "drop --holdout")


@pytest.mark.parametrize(
    ("columns", "code", "values"),
    [
        ("body", "columns-unreadable", ("--columns body", "text=review,label=sentiment")),
        ("text=", "columns-unreadable", ("--columns text=",)),
        ("text=a,label=b,text=c", "columns-unreadable", ("once",)),
        ("txt=body", "columns-not-of-task", ("text, second, label",)),
    ],
)
def test_columns_that_mean_nothing(sentences, columns, code, values):
    stopped(das("compress", "roberta", "--skip", 1, "--columns", columns), 2, code, *values)
    if code == "columns-unreadable":
        stopped(das("eval", "roberta", "--columns", columns), 2, code, *values)
