"""Files with named columns: CSV, TSV, JSON, Parquet, and what datasets saves."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compressor.data.read_data import read_data
from compressor.data.read_unlabelled import INPUTS, read_unlabelled
from compressor.data.types import SCORED, Reading
from compressor.errors import InputError, UsageError
from compressor.tasks import TASKS
from tests.support.command_line import refused
from tests.support.data_files import first_images, png, put, save_like_datasets, tell, write_columns


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_files_with_named_columns(tmp_path, suffix):
    rows = [{"text": "one, or so", "label": "pos"}, {"text": "two", "label": "neg"}]
    for name in ("train", "validation", "test"):
        write_columns(tmp_path, f"{name}.{suffix}", rows)
    found = read_data(tmp_path, "text-classification")
    assert found.labels == ("neg", "pos")
    assert list(found.splits) == ["train", "val", "test"]
    assert tell(found.splits["val"]) == [("one, or so", None, (1,)), ("two", None, (0,))]


@pytest.mark.parametrize("pair", [("premise", "hypothesis"), ("sentence1", "sentence2"), ("question", "sentence")])
def test_pairs_of_sentences_in_columns(tmp_path, pair):
    rows = [{pair[0]: "a", pair[1]: "b", "label": n} for n in (0, 1, 2)]
    write_columns(tmp_path, "train.jsonl", rows)
    found = read_data(tmp_path, "text-classification")
    assert found.labels == ("0", "1", "2")
    assert tell(found.splits["train"])[2] == ("a", "b", (2,))


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_vqa_in_columns(tmp_path, suffix):
    put(tmp_path / "images" / "0.png", png(0))
    put(tmp_path / "1.png", png(1))
    rows = [
        {"image": "0.png", "question": "what?", "answer": "red"},
        {"image": "images/0.png", "question": "how?", "answer": "well"},
        {"image": "1.png", "question": "why?", "answer": "red"},
    ]
    write_columns(tmp_path, f"train.{suffix}", rows)
    write_columns(
        tmp_path, f"val.{suffix}", [rows[0] | {"answer": "unheard of"}, rows[1], rows[2] | {"image": "2.png"}]
    )
    found = read_data(tmp_path, "vqa")
    assert found.labels == ("red", "well")
    assert tell(found.splits["train"]) == [("what?", None, (0,)), ("how?", None, (1,)), ("why?", None, (0,))]
    assert first_images(found.splits["train"]) == [png(0), png(0), png(1)]
    val = found.splits["val"]
    assert (tell(val), val.dropped) == ([("how?", None, (1,))], 1)
    assert val.unreadable[0].endswith("no image 2.png")


@pytest.mark.parametrize(
    ("answers", "labels", "scores"),
    [
        (["red"], (0,), (1.0,)),
        (["red", "blue", "red"], (0, 1), (1.0, 1.0)),
        (["red"] * 2 + ["blue"] * 8, (0, 1), (0.6, 1.0)),
        ([{"answer": "red", "answer_id": 1}] * 10, (0,), (1.0,)),
        (json.dumps(["red"] * 2 + ["blue"] * 8), (0, 1), (0.6, 1.0)),
        (["red"] * 3 + ["blue"] * 6 + [None], (0, 1), (0.9, 1.0)),
    ],
)
def test_lists_of_answers(tmp_path, answers, labels, scores):
    put(tmp_path / "0.png", png())
    write_columns(tmp_path, "train.jsonl", [{"image": "0.png", "question": "what?", "answers": answers}])
    sample = read_data(tmp_path, "vqa").splits["train"].samples[0]
    assert (sample.labels, sample.scores) == (labels, scores)


def test_the_other_tasks_in_columns(tmp_path):
    put(tmp_path / "0.png", png(0))
    put(tmp_path / "1.png", png(1))
    write_columns(
        tmp_path / "a",
        "train.csv",
        [{"left_image": "../0.png", "right_image": "../1.png", "sentence": "s", "label": "true"}],
    )
    pair = read_data(tmp_path / "a", "nlvr2").splits["train"].samples[0]
    assert (pair.labels, [picture.read() for picture in pair.images]) == ((1,), [png(0), png(1)])
    write_columns(
        tmp_path, "train.jsonl", [{"image": "0.png", "captions": ["a", "b"]}, {"image": "1.png", "captions": "c"}]
    )
    assert [text for text, *_ in tell(read_data(tmp_path, "irtr").splits["train"])] == ["a", "b", "c"]
    write_columns(
        tmp_path / "b",
        "train.csv",
        [{"image": "../0.png", "hypothesis": "h", "label": name} for name in ("neutral", "2")],
    )
    rows = read_data(tmp_path / "b", "snli-ve").splits["train"]
    assert tell(rows) == [("h", None, (1,))]
    assert "label '2' is none of" in rows.unreadable[0]


@pytest.mark.parametrize(
    ("name", "content"), [("val.csv", ""), ("val.tsv", "\n\n"), ("val.jsonl", ""), ("val.json", "[]")]
)
def test_a_file_without_anything_has_no_rows(tmp_path, name, content):
    write_columns(tmp_path, "test.csv", [{"text": "a", "label": 1}])
    put(tmp_path / name, content)
    with refused(InputError, "table-empty", name):
        read_data(tmp_path, "text-classification")


@pytest.mark.parametrize(
    "name", ["train.csv", "train.jsonl", "train-0.parquet", "train/data-00000-of-00001.arrow", "vqav2_train.arrow"]
)
def test_a_folder_or_a_link_to_nothing_in_place_of_a_file(tmp_path, name):
    task = "vqa" if name.startswith("vqa") else "text-classification"
    (tmp_path / name).mkdir(parents=True)
    with refused(InputError, "data-unreadable", name, "Is a directory"):
        read_data(tmp_path, task)
    (tmp_path / name).rmdir()
    (tmp_path / name).symlink_to("nothing")
    with refused(InputError, "data-not-of-task" if task == "vqa" else "data-unreadable", name.partition("/")[0]):
        read_data(tmp_path, task)


KARPATHY = ["train", "restval", "val", "Test"]


@pytest.mark.parametrize("name", ["annotations.csv", "data/all.tsv", "all.jsonl", "all.parquet", "test.csv"])
def test_a_file_alone_is_taken_apart_by_its_column_of_splits(tmp_path, name):
    write_columns(tmp_path, name, [{"text": f"of {split}", "label": 1, "split": split} for split in KARPATHY])
    found = read_data(tmp_path, "text-classification")
    told = {split: [text for text, *_ in tell(rows)] for split, rows in found.splits.items()}
    assert told == {"train": ["of train", "of restval"], "val": ["of val"], "test": ["of Test"]}


def test_the_csv_of_flickr30k(tmp_path):
    rows = [
        {
            "raw": json.dumps([f"a{n}", "it's"]),
            "sentids": f"[{n}, 9]",
            "split": split,
            "filename": f"{n}.jpg",
            "img_id": n,
        }
        for n, split in enumerate(("train", "val", "test"))
    ]
    write_columns(tmp_path, "flickr_annotations_30k.csv", rows)
    for n in range(3):
        put(tmp_path / "flickr30k-images" / f"{n}.jpg", png(n, "JPEG"))
    splits = read_data(tmp_path, "irtr").splits
    assert [text for text, *_ in tell(splits["test"])] == ["a2", "it's"]
    assert first_images(splits["val"]) == [png(1, "JPEG")] * 2


def test_a_saved_split_of_everything_is_taken_apart_by_its_column(tmp_path):
    """As Flickr30k is on the Hub: all of it is called test."""
    rows = [{"sentence": f"of {split}", "label": 0, "split": split} for split in KARPATHY]
    save_like_datasets(tmp_path, {"test": rows}, ("negative", "positive"))
    test = read_data(tmp_path, "text-classification", reading=Reading(splits=SCORED)).splits["test"]
    assert tell(test) == [("of Test", None, (0,))]


def test_rows_of_another_split_than_their_files_are_not_used(tmp_path):
    rows = [{"text": f"of {split}", "label": 1, "split": split} for split in ("train", "test", "easy", "")]
    for name in ("train", "test"):
        write_columns(tmp_path, f"{name}.csv", rows)
    splits = read_data(tmp_path, "text-classification").splits
    assert [text for text, *_ in tell(splits["train"])] == ["of train", "of easy", "of "]
    assert [text for text, *_ in tell(splits["test"])] == ["of test", "of easy", "of "]
    assert splits["test"].unreadable == ("test.csv, line 2: its split is train, in a file of the split test",)


def test_a_column_that_names_some_splits_names_all(tmp_path):
    write_columns(tmp_path, "all.csv", [{"text": "a", "label": 1, "split": split} for split in ("train", "spare")])
    with refused(InputError, "split-unknown", "all.csv", "'spare'"):
        read_data(tmp_path, "text-classification")
    write_columns(tmp_path, "all.csv", [{"text": "a", "label": 1, "split": "spare"}])
    with refused(InputError, "data-not-of-task", "all.csv"):
        read_data(tmp_path, "text-classification")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_captions_that_a_cell_lists(tmp_path, suffix):
    put(tmp_path / "0.png", png())
    cells = ['["A dog\'s ball.", "It runs."]', '[ "one" ]', "[laughs] a man", "[laughs]", "['a', 'b']", "['a'\n 'b']"]
    write_columns(tmp_path, f"test.{suffix}", [{"image": "0.png", "raw": cell} for cell in cells])
    rows = read_data(tmp_path, "irtr").splits["test"]
    told = [text for text, *_ in tell(rows)]
    assert told == ["A dog's ball.", "It runs.", "one", "[laughs] a man", "[laughs]"]
    assert len(rows.unreadable) == 2
    assert all(reason.endswith("a list of captions that is no JSON") for reason in rows.unreadable)


def test_a_list_is_captions_and_no_text_of_another_task(tmp_path):
    put(tmp_path / "0.png", png())
    write_columns(tmp_path, "test.jsonl", [{"image": "0.png", "sentences": {"raw": ["a", "b"], "sentid": [0, 1]}}])
    assert [text for text, *_ in tell(read_data(tmp_path, "irtr").splits["test"])] == ["a", "b"]
    write_columns(tmp_path, "test.jsonl", [{"text": '["a", "b"]', "label": 0}, {"text": ["a", "b"], "label": 1}])
    rows = read_data(tmp_path, "text-classification").splits["test"]
    assert tell(rows) == [('["a", "b"]', None, (0,))]
    assert "text is \"['a', 'b']\", not str" in rows.unreadable[0]


def test_a_hugging_face_data_set_with_images(tmp_path):
    rows = [{"image": {"bytes": png(n), "path": None}, "hypothesis": f"h{n}", "label": n} for n in range(3)]
    save_like_datasets(tmp_path, {"train": rows, "validation": rows}, ("entailment", "neutral", "contradiction"))
    found = read_data(tmp_path, "snli-ve")
    assert found.labels == ("contradiction", "neutral", "entailment")
    assert tell(found.splits["train"]) == [("h0", None, (2,)), ("h1", None, (1,)), ("h2", None, (0,))]
    assert first_images(found.splits["val"]) == [png(0), png(1), png(2)]


def test_a_hugging_face_data_set_without_test_labels(tmp_path):
    rows = [{"sentence": "good", "label": 1}, {"sentence": "bad", "label": 0}]
    hidden = [row | {"label": -1} for row in rows]
    splits = {"train": rows, "validation_matched": rows, "validation_mismatched": rows, "test": hidden}
    save_like_datasets(tmp_path, splits, ("negative", "positive"))
    found = read_data(tmp_path, "text-classification")
    assert found.labels == ("negative", "positive")
    assert list(found.splits) == ["train", "val", "val mismatched"]
    assert tell(found.splits["val mismatched"]) == [("good", None, (1,)), ("bad", None, (0,))]


def test_files_of_a_split_with_other_columns(tmp_path):
    write_columns(tmp_path, "train.csv", [{"text": "a", "label": "x"}])
    write_columns(tmp_path, "val.csv", [{"body": "a", "label": "x"}])
    with refused(InputError, "column-missing", "val.csv", "column text (it has: body, label)"):
        read_data(tmp_path, "text-classification")


def test_vqa_in_columns_takes_the_order_of_answers_txt(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(png(1))
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text("image,question,answer\na.png,what?,red\na.png,which?,no\n")
    given = read_data(tmp_path, "vqa")
    assert (given.labels, given.numbered_here) == (("red", "no"), True)
    (tmp_path / "answers.txt").write_text("yes\nno\nred\n")
    given = read_data(tmp_path, "vqa")
    assert (given.labels, given.numbered_here) == (("yes", "no", "red"), False)
    assert [sample.labels for sample in given.splits["train"].samples] == [(2,), (1,)]


def test_the_empty_answer_is_an_answer_in_a_list(tmp_path):
    put(tmp_path / "a.png", png(1))
    put(tmp_path / "answers.txt", "yes\n\nno\n")
    rows = [{"image": "a.png", "question": "what?", "answers": answers} for answers in (["", *["no"] * 9], [""], "")]
    write_columns(tmp_path, "train.jsonl", rows)
    train = read_data(tmp_path, "vqa").splits["train"]
    assert [(sample.labels, sample.scores) for sample in train.samples] == [((1, 2), (0.3, 1.0)), ((1,), (1.0,))]
    assert train.unreadable == ("train.jsonl, line 3: no answer",)


def test_named_datasets_keep_their_metric(tmp_path):
    rows = [{"sentence": f"s{i}", "label": i % 2} for i in range(20)]
    features = {"label": {"names": ["unacceptable", "acceptable"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    for split in ("train", "validation"):
        table = pa.Table.from_pylist(rows).replace_schema_metadata(metadata)
        pq.write_table(table, tmp_path / f"{split}.parquet")
    assert read_data(tmp_path, "text-classification").metrics == ("matthews",)


def test_a_test_file_beside_a_training_file_with_other_columns_is_scored(tmp_path):
    write_columns(tmp_path, "train.csv", [{"body": "a", "stars": 1}])
    write_columns(tmp_path, "test.csv", [{"text": "a", "label": "good"}, {"text": "b", "label": "bad"}])
    found = read_data(tmp_path, "text-classification", reading=Reading(splits=SCORED))
    assert (found.labels, found.numbered_here) == (("bad", "good"), True)
    assert tell(found.splits["test"]) == [("a", None, (1,)), ("b", None, (0,))]
    with refused(InputError, "column-missing", "train.csv", "it has: body, stars"):
        read_data(tmp_path, "text-classification")


@pytest.mark.parametrize(
    ("task", "row", "expected"),
    [
        ("text-classification", {"Text ": "s", "Label": 1}, ("s", None)),
        ("text-classification", {"review": "s", "sentiment": 1}, ("s", None)),
        ("text-classification", {"id": 7, "tweet": "s", "class": 1}, ("s", None)),
        ("text-classification", {"sentence_A": "s", "sentence_B": "t", "Gold Label": 1}, ("s", "t")),
        ("text-classification", {"text": "s", "text_pair": "t", "label": 1}, ("s", "t")),
        ("text-classification", {"question": "s", "sentence": "t", "label": 1}, ("s", "t")),
        ("text-classification", {"question1": "s", "question2": "t", "is_duplicate": 1}, ("s", "t")),
        ("vqa", {"Question": "s", "img": "0.png", "answer": "a", "multiple_choice_answer": "b"}, ("s", None)),
        ("nlvr2", {"caption": "s", "image_1": "0.png", "image_2": "0.png", "label": "True"}, ("s", None)),
        ("nlvr2", {"sentence": "s", "identifier": "dev-1-0-2", "label": "True"}, ("s", None)),
        ("irtr", {"Caption": "s", "Image Path": "0.png"}, ("s", None)),
        ("irtr", {"sentences": [{"raw": "s"}], "filename": "deep.png"}, ("s", None)),
        (
            "snli-ve",
            {"premise": "p", "hypothesis": "s", "image": "0.png", "filename": "x", "label": "neutral"},
            ("s", None),
        ),
        ("snli-ve", {"sentence2": "s", "Flickr30K_ID": 12, "gold_label": "neutral"}, ("s", None)),
    ],
)
def test_names_one_would_expect(tmp_path, task, row, expected):
    for name in ("0.png", "a/deep.png", "a/12.jpg", "a/dev-1-0-img0.png", "a/dev-1-0-img1.png"):
        put(tmp_path / name, png())
    write_columns(tmp_path, "train.jsonl", [row])
    rows = read_data(tmp_path, task).splits["train"]
    assert rows.unreadable == ()
    assert [(sample.text, sample.second) for sample in rows.samples] == [expected]
    assert len(rows.samples[0].images) == TASKS[task].images


@pytest.mark.parametrize(
    ("row", "role"),
    [
        ({"text": "a", "sentence": "b", "label": 1}, "text: sentence, text"),
        ({"text": "a", "Text": "b", "label": 1}, "text: text, Text"),
        ({"text": "a", "label": 1, "category": 2}, "label: label, category"),
    ],
)
def test_columns_that_would_be_a_guess(tmp_path, row, role):
    write_columns(tmp_path, "train.csv", [row])
    with refused(InputError, "columns-ambiguous", "train.csv", f"several columns for the {role}"):
        read_data(tmp_path, "text-classification")


def test_other_columns_are_listed_beside_the_names_that_are_taken(tmp_path):
    write_columns(tmp_path, "train.csv", [{"opinion": "a", "stars": 1}])
    with refused(InputError, "data-not-of-task", "train.csv has the columns opinion, stars", "review", "gold_label"):
        read_data(tmp_path, "text-classification")


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("text-classification", "name them as --columns text=COLUMN,label=COLUMN (second=COLUMN, too, for pairs), or"),
        ("reranking", "name them as --columns text=COLUMN,second=COLUMN,label=COLUMN, or"),
        ("retrieval", "name them as --columns text=COLUMN,image=COLUMN, or"),
        ("image-classification", "name them as --columns image=COLUMN,label=COLUMN, or"),
        ("nlvr2", "name them as --columns text=COLUMN,label=COLUMN,image=COLUMN,right image=COLUMN, or"),
        ("zero-shot", "rename the columns to these, or"),
    ],
)
def test_columns_that_a_task_has_are_proposed(tmp_path, task, columns):
    write_columns(tmp_path, "train.csv", [{"opinion": "a", "stars": 1}])
    with refused(InputError, "data-not-of-task", columns):
        read_data(tmp_path, task)
    with refused(UsageError, "columns-not-of-task", f"--columns for colour of {task}"):
        read_data(tmp_path, task, columns={"colour": "stars"})


@pytest.mark.parametrize(
    ("names", "both"),
    [
        (("val.csv", "dev.csv"), "val.csv and dev.csv"),
        (("validation.jsonl", "validation.json"), "validation.jsonl and validation.json"),
        (("val.parquet", "val.csv"), "val.parquet and val.csv"),
        (("data/dev.csv", "dev.csv"), "dev.csv and data/dev.csv"),
    ],
)
def test_a_split_that_is_there_twice(tmp_path, names, both):
    for name in ("train.csv", *names):
        write_columns(tmp_path, name, [{"text": "a", "label": 1}])
    with refused(InputError, "split-ambiguous", both, "'val'"):
        read_data(tmp_path, "text-classification")


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet"),
        ("plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"),
        ("default/train/0000.parquet", "default/train/0001.parquet", "default/test/0000.parquet"),
        ("train/0000.parquet", "test/0000.parquet"),
        ("train.csv", "test.parquet"),
        ("data/train.csv", "data/test.jsonl"),
    ],
)
def test_files_as_they_lie_on_the_hub(tmp_path, names):
    for name in names:
        write_columns(tmp_path, name, [{"text": name, "label": 1}])
    splits = read_data(tmp_path, "text-classification").splits
    assert {split: [text for text, *_ in tell(rows)] for split, rows in splits.items()} == {
        split: [name for name in names if split in name] for split in ("train", "test")
    }


def test_parts_of_two_editions_of_a_split(tmp_path):
    for name in ("train-00000-of-00001.parquet", "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"):
        write_columns(tmp_path, name, [{"text": "a", "label": 1}])
    with refused(InputError, "shards-of-several-editions", "train-00001-of-00002.parquet"):
        read_data(tmp_path, "text-classification")


def test_images_beside_the_file_that_names_them(tmp_path):
    for number, split in enumerate(("train", "test")):
        put(tmp_path / split / "0.png", png(number))
        row = {"file_name": "0.png", "question": "what?", "answer": "red"}
        write_columns(tmp_path, f"{split}/metadata.{'csv' if number else 'jsonl'}", [row])
    splits = read_data(tmp_path, "vqa").splits
    assert [first_images(splits[split]) for split in ("train", "test")] == [[png(0)], [png(1)]]


def test_rows_without_a_label_are_left_out_and_counted(tmp_path):
    rows = [{"premise": "a", "hypothesis": f"h{label}", "label": label} for label in (2, -1, 0, -1)]
    splits = {"train": rows, "validation": rows, "test": [row | {"label": -1} for row in rows]}
    save_like_datasets(tmp_path, splits, ("entailment", "neutral", "contradiction"))
    found = read_data(tmp_path, "text-classification").splits
    assert list(found) == ["train", "val"]
    assert tell(found["train"]) == [("a", "h2", (2,)), ("a", "h0", (0,))]
    assert (found["train"].dropped, found["train"].unreadable) == (2, ())
    put(tmp_path / "b" / "train.csv", "sentence1,sentence2,gold_label\ns,t,-\ns,t,neutral\n")
    train = read_data(tmp_path / "b", "text-classification").splits["train"]
    assert (tell(train), train.dropped) == ([("s", "t", (0,))], 1)


@pytest.mark.parametrize("name", ["data-00000-of-00001.arrow", "dataset.arrow"])
def test_a_data_set_saved_without_splits_is_scored(tmp_path, name):
    save_like_datasets(tmp_path, {"part": [{"sentence": "good", "label": 1}]}, ("negative", "positive"))
    (tmp_path / "part" / "data-00000-of-00001.arrow").rename(tmp_path / name)
    found = read_data(tmp_path, "text-classification")
    assert (list(found.splits), found.labels) == (["test"], ("negative", "positive"))
    assert tell(found.splits["test"]) == [("good", None, (1,))]
    assert found.files["train"] == "train/data-*.arrow"


def test_annotations_as_datasets_keeps_lists_of_them(tmp_path):
    """A ``Sequence`` of a dictionary is saved as a dictionary of lists; answers.txt lies in the folder itself."""
    answers = {"answer": ["red"] * 3 + ["blue"] * 7, "answer_id": list(range(10))}
    row = {"question": "what?", "image": {"bytes": png(), "path": None}, "answers": answers}
    save_like_datasets(tmp_path, {"train": [row], "validation": [row]}, ())
    put(tmp_path / "answers.txt", "blue\nred\n")
    found = read_data(tmp_path, "vqa")
    assert (found.labels, found.numbered_here) == (("blue", "red"), False)
    sample = found.splits["val"].samples[0]
    assert dict(zip(sample.labels, sample.scores, strict=True)) == {0: 1.0, 1: 0.9}


def test_a_list_of_answers_as_python_prints_it_is_no_answer(tmp_path):
    put(tmp_path / "0.png", png())
    write_columns(
        tmp_path, "train.csv", [{"image": "0.png", "question": "what?", "answers": a} for a in ("['a']", "b")]
    )
    train = read_data(tmp_path, "vqa").splits["train"]
    assert (tell(train), len(train.unreadable)) == ([("what?", None, (0,))], 1)
    assert "a list of answers that is no JSON" in train.unreadable[0]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"text": "body"}, ("a", None)),
        ({"text": "body", "label": "stars"}, ("a", None)),
        ({"text": "body", "second": "reply"}, ("a", "b")),
        ({"label": "stars"}, ("c", None)),
    ],
)
def test_columns_that_the_user_names_are_taken_and_no_others(tmp_path, columns, expected):
    row = {"body": "a", "reply": "b", "text": "c", "sentence2": "d", "label": 1, "stars": 0}
    for split in ("train", "val"):
        write_columns(tmp_path, f"{split}.csv", [row])
    (sample,) = read_data(tmp_path, "text-classification", columns=columns).splits["train"].samples
    assert (sample.text, sample.second) == expected
    assert sample.labels == ((0,) if "label" in columns else (1,))
    inputs = read_unlabelled(tmp_path, TASKS["text-classification"], columns=columns).splits[INPUTS].samples
    assert (inputs[0].text, inputs[0].second) == expected


def test_named_columns_that_are_not_there_are_missed(tmp_path):
    write_columns(tmp_path, "train.csv", [{"text": "a", "label": 1}])
    with refused(InputError, "data-not-of-task", "has the columns text, label", "text: body"):
        read_data(tmp_path, "text-classification", columns={"text": "body"})
