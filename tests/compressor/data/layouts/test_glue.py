"""GLUE's TSV files in the form in which they are distributed, read and damaged."""

from dataclasses import dataclass

import pytest

from compressor.data.read_data import read_data
from compressor.errors import InputError
from tests.support.command_line import refused
from tests.support.data_files import put, save_like_datasets, tell

PARSES = "promptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse"
ENTAILMENT = ("entailment", "not_entailment")
NLI = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True)
class Files:
    """A data set as it is distributed: header, lines of train.tsv, what they mean, its classes, and its test.tsv."""

    header: str | None
    lines: tuple[str, ...]
    samples: tuple[tuple[str, str | None, int], ...]
    classes: tuple[str, ...]
    test: str
    metrics: tuple[str, ...] = ()


GLUE = {
    "CoLA": Files(
        None,
        ("gj04\t1\t\tThe more we study, the crazier they get.", 'gj04\t0\t*\t"What did he ran.'),
        (("The more we study, the crazier they get.", None, 1), ('"What did he ran.', None, 0)),
        ("unacceptable", "acceptable"),
        "index\tsentence\n0\tBill whistled past the house.\n",
        ("matthews",),
    ),
    "SST-2": Files(
        "sentence\tlabel",
        ("contains no wit , only labored gags \t0", 'a "quoted film \t1'),
        (("contains no wit , only labored gags ", None, 0), ('a "quoted film ', None, 1)),
        ("negative", "positive"),
        "index\tsentence\n0\tuneasy mishmash of styles and genres .\n",
    ),
    "MRPC": Files(
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        (
            '1\t702876\t702977\t"It is ours , " he said .\t" Ours , " he said .',
            '0\t2108705\t2108831\t" One quote opens .\tNone closes it .',
            '1\t1330381\t1330521\tThe "" doubled .\tThe other .',
        ),
        (
            ('"It is ours , " he said .', '" Ours , " he said .', 1),
            ('" One quote opens .', "None closes it .", 0),
            ('The "" doubled .', "The other .", 1),
        ),
        ("not_equivalent", "equivalent"),
        "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\tone\tother\n",
        ("f1",),
    ),
    "QQP": Files(
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        (
            '1\t2\t3\t"What does ""less is more"" mean?"\tWhat is more?\t1',
            '4\t5\t6\t"Was he a real figure?\n"\t"How ""real""\twas he?"\t0',
            "7\t8\t9\tWhy?\tHow?\t0",
        ),
        (
            ('What does "less is more" mean?', "What is more?", 1),
            ("Was he a real figure?\n", 'How "real"\twas he?', 0),
            ("Why?", "How?", 0),
        ),
        ("not_duplicate", "duplicate"),
        'id\tquestion1\tquestion2\n0\t"What is ""it""?"\tWhich?\n',
        ("f1",),
    ),
    "MNLI": Files(
        f"index\t{PARSES}\tsentence1\tsentence2\tlabel1\tgold_label",
        ('0\t31193\t31193n\tgovernment\t(\t)\t(\t)\t"One starts here.\tAnd here" ends.\tneutral\tcontradiction',),
        (('"One starts here.', 'And here" ends.', 2),),
        NLI,
        f"index\t{PARSES}\tsentence1\tsentence2\n0\t1\t1n\tx\t(\t)\t(\t)\tone\tother\n",
    ),
    "QNLI": Files(
        "index\tquestion\tsentence\tlabel",
        ('0\tWhat was "it" called?\t"It was never closed.\tnot_entailment', "1\tWhen?\tThen.\tentailment"),
        (('What was "it" called?', '"It was never closed.', 1), ("When?", "Then.", 0)),
        ENTAILMENT,
        "index\tquestion\tsentence\n0\tWho?\tThey.\n",
    ),
    "RTE": Files(
        "index\tsentence1\tsentence2\tlabel",
        ('0\t"No weapons of mass destruction\tWeapons found.\tnot_entailment', "1\ta\tb\tentailment"),
        (('"No weapons of mass destruction', "Weapons found.", 1), ("a", "b", 0)),
        ENTAILMENT,
        "index\tsentence1\tsentence2\n0\tone\tother\n",
    ),
    "WNLI": Files(
        "index\tsentence1\tsentence2\tlabel",
        ('0\tHe put it "there".\tIt was "there".\t1', '1\t"It stands.\tIt falls.\t0'),
        (('He put it "there".', 'It was "there".', 1), ('"It stands.', "It falls.", 0)),
        ("not_entailment", "entailment"),
        "index\tsentence1\tsentence2\n0\tone\tother\n",
    ),
}
DEV = {"MNLI": ("dev_matched.tsv", "dev_mismatched.tsv")}


