"""The command line's contract: help, JSON, what a run's commands say."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import das as api
from compressor.families import FAMILIES
from compressor.saved_run.run_folder import open_run
from tests.support.command_line import GOLDEN, das, stopped

COMMANDS = (
    "demo",
    "inspect",
    "compress",
    "search",
    "pareto",
    "explain",
    "eval",
    "answers",
    "predict",
    "compare",
    "export",
    "profile",
    "trim-vocabulary",
    "flops",
    "tune",
    "reproduce",
    "doctor",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example_of_its_own(command):
    result = das(command, "--help")
    assert result.exit_code == 0
    assert f"das {command}" in re.search(r"Example:.*", result.stdout)[0]


def test_help_names_the_scopes_of_every_family_that_has_several():
    text = " ".join(das("compress", "--help").stdout.replace("│", " ").split()).lower()
    for family in FAMILIES.values():
        if len(family.scopes) > 1:
            named = re.search(rf"\b{family.name}(?:, \w+)*: ([\w, ]+)", text)
            assert named and named[1].split(", ") == [*family.scopes], family.name


def test_help_lists_every_command():
    text = das("--help").stdout
    assert all(re.search(rf"│ {command}\s", text) for command in COMMANDS)


def test_a_wrong_option_is_usage():
    result = das("compress", "meter.ckpt", "--skipp", "8")
    assert result.exit_code == 2
    assert "--skip" in result.stderr


def test_the_console_script_answers():
    done = subprocess.run([sys.executable, "-c", "from das.main import run; run()", "--help"], capture_output=True)
    assert done.returncode == 0


def test_dry_run_writes_nothing(workshop):
    result = das("compress", "meter.ckpt", "--task", "vqa", "--skip", 8, "--dry-run", "--json")
    facts = json.loads(result.stdout)
    assert facts["skip"] == 8
    assert len(facts["candidates"]) == 12
    assert (facts["strategy"], facts["search_steps"], facts["recover"]) == ("auto", 0, "train")
    assert facts["recover_steps"] > 0
    assert "RoBERTa's pooler, unused by METER" in facts["leftovers"] or facts["leftovers"] == {}
    assert not list((workshop / "runs").glob("*"))
    text = das("compress", "meter.ckpt", "--task", "vqa", "--skip", 8, "--dry-run").stdout
    assert "strategy auto: every subset on a few samples" in text
    assert re.search(r"recovery train: \d+ steps", text)


def test_dry_run_says_what_trains(workshop):
    command = ("compress", "meter.ckpt", "--skip", 8, "--strategy", "das", "--recover", "none", "--dry-run")
    facts = json.loads(das(*command, "--json").stdout)
    assert facts["search_steps"] > 0
    assert (facts["recover_steps"], facts["recover_learning_rate"]) == (0, None)
    assert f"{facts['search_steps']} training steps\nrecovery none\n" in das(*command).stdout
    by_hand = ("compress", "meter.ckpt", "--layers", "FL1", "--dry-run")
    assert json.loads(das(*by_hand, "--json").stdout)["strategy"] is None
    assert "strategy" not in das(*by_hand).stdout


def test_inspect_names_layers_costs_and_leftovers(workshop):
    found = json.loads(das("inspect", "meter.ckpt", "--json").stdout)
    assert (found["family"], found["format"]) == ("meter", "METER's or DAS's public code")
    assert found["tasks"] == ["vqa"]
    assert [layer["name"] for layer in found["layers"]][-1] == "FV5"
    assert all(layer["macs"] > 0 and layer["parameters"] > 0 for layer in found["layers"])
    assert found["scopes"]["fusion"] == "FL0-5, FV0-5"
    assert "LEn0-1" in das("inspect", "meter.ckpt").stdout


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("vilt_tiny_irtr.ckpt", "vilt_tiny_irtr.ckpt: vilt (ViLT's or DAS's public code), heads: irtr, itm"),
        ("meter_tiny_nlvr2.ckpt", "meter_tiny_nlvr2.ckpt: meter (METER's or DAS's public code), heads: nlvr2"),
    ],
)
def test_inspect_names_family_format_and_heads(name, line):
    result = das("inspect", GOLDEN / name)
    assert result.exit_code == 0, result.stderr
    assert " ".join(result.stdout.split()).startswith(line)


def test_inspect_takes_a_hugging_face_folder(sentences):
    found = json.loads(das("inspect", "roberta", "--json").stdout)
    assert (found["family"], found["format"], found["tasks"]) == ("roberta", "Hugging Face", ["text-classification"])
    assert [layer["name"] for layer in found["layers"]] == [f"En{i}" for i in range(6)]
    assert found["scopes"] == {"encoder": "En0-5"}
    assert not found["leftovers"]
    shown = das("inspect", "roberta").stdout
    assert "roberta: roberta (Hugging Face), heads: text-classification" in shown
    assert "--scope encoder: En0-5" in shown


def test_a_text_encoder_is_searched_without_naming_its_task(sentences):
    facts = json.loads(das("compress", "roberta", "--skip", 2, "--dry-run", "--json").stdout)
    assert facts["candidates"] == [f"En{i}" for i in range(6)]
    result = das(
        "search", "roberta", "--skip", 2, "--search-epochs", 4, "--batch-size", 8, "--scope", "En2-5", "--json"
    )
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)["search"]
    assert found["macs_saved"].keys() == {f"En{i}" for i in range(2, 6)}
    assert len(found["chosen"]["2"]) == 2


def test_compress_prints_one_json_document(workshop):
    result = das(
        *("compress", "meter.ckpt", "--task", "vqa", "--skip", 3, "--search-epochs", 2, "--recover-epochs", 1, "--json")
    )
    report = json.loads(result.stdout)
    assert report["schema_version"] == 1
    assert len(report["skipped"]) == 3
    assert report["full"]["value"] > report["floor"] + 0.15
    assert report["costs"]["macs"]["slim"] < report["costs"]["macs"]["full"]
    missing = {entry["what"] for entry in report["not_measured"]}
    assert "exports" in missing
    saved = json.loads((workshop / "runs" / "latest" / "report.json").read_text())
    assert saved == report


def drawn(run_here, details):
    from das.render.print_report import print_report
    from das.terminal import console
    from profiles.reports.build_report import build_report

    with console.capture() as captured:
        print_report(build_report(open_run(run_here)), Path("runs/latest"), details)
    return captured.get()


def test_the_report_in_the_terminal_is_one_screen_that_says_what_went(run_here):
    text = drawn(run_here, details=False)
    assert len(text.splitlines()) <= 40
    assert all(len(line) <= 80 for line in text.splitlines())
    for layer in open_run(run_here).manifest.plan.layers:
        assert layer in text
    for words in ("8 of 12 candidate layers removed", "slim of full", "█", "Not measured: exports, latency, memory"):
        assert words in text


def test_its_details_have_every_table_and_every_reason(run_here):
    text = drawn(run_here, details=True)
    assert all(len(line) <= 80 for line in text.splitlines() if "vqav2_" not in line)  # names of files are not cut
    for words in ("question-only guesser", "not measured, exports: none yet", "MACs (1 MAC = 2 FLOPs)"):
        assert words in text


def test_search_names_layers_and_the_next_command(workshop):
    asked = ("--task", "vqa", "--skip", 2, "--search-epochs", 2, "--strategy", "influence", "--skip-width", 3)
    result = das("search", "meter.ckpt", *asked)
    assert result.exit_code == 0, result.stderr
    assert re.search(r"das compress meter.ckpt --layers \w+,\w+ --task vqa --skip-width 3$", result.stdout.strip())
    assert not list(workshop.glob("runs/*"))


@pytest.mark.parametrize("option", ["--question", "--text"])
def test_predict_answers_with_a_word_it_knows(run_here, option):
    result = das("predict", "--image", "scene.png", option, "how many things are there?", "--json")
    answers = json.loads(result.stdout)["answers"]
    assert len(answers) == 3
    assert answers[0]["answer"] in open_run(run_here).labels()
    assert answers[0]["probability"] >= answers[1]["probability"]


def test_doctor_says_what_is_here():
    items = {item["name"]: item for item in json.loads(das("doctor", "--json").stdout)["items"]}
    assert items["torch"]["ok"]
    assert all(item["ok"] or item["fix"] for item in items.values())
    assert das("doctor").exit_code == 0


def test_the_python_api_keeps_its_promises(shared_workshop, shared_run):
    model = api.load(shared_workshop / "meter.ckpt")
    assert (model.family, model.task) == ("meter", "vqa")
    assert (model.layers[0], model.layers[-1]) == ("LEn0", "FV5")
    assert not model.training
    slim = api.skip(model, ["FL1", "FV0"])
    assert set(model.layers) - set(slim.layers) == {"FL1", "FV0"}
    again = api.load(shared_run.path)
    assert again.skipped
    assert again(**shared_run.samples()).shape == (len(shared_run.samples()["input_ids"]), 20)


def test_the_name_of_a_run_does_not_depend_on_what_is_typed(workshop):
    """The task is in it, whether it was named or is the checkpoint's only one."""
    outs = [
        json.loads(das("compress", "meter.ckpt", *task, "--skip", 8, "--dry-run", "--json").stdout)["out"]
        for task in ((), ("--task", "vqa"))
    ]
    assert outs == ["runs/meter-vqa-skip8"] * 2


