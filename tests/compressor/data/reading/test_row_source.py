"""Files of text as people have them: CSV, TSV and JSON, and what stands in their place."""

import csv
import gzip
import json

import pytest

from compressor.data.read_data import read_data
from compressor.data.read_unlabelled import INPUTS, read_unlabelled
from compressor.data.reading.json_files import json_rows
from compressor.data.reading.row_source import text_source
from compressor.data.reading.rows import Unreadable
from compressor.errors import InputError
from compressor.tasks import TASKS
from tests.support.command_line import refused
from tests.support.data_files import png, put, tell

HALF = "hello \ud83d"
WHOLE = "hello \ud83d\ude00"  # two halves, which are one character
SAID = r"a text with half a character, '\ud83d'"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
PAGE = "\n<!DOCTYPE html>\n<title>Sign in</title>\n"


def sentences(root):
    return read_data(root, "text-classification").splits["train"]


class TestHalfCharacters:
    """JSON's escapes can write one half of a pair that only together is a character."""

    @pytest.mark.parametrize("name", ["train.jsonl", "train.json"])
    @pytest.mark.parametrize("column", ["sentence", "label"])
    def test_in_named_columns(self, tmp_path, name, column):
        rows = [{"sentence": WHOLE.encode("utf-16", "surrogatepass").decode("utf-16"), "label": "a"}] * 2
        rows.append(rows[0] | {column: HALF})
        put(tmp_path / name, json.dumps(rows) if name.endswith("json") else rows)
        train = sentences(tmp_path)
        assert tell(train) == [("hello 😀", None, (0,))] * 2
        assert train.unreadable == (f"{name}, {'row 2' if name.endswith('json') else 'line 3'}: {SAID}",)

    def test_in_nlvr2_and_snli_ve(self, tmp_path):
        for side in (0, 1):
            put(tmp_path / f"dev-1-0-img{side}.png", png())
        put(tmp_path / "7.jpg", png())
        texts = (WHOLE, HALF)
        statements = [{"identifier": "dev-1-0-0", "sentence": text, "label": "True"} for text in texts]
        put(tmp_path / "train.json", statements)
        hypotheses = [{"Flickr30K_ID": 7, "sentence2": text, "gold_label": "neutral"} for text in texts]
        put(tmp_path / "snli_ve_train.jsonl", hypotheses)
        for task, name in (("nlvr2", "train.json"), ("snli-ve", "snli_ve_train.jsonl")):
            train = read_data(tmp_path, task).splits["train"]
            assert [sample.text for sample in train.samples] == ["hello 😀"]
            assert train.unreadable == (f"{name}, line 2: {SAID}",)

    def test_in_karpathys_captions(self, tmp_path):
        put(tmp_path / "7.jpg", png())
        rows = [{"filename": "7.jpg", "split": "train", "sentences": [{"raw": text}]} for text in (WHOLE, HALF)]
        put(tmp_path / "dataset.json", {"images": rows})
        train = read_data(tmp_path, "irtr").splits["train"]
        assert len(train.samples) == 1
        assert train.unreadable == (f"dataset.json, row 1: {SAID}",)

    def test_in_questions_and_answers_of_vqa(self, tmp_path):
        for part in ("train2014", "val2014"):
            put(tmp_path / f"COCO_{part}_{7:012d}.jpg", png())
            asked = [{"question_id": n, "image_id": 7, "question": HALF if n == 9 else "why?"} for n in range(12)]
            answered = [
                {"question_id": n, "answers": [{"answer": HALF if n == 8 else "so"}], "multiple_choice_answer": "so"}
                for n in range(12)
            ]
            put(tmp_path / f"v2_OpenEnded_mscoco_{part}_questions.json", {"questions": asked})
            put(tmp_path / f"v2_mscoco_{part}_annotations.json", {"annotations": answered})
        train = read_data(tmp_path, "vqa").splits["train"]
        name = "v2_OpenEnded_mscoco_train2014_questions.json"
        assert len(train.samples) == 10
        assert train.unreadable == (
            f"{name}, row 8: no usable annotation of question 8",
            f"{name}, row 9: {SAID}",
        )
        inputs = read_unlabelled(tmp_path, TASKS["vqa"]).splits[INPUTS]
        assert [reason.partition(": ")[2] for reason in inputs.unreadable] == [SAID] * 2


