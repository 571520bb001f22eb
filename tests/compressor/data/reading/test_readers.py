"""Files of rows: damaged ones, and images in Parquet."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compressor.data.read_data import read_data
from compressor.errors import InputError
from tests.support.command_line import refused
from tests.support.data_files import first_images, png, put


@pytest.mark.parametrize("name", ["{}.parquet", "data/{}-0000{}-of-00002.parquet"])
def test_images_in_parquet_are_read_by_row_groups(tmp_path, name):
    rows = [{"image": {"bytes": png(n), "path": f"{n}.png"}, "caption": str(n)} for n in range(7)]
    rows[5]["image"]["bytes"] = b"nonsense"
    for part, some in enumerate((rows[:4], rows[4:]) if "of" in name else (rows,)):
        path = tmp_path / name.format("train", part)
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(some), path, row_group_size=2)
    train = read_data(tmp_path, "irtr").splits["train"]
    assert first_images(train) == [png(n) for n in (0, 1, 2, 3, 4, 6)]
    assert len(train.unreadable) == 1


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
