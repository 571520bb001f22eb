"""METER's and ViLT's tables, read and damaged."""

import pyarrow as pa
import pytest

from compressor.data.arrow_files import write_table
from compressor.data.read_data import read_data
from compressor.data.types import Reading
from compressor.errors import InputError
from tests.support.command_line import refused
from tests.support.data_files import first_images, png, table, tell


def test_vqa_tables(tmp_path):
    write_table(tmp_path / "vqav2_train.arrow", table(3))
    write_table(tmp_path / "vqav2_val.arrow", table(2))
    found = read_data(tmp_path, "vqa")
    assert found.labels == ("red", "blue", "two")
    train = found.splits["train"]
    assert tell(train)[:2] == [
        ("what color is the circle?", None, (0, 1)),
        ("how many things are there?", None, (2,)),
    ]
    assert train.samples[0].scores == (1.0, pytest.approx(0.3))
    assert train.samples[0].images[0] is train.samples[1].images[0]
    assert first_images(train)[::2] == [png(0), png(1), png(2)]
    assert [path.name for path in train.files] == ["vqav2_train.arrow"]


@pytest.mark.parametrize(
    ("tables", "train", "val"),
    [
        (("train", "val", "test"), ["train"], ["val"]),
        (("train", "trainable_val", "rest_val", "val"), ["train", "trainable_val"], ["rest_val"]),
        (("train", "trainable_val", "val"), ["train"], ["val"]),
    ],
)
def test_what_is_held_out_is_never_trained_on(tmp_path, tables, train, val):
    for name in tables:
        write_table(tmp_path / f"vqav2_{name}.arrow", table(2))
    splits = read_data(tmp_path, "vqa").splits
    assert [path.stem.removeprefix("vqav2_") for path in splits["train"].files] == train
    assert [path.stem.removeprefix("vqav2_") for path in splits["val"].files] == val
    assert len(splits["train"].samples) == 4 * len(train)
    assert ("test" in splits) == ("test" in tables)


def test_a_vqa_test_table_without_answers_is_inputs(tmp_path):
    write_table(tmp_path / "vqav2_train.arrow", table(2))
    empty = {"answers": [[], []], "answer_labels": [[], []], "answer_scores": [[], []]}
    unanswered = table(2) | {name: pa.array(cells, pa.list_(pa.list_(pa.int64()))) for name, cells in empty.items()}
    listed = unanswered | dict.fromkeys(empty, pa.array([[[], []]] * 2, pa.list_(pa.list_(pa.int64()))))
    for hidden in (unanswered, listed, {name: cells for name, cells in unanswered.items() if name not in empty}):
        write_table(tmp_path / "vqav2_test.arrow", hidden)
        found = read_data(tmp_path, "vqa")
        assert set(found.splits) == {"train"}
        assert "vqav2_test.arrow has no answers" in found.notes[0]
        test = read_data(tmp_path, "vqa", reading=Reading(splits={"test"}, whole=True)).splits["test"]
        assert [(sample.labels, sample.id) for sample in test.samples] == [((), number) for number in range(4)]
        assert not test.unreadable


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("questions", "what?", "questions is not a list of texts"),
        ("questions", ["what?", None], "questions is not a list of texts"),
        ("questions", ["what?"], "1 questions, 2 lists of answer labels"),
        ("answers", ["red", "two"], "answers is not a list of lists of texts"),
        ("answer_labels", [1, 2], "answer_labels is not a list of lists"),
        ("answer_labels", [["1", "2"], ["0"]], "answer_labels is not a list of lists"),
        ("answer_labels", [[0, 1], None], "answer_labels is not a list of lists"),
        ("answer_labels", [[0, 1], [-1]], "answer label -1"),
        ("answer_labels", [[0], [2]], "a question with 1 answer labels and 2 answer scores"),
        ("answer_labels", [[0, 1], [2], [1]], "2 questions, 3 lists of answer labels"),
        ("answer_labels", [], "2 questions, 0 lists of answer labels"),
        ("answer_scores", [], "2 questions, 2 lists of answer labels, 0 lists of answer scores"),
        ("answer_scores", [1.0, 0.5], "answer_scores is not a list of lists"),
        ("answer_scores", [[1.0, None], [0.6]], "answer_scores is not a list of lists"),
        ("answer_scores", [[1.0, 1.5], [0.6]], "answer score 1.5"),
        ("answer_scores", [[1.0, float("nan")], [0.6]], "answer score nan"),
        ("image", b"\x89PNG and then nonsense", "the image does not decode"),
        ("image", None, "no image"),
    ],
)
def test_rows_that_do_not_fit_together_are_listed(tmp_path, column, cell, message):
    write_table(tmp_path / "vqav2_train.arrow", table(3) | {column: [cell] * 3})
    rows = read_data(tmp_path, "vqa").splits["train"]
    assert not rows.samples
    assert rows.unreadable[2].startswith(f"vqav2_train.arrow, row 2: {message}")
    assert len(rows.unreadable) == 3