def write_glue(root, name):
    files = GLUE[name]
    content = "".join(f"{line}\n" for line in ([files.header] if files.header else []) + list(files.lines))
    for file in ("train.tsv", *DEV.get(name, ("dev.tsv",))):
        put(root / file, content)
    put(root / "test.tsv", files.test)


@pytest.mark.parametrize("name", GLUE)
def test_every_row_is_read_whatever_its_quotes(tmp_path, name):
    write_glue(tmp_path, name)
    found, files = read_data(tmp_path, "text-classification"), GLUE[name]
    assert found.layout == f"GLUE's {name}"
    assert (found.labels, found.metrics) == (files.classes, files.metrics)
    assert list(found.splits) == ["train", "val", *(["val mismatched"] if name == "MNLI" else [])]
    for split in found.splits.values():
        assert tell(split) == [(first, second, (label,)) for first, second, label in files.samples]
        assert (split.unreadable, split.dropped) == ((), 0)


@pytest.mark.parametrize("name", GLUE)
def test_a_data_set_of_glue_has_the_same_classes_and_metrics_in_every_form(tmp_path, name):
    files = GLUE[name]
    texts = ("sentence",) if files.samples[0][1] is None else ("premise", "hypothesis")
    rows = [
        dict(zip(texts, sample[:2], strict=False)) | {"label": sample[2], "idx": i}
        for i, sample in enumerate(files.samples)
    ]
    hidden = [row | {"label": -1} for row in rows]
    save_like_datasets(tmp_path, {"train": rows, "validation": rows, "test": hidden}, files.classes)
    found = read_data(tmp_path, "text-classification")
    assert (found.labels, found.metrics) == (files.classes, files.metrics)
    assert set(found.splits) == {"train", "val"}
    assert tell(found.splits["val"]) == [(first, second, (label,)) for first, second, label in files.samples]


def test_an_open_quote_swallows_nothing_without_a_word(tmp_path):
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"
    put(tmp_path / "train.tsv", f'{header}\n1\t2\t3\ta?\tb?\t1\n1\t2\t3\t"c?\td?\t0\n1\t2\t3\te?\t"\tf?\t1\n')
    train = read_data(tmp_path, "text-classification").splits["train"]
    assert tell(train) == [("a?", "b?", (1,))]
    assert train.unreadable == ("train.tsv, line 4: a quote that nothing closes holds the lines after it",)


def test_rows_that_are_none(tmp_path):
    put(tmp_path / "train.tsv", "sentence\tlabel\n" + "good\t1\n" * 20 + "b\nc\t2\n \t1\nd\t0\te\nf\t0\n")
    train = read_data(tmp_path, "text-classification").splits["train"]
    assert tell(train)[19:] == [("good", None, (1,)), ("f", None, (0,))]
    assert train.unreadable == (
        "train.tsv, line 22: 1 columns, not 2",
        "train.tsv, line 23: label '2' is none of 0, 1",
        "train.tsv, line 24: sentence is empty",
        "train.tsv, line 25: 3 columns, not 2",
    )


