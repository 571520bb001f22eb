"""Every text of files and folders."""

import json

import pytest

from compressor.errors import InputError
from compressor.vocabulary.read_texts import read_texts
from tests.support.command_line import refused


def test_lines_tables_and_folders(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "plain.log").write_text("\ufeffone text\n\n  \none text\r\n two\n", encoding="utf-8")
    (tmp_path / "table.tsv").write_text('sentence\tlabel\na "quoted" text\t1\n')
    rows = [{"_id": "d1", "title": "a title", "text": "a passage", "sizes": [["x", 3]], "score": 2.5}, "broken"]
    (tmp_path / "in" / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (tmp_path / "in" / "more.txt").write_text("more\n")
    (tmp_path / "in" / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    paths = [tmp_path / "plain.log", tmp_path / "table.tsv", tmp_path / "in"]
    assert read_texts(paths) == [
        *("one text", " two", 'a "quoted" text', "1", "d1", "a title", "a passage", "x", "more"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    (("empty.txt", b"\n \n", "texts-empty"), ("latin.txt", b"caf\xe9\n", "not-text"), ("no.csv", b"", "table-empty")),
)
def test_files_without_texts(tmp_path, name, content, code):
    (tmp_path / name).write_bytes(content)
    with refused(InputError, code, name):
        read_texts([tmp_path / name])


def test_a_folder_without_texts(tmp_path):
    with refused(InputError, "texts-empty", tmp_path):
        read_texts([tmp_path])