class TestCsv:
    """CSV and TSV as other programs write them."""

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_lines_end_as_on_any_machine(self, tmp_path, end):
        put(tmp_path / "train.csv", end.join(["text,label", "good,1", '"bad, really",0', ""]).encode())
        assert tell(sentences(tmp_path)) == [("good", None, (1,)), ("bad, really", None, (0,))]

    def test_spaces_around_the_names_and_after_commas_mean_nothing(self, tmp_path):
        put(tmp_path / "train.csv", 'text , label\ngood, 1\n"bad, really", "0"\n')
        assert tell(sentences(tmp_path)) == [("good", None, (1,)), ("bad, really", None, (0,))]

    def test_a_column_without_a_name_is_an_index(self, tmp_path):
        put(tmp_path / "train.csv", "\ufeff,text,label,\n0,good,1,\n1,bad,0,\n")
        assert tell(sentences(tmp_path)) == [("good", None, (1,)), ("bad", None, (0,))]

    @pytest.mark.parametrize("name", ["train.csv", "train.tsv"])
    def test_two_columns_of_one_name_are_refused_where_they_are_read(self, tmp_path, name):
        lines = [["text", "note", "label", "note"], ["good", "a", "1", "b"], ["bad", "a", "0", "b"]]
        separator = "," if name.endswith("csv") else "\t"
        put(tmp_path / name, "".join(separator.join(line) + "\n" for line in lines))
        assert len(sentences(tmp_path).samples) == 2
        lines[0][1] = "label"
        put(tmp_path / name, "".join(separator.join(line) + "\n" for line in lines))
        with refused(InputError, "column-twice", name, "2 columns called label"):
            sentences(tmp_path)

    def test_a_quote_that_nothing_closes_swallows_no_rows_in_silence(self, tmp_path):
        put(tmp_path / "train.csv", 'text,label\ngood,1\n"open,1\nbad,0\n"closed, late",0\n')
        with refused(InputError, "quote-not-closed", "train.csv", "line 3"):
            sentences(tmp_path)

    def test_careless_quotes_in_a_line_are_read_as_everyone_reads_them(self, tmp_path):
        put(tmp_path / "train.csv", 'text,label\n"a" b,1\nsaid "hi" twice,0\n"one ""word""",0\n"two\nlines",1\n"end,1')
        train = sentences(tmp_path)
        assert tell(train) == [
            ("a b", None, (1,)),
            ('said "hi" twice', None, (0,)),
            ('one "word"', None, (0,)),
            ("two\nlines", None, (1,)),
        ]
        assert train.unreadable == ("train.csv, line 7: 1 columns, not 2",)

    def test_a_cell_may_be_long(self, tmp_path):
        put(tmp_path / "train.csv", f"text,label\n{'long ' * 50_000},1\nb,0\n")
        assert len(sentences(tmp_path).samples[0].text) == 250_000

    def test_zero_bytes_and_late_marks_are_characters(self, tmp_path):
        put(tmp_path / "train.csv", "text,label\na\0b,1\n\ufeffc,0\n")
        assert tell(sentences(tmp_path)) == [("a\0b", None, (1,)), ("\ufeffc", None, (0,))]

    @pytest.mark.parametrize(
        ("name", "header", "said"),
        [
            ("train.csv", "text;label", "separated by semicolons"),
            ("train.csv", "text; label", "separated by semicolons"),
            ("train.csv", "the text\tlabel", "separated by tabs"),
            ("train.tsv", "text,label", "separated by commas"),
            ("train.tsv", "text;label", "separated by semicolons"),
        ],
    )
    def test_another_separator_than_the_suffix_says_is_named(self, tmp_path, name, header, said):
        put(tmp_path / name, f"{header}\ngood;1\n")
        with refused(InputError, "wrong-separator", tmp_path / name, said):
            sentences(tmp_path)

    @pytest.mark.parametrize("name", ["train.csv", "train.tsv"])
    def test_a_header_alone_is_no_table(self, tmp_path, name):
        put(tmp_path / name, "text,label\n" if name.endswith("csv") else "text\tlabel\n")
        with refused(InputError, "table-empty", name):
            sentences(tmp_path)