def test_an_unfinished_run_of_the_same_name_is_told_of(workshop):
    Path("runs/meter-vqa-by-hand.partial").mkdir(parents=True)
    done = das("compress", "meter.ckpt", "--layers", "FL1", "--recover", "none")
    assert done.exit_code == 0, done.stderr
    assert "note: runs/meter-vqa-by-hand.partial holds the state of a run" in done.stderr
    assert Path("runs/meter-vqa-by-hand-2/manifest.json").exists()


@pytest.mark.parametrize(
    ("scope", "fix"),
    [("fusion", "--skip 6 or --scope global or --scope all"), ("all", "--skip 8"), ("FL0,FL1", "--skip 1 or --scope")],
)
def test_a_scope_that_is_too_small_has_a_fix_that_fits(workshop, scope, fix):
    found = das("compress", "meter.ckpt", "--skip", 99, "--scope", scope, "--dry-run")
    stopped(found, 2, "skip-too-large", f"fix: {fix}")
    assert "wider" not in found.stderr


@pytest.mark.parametrize("command", [*sorted(set(COMMANDS) - {"demo"}), "save", "verify"])
def test_a_wrong_option_is_json_too(command):
    result = das(command, "--json", "--no-such-option")
    [problem] = problems_of(result, 2)
    assert (problem["code"], problem["fix"]) == ("usage", f"das {command} --help")
    assert "--no-such-option" in problem["found"] and "--no-such-option" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "codes"),
    [
        (("pareto", "nowhere"), 3, ["run-missing"]),
        (("doctor", "nothing.ckpt"), 3, ["checkpoint-missing"]),
        (("predict", "nowhere", "--text", "a", "--top", 0), 2, ["top-too-small", "run-missing"]),
        (("compress", "nothing.ckpt", "--skip", 2, "--dry-run"), 3, ["checkpoint-missing"]),
    ],
)
def test_problems_are_json_on_stdout_and_prose_on_stderr(arguments, exit_code, codes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain, result = das(*arguments), das(*arguments, "--json")
    stopped(plain, exit_code, codes)
    assert not plain.stdout
    stopped(result, exit_code, codes)
    problems = problems_of(result, exit_code)
    assert [problem["code"] for problem in problems] == codes
    for value in (value for problem in problems for value in problem.values()):
        assert value in result.stderr


def problems_of(result, exit_code):
    assert result.exit_code == exit_code
    document = json.loads(result.stdout)
    assert document["exit_code"] == exit_code
    return document["problems"]
