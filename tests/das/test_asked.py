"""What ``das predict`` is asked, and what it answers: every text by itself, typed, in a file or in a stream."""

import csv
import io
import json
import shutil
import subprocess
import sys
from contextlib import chdir
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from compressor.compression import compress
from compressor.errors import Interrupted
from compressor.progress import QUIET
from compressor.saved_run.run_folder import open_run
from compressor.settings import Settings
from das.api import export
from das.asked import STDIN, Questions
from das.predict import answer_questions, choose_way
from das.render.print_answers import print_predictions
from exporters.checks.records import record_of
from tests.support.command_line import das, lines_of, stopped
from tests.support.once import once

FILM, PLOT = "the story is very moving .", "the plot is dull"
MANY = "the film is dull , but the story is really moving and the acting is really brilliant ."


@pytest.fixture(scope="session")
def shared_answerers(shared_sentences):
    """Two runs of one model: ``single`` on sentences, ``pairs`` on each of them twice; no test changes them."""

    def make(folder):
        shutil.copytree(shared_sentences, folder, dirs_exist_ok=True)
        (folder / "twice").mkdir()
        for split in ("train", "dev"):
            with (folder / "data" / f"{split}.tsv").open() as file:
                rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
            twice = [{"premise": row["sentence"], "hypothesis": row["sentence"], "label": row["label"]} for row in rows]
            (folder / "twice" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in twice))
        with chdir(folder):
            for name, data in (("single", "data"), ("pairs", "twice")):
                compress(Settings(checkpoint="roberta", layers=("En1",), recover="none", data=data, out=name))

    return once("answerers", make)


