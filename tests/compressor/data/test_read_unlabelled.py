"""Inputs without answers, in whatever files they lie."""

import pyarrow as pa
import pytest

from compressor.data.arrow_files import write_table
from compressor.data.read_unlabelled import INPUTS, read_unlabelled
from compressor.errors import InputError
from compressor.tasks import TASKS
from tests.support.command_line import refused
from tests.support.data_files import png, put


def inputs(root, task):
    return read_unlabelled(root, TASKS[task]).splits[INPUTS]


def told(rows):
    return [(sample.text, sample.second) for sample in rows.samples]


def test_any_file_with_the_columns_is_read_and_answers_are_not(tmp_path):
    put(tmp_path / "mine.csv", 'text\n"good, really"\nbad\n')
    put(tmp_path / "train.tsv", "sentence\tlabel\nfine\tno such class\nbad\t1\n")
    put(tmp_path / "more.jsonl", [{"text": "dull"}, {"text": "good, really"}])
    put(tmp_path / "notes.json", {"about": "this folder"})
    put(tmp_path / "labels.csv", "number,label\n0,1\n")
    rows = inputs(tmp_path, "text-classification")
    assert told(rows) == [("good, really", None), ("bad", None), ("dull", None), ("fine", None)]
    assert [path.name for path in rows.files] == ["mine.csv", "more.jsonl", "train.tsv"]
    assert all(sample.labels == () for sample in rows.samples)


@pytest.mark.parametrize(
    ("header", "pair"),
    [
        ("index\tsentence", ("a", None)),
        ("index\tsentence1\tsentence2", ("a", "b")),
        ("id\tquestion1\tquestion2", ("a", "b")),
        ("index\tquestion\tsentence", ("a", "b")),
        ("index\t#1 ID\t#2 ID\t#1 String\t#2 String", ("a", "b")),
    ],
)
def test_the_test_files_of_glue(tmp_path, header, pair):
    columns = header.split("\t")
    texts = iter("ab")
    row = [next(texts) if name.startswith(("sentence", "question")) or "String" in name else "7" for name in columns]
    put(tmp_path / "test.tsv", header + "\n" + "\t".join(row) + "\n")
    assert told(inputs(tmp_path, "text-classification")) == [pair]


def test_the_test_file_of_qqp_is_quoted(tmp_path):
    put(tmp_path / "test.tsv", 'id\tquestion1\tquestion2\n0\t"What is ""it""?"\tWhy?\n1\t"How?\n"\tWho?\n')
    assert told(inputs(tmp_path, "text-classification")) == [('What is "it"?', "Why?"), ("How?\n", "Who?")]


def test_questions_of_vqa_v2_without_annotations(tmp_path):
    for part, number in (("val2014", 42), ("test2015", 7)):
        put(tmp_path / "images" / f"COCO_{part}_{number:012d}.jpg", png(number, "JPEG"))
    asked_of = [{"image_id": 42, "question": "why?", "question_id": 1}, {"image_id": 42, "question": "how?"}]
    put(tmp_path / "v2_OpenEnded_mscoco_val2014_questions.json", {"questions": asked_of})
    later = {
        "questions": [
            {"image_id": 7, "question": "who?"},
            {"image_id": 8, "question": "gone"},
            {"question": "of what?"},
        ]
    }
    put(tmp_path / "questions" / "v2_OpenEnded_mscoco_test-dev2015_questions.json", later)
    rows = inputs(tmp_path, "vqa")
    assert sorted(told(rows)) == [("how?", None), ("who?", None), ("why?", None)]
    by_text = {sample.text: sample.images[0] for sample in rows.samples}
    assert by_text["why?"] is by_text["how?"]
    assert by_text["who?"].read() == png(7, "JPEG")
    assert len(rows.unreadable) == 2


def test_tables_whose_answers_are_not_public(tmp_path):
    empty = {"answers": [[], []], "answer_labels": [[], []], "answer_scores": [[], []]}
    write_table(
        tmp_path / "vqav2_test.arrow", {"image": [png(1), png(2)], "questions": [["a?", "b?"], ["a?"]], **empty}
    )
    write_table(tmp_path / "vqav2_val.arrow", {"image": [png(2)], "questions": [["a?", "c?"]]})
    rows = inputs(tmp_path, "vqa")
    assert told(rows) == [("a?", None), ("b?", None), ("a?", None), ("c?", None)]
    assert rows.samples[2].images[0] is rows.samples[3].images[0]


def test_pairs_of_sentences_in_tables_give_the_second(tmp_path):
    write_table(
        tmp_path / "snli_test.arrow", {"image": [png()], "sentences": [[["a man", "a person"], ["a man", "a dog"]]]}
    )
    assert told(inputs(tmp_path, "snli-ve")) == [("a person", None), ("a dog", None)]


def test_repositories_of_snli_ve_and_nlvr2(tmp_path):
    put(tmp_path / "ve" / "snli_ve_test.jsonl", [{"Flickr30K_ID": "30", "sentence1": "x", "sentence2": "a dog"}])
    put(tmp_path / "ve" / "flickr30k_images" / "30.jpg", png(3, "JPEG"))
    assert told(inputs(tmp_path / "ve", "snli-ve")) == [("a dog", None)]
    put(tmp_path / "two" / "test2.json", [{"identifier": "test2-0-1-0", "sentence": "two dogs"}])
    for side in (0, 1):
        put(tmp_path / "two" / "images" / f"test2-0-1-img{side}.png", png(side))
    (sample,) = inputs(tmp_path / "two", "nlvr2").samples
    assert [picture.read() for picture in sample.images] == [png(0), png(1)]


def test_statements_without_their_images_are_no_inputs_and_no_fault(tmp_path):
    put(tmp_path / "dev.json", [{"identifier": f"dev-{n}-1-0", "sentence": "two dogs"} for n in range(3)])
    for side in (0, 1):
        put(tmp_path / "dev" / f"dev-0-1-img{side}.png", png(side))
    rows = inputs(tmp_path, "nlvr2")
    assert (len(rows.samples), len(rows.unreadable), rows.absent) == (1, 2, 2)


def test_named_columns_with_images(tmp_path):
    put(tmp_path / "images" / "a.png", png(5))
    put(tmp_path / "ask.jsonl", [{"question": "what?", "image": "a.png"}])
    (sample,) = inputs(tmp_path, "vqa").samples
    assert sample.images[0].read() == png(5)


@pytest.mark.parametrize("place", ["data-00000-of-00001.arrow", "train/data-00000-of-00001.arrow"])
def test_what_datasets_saves(tmp_path, place):
    table = pa.table({"text": ["a", "b"]})
    (tmp_path / place).parent.mkdir(exist_ok=True)
    with pa.OSFile(str(tmp_path / place), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    put(tmp_path / "dataset_info.json", {"features": {}})
    assert told(inputs(tmp_path, "text-classification")) == [("a", None), ("b", None)]


def test_a_folder_without_inputs_says_what_it_has(tmp_path):
    put(tmp_path / "reviews.csv", "opinion,stars\nnice,3\n")
    with refused(InputError, "no-inputs-for-task", "reviews.csv (columns: opinion, stars)", "sentence1 and sentence2"):
        read_unlabelled(tmp_path, TASKS["text-classification"])
    (tmp_path / "empty").mkdir()
    with refused(InputError, "no-inputs-for-task", "vqa: no table"):
        read_unlabelled(tmp_path / "empty", TASKS["vqa"])
