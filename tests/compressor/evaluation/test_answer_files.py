"""Files for test servers: every sample once, in order, with the model's most likely answer, in each form."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.data.arrow_files import read_table, table_rows, write_table
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.data.labels import align_labels
from compressor.data.read_data import read_data
from compressor.data.roles import make_whole
from compressor.data.splits import Split, WholeData
from compressor.data.types import Reading, Records, Sample
from compressor.errors import InputError, UsageError
from compressor.evaluation.answer_files import FORMATS, answer_split, check_written
from compressor.families import FAMILIES
from compressor.saved_run.run_folder import open_run
from compressor.tasks import TASKS
from tests.support import tiny_models as tiny
from tests.support.command_line import das, refused, stopped
from tests.support.data_files import png, put, save_like_datasets, statement, table, write_columns

ANSWERS = ("two", "red", "", "no way", "café")  # an empty answer is one of VQA v2's
RENAMED = ("red", "Two", "", "cat", "no way")  # as another checkpoint may number and spell them
NLI = ("entailment", "neutral", "contradiction")


def without(row, *names):
    return {name: cell for name, cell in row.items() if name not in names}


def hidden_tables(root, ids):
    put(root / "answers.txt", "\n".join(ANSWERS) + "\n")
    columns = without(table(len(ids) // 2), "answers", "answer_labels", "answer_scores")
    columns["question_id"] = [list(pair) for pair in zip(ids[::2], ids[1::2], strict=True)]
    write_table(root / "vqav2_test-dev.arrow", columns)


def hidden_questions(root, ids):
    put(root / "answers.txt", "\n".join(ANSWERS) + "\n")
    rows = [{"question_id": id, "image_id": n % 2, "question": f"what {n}?"} for n, id in enumerate(ids)]
    put(root / "v2_OpenEnded_mscoco_test-dev2015_questions.json", {"questions": rows})
    for n in range(2):
        put(root / "test2015" / f"COCO_test2015_{n:012d}.jpg", png(90 * n, "JPEG"))


def gqa_submission(root, ids):
    put(root / "answers.txt", "\n".join(ANSWERS) + "\n")
    put(root / "images" / "n1.jpg", png(7, "JPEG"))
    questions = {id: {"imageId": "n1", "question": f"what {n}?"} for n, id in enumerate(ids)}
    put(root / "submission_all_questions.json", questions)


def vizwiz_test(root, ids):
    put(root / "answers.txt", "\n".join(ANSWERS) + "\n")
    answered = {"image": "a.jpg", "question": "what?", "answers": [{"answer": "red"}] * 10, "answerable": 1}
    put(root / "train.json", [answered])
    put(root / "test.json", [{"image": id, "question": f"what {n}?"} for n, id in enumerate(ids)])
    for n, id in enumerate(("a.jpg", *ids)):
        put(root / "images" / id, png(40 * n, "JPEG"))


def named_questions(root, ids):
    """Some of the answers are in a test file, where they make a score of those rows."""
    put(root / "answers.txt", "\n".join(ANSWERS) + "\n")
    put(root / "images" / "a.png", png(3))
    rows = [{"question_id": id, "image": "a.png", "question": f"what {n}?", "answer": ""} for n, id in enumerate(ids)]
    write_columns(root, "val.csv", [row | {"answer": "red"} for row in rows])
    write_columns(root, "test.csv", rows)


def hidden_statements(root, ids):
    put(root / "test1.json", [without(statement(id), "label") for id in ids])
    for pair in {id.rpartition("-")[0] for id in ids}:
        for side in (0, 1):
            put(root / f"{pair}-img{side}.png", png(50 * side))


def hypotheses(root, ids):
    """The annotators did not agree on one of them; SNLI-VE's test split has answers."""
    labels = ("-", *NLI * len(ids))
    rows = [
        {"pairID": id, "sentence2": f"dog {n}", "gold_label": labels[n], "Flickr30K_ID": "1"}
        for n, id in enumerate(ids)
    ]
    put(root / "snli_ve_test.jsonl", rows)
    put(root / "1.jpg", png(9, "JPEG"))