@pytest.fixture
def answerers(shared_answerers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return shared_answerers


STARTED = """
import json, re, sys
from typer.testing import CliRunner
from das.main import app
for asked in json.loads(sys.argv[1]):
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    print(done.stdout.splitlines()[-1])
heavy = r"torch._dynamo$|transformers.modeling_utils|transformers.models.(?!auto).*modeling_"
print([name for name in sys.modules if re.match(heavy, name)])
"""


def test_the_certified_graph_answers_without_the_modules_of_models(answerers, shared_exports, shared_workshop):
    """What PyTorch compiles with, and transformers' models, take longer to import than all the rest."""
    run = Path(shutil.copytree(answerers / "single", "run"))
    asked = ("predict", str(run), "--text", FILM, "--json")
    (before,) = lines_of(das(*asked))
    export(run, "onnx")
    of_an_image = ("predict", str(shared_exports), "--image", str(shared_workshop / "scene.png"), *asked[2:])
    started = [sys.executable, "-c", STARTED, json.dumps([asked, of_an_image])]
    done = subprocess.run(started, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said, of_image, heavy = done.stdout.splitlines()
    answered = json.loads(said)
    assert json.loads(of_image)["runtime"] == "onnxruntime"
    assert (before["runtime"], answered["runtime"], heavy) == ("torch", "onnxruntime", "[]")
    assert torch.allclose(probabilities(run, [before]), probabilities(run, [answered]), atol=1e-4)
    assert "answered by PyTorch in fp32" in das(*asked, "--runtime", "torch").stderr

    record = record_of(run / "exports" / "model.onnx")
    passed = record.read_text()
    for otherwise in ({"status": "failed"}, {"certificate": None}):
        record.write_text(json.dumps(json.loads(passed) | otherwise))
        assert choose_way(open_run(run)) == ("torch", "fp32")
    record.write_text(passed)
    (run / "exports" / "model.onnx").unlink()
    assert choose_way(open_run(run)) == ("torch", "fp32")


def expected(run, *samples):
    """Probabilities of each sample by the run's own model, computed one by one: (N, classes)."""
    opened = open_run(run)
    model, text = opened.load_slim(), opened.transforms().text
    rows = [text([tuple(sample) if sample[1:] else sample[0]]) for sample in samples]
    with torch.inference_mode():
        return torch.cat([model(**row).softmax(-1) for row in rows])


def probabilities(run, documents):
    labels = open_run(run).labels()
    rows = [{answer["answer"]: answer["probability"] for answer in line["answers"]} for line in documents]
    return torch.tensor([[row[label] for label in labels] for row in rows])


def test_each_text_has_its_own_answer(answerers):
    run = answerers / "single"
    said = lines_of(das("predict", run, "--text", FILM, "--text", PLOT, "--text", "moving", "--json"))
    assert [line["texts"] for line in said] == [[FILM], [PLOT], ["moving"]]
    torch.testing.assert_close(probabilities(run, said), expected(run, [FILM], [PLOT], ["moving"]))
    shown = das("predict", run, "--text", FILM, "--text", PLOT).stdout.splitlines()
    assert [line.endswith(text) for line, text in zip(shown, (FILM, "", PLOT, ""), strict=True)] == [True] * 4
    assert all(len(line) <= 80 for line in shown)


def test_pairs_are_answered_where_the_data_had_pairs(answerers):
    run = answerers / "pairs"
    said = lines_of(das("predict", run, "--pair", FILM, PLOT, "--pair", PLOT, "--text", "--json"))
    assert [line["texts"] for line in said] == [[FILM, PLOT], [PLOT, "--text"]]
    torch.testing.assert_close(probabilities(run, said), expected(run, [FILM, PLOT], [PLOT, "--text"]))


def test_a_run_that_does_not_say_takes_one_kind_at_a_time(answerers, tmp_path):
    shutil.copytree(answerers / "single", "old")
    manifest = tmp_path / "old" / "manifest.json"
    content = json.loads(manifest.read_text())
    assert content.pop("pairs") is False
    manifest.write_text(json.dumps(content))
    for given, sample in (("--text", FILM), [FILM]), (("--pair", FILM, PLOT), [FILM, PLOT]):
        said = lines_of(das("predict", "old", *given, "--json"))
        torch.testing.assert_close(probabilities("old", said), expected("old", sample))
    both = das("predict", "old", "--text", FILM, "--pair", FILM, PLOT)
    stopped(both, 2, "single-texts-for-pairs", '--pair "..." "..."')


@pytest.mark.parametrize(
    ("run", "given", "codes", "values"),
    [
        ("single", ("--pair", FILM, PLOT), "pairs-for-single-texts", ('--text "..."',)),
        ("pairs", ("--text", FILM), "single-texts-for-pairs", ('--pair "..." "..."',)),
        ("pairs", ("--pair", FILM), "pair-of-one-text", ("two texts",)),
        ("pairs", ("--pair", FILM, " "), "text-empty", ()),
        ("pairs", (), "wrong-number-of-texts", ("0 texts", '--pair "..." "..."')),
        ("single", (), "wrong-number-of-texts", ("0 texts", '--text "..."')),
        ("single", ("--text", FILM, "--image", "x.png"), ("image-missing", "wrong-number-of-images"), ()),
        ("single", ("--text", FILM, "--batch-size", 0), "batch-size-too-small", ("--batch-size 0",)),
    ],
)
def test_what_a_run_cannot_be_asked(answerers, run, given, codes, values):
    stopped(das("predict", answerers / run, *given), 2, codes, *values)


FILES = {
    "texts.txt": f"{FILM}\r\n{PLOT}\nmoving",
    "texts": f"\ufeff{FILM}\n{PLOT}\nmoving\n",
    "texts.csv": f'id,review,label\n1,{FILM},9\n2,"{PLOT}",\n3,moving,x\n',
    "TEXTS.TSV": f"id\treview\tlabel\n1\t{FILM}\t9\n2\t{PLOT}\t\n3\tmoving\tx\n",
    "texts.jsonl": "".join(json.dumps({"text": text}) + "\n" for text in (FILM, PLOT, "moving")),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_texts_is_answered_in_order(answerers, tmp_path, name):
    (tmp_path / name).write_text(FILES[name], newline="")
    run = answerers / "single"
    said = lines_of(das("predict", run, "--file", name, "--batch-size", 2, "--json"))
    assert [line["texts"] for line in said] == [[FILM], [PLOT], ["moving"]]
    torch.testing.assert_close(probabilities(run, said), expected(run, [FILM], [PLOT], ["moving"]))


@pytest.mark.parametrize("name", ["texts.txt", "texts.jsonl"])
def test_the_standard_input_is_texts_or_lines_of_json(answerers, name):
    said = lines_of(das("predict", answerers / "single", "--file", "-", "--json", given_in=FILES[name]))
    assert [line["texts"] for line in said] == [[FILM], [PLOT], ["moving"]]


def test_pairs_come_from_columns(answerers, tmp_path):
    rows = f'{{"premise": "{FILM}", "hypothesis": "{PLOT}"}}\n'
    (tmp_path / "pairs.jsonl").write_text(rows)
    for given in ({"given_in": rows}, {}):
        said = lines_of(
            das("predict", answerers / "pairs", "--file", "-" if given else "pairs.jsonl", "--json", **given)
        )
        assert [line["texts"] for line in said] == [[FILM, PLOT]]


def test_lines_that_cannot_be_read_stay_in_their_place(answerers):
    lines = [FILM.encode(), b"", b"caf\xe9", b" \t", PLOT.encode()]
    done = das("predict", answerers / "single", "--file", "-", "--json", given_in=b"\n".join(lines))
    stopped(
        done, 3, "questions-unreadable", "3 of 5 sentences", "line 2: it is empty", "and", "all others are answered"
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["texts"] for line in said] == [[FILM], [], [], [], [PLOT]]
    assert [line["problem"] for line in said] == [
        None,
        *("standard input, line 2: it is empty", "standard input, line 3: no UTF-8: it holds the byte 0xe9"),
        *("standard input, line 4: it is empty", None),
    ]


def test_rows_of_json_that_cannot_be_read_stay_in_their_place(answerers):
    rows = [{"text": FILM}, {"text": ""}, {"other": 1}, ["a"], {"text": "\ud83d"}, {"text": PLOT}]
    lines = [*map(json.dumps, rows), "{"]
    done = das("predict", answerers / "single", "--file", "-", "--json", given_in="\n".join(lines))
    stopped(done, 3, "questions-unreadable", "5 of 7 sentences")
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["texts"] for line in said] == [[FILM], [], [], [], [], [PLOT], []]


def test_a_text_that_was_cut_is_said(answerers, tmp_path):
    (tmp_path / "texts.txt").write_text(f"{FILM}\n{MANY}\n")
    done = das("predict", answerers / "single", "--file", "texts.txt", "--json")
    assert [line["cut"] for line in lines_of(done)] == [False, True]
    assert "1 of 2 sentences are longer than the 15 tokens" in done.stderr
    assert "[cut] the film is dull" in das("predict", answerers / "single", "--text", MANY).stdout


@pytest.mark.parametrize(
    ("run", "name", "content", "code", "values"),
    [
        ("single", "gone.txt", None, "questions-missing", ("gone.txt", "--file")),
        ("single", "empty.txt", b"", "table-empty", ("empty.txt",)),
        ("single", "texts.txt.gz", b"\x1f\x8b\x08\x00\x00\x00", "not-text", ("compressed by gzip", "unpack it")),
        ("single", "wide.txt", FILM.encode("utf-16"), "not-text", ("UTF-16", "iconv")),
        ("single", "pairs.csv", b"s1,s2\na,b\n", "question-columns-missing", ("s1, s2", "sentence, text")),
        ("pairs", "texts.txt", FILM.encode(), "lines-for-more-than-a-text", ("premise and hypothesis",)),
    ],
)
def test_files_that_hold_no_questions(answerers, tmp_path, run, name, content, code, values):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    stopped(das("predict", answerers / run, "--file", name), 3, code, *values)


def test_a_stream_without_an_end_is_answered_as_it_comes(answerers, monkeypatch):
    class Endless(io.RawIOBase):
        def readline(self, size=-1):
            return f"{FILM} {next(numbers)}\n".encode()

        def readable(self):
            return True

    numbers = count()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Endless()))
    answers = answer_questions(answerers / "single", Questions(file=STDIN), batch_size=4)
    assert [line.texts[0][-2:] for line in islice(answers, 9)] == [f" {number}" for number in range(9)]
    assert next(numbers) <= 13  # no more than the batches it has answered


