"""Data as people have it on disk: each layout made on the spot, read, and damaged."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from compressor.data.arrow_files import write_table
from compressor.data.read import read_data
from compressor.data.reading.vqa_answers import frequent_answers, normalise, soft_answers
from compressor.errors import InputError
from compressor.tasks import TASKS
from tests.support.command_line import refused


def png(shade=0, encoding="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(buffer, encoding)
    return buffer.getvalue()


def put(path, content):
    """Write bytes, text, a JSON document, or JSON lines (from a list), by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, list):
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))


def told(rows):
    """Text, second text and labels of every sample."""
    return [(sample.text, sample.second, sample.labels) for sample in rows.samples]


def first_pictures(rows):
    return [sample.images[0].read() for sample in rows.samples]


# METER's and ViLT's tables


def table(images, first_label=0):
    """Records as METER's converter writes them: two questions an image, one of them with two answers."""
    return {
        "image": [png(number) for number in range(images)],
        "questions": [["what color is the circle?", "how many things are there?"]] * images,
        "answers": [[["red", "blue"], ["two"]]] * images,
        "answer_labels": [[[first_label, 1], [2]]] * images,
        "answer_scores": [[[1.0, 0.3], [0.6]]] * images,
        "image_id": list(range(images)),
        "question_id": [[2 * i, 2 * i + 1] for i in range(images)],
        "split": ["train"] * images,
    }


def test_vqa_tables(tmp_path):
    write_table(tmp_path / "vqav2_train.arrow", table(3))
    write_table(tmp_path / "vqav2_val.arrow", table(2))
    found = read_data(tmp_path, "vqa")
    assert found.labels == ("red", "blue", "two")
    train = found.splits["train"]
    assert told(train)[:2] == [
        ("what color is the circle?", None, (0, 1)),
        ("how many things are there?", None, (2,)),
    ]
    assert train.samples[0].scores == (1.0, pytest.approx(0.3))
    assert train.samples[0].images[0] is train.samples[1].images[0]
    assert first_pictures(train)[::2] == [png(0), png(1), png(2)]
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


def test_a_vqa_test_table_without_answers_has_no_labels(tmp_path):
    write_table(tmp_path / "vqav2_train.arrow", table(2))
    empty = {"answers": [[], []], "answer_labels": [[], []], "answer_scores": [[], []]}
    unanswered = table(2) | {name: pa.array(cells, pa.list_(pa.list_(pa.int64()))) for name, cells in empty.items()}
    write_table(tmp_path / "vqav2_test.arrow", unanswered)
    test = read_data(tmp_path, "vqa").splits["test"]
    assert [sample.labels for sample in test.samples] == [()] * 4
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
        "vqav2_train.arrow, row 3: the image does not decode",
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
    assert told(found.splits["val"]) == [("same", None, (1,)), ("other", None, (0,))]
    assert [picture.read() for picture in found.splits["val"].samples[0].images] == [png(1), png(2)]


@pytest.mark.parametrize(("prefix", "parts"), [("f30k", ("train",)), ("coco", ("train", "restval"))])
def test_caption_tables(tmp_path, prefix, parts):
    for part in (*parts, "val", "test"):
        rows = {"image": [png(1), png(2)], "caption": [["a dog", "it"], ["a cat"]], "image_id": [0, 1]}
        write_table(tmp_path / f"{prefix}_caption_karpathy_{part}.arrow", rows)
    splits = read_data(tmp_path, "irtr").splits
    assert told(splits["val"]) == [("a dog", None, ()), ("it", None, ()), ("a cat", None, ())]
    assert first_pictures(splits["val"]) == [png(1), png(1), png(2)]
    assert len(splits["train"].samples) == 3 * len(parts)


@pytest.mark.parametrize("sentences", [[["premise", "one"], ["premise", "two"]], ["one", "two"]])
def test_snli_ve_tables(tmp_path, sentences):
    for name in ("train", "dev", "test"):
        write_table(tmp_path / f"snli_{name}.arrow", {"image": [png()], "sentences": [sentences], "labels": [[2, 0]]})
    found = read_data(tmp_path, "snli-ve")
    assert found.labels == ("contradiction", "neutral", "entailment")
    assert told(found.splits["test"]) == [("one", None, (2,)), ("two", None, (0,))]


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


