"""GLUE's TSV files, read and damaged."""

import pytest

from compressor.data.read_data import read_data
from compressor.errors import InputError
from tests.support.command_line import refused
from tests.support.data_files import put, tell

GLUE = {
    "SST-2": (
        "sentence\tlabel",
        ["a film \t1", 'a "quoted film\t0'],
        [("a film ", None, 1), ('a "quoted film', None, 0)],
    ),
    "CoLA": (None, ["gj04\t1\t\tIt ran.", "gj04\t0\t*\tRan it."], [("It ran.", None, 1), ("Ran it.", None, 0)]),
    "MRPC": (
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        ["1\t7\t8\tone\tother", "0\t7\t8\tone\tthird"],
        [("one", "other", 1), ("one", "third", 0)],
    ),
    "QQP": ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", ["1\t2\t3\ta?\tb?\t1"], [("a?", "b?", 1)]),
    "QNLI": ("index\tquestion\tsentence\tlabel", ["0\tq\ts\tnot_entailment"], [("q", "s", 1)]),
    "RTE": ("index\tsentence1\tsentence2\tlabel", ["0\ta\tb\tentailment"], [("a", "b", 0)]),
    "WNLI": ("index\tsentence1\tsentence2\tlabel", ["0\ta\tb\t1"], [("a", "b", 1)]),
    "MNLI": ("index\tsentence1\tsentence2\tlabel1\tgold_label", ["0\ta\tb\tx\tcontradiction"], [("a", "b", 2)]),
}


def write_glue(root, name):
    header, lines, _ = GLUE[name]
    content = "".join(f"{line}\n" for line in ([header] if header else []) + lines)
    dev = ("dev_matched.tsv", "dev_mismatched.tsv") if name == "MNLI" else ("dev.tsv",)
    for file in ("train.tsv", *dev):
        put(root / file, content)
    put(root / "test.tsv", "index\tsentence\n0\tunknown\n")


@pytest.mark.parametrize("name", GLUE)
def test_glue(tmp_path, name):
    write_glue(tmp_path, name)
    found = read_data(tmp_path, "text-classification")
    assert found.layout == f"GLUE's {name}"
    assert tell(found.splits["train"]) == [(first, second, (label,)) for first, second, label in GLUE[name][2]]
    assert list(found.splits) == ["train", "val", *(["val mismatched"] if name == "MNLI" else [])]
    assert found.metrics == {"MRPC": ("f1",), "QQP": ("f1",), "CoLA": ("matthews",)}.get(name, ())
    assert len(found.labels) == (3 if name == "MNLI" else 2)


def test_glue_rows_that_are_none(tmp_path):
    write_glue(tmp_path, "SST-2")
    put(tmp_path / "train.tsv", "sentence\tlabel\na\t1\nb\nc\t2\n \t1\nd\t0\te\nf\t0\n")
    train = read_data(tmp_path, "text-classification").splits["train"]
    assert tell(train) == [("a", None, (1,)), ("f", None, (0,))]
    assert train.unreadable == (
        "train.tsv, line 3: 1 columns, not 2",
        "train.tsv, line 4: label '2' is none of 0, 1",
        "train.tsv, line 5: sentence is empty",
        "train.tsv, line 6: 3 columns, not 2",
    )


def test_a_labelled_test_file_is_a_split(tmp_path):
    write_glue(tmp_path, "SST-2")
    put(tmp_path / "test.tsv", "sentence\tlabel\nlast\t1\n")
    assert tell(read_data(tmp_path, "text-classification").splits["test"]) == [("last", None, (1,))]


@pytest.mark.parametrize(("labels", "expected"), [("0123", ("0", "1", "2", "3")), ("pn", ("n", "p"))])
def test_sentences_and_labels_without_a_header(tmp_path, labels, expected):
    for name in ("train", "dev", "test"):
        put(tmp_path / f"{name}.tsv", "".join(f"text {n}\t{labels[n % len(labels)]}\n" for n in range(8)))
    found = read_data(tmp_path, "text-classification")
    assert found.labels == expected
    assert {split: len(rows.samples) for split, rows in found.splits.items()} == {"train": 8, "val": 8, "test": 8}
    assert found.splits["test"].samples[0].labels == (expected.index(labels[0]),)


def test_scores_are_no_classes(tmp_path):
    put(tmp_path / "train.tsv", "index\tsentence1\tsentence2\tscore\n0\ta\tb\t2.5\n")
    with refused(InputError, "labels-not-classes", "STS-B"):
        read_data(tmp_path, "text-classification")