def test_ctrl_c_says_how_many_are_answered(answerers, capsys):
    def interrupted():
        yield from answer_questions(answerers / "single", Questions((FILM, PLOT)))
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="2 are answered") as error:
        print_predictions(interrupted(), QUIET, json=True)
    assert error.value.number == 2
    assert [json.loads(line)["texts"] for line in capsys.readouterr().out.splitlines()] == [[FILM], [PLOT]]


def test_images_come_from_the_file_or_are_shared(run_here, workshop):
    asked = ("how many things are there?", "what colour is the square?")
    (workshop / "asked.csv").write_text("question,image\n" + "".join(f"{text},scene.png\n" for text in asked))
    (workshop / "asked.txt").write_text("\n".join(asked))
    rows = "".join(json.dumps({"question": text, "image": "scene.png"}) + "\n" for text in asked)
    given = [
        ("--image", "scene.png", *(part for text in asked for part in ("--question", text))),
        ("--image", "scene.png", "--file", "asked.txt"),
        ("--image", "scene.png", "--file", "asked.csv"),
        ("--file", "asked.csv"),
        ("--file", "-"),
    ]
    first, *others = (lines_of(das("predict", *options, "--json", given_in=rows)) for options in given)
    assert [line["texts"] for line in first] == [[text] for text in asked]
    for other in others:
        for ours, theirs in zip(first, other, strict=True):
            assert [answer["answer"] for answer in ours["answers"]] == [
                answer["answer"] for answer in theirs["answers"]
            ]
            assert (theirs["texts"], theirs["images"]) == (ours["texts"], ["scene.png"])
    alone = das("predict", "--file", "asked.txt")
    stopped(alone, 3, "lines-for-more-than-a-text", "question", "fix: --image with what")
    (workshop / "asked.csv").write_text(
        f"question,image\n{asked[0]},gone.png\n{asked[0]},asked.txt\n{asked[1]},scene.png\n"
    )
    done = das("predict", "--file", "asked.csv", "--json")
    stopped(done, 3, "questions-unreadable", "2 of 3 questions", "line 2: no image gone.png", "does not decode")
    assert [len(json.loads(line)["answers"]) for line in done.stdout.splitlines()] == [0, 0, 3]
