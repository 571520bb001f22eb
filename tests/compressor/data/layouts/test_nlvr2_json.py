"""NLVR2's JSON lines."""

import pytest

from compressor.data.read_data import read_data
from tests.support.data_files import png, put, tell, write_nlvr2_json


@pytest.mark.parametrize("folder", [".", "nlvr/nlvr2/data"])
def test_official_nlvr2(tmp_path, folder):
    write_nlvr2_json(tmp_path, folder)
    found = read_data(tmp_path, "nlvr2")
    train = found.splits["train"]
    assert tell(train) == [("both are red", None, (1,)), ("both are red", None, (0,))]
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
