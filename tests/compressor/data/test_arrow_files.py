"""Arrow tables and fingerprints of files."""

import pytest

from compressor.data.arrow_files import fingerprint, write_table
from compressor.data.read_data import read_data
from compressor.errors import InputError
from tests.support.command_line import refused
from tests.support.data_files import save_like_datasets, table, write_tables


def test_fingerprints_follow_the_content(tmp_path):
    write_tables(tmp_path, train=20)
    before = fingerprint(tmp_path / "vqav2_train.arrow")
    write_table(tmp_path / "vqav2_train.arrow", table(20) | {"split": ["other"] * 20})
    assert fingerprint(tmp_path / "vqav2_train.arrow") != before


@pytest.mark.parametrize(("task", "code"), [("vqa", "not-arrow"), ("text-classification", "not-arrow")])
def test_cells_are_checked_before_any_is_read(tmp_path, task, code):
    write_tables(tmp_path, train=1)
    save_like_datasets(tmp_path, {"train": [{"sentence": "what color?", "label": 0}]}, ["no"])
    for path in tmp_path.rglob("*.arrow"):
        path.write_bytes(path.read_bytes().replace(b"what color", b"what\xffcolor"))
    with refused(InputError, code, "UTF8"):
        read_data(tmp_path, task)
