"""VizWiz's questions, read and damaged."""

import pytest

from compressor.data.labels import align_labels
from compressor.data.read_data import read_data
from compressor.data.read_unlabelled import INPUTS, read_unlabelled
from compressor.errors import InputError
from compressor.tasks import TASKS
from tests.support.command_line import refused
from tests.support.data_files import first_images, png, put, tell


def asked(part, number, question, *answers):
    """A question; those of test.json have no answers."""
    given = [{"answer_confidence": "yes", "answer": answer} for answer in answers]
    notes = {"answers": given, "answer_type": "other", "answerable": 1} if answers else {}
    return {"image": f"VizWiz_{part}_{number:08d}.jpg", "question": question} | notes


def write_vizwiz(root, folder):
    train = [
        asked("train", 0, "What is this?", *["soda"] * 2, *["coca cola"] * 7, "Soda"),
        asked("train", 1, "And this?", *["unanswerable"] * 10),
    ]
    val = [asked("val", 0, "Which?", *["soda"] * 3, *["grey"] * 7)]
    for part, rows in (("train", train), ("val", val), ("test", [asked("test", 0, "Who?")])):
        path = root / folder / f"{part}.json"
        put(path, "[" + ", ".join(str(row).replace("'", '"') for row in rows) + "]")
        for number in range(len(rows)):
            put(root / part / rows[number]["image"], png(number, "JPEG"))


@pytest.mark.parametrize("folder", [".", "Annotations", "annotations"])
def test_official_vizwiz(tmp_path, folder):
    write_vizwiz(tmp_path, folder)
    found = read_data(tmp_path, "vqa")
    assert (found.layout, found.numbered_here) == ("VizWiz's JSON", True)
    assert found.labels == ("soda", "coca cola", "Soda", "unanswerable")
    assert set(found.splits) == {"train", "val"}
    train, val = found.splits["train"], found.splits["val"]
    assert tell(train) == [("What is this?", None, (0, 1, 2)), ("And this?", None, (3,))]
    assert [sample.scores for sample in train.samples] == [(0.6, 1.0, 0.3), (1.0,)]
    assert (tell(val), val.samples[0].scores) == ([("Which?", None, (0,))], (0.9,))
    assert first_images(train) == [png(0, "JPEG"), png(1, "JPEG")]
    assert val.samples[0].answer_type == "other"


def test_the_models_names_number_the_answers_as_they_are_written(tmp_path):
    write_vizwiz(tmp_path, "Annotations")
    with refused(InputError, "classes-not-numbered", "VizWiz's JSON"):
        align_labels(read_data(tmp_path, "vqa"), (), TASKS["vqa"])
    named = align_labels(read_data(tmp_path, "vqa"), ("unanswerable", "coca cola"), TASKS["vqa"])
    assert tell(named.splits["train"]) == [("What is this?", None, (1,)), ("And this?", None, (0,))]
    assert named.splits["val"].dropped == 1


def test_questions_of_vizwiz_without_answers(tmp_path):
    write_vizwiz(tmp_path, "Annotations")
    rows = read_unlabelled(tmp_path, TASKS["vqa"]).splits[INPUTS]
    assert sorted(sample.text for sample in rows.samples) == ["And this?", "What is this?", "Which?", "Who?"]
    assert not rows.unreadable


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"answers": []}, "no answers"),
        ({"answers": "soda"}, "no answers"),
        ({"question": ""}, "question is empty"),
        ({"image": "VizWiz_train_00000404.jpg"}, "no image VizWiz_train_00000404.jpg"),
    ],
)
def test_vizwiz_with_faults(tmp_path, change, reason):
    write_vizwiz(tmp_path, ".")
    rows = [asked("train", 0, "What?", "soda"), asked("train", 0, "What?", "soda") | change]
    put(tmp_path / "train.json", rows)
    train = read_data(tmp_path, "vqa").splits["train"]
    assert (len(train.samples), train.unreadable) == (1, (f"train.json, line 2: {reason}",))
