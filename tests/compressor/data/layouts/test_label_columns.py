"""Columns of labels: the same classes, however they are written and wherever they lie."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compressor.data.read_data import read_data
from compressor.errors import InputError
from tests.support.command_line import refused
from tests.support.data_files import png, put, save_like_datasets, tell, write_columns

NUMBERS = (0, 1, 1, 0, 1)
DRESSES = {
    "whole": int,
    "text": str,
    "decimal": float,
    "decimal text": lambda number: f"{number}.0",
    "truth": bool,
    "truth text": lambda number: str(bool(number)),
    "as transformers names them": lambda number: f"LABEL_{number}",
    "blanks": lambda number: f" {number} ",
}


def write_plain(root, name, rows):
    put(root / name, "".join(f"{row['sentence']}\t{row['label']}\n" for row in rows))


def write_stream(root, name, rows):
    data = pa.Table.from_pylist(rows)
    path = root / name / "data-00000-of-00001.arrow"
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, data.schema) as writer:
        writer.write_table(data)


LAYOUTS = {
    "CSV": ("{}.csv", write_columns),
    "TSV": ("{}.tsv", write_columns),
    "JSON lines": ("{}.jsonl", write_columns),
    "JSON": ("{}.json", write_columns),
    "Parquet": ("{}.parquet", write_columns),
    "datasets": ("{}", write_stream),
    "GLUE": ("{}.tsv", write_columns),
    "no header": ("{}.tsv", write_plain),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_dress_of_numbers_makes_no_difference(tmp_path, layout):
    pattern, write = LAYOUTS[layout]
    column = {"GLUE": "sentence", "no header": "sentence"}.get(layout, "text")
    found = {}
    for dress, label in DRESSES.items():
        rows = [{column: f"text {i}", "label": label(number)} for i, number in enumerate(NUMBERS)]
        for split in ("train", "dev", "test"):
            write(tmp_path / dress, pattern.format(split), rows)
        found[dress] = read_data(tmp_path / dress, "text-classification")
    for read in found.values():
        assert read.labels == (("negative", "positive") if layout == "GLUE" else ("0", "1"))
        assert not read.numbered_here
        for split in ("train", "val", "test"):
            assert tell(read.splits[split]) == [(f"text {i}", None, (n,)) for i, n in enumerate(NUMBERS)]


def test_dresses_may_be_mixed(tmp_path):
    labels = [0, "1", 1.0, "False", True, "LABEL_2", 0.5, math.nan, None, -1]
    put(tmp_path / "train.jsonl", [{"text": f"t{i}", "label": label} for i, label in enumerate(labels[:7])])
    put(tmp_path / "val.jsonl", [{"text": f"t{i}", "label": label} for i, label in enumerate(labels[7:])])
    read = read_data(tmp_path, "text-classification")
    assert (read.labels, read.numbered_here) == (("0", "1", "2"), False)
    assert [label for *_, label in tell(read.splits["train"])] == [(0,), (1,), (1,), (0,), (1,), (2,)]
    assert read.splits["train"].unreadable == ("train.jsonl, line 7: label '0.5' is no class",)
    assert [row.partition(": ")[2] for row in read.splits["val"].unreadable] == [
        *("no label", "no label", "label '-1' is none of 0, 1, 2")
    ]


@pytest.mark.parametrize("hidden", [-1, "-1", -1.0, "-1.0", math.nan])
def test_a_test_split_without_labels_is_left_out(tmp_path, hidden):
    for split, label in (("train", 0), ("val", 1), ("test", hidden)):
        put(tmp_path / f"{split}.jsonl", [{"text": "a", "label": label}])
    assert list(read_data(tmp_path, "text-classification").splits) == ["train", "val"]


def parquet(path, labels, names, **columns):
    rows = [{"label": label, **{name: cell[i] for name, cell in columns.items()}} for i, label in enumerate(labels)]
    metadata = {"huggingface": json.dumps({"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}})}
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(metadata), path)


def test_numbers_of_a_named_class_are_places_and_not_its_name(tmp_path):
    names = sorted(map(str, range(12)))
    for split in ("train", "val"):
        parquet(tmp_path / f"{split}.parquet", [2, 11, -1], names, text=["a", "b", "c"])
    read = read_data(tmp_path, "text-classification")
    assert read.labels[2] == "10"
    assert [label for *_, label in tell(read.splits["train"])] == [(2,), (11,)]
    assert (read.splits["val"].dropped, read.splits["val"].unreadable) == (1, ())


@pytest.mark.parametrize(
    ("names", "expected"),
    [(("True", "False"), [(1,), (0,)]), (("yes", "no"), [(1,), (0,)]), (("0", "1"), [(0,), (1,)]), (("a", "b"), [])],
)
def test_what_numbers_mean_for_a_task_with_classes_of_its_own(tmp_path, names, expected):
    image = [{"bytes": png(), "path": None}] * 2
    parquet(tmp_path / "train.parquet", [0, 1], names, sentence=["s", "t"], image_0=image, image_1=image)
    train = read_data(tmp_path, "nlvr2").splits["train"]
    assert [label for *_, label in tell(train)] == expected
    assert len(train.unreadable) == 2 - len(expected)


@pytest.mark.parametrize("label", [True, "True", "true ", 1, "1", 1.0, "1.0", "yes", "Yes", "LABEL_1"])
def test_true_in_other_words(tmp_path, label):
    put(tmp_path / "a.png", png())
    row = {"sentence": "s", "label": label, "image_0": "a.png", "image_1": "a.png"}
    put(tmp_path / "train.jsonl", [row])
    assert tell(read_data(tmp_path, "nlvr2").splits["train"]) == [("s", None, (1,))]


def test_entailment_in_other_letters_and_with_blanks(tmp_path):
    put(tmp_path / "12.jpg", png(1, "JPEG"))
    rows = [{"Flickr30K_ID": "12", "sentence2": "a", "gold_label": name} for name in ("Entailment", " neutral ", 2)]
    put(tmp_path / "snli_ve_train.jsonl", rows)
    train = read_data(tmp_path, "snli-ve").splits["train"]
    assert [label for *_, label in tell(train)] == [(2,), (1,)]
    assert "label '2' is none of contradiction, neutral, entailment" in train.unreadable[0]


def test_splits_that_number_their_classes_differently(tmp_path):
    save_like_datasets(tmp_path, {"train": [{"text": "a", "label": 0}]}, ("neg", "pos"))
    save_like_datasets(tmp_path, {"validation": [{"text": "a", "label": 0}]}, ("pos", "neg"))
    with refused(InputError, "classes-differ", "data-00000-of-00001.arrow", "pos, neg", "neg, pos"):
        read_data(tmp_path, "text-classification")
