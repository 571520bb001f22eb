"""NLVR2's JSON lines."""

import pytest

from compressor.data.arrow_files import fingerprint
from compressor.data.read_data import read_data
from compressor.data.roles import make_splits
from compressor.data.types import Reading
from compressor.errors import InputError
from compressor.tasks import TASKS
from tests.support.command_line import refused
from tests.support.data_files import png, put, statement, tell, transforms, write_nlvr2_json


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
        "train.json, line 3: no JSON (Expecting property name enclosed in double quotes)",
        "train.json, line 4: no JSON object",
        "train.json, line 5: label 'Perhaps' is none of False, True",
        "train.json, line 6: no image train-9-0-img0.png",
    )
    assert "2 files are called dev-1-0-img0.png" in found.splits["val"].unreadable[0]


def write_statements(root, part, pairs, images):
    """Two statements on each pair; ``images`` of the pairs, the first ones, are there, the others are not."""
    numbers = [(pair, number) for pair in range(pairs) for number in (0, 1)]
    put(root / f"{part}.json", [statement(f"{part}-{i}-0-{n}", ["False", "True"][n]) for i, n in numbers])
    for pair in range(images):
        for side in (0, 1):
            put(root / part / f"{part}-{pair}-0-img{side}.png", png(pair))


def splits(root):
    return make_splits(read_data(root, "nlvr2"), root, TASKS["nlvr2"], transforms(), 2)


def test_statements_whose_images_are_gone_from_the_web_are_left_out_however_many(tmp_path):
    write_statements(tmp_path, "train", 20, 19)
    write_statements(tmp_path, "dev", 10, 9)
    write_statements(tmp_path, "test1", 10, 7)
    put(tmp_path / "test2.json", [statement("test2-0-0-0")])
    data = splits(tmp_path)
    assert [(split.name, len(split)) for split in (data.train, data.held_out, data.evaluation, *data.extra)] == [
        ("train", 38),
        ("val", 18),
        ("test", 14),
        ("val", 18),
    ]
    left_out = data.evaluation.describe()["unreadable"]
    assert left_out[0] == "test1.json, line 15: no image test1-7-0-img0.png"
    assert len(left_out) == 6


@pytest.mark.parametrize(("of_train", "code"), [(0, "too-many-unusable-rows"), (3, "split-missing")])
def test_a_split_without_any_image_is_none(tmp_path, of_train, code):
    write_statements(tmp_path, "train", 3, of_train)
    write_statements(tmp_path, "dev", 3, 0)
    with refused(InputError, code, "no image"):
        splits(tmp_path)


def test_statements_that_a_run_left_out_stay_out_when_their_images_come_back(tmp_path):
    write_statements(tmp_path, "train", 20, 19)
    write_statements(tmp_path, "dev", 10, 7)
    before = read_data(tmp_path, "nlvr2")
    checked = {fingerprint(rows.files[0]): rows.unreadable for rows in before.splits.values()}
    for name in ("dev-7-0-img0.png", "dev-7-0-img1.png"):
        put(tmp_path / "dev" / name, png())
    after = read_data(tmp_path, "nlvr2", reading=Reading(checked=checked))
    for split, rows in before.splits.items():
        assert (rows.unreadable, rows.absent) == (after.splits[split].unreadable, after.splits[split].absent)
        assert tell(rows) == tell(after.splits[split])


def test_images_that_are_there_and_damaged_are_not_gone_from_the_web(tmp_path):
    write_statements(tmp_path, "train", 20, 19)
    write_statements(tmp_path, "dev", 10, 10)
    put(tmp_path / "dev" / "dev-3-0-img1.png", b"an error page")
    with refused(InputError, "too-many-unusable-rows", "dev-3-0-img1.png does not decode"):
        splits(tmp_path)


@pytest.mark.parametrize("label", ["True", True, "False", False])
def test_labels_are_texts_or_truth_values(tmp_path, label):
    write_nlvr2_json(tmp_path)
    put(tmp_path / "dev.json", [statement("dev-1-0-0", label)])
    (sample,) = read_data(tmp_path, "nlvr2").splits["val"].samples
    assert sample.labels == (int(str(label) == "True"),)
