"""GQA's questions, read and damaged."""

import pytest

from compressor.data.labels import align_labels
from compressor.data.read_data import read_data
from compressor.data.read_unlabelled import INPUTS, read_unlabelled
from compressor.errors import InputError
from compressor.tasks import TASKS
from tests.support.command_line import refused
from tests.support.data_files import first_images, png, put, tell


def asked(image, question, answer=None):
    """A question; those of the test files have no answer."""
    answered = {"answer": answer, "fullAnswer": f"Yes, {answer}.", "types": {"structural": "query"}, "semantic": []}
    plain = {"imageId": image, "question": question, "isBalanced": True, "groups": {"global": None, "local": "10"}}
    return plain | (answered if answer else {})


def write_gqa(root, folder):
    for number, image in enumerate(("2375429", "n161313")):
        put(root / "images" / f"{image}.jpg", png(number, "JPEG"))
    questions = {"02930152": asked("2375429", "Is it red?", "yes"), "07333408": asked("n161313", "What?", "pipe")}
    put(root / folder / "train_balanced_questions.json", questions)
    put(root / folder / "val_balanced_questions.json", {"1": asked("2375429", "What is it?", "sky")})
    put(root / folder / "testdev_balanced_questions.json", {"2": asked("n161313", "Is it blue?", "yes")})
    put(root / folder / "test_balanced_questions.json", {"3": asked("2375429", "Who?")})


@pytest.mark.parametrize("folder", [".", "questions1.2", "questions"])
def test_official_gqa(tmp_path, folder):
    write_gqa(tmp_path, folder)
    found = read_data(tmp_path, "vqa")
    assert (found.layout, found.labels, found.numbered_here) == ("GQA's JSON", ("yes", "pipe"), True)
    assert {name: tell(split) for name, split in found.splits.items()} == {
        "train": [("Is it red?", None, (0,)), ("What?", None, (1,))],
        "val": [],
        "test": [("Is it blue?", None, (0,))],
    }
    assert found.splits["val"].dropped == 1
    assert found.splits["test"].samples[0].scores == (1.0,)
    assert first_images(found.splits["train"]) == [png(0, "JPEG"), png(1, "JPEG")]


def test_the_model_or_a_list_numbers_the_answers(tmp_path):
    write_gqa(tmp_path, "questions")
    with refused(InputError, "classes-not-numbered", "GQA's JSON", "answers.txt"):
        align_labels(read_data(tmp_path, "vqa"), (), TASKS["vqa"])
    named = align_labels(read_data(tmp_path, "vqa"), ("sky", "pipe", "yes"), TASKS["vqa"])
    assert tell(named.splits["train"]) == [("Is it red?", None, (2,)), ("What?", None, (1,))]
    put(tmp_path / "answers.txt", "sky\n\nyes\n")
    listed = read_data(tmp_path, "vqa")
    assert (listed.labels, listed.numbered_here) == (("sky", "", "yes"), False)
    assert tell(align_labels(listed, (), TASKS["vqa"]).splits["train"]) == [("Is it red?", None, (2,))]
    put(tmp_path / "answers.txt", "sky\nyes\nsky\n")
    with refused(InputError, "answer-listed-twice", "'sky' 2 times"):
        read_data(tmp_path, "vqa")


def test_questions_of_gqa_without_answers(tmp_path):
    write_gqa(tmp_path, "questions1.2")
    rows = read_unlabelled(tmp_path, TASKS["vqa"]).splits[INPUTS]
    assert sorted(sample.text for sample in rows.samples) == [
        "Is it blue?",
        "Is it red?",
        "What is it?",
        "What?",
        "Who?",
    ]
    assert not rows.unreadable


def test_gqa_with_faults(tmp_path):
    write_gqa(tmp_path, ".")
    bad = {"1": 7, "2": {"question": "?"}, "3": asked("404", "gone?", "yes"), "4": asked("2375429", "so?", "yes")}
    put(tmp_path / "train_balanced_questions.json", bad)
    train = read_data(tmp_path, "vqa").splits["train"]
    assert train.unreadable == (
        "train_balanced_questions.json, question 1: no JSON object",
        "train_balanced_questions.json, question 2: no answer",
        "train_balanced_questions.json, question 3: no image 404.jpg",
    )
    assert len(train.samples) == 1
    put(tmp_path / "train_balanced_questions.json", "[]")
    with refused(InputError, "json-objects-missing", "has no questions"):
        read_data(tmp_path, "vqa")