def sst2(root, ids):
    put(root / "train.tsv", "sentence\tlabel\nfine\t1\nbad\t0\n")
    put(root / "test.tsv", "index\tsentence\n" + "".join(f"{id}\tword {n}\n" for n, id in enumerate(ids)))


def cola(root, ids):
    put(root / "train.tsv", "gj04\t1\t\tIt is.\ngj04\t0\t*\tIs be.\n")
    put(root / "test.tsv", "index\tsentence\n" + "".join(f"{id}\tword {n}\n" for n, id in enumerate(ids)))


def blank_sentence(root, ids):
    """GLUE's server wants an answer to it, too."""
    sst2(root, ids)
    put(root / "test.tsv", "index\tsentence\n" + "".join(f"{id}\t{'word' * n}\n" for n, id in enumerate(ids)))


def mnli(root, ids):
    put(root / "train.tsv", "index\tsentence1\tsentence2\tgold_label\n0\ta\tb\tneutral\n")
    rows = "".join(f"{id}\tword {n}\tor\n" for n, id in enumerate(ids))
    put(root / "test_mismatched.tsv", "index\tsentence1\tsentence2\n" + rows)


def counted_rows(root, ids):
    """A file without ids: GLUE's are the numbers of the rows."""
    assert ids == [*range(len(ids))]
    put(root / "dev.tsv", "sentence\tlabel\n" + "".join(f"word {n}\t{n % 2}\n" for n in ids))


def saved(root, ids):
    rows = [{"sentence": f"word {n}", "label": -1, "idx": id} for n, id in enumerate(ids)]
    save_like_datasets(root, {"train": [rows[0] | {"label": 1}], "test": rows}, ("negative", "positive"))


@dataclass(frozen=True)
class Case:
    """Where data comes from, what is answered, and how the file is read."""

    write: Any
    split: str
    ids: list
    family: str = "meter"
    task: str = "vqa"
    written: tuple = ANSWERS
    names: tuple = ()
    labelled: int = 0

    def read(self, text):
        """Return pairs of an id and an answer, read as the server's program would."""
        name = {"gqa_submission": "questionId", "vizwiz_test": "image"}.get(self.write.__name__, "question_id")
        answer = {"questionId": "prediction"}.get(name, "answer")
        if self.task == "vqa":
            return [(row.pop(name), row.pop(answer)) for row in json.loads(text) if len(row) == 2]
        if self.task == "snli-ve":
            rows = map(json.loads, text.splitlines())
            return [(row["pairID"], row["prediction"]) for row in rows]
        if self.task == "nlvr2":
            return [tuple(line.strip().split(",")) for line in text.splitlines()]
        header, *rows = csv.reader(text.splitlines(), delimiter="\t")
        assert header == ["index", "prediction"]
        return [(int(number), answer) for number, answer in rows]


TEXT = {"family": "roberta", "task": "text-classification"}
PAIRS = ["test1-0-1-0", "test1-0-1-1", "test1-7-0-0"]
CASES = (
    Case(hidden_tables, "test-dev", [262148000, 5, 7, 262148001]),
    Case(hidden_tables, "test-dev", [3, 5], names=RENAMED, written=RENAMED),
    Case(hidden_questions, "test-dev", [9, 8, 262148000]),
    Case(gqa_submission, "submission", ["0123", "007", "xyz"]),
    Case(vizwiz_test, "test", ["VizWiz_test_00000001.jpg", "VizWiz_test_00000000.jpg"]),
    Case(named_questions, "test", [11, 10, 12]),
    Case(named_questions, "val", [11, 10, 12], labelled=3),
    Case(hidden_statements, "test", PAIRS, task="nlvr2", written=("False", "True")),
    Case(
        *(hypotheses, "test", ["4.jpg#2r1n", "4.jpg#2r1c", "5.jpg#0r1e"]),
        task="snli-ve",
        written=("contradiction", "neutral", "entailment"),
        labelled=2,
    ),
    Case(sst2, "test", [0, 1, 2], **TEXT, written=("0", "1")),
    Case(sst2, "test", [4, 1, 2], **TEXT, written=("1", "0"), names=("POSITIVE", "negative")),
    Case(blank_sentence, "test", [0, 1], **TEXT, written=("0", "1")),
    Case(cola, "test", [0, 1], **TEXT, written=("0", "1")),
    Case(mnli, "test mismatched", [0, 1, 2], **TEXT, written=NLI),
    Case(mnli, "test mismatched", [0, 1], **TEXT, written=NLI[::-1], names=("contradiction", "neutral", "entailment")),
    Case(counted_rows, "val", [0, 1, 2], **TEXT, written=("0", "1"), labelled=3),
    Case(saved, "test", [5, 6, 7], **TEXT, written=("0", "1")),
)


