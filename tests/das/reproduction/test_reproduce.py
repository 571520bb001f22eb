"""das reproduce: the rows of a table as ordinary runs, what is kept of them, and what is refused."""

import json
import shutil
import sys

import pytest
import torch
from transformers import MPNetConfig, MPNetForSequenceClassification

import das as api
from compressor.errors import InputError
from compressor.saved_run.run_folder import open_run
from compressor.tuning.tuned import open_tuned
from das.reproduction.asked_table import keep_identity
from profiles.macs.formula import count_encoder
from tests.support.command_line import das, follows_its_schema, refused, stopped
from tests.support.progress import StepProgress

FEW = ("--seeds", 1, "--search-epochs", 4, "--recover-epochs", 1, "--batch-size", 8, "--seconds", 0.1)
TABLE_C = ("reproduce", "table-c", "roberta", "--data", "data", "--out", "c", *FEW)


def rows_of(folder):
    text = (folder / "report.json").read_text()
    follows_its_schema("reproduce", text)
    return {row["name"]: row for row in json.loads(text)["rows"]}


def test_table_c_runs_whole_keeps_what_is_finished_and_names_what_fails(sentences):
    shown = das(*TABLE_C)
    assert shown.exit_code == 0, shown.stderr
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())
    rows = rows_of(sentences / "c")
    assert len(rows) == 11
    assert all(len(row["runs"]) == 1 and row["latency"]["p50_ms"] > 0 for row in rows.values())
    assert {name for name, row in rows.items() if not row["printed"]} == {"tuned-das-2", "tuned-auto-2"}
    _macs_are_those_of_the_formula(rows)
    _skipping_begins_with_the_tuned_model(sentences / "c")
    written = {path: path.stat().st_mtime_ns for path in (sentences / "c").glob("*-seed0*/*.json")}

    state = sentences / "c" / "das-2-seed0.partial" / "state.pt"
    (sentences / "c" / "das-2-seed0").rename(sentences / "kept")
    state.parent.mkdir()
    state.write_bytes(b"no state")
    failed = das(*TABLE_C)
    stopped(failed, 4, "run-failed", "das-2-seed0", "cannot be resumed")
    again = rows_of(sentences / "c")
    assert [failure["codes"] for failure in again["das-2"]["failures"]] == [["state-unreadable"]]
    assert "FAILED: DAS, k = 2, seed 0" in " ".join(failed.stdout.split())
    assert [again[name]["runs"] == rows[name]["runs"] for name in rows if name != "das-2"] == [True] * 10
    assert {path for path, time in written.items() if path.exists() and path.stat().st_mtime_ns != time} == set()


def _macs_are_those_of_the_formula(rows):
    """RoBERTa of 6 layers; DAS's adapters have the table's 32 of 768 in proportion."""
    run = open_run("c/das-2-seed0")
    dims = run.dims
    plain = count_encoder(dims.layers, dims.text_length, dims.hidden, dims.ffn)
    width = max(1, round(32 * dims.hidden / 768))
    skip = dict.fromkeys(run.manifest.plan.layers, width)
    sizes = (dims.layers, dims.text_length, dims.hidden, dims.ffn)
    assert rows["das-2"]["runs"][0]["additional_macs"] == count_encoder(*sizes, (1, width), skip) - plain
    assert {entry.adapter_width for entry in run.manifest.plan.skip} == {dims.parallel_width} == {width}
    tuned = rows["tuned-auto-2"]["runs"][0]
    own = open_run("c/tuned-auto-2-seed0").manifest.plan.skip
    assert tuned["additional_macs"] == count_encoder(*sizes, skip={x.layer: x.adapter_width for x in own}) - plain
    assert rows["lora"]["runs"][0]["additional_macs"] == rows["full"]["runs"][0]["additional_macs"] == 0


def _skipping_begins_with_the_tuned_model(folder):
    tuned, checkpoint = open_tuned(folder / "full-seed0"), folder / "full-seed0-checkpoint"
    for name in ("tuned-das-2-seed0", "tuned-auto-2-seed0"):
        manifest = open_run(folder / name).manifest
        assert manifest.source.path == str(checkpoint.absolute())
        assert manifest.results.full.value == tuned.score.value
    inputs = open_run(folder / "das-1-seed0").samples()
    with torch.no_grad():
        assert torch.equal(api.load(checkpoint)(**inputs), tuned.load()(**inputs))


class InterruptedTraining(StepProgress):
    def step(self, label, number):
        if label.startswith("Recovering") and number == 3:
            raise KeyboardInterrupt


def test_after_ctrl_c_the_same_command_goes_on(sentences, monkeypatch):
    command = (*TABLE_C, "--rows", "das-1")
    monkeypatch.setattr("das.terminal.progress", InterruptedTraining)
    result = das(*command)
    assert result.exit_code == 130
    assert "run 1 of 1; the same command goes on where this one was" in " ".join(result.stderr.split())
    assert (sentences / "c" / "das-1-seed0.partial" / "state.pt").exists()
    monkeypatch.undo()
    monkeypatch.chdir(sentences)
    assert das(*command).exit_code == 0
    rows = rows_of(sentences / "c")
    assert len(rows["das-1"]["runs"]) == 1
    assert rows["lora"]["missing"] == "left out by --rows"


