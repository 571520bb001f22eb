"""VQA v2's JSON, read and damaged."""

import json
import shutil

import pytest

from compressor.data.labels import align_labels
from compressor.data.read_data import read_data
from compressor.data.types import Reading
from compressor.errors import InputError
from compressor.tasks import TASKS
from tests.support.command_line import refused
from tests.support.data_files import first_images, png, put, tell


def write_vqa_json(root, images="train2014", top="annotations"):
    """Ten questions a split about two images: the common answer is "yes", one question is about something rare."""
    number = 0
    for part in ("train2014", "val2014"):
        questions, annotations = [], []
        for n in range(10):
            number += 1
            questions.append({"question_id": number, "image_id": n % 2, "question": f"question {number}?"})
            rare = n == 4
            answers = ["rare" if rare else "yes"] * 3 + ["Yes", "no"]
            answers = [{"answer": a, "answer_confidence": "yes", "answer_id": i} for i, a in enumerate(answers)]
            annotation = {"question_id": number, "image_id": n % 2, "answers": answers, "answer_type": "yes/no"}
            annotations.append(annotation | {"multiple_choice_answer": "rare" if rare else "Yes."})
        put(root / top / f"v2_OpenEnded_mscoco_{part}_questions.json", {"questions": questions})
        put(root / top / f"v2_mscoco_{part}_annotations.json", {"annotations": annotations})
        for n in range(2):
            put(root / images.format(part) / f"COCO_{part}_{n:012d}.jpg", png(n, "JPEG"))


@pytest.mark.parametrize("images", ["{}", "images/{}"])
@pytest.mark.parametrize("top", [".", "annotations"])
def test_official_vqa(tmp_path, images, top):
    write_vqa_json(tmp_path, images, top)
    found = read_data(tmp_path, "vqa")
    assert found.labels == ("yes",)  # given 9 times; "rare" twice
    train = found.splits["train"]
    assert (len(train.samples), train.dropped, train.unreadable) == (9, 1, ())
    assert (train.samples[0].labels, train.samples[0].scores) == ((0,), (0.9,))  # "Yes" is another raw string
    assert train.samples[0].images[0] is train.samples[2].images[0]
    assert first_images(train)[:2] == [png(0, "JPEG"), png(1, "JPEG")]
    assert found.splits["val"].samples[0].text == "question 11?"
    assert {(sample.answer_type, sample.question_type) for sample in train.samples} == {("yes/no", "")}


def test_what_annotators_wrote_is_looked_up_as_it_is(tmp_path):
    """The empty answer, what is left of "the", is a class; "the" itself is none."""
    write_vqa_json(tmp_path, "{}")
    for part in ("train2014", "val2014"):
        path = tmp_path / "annotations" / f"v2_mscoco_{part}_annotations.json"
        rows = json.loads(path.read_text())["annotations"]
        for row in rows:
            answers = [*[""] * 4, *["the"] * 3, *["yes"] * 2, "Yes"]
            row["answers"] = [
                {"answer": a, "answer_confidence": "maybe", "answer_id": i} for i, a in enumerate(answers)
            ]
            row["multiple_choice_answer"] = "the" if row["question_id"] % 2 else "yes"
        put(path, {"annotations": rows})
    put(tmp_path / "questions" / "v2_OpenEnded_mscoco_test-dev2015_questions.json", {"questions": []})
    found = read_data(tmp_path, "vqa")
    assert (found.labels, set(found.splits)) == (("", "yes"), {"train", "val"})
    assert {(sample.labels, sample.scores) for sample in found.splits["train"].samples} == {((0, 1), (1.0, 0.6))}


def test_official_vqa_with_faults(tmp_path):
    write_vqa_json(tmp_path, "{}")
    (tmp_path / "train2014" / "COCO_train2014_000000000001.jpg").unlink()
    (tmp_path / "val2014" / "COCO_val2014_000000000001.jpg").write_bytes(b"GIF?")
    found = read_data(tmp_path, "vqa")
    name = "v2_OpenEnded_mscoco_train2014_questions.json"
    assert found.splits["train"].unreadable[0] == f"{name}, row 1: no image COCO_train2014_000000000001.jpg"
    assert "COCO_val2014_000000000001.jpg does not decode" in found.splits["val"].unreadable[0]
    (tmp_path / "annotations" / "v2_mscoco_val2014_annotations.json").unlink()
    with refused(InputError, "data-file-missing", "v2_mscoco_val2014_annotations.json"):
        read_data(tmp_path, "vqa")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        *((text, "not-json") for text in ("", "{not json")),
        *((text, "json-list-missing") for text in ("[]", '{"info": 1}', '{"questions": []}', '{"questions": 3}')),
    ],
)
def test_official_vqa_that_is_no_json(tmp_path, content, code):
    write_vqa_json(tmp_path, "{}")
    (tmp_path / "annotations" / "v2_OpenEnded_mscoco_train2014_questions.json").write_text(content)
    with refused(InputError, code, "train2014_questions.json"):
        read_data(tmp_path, "vqa")


@pytest.mark.parametrize("row", [7, {}, {"question_id": 1}, {"question_id": 99, "question": "?", "image_id": 0}])
def test_questions_that_are_none(tmp_path, row):
    write_vqa_json(tmp_path, "{}")
    path = tmp_path / "annotations" / "v2_OpenEnded_mscoco_train2014_questions.json"
    put(path, {"questions": [row, {"question_id": 1, "image_id": 0, "question": "q?"}]})
    rows = read_data(tmp_path, "vqa").splits["train"]
    assert (len(rows.samples), len(rows.unreadable)) == (1, 1)


def test_val_alone_is_scored_by_the_names_of_the_checkpoint(tmp_path):
    write_vqa_json(tmp_path, "{}")
    only_val = Reading(splits=("val",))
    whole = read_data(tmp_path, "vqa", reading=only_val)
    for path in tmp_path.rglob("*train2014*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    alone = read_data(tmp_path, "vqa", reading=only_val)
    assert alone.numbered_here
    aligned = align_labels(alone, whole.labels, TASKS["vqa"]).splits["val"]
    assert tell(aligned) == tell(whole.splits["val"])
    assert aligned.dropped == whole.splits["val"].dropped == 1
    put(tmp_path / "answers.txt", "no\nyes\n")
    listed = read_data(tmp_path, "vqa", reading=only_val)
    assert (listed.labels, listed.numbered_here) == (("no", "yes"), False)
    assert listed.splits["val"].samples[0].labels == (1, 0)
    with refused(InputError, "data-file-missing", "train2014_questions.json", "numbers follow from both"):
        read_data(tmp_path, "vqa")