def open_split(root, case):
    task, classes = TASKS[case.task], len(case.written)
    family = FAMILIES[case.family]
    dims = tiny.SIZES[case.family, case.task](task.images, classes)
    model = family.build(dims, case.task).eval()
    transforms = family.transforms(dims, word_tokenizer(["what 0 1 2 word red dog"], "<s>"))
    read = read_data(root, case.task, reading=Reading(splits={case.split}, whole=True))
    return model, make_whole(case.split, align_labels(read, case.names, task), root, task, transforms, classes)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.write.__name__}, {case.split}, {len(case.names)}")
def test_a_file_has_each_sample_once_with_the_likeliest_answer(tmp_path, case):
    case.write(tmp_path, case.ids)
    model, data = open_split(tmp_path, case)
    form, ids = check_written(data, TASKS[case.task])
    texts, evaluation = answer_split(model, data, TASKS[case.task], batch_size=2)
    text = form.write((data.ids, form.answer), [*zip(ids, texts, strict=True)])
    likeliest = [int(model(**data.every.inputs([n])).argmax()) for n in range(len(case.ids))]
    assert case.read(text) == [(id, case.written[n]) for id, n in zip(case.ids, likeliest, strict=True)]
    assert (evaluation.score.samples if evaluation else 0) == case.labelled


@pytest.mark.parametrize(
    ("write", "task"),
    [(vizwiz_test, "vqa"), (hidden_statements, "nlvr2"), (sst2, "text-classification"), (saved, "text-classification")],
)
def test_a_split_without_answers_is_named_and_left_alone_otherwise(tmp_path, write, task):
    write(tmp_path, PAIRS if task == "nlvr2" else [0, 1] if task != "vqa" else ["b.jpg"])
    found = read_data(tmp_path, task)
    assert "test" not in found.splits
    (note,) = found.notes
    assert "no answers: not scored" in note
    assert "test" in note


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from([*FORMATS]),
    ids=st.lists(st.one_of(st.integers(0, 2**53), st.text(), st.none(), st.booleans()), min_size=1, max_size=6),
)
def test_ids_are_all_there_once_or_refused(name, ids):
    samples = tuple(Sample("what?", id=id) for id in ids)
    split = Split("test", Records((Path("test"),), samples), None, 2, 0)
    data = WholeData(split, None, ("a", "b"), ("a", "b"), name, (), "a layout")
    try:
        form, found = check_written(data, TASKS["vqa"])
    except InputError as error:
        assert {*error.codes} <= {"ids-missing", "ids-unusable", "ids-twice"}
        usable = [str(id).strip() for id in ids if id not in (None, True, False, "-") and str(id).strip()]
        assert len(usable) < len(ids) or len({*usable}) < len(usable) or not all(id.isdecimal() for id in usable)
    else:
        assert len({*found}) == len(found) == len(ids)
        assert [str(id) for id in found] == [str(int(id)) if form.counted else str(id).strip() for id in ids]


def told(ids, task="vqa", name="question_id", labels=("a", "b")):
    split = Split("test", Records((Path("test"),), tuple(Sample("what?", id=id) for id in ids)), None, 2, 0)
    return check_written(WholeData(split, None, labels, labels, name, (), "a layout"), TASKS[task])