def test_json_lines_that_are_none_say_why(tmp_path):
    put(tmp_path / "a.jsonl", '\n{"text": "a"}\n\ufeff{"text": "b"}\n{"text": \n7\n')
    (_, first), *others = json_rows(tmp_path / "a.jsonl")
    assert first == {"text": "a"}
    assert [place for place, _ in others] == ["a.jsonl, line 3", "a.jsonl, line 4", "a.jsonl, line 5"]
    reasons = [str(row) for _, row in others if isinstance(row, Unreadable)]
    assert "byte" not in reasons[1]
    assert "BOM" in reasons[0]
    assert reasons[2] == "no JSON object"


def test_a_list_may_begin_after_empty_lines(tmp_path):
    put(tmp_path / "a.json", '\n\n[{"text": "a"}]')
    assert [row for _, row in json_rows(tmp_path / "a.json")] == [{"text": "a"}]


@pytest.mark.parametrize("name", ["train.csv", "train.tsv", "train.jsonl", "train.json", "dataset.json"])
@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (LFS.encode(), "not-a-table", "git lfs pull"),
        (PAGE.encode(), "not-a-table", "a web page"),
        (gzip.compress(b"text,label\n" * 9, mtime=0), "not-text", "compressed by gzip"),
        (b"PK\x03\x04\x14\xff\xff", "not-text", "a zip archive"),
        ("text,label\na,1\n".encode("utf-16"), "not-text", "UTF-16"),
        ("text,label\na,1\n".encode("utf-16-be"), "not-text", "UTF-16"),
        ("text,label\na,1\ncafé,1\n".encode("latin1"), "not-text", "line 3 holds the byte 0xe9"),
    ],
)
def test_what_stands_in_place_of_a_table_is_said(tmp_path, name, content, code, said):
    put(tmp_path / name, content)
    with refused(InputError, code, tmp_path / name, said):
        read_data(tmp_path, "irtr" if name == "dataset.json" else "text-classification")


def test_answers_are_text_too(tmp_path):
    put(tmp_path / "train.jsonl", [{"question": "why?", "answer": "so", "image": "a.png"}])
    put(tmp_path / "answers.txt", "ja\nnaïf\n".encode("latin1"))
    with refused(InputError, "not-text", "answers.txt", "line 2 holds the byte 0xef"):
        read_data(tmp_path, "vqa")


@pytest.mark.parametrize(("name", "content", "code"), [("train.json", b"[1, 2", "not-json")])
def test_damaged_files(tmp_path, name, content, code):
    put(tmp_path / name, content)
    with refused(InputError, code, name.rpartition("/")[2]):
        read_data(tmp_path, "text-classification")


def test_rows_are_read_again_where_they_lie(tmp_path):
    """Images in a text file are found by the bytes of their rows, whatever stands before them."""
    put(tmp_path / "b.csv", '\ufefftext,image\r\n"ä\r\n""b""","data:,1"\r\né,"data:,2"\r\n'.encode())
    rows = list(text_source([tmp_path / "b.csv"]).rows(["text", "image"]))
    assert [(place, row["text"], row["image"].value()) for place, row in rows] == [
        ("b.csv, line 3", 'ä\r\n"b"', "data:,1"),
        ("b.csv, line 4", "é", "data:,2"),
    ]


class TestQuotedTsv:
    """TSV files of pandas and of spreadsheets are quoted as CSV is; those of GLUE are not."""

    ROWS = (("plain", 0), ('she said "no"', 1), ('"yes" and "no"', 0), ("a\tb", 1))

    def test_rows_are_those_that_were_written(self, tmp_path):
        for name in ("train", "val"):
            with (tmp_path / f"{name}.tsv").open("w", newline="") as file:
                csv.writer(file, delimiter="\t").writerows([("sentence", "label"), *self.ROWS])
        assert tell(sentences(tmp_path)) == [(text, None, (label,)) for text, label in self.ROWS]

    @pytest.mark.parametrize("text", ['"a" word', 'a "" b', '"a"', '"open'])
    def test_other_quotes_are_characters(self, tmp_path, text):
        put(tmp_path / "train.tsv", f"sentence\tlabel\n{text}\t0\nplain\t1\n")
        put(tmp_path / "val.tsv", "sentence\tlabel\nplain\t1\n")
        assert tell(sentences(tmp_path))[0] == (text, None, (0,))