def test_the_runs_of_a_folder_have_the_same_options(sentences):
    (sentences / "c").mkdir()
    assert das(*TABLE_C, "--rows", "bitfit").exit_code == 0
    before = (sentences / "c" / "report.json").read_bytes()
    other = das(*TABLE_C, "--rows", "bitfit", "--batch-size", 4)
    stopped(other, 3, "reproduction-differs", "batch_size")
    stopped(das(*TABLE_C, "--rows", "bitfit", "--batch-size", 4, "--dry-run"), 3, "reproduction-differs", "batch_size")
    assert (sentences / "c" / "report.json").read_bytes() == before
    (sentences / "c" / "reproduction.json").write_text("[]")
    stopped(das(*TABLE_C, "--rows", "bitfit"), 3, "reproduction-unreadable", "reproduction.json")


def test_a_default_that_is_typed_is_no_other_option(tmp_path):
    keep_identity(tmp_path / "a", {"table": "table-a"})
    keep_identity(tmp_path / "a", {"table": "table-a", "batch_size": 64, "search_epochs": 3.0})
    keep_identity(tmp_path / "b", {"table": "table-a", "batch_size": 64})
    keep_identity(tmp_path / "b", {"table": "table-a"})
    with refused(InputError, "reproduction-differs", "(batch_size)"):
        keep_identity(tmp_path / "a", {"table": "table-a", "batch_size": 32})


def test_a_method_without_a_place_is_a_row_that_is_not_run(sentences):
    config = json.loads((sentences / "roberta" / "config.json").read_text())
    sizes = {name: config[name] for name in ("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size")}
    MPNetForSequenceClassification(MPNetConfig(num_hidden_layers=4, **sizes)).save_pretrained("mpnet")
    shutil.copy("roberta/tokenizer.json", "mpnet")
    asked = ("reproduce", "table-c", "mpnet", "--data", "data", *FEW, "--text-length", 12, "--dry-run", "--json")
    result = das(*asked, "--rows", "prefix,bitfit,mam")
    assert result.exit_code == 0, result.stderr
    rows = {row["name"]: row for row in json.loads(result.stdout)["rows"]}
    assert [name for name, row in rows.items() if row["missing"]] == ["prefix", "mam"]
    assert "keys and values of other tokens" in rows["prefix"]["missing"] and rows["bitfit"]["runs"] == 1
    stopped(das(*asked, "--rows", "mam"), 2, "no-row-possible", "mam: --method mam for mpnet")


def test_peft_is_asked_for_before_any_row_is_run(sentences, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    stopped(das(*TABLE_C, "--rows", "bitfit,lora"), 5, "peft-missing", "das-toolkit[paper]")
    assert not (sentences / "c").exists()


def test_a_dry_run_tells_steps_and_time_and_writes_nothing(sentences):
    result = das(*TABLE_C, "--dry-run", "--json")
    assert result.exit_code == 0, result.stderr
    plan = json.loads(result.stdout)
    rows = {row["name"]: row for row in plan["rows"]}
    steps = rows["das-1"]["train_steps"]
    assert steps == rows["lora"]["train_steps"] > 0
    assert rows["das-3"]["search_steps"] == 4 * steps
    assert rows["tuned-auto-2"]["search_steps"] == 0
    assert all(row["seconds"] > 0 and row["runs"] == 1 for row in rows.values())
    needs = {need["stage"]: need["total"] for need in plan["needs"]}
    assert needs["full tuning"] > needs["training adapters"] > 0
    assert needs["all runs"] > needs["timing"] / 12 * 11
    assert not (sentences / "c").exists()
    shown = das(*TABLE_C, "--dry-run", "--rows", "lora").stdout
    assert "1 run: about" in shown and "disk for all runs" in shown


@pytest.mark.slow
def test_random_subsets_are_balanced_and_differ(workshop):
    few = ("--seeds", 1, "--recover-epochs", 0.1, "--batch-size", 32, "--seconds", 0.1)
    result = das("reproduce", "table-b", "meter.ckpt", "--rows", "random-4", "--out", "b", *few)
    assert result.exit_code == 0, result.stderr
    runs = rows_of(workshop / "b")["random-4"]["runs"]
    layers = [run["layers"] for run in runs]
    assert len({tuple(names) for names in layers}) > 1
    assert all(sorted(name[:2] for name in names) == ["FL", "FL", "FV", "FV"] for names in layers)


def test_a_folder_of_something_else_is_left_alone(sentences):
    (sentences / "c").mkdir()
    (sentences / "c" / "thesis.tex").write_text("years of work")
    stopped(das(*TABLE_C), 3, "reproduction-folder-taken", "thesis.tex")
    stopped(das(*TABLE_C[: -2 * 5 - 2], "--out", "data/train.tsv"), 3, "reproduction-folder-taken")
    assert [path.name for path in (sentences / "c").iterdir()] == ["thesis.tex"]


def test_all_that_is_wrong_is_said_at_once(sentences):
    asked = ("reproduce", "table-c", "roberta", "--data", "nowhere", "--seeds", 0, "--seconds", 0)
    codes = ["seeds-too-few", "setting-not-positive", "data-folder-missing"]
    stopped(das(*asked), 2, codes, "--seeds 0", "nowhere")
    assert not (sentences / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("table-d", "roberta"), "unknown-table"),
        (("table-a", "roberta"), "table-of-other-models"),
        (("table-c", "roberta", "--rows", "dora"), "unknown-row"),
        (("table-c", "roberta", "--rows", ""), "unknown-row"),
        (("table-c", "roberta", "--seeds", -3), "seeds-too-few"),
        (("table-c", "roberta", "--batch-size", 0), "batch-size-too-small"),
    ],
)
def test_impossible_requests_are_usage(sentences, arguments, code):
    stopped(das("reproduce", *arguments, "--data", "data"), 2, code)