@pytest.mark.parametrize(
    ("code", "values", "given"),
    [
        ("ids-missing", ("question_id",), {"ids": [None, None]}),
        ("ids-missing", ("no ids", "identifier", "pairID"), {"ids": [1, 2], "name": ""}),
        ("ids-unusable", ("1 questions", "q7"), {"ids": [1, "q7"]}),
        ("ids-unusable", ("None",), {"ids": [1, None]}),
        ("ids-twice", ("question_id", "7"), {"ids": [7, "7"]}),
        ("answers-without-names", ("1 of 2", "<class 1>"), {"ids": [1, 2], "labels": ("a", "<class 1>")}),
    ],
)
def test_what_no_server_takes_is_refused_before_the_work(code, values, given):
    with refused(InputError, code, *values):
        told(**given)


def test_a_ranking_is_no_file_of_answers():
    with refused(UsageError, "task-without-answers", "irtr"):
        told([1, 2], "irtr")


def test_rows_that_cannot_be_answered_are_refused(tmp_path):
    sst2(tmp_path, [0, 1, 2])
    put(tmp_path / "test.tsv", "index\tsentence\n0\tword\n1\tword\tword\n")
    with refused(InputError, "rows-without-an-answer", "1 of 2 rows", "line 3"):
        open_split(tmp_path, Case(sst2, "test", [], **TEXT, written=("0", "1")))
    with refused(InputError, "split-not-there", "test-dev", "test.tsv"):
        open_split(tmp_path, Case(sst2, "test-dev", [], **TEXT, written=("0", "1")))


def test_a_checkpoint_and_a_run_answer_test_and_test_dev(run_here, workshop):
    """Full and slim; what is there stays as it is."""
    path = workshop / "data" / "vqav2_test.arrow"
    names = ("image", "questions", "question_id")
    rows = [*table_rows(path, read_table(path, names), names)][:4]
    empty = [[] for _ in rows]
    hidden = {name: [row[name] for row in rows] for name in names} | dict.fromkeys(
        ("answers", "answer_labels", "answer_scores"), empty
    )
    write_table(workshop / "data" / "vqav2_test-dev.arrow", hidden)
    ids = [id for row in rows for id in row["question_id"]]
    results = open_run(run_here).manifest.results
    for subject, score in (("meter.ckpt", results.full), (run_here, results.slim)):
        known = json.loads(das("answers", subject, "--data", "data", "--to", "test.json", "--json").stdout)
        assert known["score"]["value"] == pytest.approx(score.value)
        told = das("answers", subject, "--data", "data", "--split", "test-dev", "--to", "dev.json")
        assert told.stdout.splitlines() == [
            "test-dev: no answers in vqav2_test-dev.arrow, so no score",
            f"{len(ids)} questions answered: a JSON list of question_id and answer",
            "dev.json: upload it to the VQA challenge on EvalAI",
        ]
        every = {row["question_id"]: row["answer"] for row in json.loads(Path("test.json").read_text())}
        assert json.loads(Path("dev.json").read_text()) == [{"question_id": id, "answer": every[id]} for id in ids]
        stopped(das("answers", subject, "--data", "data", "--to", "test.json"), 3, "file-exists", "test.json")
        Path("test.json").unlink()
        Path("dev.json").unlink()
    others = ("--task", "nlvr2", "--tokenizer", "tokenizer.json", "--text-length", 9)
    for command in (("eval",), ("answers", "--to", "test.json")):
        said = "drop --task and --tokenizer and --text-length"
        stopped(das(*command, run_here, *others), 2, "option-for-a-run", said)
        stopped(
            das(*command, run_here, "--batch-size", 0, *others[:2]), 2, ("batch-size-too-small", "option-for-a-run")
        )
    codes = ("batch-size-too-small", "cannot-write", "checkpoint-missing")
    stopped(das("answers", "nothing.ckpt", "--to", "no/where.json", "--batch-size", 0), 2, codes, "cannot write no")