def test_one_bad_row_leaves_the_others(tmp_path):
    columns = table(20)
    columns["answers"][7], columns["answer_labels"][7] = [[], []], [[0, 1], [-2]]
    columns["image"][3] = b"no picture"
    write_table(tmp_path / "vqav2_train.arrow", columns)
    rows = read_data(tmp_path, "vqa").splits["train"]
    assert len(rows.samples) == 36
    assert rows.unreadable == (
        "vqav2_train.arrow, row 3: the image does not decode (cannot identify image file)",
        "vqav2_train.arrow, row 7: answer label -2",
    )


def test_there_is_a_class_for_every_label(tmp_path):
    columns = table(20)
    columns["answers"][7], columns["answer_labels"][7] = [[], []], [[0, 1], [5]]
    write_table(tmp_path / "vqav2_train.arrow", columns)
    assert read_data(tmp_path, "vqa").labels == ("red", "blue", "two", "<class 3>", "<class 4>", "<class 5>")


def test_nlvr2_tables(tmp_path):
    rows = {"image_0": [png(1)], "image_1": [png(2)], "questions": [["same", "other"]], "answers": [["True", "False"]]}
    for name in ("train", "dev", "test1"):
        write_table(tmp_path / f"nlvr2_{name}.arrow", rows | {"identifier": [["a"]]})
    found = read_data(tmp_path, "nlvr2")
    assert found.labels == ("False", "True")
    assert set(found.splits) == {"train", "val", "test"}
    assert tell(found.splits["val"]) == [("same", None, (1,)), ("other", None, (0,))]
    assert [picture.read() for picture in found.splits["val"].samples[0].images] == [png(1), png(2)]


@pytest.mark.parametrize(("prefix", "parts"), [("f30k", ("train",)), ("coco", ("train", "restval"))])
def test_caption_tables(tmp_path, prefix, parts):
    for part in (*parts, "val", "test"):
        rows = {"image": [png(1), png(2)], "caption": [["a dog", "it"], ["a cat"]], "image_id": [0, 1]}
        write_table(tmp_path / f"{prefix}_caption_karpathy_{part}.arrow", rows)
    splits = read_data(tmp_path, "irtr").splits
    assert tell(splits["val"]) == [("a dog", None, ()), ("it", None, ()), ("a cat", None, ())]
    assert first_images(splits["val"]) == [png(1), png(1), png(2)]
    assert len(splits["train"].samples) == 3 * len(parts)


@pytest.mark.parametrize("sentences", [[["premise", "one"], ["premise", "two"]], ["one", "two"]])
def test_snli_ve_tables(tmp_path, sentences):
    for name in ("train", "dev", "test"):
        write_table(tmp_path / f"snli_{name}.arrow", {"image": [png()], "sentences": [sentences], "labels": [[2, 0]]})
    found = read_data(tmp_path, "snli-ve")
    assert found.labels == ("contradiction", "neutral", "entailment")
    assert tell(found.splits["test"]) == [("one", None, (2,)), ("two", None, (0,))]


@pytest.mark.parametrize(
    ("task", "name", "columns", "message"),
    [
        (
            "nlvr2",
            "nlvr2_train",
            {"questions": [["a"]], "answers": [["Maybe"]]},
            "label 'Maybe' is none of False, True",
        ),
        ("nlvr2", "nlvr2_train", {"questions": [["a"]], "answers": [["True", "True"]]}, "1 questions, 2 answers"),
        ("snli-ve", "snli_train", {"sentences": [["a"]], "labels": [[3]]}, "label '3' is none of 0, 1, 2"),
        ("snli-ve", "snli_train", {"sentences": [["a"]], "labels": [[1, 1]]}, "1 sentences, 2 labels"),
        ("irtr", "f30k_caption_karpathy_train", {"caption": ["a dog"]}, "caption is not a list of texts"),
    ],
)
def test_bad_rows_of_other_tables(tmp_path, task, name, columns, message):
    images = {"image": [png()], "image_0": [png()], "image_1": [png()]}
    write_table(tmp_path / f"{name}.arrow", images | columns)
    assert read_data(tmp_path, task).splits["train"].unreadable == (f"{name}.arrow, row 0: {message}",)


@pytest.mark.parametrize("damage", [b"", b"not arrow", "half"])
def test_damaged_tables(tmp_path, damage):
    path = tmp_path / "vqav2_train.arrow"
    write_table(path, table(20))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if damage == "half" else damage)
    with refused(InputError, "not-arrow", "vqav2_train.arrow"):
        read_data(tmp_path, "vqa")


def test_tables_of_another_task_and_without_rows(tmp_path):
    write_table(tmp_path / "vqav2_train.arrow", {"image": [b""], "caption": [["a dog"]]})
    with refused(InputError, "column-missing", "questions", "it has: image, caption"):
        read_data(tmp_path, "vqa")
    write_table(tmp_path / "vqav2_train.arrow", {name: [] for name in table(1)})
    with refused(InputError, "table-empty", "vqav2_train.arrow"):
        read_data(tmp_path, "vqa")