def test_labels_of_a_test_file_are_used_where_it_has_them(tmp_path):
    write_glue(tmp_path, "MRPC")
    header, row = GLUE["MRPC"].header, "\t7\t8\tone\tother\n"
    put(tmp_path / "test.tsv", f"{header}\n-1{row}-1{row}")
    assert "test" not in read_data(tmp_path, "text-classification").splits
    put(tmp_path / "test.tsv", f"{header}\n1{row}")
    assert tell(read_data(tmp_path, "text-classification").splits["test"]) == [("one", "other", (1,))]


@pytest.mark.parametrize(("kept", "split"), [("dev.tsv", "val"), ("train.tsv", "train")])
def test_one_file_is_enough_to_know_the_data_set(tmp_path, kept, split):
    write_glue(tmp_path / "all", "QNLI")
    put(tmp_path / kept, (tmp_path / "all" / kept).read_text())
    found = read_data(tmp_path, "text-classification")
    assert (found.layout, list(found.splits)) == ("GLUE's QNLI", [split])


def test_the_sentences_of_snli_on_which_its_annotators_differ_are_counted(tmp_path):
    header = "index\tcaptionID\tpairID\tsentence1\tsentence2\tlabel1\tgold_label"
    rows = ["0\t3416050480.jpg#4\t3416050480.jpg#4r1n\ta\tb\tneutral\tneutral", "1\tx\ty\tc\td\tneutral\t-"]
    put(tmp_path / "train.tsv", "\n".join([header, *rows]) + "\n")
    found = read_data(tmp_path, "text-classification")
    train = found.splits["train"]
    assert (found.layout, tell(train), train.dropped) == ("SNLI's TSV", [("a", "b", (1,))], 1)
    assert not train.unreadable


@pytest.mark.parametrize(
    ("header", "row", "classes"),
    [
        ("id\tsentence1\tsentence2\tlabel", "7\ta\tb\t{}", ("0", "1")),  # PAWS: as WNLI, but for the number's name
        ("sentence\tlabel", "fine\t{}", ("0", "1", "2")),  # one class more than SST-2
    ],
)
def test_what_only_looks_like_glue_gets_none_of_its_names(tmp_path, header, row, classes):
    lines = [row.format(classes[number % len(classes)]) for number in range(30)]
    for name in ("train", "dev"):
        put(tmp_path / f"{name}.tsv", "\n".join([header, *lines]) + "\n")
    found = read_data(tmp_path, "text-classification")
    assert (found.layout, found.labels, len(found.splits["train"].samples)) == ("TSV", classes, 30)


@pytest.mark.parametrize(("labels", "expected"), [("0123", ("0", "1", "2", "3")), ("pn", ("n", "p"))])
def test_sentences_and_labels_without_a_header(tmp_path, labels, expected):
    for name in ("train", "dev", "test"):
        put(tmp_path / f"{name}.tsv", "".join(f"text {n}\t{labels[n % len(labels)]}\n" for n in range(8)))
    found = read_data(tmp_path, "text-classification")
    assert found.labels == expected
    assert {split: len(rows.samples) for split, rows in found.splits.items()} == {"train": 8, "val": 8, "test": 8}
    assert found.splits["test"].samples[0].labels == (expected.index(labels[0]),)


@pytest.mark.parametrize("name", ["train.tsv", "dev.tsv"])
def test_scores_are_no_classes(tmp_path, name):
    header = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore"
    put(tmp_path / name, f'{header}\n0\tmain\tMSRvid\t2012\t0001\tnone\tnone\t"A plane.\tA plane\t5.000\n')
    with refused(InputError, "labels-not-classes", "STS-B"):
        read_data(tmp_path, "text-classification")


def test_a_validation_split_called_otherwise_is_not_of_glue(tmp_path):
    for name in ("train", "val"):
        (tmp_path / f"{name}.tsv").write_text("sentence\tlabel\ngood\t1\nbad\t0\n")
    dataset = read_data(tmp_path, "text-classification")
    assert dataset.layout == "TSV" and sorted(dataset.splits) == ["train", "val"]
