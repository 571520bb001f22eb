"""Arrow tables and fingerprints of files."""

from compressor.data.arrow_files import fingerprint, write_table
from tests.support.data_files import table, write_tables


def test_fingerprints_follow_the_content(tmp_path):
    write_tables(tmp_path, train=20)
    before = fingerprint(tmp_path / "vqav2_train.arrow")
    write_table(tmp_path / "vqav2_train.arrow", table(20) | {"split": ["other"] * 20})
    assert fingerprint(tmp_path / "vqav2_train.arrow") != before