# VQA v2's JSON


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
    assert first_pictures(train)[:2] == [png(0, "JPEG"), png(1, "JPEG")]
    assert found.splits["val"].samples[0].text == "question 11?"
    assert {(sample.answer_type, sample.question_type) for sample in train.samples} == {("yes/no", "")}


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


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes.", "yes"),
        ("The dog", "dog"),
        ("two", "2"),
        ("none", "0"),
        ("dont know", "don't know"),
        ("couldntve", "couldn't've"),
        ("its", "its"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("black, white", "black white"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("t-shirt", "t shirt"),
        ("man's", "man's"),
        ("10:30", "10:30"),
        ("what?", "what"),
    ],
)
def test_answers_are_compared_by_the_official_rule(answer, expected):
    assert normalise(answer) == expected


def test_frequent_answers_keep_their_first_seen_order():
    assert frequent_answers(["red"] * 9 + ["rare"] * 8 + ["blue"] * 9 + ["The red"]) == ("red", "blue")


@pytest.mark.parametrize(("count", "score"), [(1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_soft_scores(count, score):
    assert soft_answers(["x"] + ["red"] * count, {"blue": 0, "red": 1}) == ((1,), (score,))


# NLVR2's, Karpathy's and SNLI-VE's JSON


def write_nlvr2_json(root, folder="."):
    line = {"identifier": "train-5-0-1", "sentence": "both are red", "label": "True", "directory": 3}
    put(root / folder / "train.json", [line, line | {"identifier": "train-5-0-2", "label": "False"}])
    put(root / folder / "dev.json", [line | {"identifier": "dev-1-0-0"}])
    for side in (0, 1):
        put(root / "images" / "train" / "3" / f"train-5-0-img{side}.png", png(side))
        put(root / "dev" / f"dev-1-0-img{side}.png", png(side))


@pytest.mark.parametrize("folder", [".", "nlvr/nlvr2/data"])
def test_official_nlvr2(tmp_path, folder):
    write_nlvr2_json(tmp_path, folder)
    found = read_data(tmp_path, "nlvr2")
    train = found.splits["train"]
    assert told(train) == [("both are red", None, (1,)), ("both are red", None, (0,))]
    assert [picture.read() for picture in train.samples[0].images] == [png(0), png(1)]
    assert train.samples[0].images == train.samples[1].images
    assert set(found.splits) == {"train", "val"}


def test_official_nlvr2_with_faults(tmp_path):
    write_nlvr2_json(tmp_path)
    put(tmp_path / "again" / "dev-1-0-img0.png", png())
    with (tmp_path / "train.json").open("a") as file:
        file.write('{not json\n7\n{"identifier": "train-9-0-1", "sentence": "", "label": "Perhaps"}\n')
        file.write('{"identifier": "train-9-0-1", "sentence": "gone", "label": "True"}\n')
    found = read_data(tmp_path, "nlvr2")
    assert found.splits["train"].unreadable == (
        "train.json, line 3: no JSON",
        "train.json, line 4: no JSON object",
        "train.json, line 5: label 'Perhaps' is none of False, True",
        "train.json, line 6: no image train-9-0-img0.png",
    )
    assert "2 files are called dev-1-0-img0.png" in found.splits["val"].unreadable[0]


@pytest.mark.parametrize(
    "name", ["dataset_flickr30k.json", "dataset_coco.json", "dataset.json", "karpathy/dataset.json"]
)
def test_karpathys_splits(tmp_path, name):
    def row(number, split, *captions):
        put(tmp_path / "pictures" / "deep" / f"{number}.jpg", png(number, "JPEG"))
        return {"filename": f"{number}.jpg", "split": split, "sentences": [{"raw": text} for text in captions]}

    rows = [row(0, "train", "a", "b"), row(1, "restval", "c"), row(2, "val", "d"), row(3, "test", "e")]
    bad = [row(4, "dev", "f"), row(5, "test"), row(6, "val", "g") | {"filename": "gone.jpg"}, 7]
    put(tmp_path / name, {"images": rows + bad, "dataset": "x"})
    splits = read_data(tmp_path, "irtr").splits
    assert [text for text, *_ in told(splits["train"])] == ["a", "b", "c"]
    assert first_pictures(splits["test"]) == [png(3, "JPEG")]
    reasons = [place.partition(", ")[2] for split in splits.values() for place in split.unreadable]
    assert sorted(reasons) == [
        "row 4: split 'dev' is none of train, restval, val, test",
        "row 5: no captions",
        "row 6: no image gone.jpg",
        "row 7: no JSON object",
    ]


def test_official_snli_ve(tmp_path):
    def line(label, text, image=12):
        return {"Flickr30K_ID": str(image), "sentence2": text, "gold_label": label}

    put(tmp_path / "flickr30k_images" / "12.jpg", png(1, "JPEG"))
    rows = [line("entailment", "a"), line("contradiction", "b"), line("-", "c"), line("neutral", "d", 13)]
    put(tmp_path / "snli_ve_train.jsonl", rows)
    put(tmp_path / "snli_ve_dev.jsonl", rows[:1])
    train = read_data(tmp_path, "snli-ve").splits["train"]
    assert told(train) == [("a", None, (2,)), ("b", None, (0,))]
    assert train.unreadable == (
        "snli_ve_train.jsonl, line 3: label '-' is none of contradiction, neutral, entailment",
        "snli_ve_train.jsonl, line 4: no image 13.jpg",
    )


# GLUE


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
    assert told(found.splits["train"]) == [(first, second, (label,)) for first, second, label in GLUE[name][2]]
    assert list(found.splits) == ["train", "val", *(["val mismatched"] if name == "MNLI" else [])]
    assert found.metrics == {"MRPC": ("f1",), "QQP": ("f1",), "CoLA": ("matthews",)}.get(name, ())
    assert len(found.labels) == (3 if name == "MNLI" else 2)


def test_glue_rows_that_are_none(tmp_path):
    write_glue(tmp_path, "SST-2")
    put(tmp_path / "train.tsv", "sentence\tlabel\na\t1\nb\nc\t2\n \t1\nd\t0\te\nf\t0\n")
    train = read_data(tmp_path, "text-classification").splits["train"]
    assert told(train) == [("a", None, (1,)), ("f", None, (0,))]
    assert train.unreadable == (
        "train.tsv, line 3: 1 columns, not 2",
        "train.tsv, line 4: label '2' is none of 0, 1",
        "train.tsv, line 5: sentence is empty",
        "train.tsv, line 6: 3 columns, not 2",
    )


def test_a_labelled_test_file_is_a_split(tmp_path):
    write_glue(tmp_path, "SST-2")
    put(tmp_path / "test.tsv", "sentence\tlabel\nlast\t1\n")
    assert told(read_data(tmp_path, "text-classification").splits["test"]) == [("last", None, (1,))]


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


# Named columns


def write_columns(root, name, rows):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        put(path, rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_files_with_named_columns(tmp_path, suffix):
    rows = [{"text": "one, or so", "label": "pos"}, {"text": "two", "label": "neg"}]
    for name in ("train", "validation", "test"):
        write_columns(tmp_path, f"{name}.{suffix}", rows)
    found = read_data(tmp_path, "text-classification")
    assert found.labels == ("neg", "pos")
    assert list(found.splits) == ["train", "val", "test"]
    assert told(found.splits["val"]) == [("one, or so", None, (1,)), ("two", None, (0,))]


@pytest.mark.parametrize("pair", [("premise", "hypothesis"), ("sentence1", "sentence2"), ("question", "sentence")])
def test_pairs_of_sentences_in_columns(tmp_path, pair):
    rows = [{pair[0]: "a", pair[1]: "b", "label": n} for n in (0, 1, 2)]
    write_columns(tmp_path, "train.jsonl", rows)
    found = read_data(tmp_path, "text-classification")
    assert found.labels == ("0", "1", "2")
    assert told(found.splits["train"])[2] == ("a", "b", (2,))


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
    assert told(found.splits["train"]) == [("what?", None, (0,)), ("how?", None, (1,)), ("why?", None, (0,))]
    assert first_pictures(found.splits["train"]) == [png(0), png(0), png(1)]
    val = found.splits["val"]
    assert (told(val), val.dropped) == ([("how?", None, (1,))], 1)
    assert val.unreadable[0].endswith("no image 2.png")


@pytest.mark.parametrize(
    ("answers", "labels", "scores"),
    [
        (["red"], (0,), (1.0,)),
        (["red", "blue", "red"], (0, 1), (1.0, 1.0)),
        (["red"] * 2 + ["blue"] * 8, (0, 1), (0.6, 1.0)),
        ([{"answer": "red", "answer_id": 1}] * 10, (0,), (1.0,)),
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
    assert [text for text, *_ in told(read_data(tmp_path, "irtr").splits["train"])] == ["a", "b", "c"]
    write_columns(
        tmp_path / "b",
        "train.csv",
        [{"image": "../0.png", "hypothesis": "h", "label": name} for name in ("neutral", "2")],
    )
    rows = read_data(tmp_path / "b", "snli-ve").splits["train"]
    assert told(rows) == [("h", None, (1,))]
    assert "label '2' is none of" in rows.unreadable[0]


def save_like_datasets(root, splits, names):
    """What ``DatasetDict.save_to_disk`` leaves: arrow streams with their features in the metadata."""
    features = {"label": {"names": list(names), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    for split, rows in splits.items():
        data = pa.Table.from_pylist(rows).replace_schema_metadata(metadata)
        path = root / split / "data-00000-of-00001.arrow"
        path.parent.mkdir(parents=True)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, data.schema) as writer:
            writer.write_table(data)
    put(root / "dataset_dict.json", {"splits": list(splits)})


def test_a_hugging_face_data_set_with_images(tmp_path):
    rows = [{"image": {"bytes": png(n), "path": None}, "hypothesis": f"h{n}", "label": n} for n in range(3)]
    save_like_datasets(tmp_path, {"train": rows, "validation": rows}, ("entailment", "neutral", "contradiction"))
    found = read_data(tmp_path, "snli-ve")
    assert found.labels == ("contradiction", "neutral", "entailment")
    assert told(found.splits["train"]) == [("h0", None, (2,)), ("h1", None, (1,)), ("h2", None, (0,))]
    assert first_pictures(found.splits["val"]) == [png(0), png(1), png(2)]


def test_a_hugging_face_data_set_without_test_labels(tmp_path):
    rows = [{"sentence": "good", "label": 1}, {"sentence": "bad", "label": 0}]
    hidden = [row | {"label": -1} for row in rows]
    splits = {"train": rows, "validation_matched": rows, "validation_mismatched": rows, "test": hidden}
    save_like_datasets(tmp_path, splits, ("negative", "positive"))
    found = read_data(tmp_path, "text-classification")
    assert found.labels == ("negative", "positive")
    assert list(found.splits) == ["train", "val", "val mismatched"]
    assert told(found.splits["val mismatched"]) == [("good", None, (1,)), ("bad", None, (0,))]


@pytest.mark.parametrize("name", ["{}.parquet", "data/{}-0000{}-of-00002.parquet"])
def test_images_in_parquet_are_read_by_row_groups(tmp_path, name):
    rows = [{"image": {"bytes": png(n), "path": f"{n}.png"}, "caption": str(n)} for n in range(7)]
    rows[5]["image"]["bytes"] = b"nonsense"
    for part, some in enumerate((rows[:4], rows[4:]) if "of" in name else (rows,)):
        path = tmp_path / name.format("train", part)
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(some), path, row_group_size=2)
    train = read_data(tmp_path, "irtr").splits["train"]
    assert first_pictures(train) == [png(n) for n in (0, 1, 2, 3, 4, 6)]
    assert len(train.unreadable) == 1


def test_files_of_a_split_with_other_columns(tmp_path):
    write_columns(tmp_path, "train.csv", [{"text": "a", "label": "x"}])
    write_columns(tmp_path, "val.csv", [{"body": "a", "label": "x"}])
    with refused(InputError, "column-missing", "val.csv", "column text (it has: body, label)"):
        read_data(tmp_path, "text-classification")


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("train/data-00000-of-00001.arrow", b"not arrow", "not-of-file-type"),
        ("train.parquet", b"not parquet", "not-of-file-type"),
        ("train.csv", b"text,label\n\xff\xfe,1\n", "not-text"),
        ("train.json", b"[1, 2", "not-json"),
    ],
)
def test_damaged_files(tmp_path, name, content, code):
    put(tmp_path / name, content)
    with refused(InputError, code, name.rpartition("/")[2]):
        read_data(tmp_path, "text-classification")


# Finding a layout


@pytest.mark.parametrize("task", TASKS)
def test_a_folder_without_data_lists_what_is_looked_for_and_what_is_there(tmp_path, task):
    put(tmp_path / "notes.txt", "hello")
    looked_for = [text for layout in TASKS[task].layouts for text in (layout.name, layout.looks_for)]
    with refused(InputError, "data-not-of-task", "notes.txt", *looked_for):
        read_data(tmp_path, task)


def test_data_of_another_task_is_named(tmp_path):
    write_nlvr2_json(tmp_path)
    with refused(InputError, "data-not-of-task", "data for nlvr2", "--task nlvr2"):
        read_data(tmp_path, "vqa")


def test_progress_sees_every_row(tmp_path):
    seen = []

    class Watch:
        def track(self, items, label, total=None):
            for item in items:
                seen.append((label, total))
                yield item

    write_table(tmp_path / "vqav2_train.arrow", table(3))
    read_data(tmp_path, "vqa", Watch())
    assert seen == [("reading vqav2_train.arrow", 3)] * 3
