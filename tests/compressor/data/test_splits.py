"""Which samples take which role, and what the numbers of their classes mean."""

import io
import json
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from compressor.data.labels import align_labels
from compressor.data.read import read_data
from compressor.data.roles import make_splits
from compressor.data.types import ImageRef, RawDataset, Records, Sample, Transforms
from compressor.errors import InputError
from compressor.tasks import TASKS

TEXT, VQA, NLVR2 = TASKS["text-classification"], TASKS["vqa"], TASKS["nlvr2"]


def labelled(*labels):
    return Records((), tuple(Sample(str(i), labels=(label,), scores=(1.0,)) for i, label in enumerate(labels)))


def found(names, *labels, **more):
    return RawDataset("x", {"train": labelled(*labels)}, names, **more)


def numbers(of):
    return [sample.labels for sample in of.splits["train"].samples]


def roles(given, task=TEXT, classes=2):
    return make_splits(given, "folder", task, Transforms(lambda texts, seconds=None: {}, None), classes)


def test_classes_are_numbered_as_the_model_numbers_them():
    moved = align_labels(found(("negative", "positive"), 0, 1), ("POSITIVE", "NEGATIVE"), TEXT)
    assert (numbers(moved), moved.labels) == ([(1,), (0,)], ("POSITIVE", "NEGATIVE"))


def test_numbers_stay_numbers():
    for names in (("0", "1"), ("<class 0>", "<class 1>")):
        given = found(names, 0, 1)
        assert align_labels(given, ("POSITIVE", "NEGATIVE"), TEXT) is given


@pytest.mark.parametrize("names", [("negative", "positive"), ("negative", "neutral", "positive")])
@pytest.mark.parametrize("own", [("aneg", "zpos"), ("neg", "positive")])
def test_a_class_that_the_model_has_no_name_for_is_an_error(names, own):
    with pytest.raises(InputError, match="the model names its classes negative"):
        align_labels(found(own, 0, 1), names, TEXT)


def test_answers_that_the_model_does_not_know_are_dropped_and_counted():
    moved = align_labels(found(("yes", "purple"), 0, 1, 1), ("no", "yes"), VQA)
    assert (numbers(moved), moved.splits["train"].dropped) == ([(1,)], 2)


def test_names_in_an_order_of_their_own_need_a_checkpoint_that_names_its_classes():
    given = found(("bad", "good"), 0, 1, numbered_here=True)
    with pytest.raises(InputError, match="does not say what its classes are called"):
        align_labels(given, (), TEXT)
    assert align_labels(given, ("good", "bad"), TEXT).labels == ("good", "bad")
    assert align_labels(given, (), TEXT, own_head=False) is given


def test_a_new_head_takes_the_numbers_of_the_data():
    given = found(("x", "y"), 0, 1)
    assert align_labels(given, ("O", "x", "b", "c", "y"), TEXT, own_head=False) is given


def test_every_class_of_the_head_has_a_name():
    given = RawDataset("x", {"train": labelled(*[0, 1] * 10), "val": labelled(0)}, ("bad", "good"))
    assert roles(given, classes=4).labels == ("bad", "good", "<class 2>", "<class 3>")


def test_a_tenth_of_a_sorted_file_has_every_class():
    data = roles(RawDataset("x", {"train": labelled(*[0] * 100, *[1] * 100), "val": labelled(0)}, ("a", "b")))
    assert {sample.labels for sample in data.held_out.samples} == {(0,), (1,)}
    assert (len(data.train), len(data.held_out)) == (180, 20)
    again = roles(RawDataset("x", {"train": labelled(*[0] * 100, *[1] * 100), "val": labelled(0)}, ("a", "b")))
    assert again.held_out.samples == data.held_out.samples


def picture(number):
    return ImageRef(str(number), bytes)


def test_no_image_of_a_pair_is_on_both_sides():
    pictures = [picture(i) for i in range(60)]
    chains = [pair for start in range(0, 60, 3) for pair in pairwise(pictures[start : start + 3])]
    samples = tuple(Sample("s", images=pair, labels=(0,), scores=(1.0,)) for pair in (*chains[::2], *chains[1::2]))
    data = roles(RawDataset("x", {"train": Records((), samples), "val": labelled(0)}, ("a", "b")), NLVR2)
    sides = [{p for s in split.samples for p in s.images} for split in (data.train, data.held_out)]
    assert len(data.held_out) == 4
    assert not sides[0] & sides[1]


def test_rows_without_use_are_counted_once():
    rows = Records((), (*labelled(*([0, 1] * 20)).samples, Sample("no answer")), ("bad row",), dropped=3)
    data = roles(
        RawDataset("x", {"train": Records(rows.files, rows.samples * 3, rows.unreadable, 3), "val": labelled(0)}, ())
    )
    described = [split.describe() for split in (data.train, data.held_out)]
    assert [entry["dropped"] for entry in described] == [6, 0]
    assert [entry["unreadable"] for entry in described] == [["bad row"], []]


def png(value):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def test_captions_of_one_image_share_its_picture_wherever_the_bytes_stand(tmp_path):
    for split, images in (("train", 6), ("val", 3), ("test", 3)):
        rows = [
            {"image": {"bytes": png(i), "path": None}, "caption": f"{i} {n}"} for n in range(5) for i in range(images)
        ]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{split}.parquet")
    data = roles(read_data(tmp_path, "irtr"), TASKS["irtr"], 1)
    assert (len(data.train.gallery), len(data.evaluation.gallery)) == (6, 3)
    assert torch.bincount(torch.from_numpy(data.evaluation.owners)).tolist() == [5, 5, 5]


def test_captions_of_one_image_cannot_be_told_apart():
    one = picture(0)
    samples = tuple(Sample(str(i), images=(one,)) for i in range(4))
    with pytest.raises(InputError, match="captions of one image"):
        roles(
            RawDataset("x", {name: Records((), samples) for name in ("train", "val", "test")}, ("match",)),
            TASKS["irtr"],
            1,
        )


def test_vqa_in_columns_takes_the_order_of_answers_txt(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(png(1))
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text("image,question,answer\na.png,what?,red\na.png,which?,no\n")
    given = read_data(tmp_path, "vqa")
    assert (given.labels, given.numbered_here) == (("red", "no"), True)
    (tmp_path / "answers.txt").write_text("yes\nno\nred\n")
    given = read_data(tmp_path, "vqa")
    assert (given.labels, given.numbered_here) == (("yes", "no", "red"), False)
    assert [sample.labels for sample in given.splits["train"].samples] == [(2,), (1,)]


def test_named_datasets_keep_their_metric(tmp_path):
    rows = [{"sentence": f"s{i}", "label": i % 2} for i in range(20)]
    features = {"label": {"names": ["unacceptable", "acceptable"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    for split in ("train", "validation"):
        table = pa.Table.from_pylist(rows).replace_schema_metadata(metadata)
        pq.write_table(table, tmp_path / f"{split}.parquet")
    assert read_data(tmp_path, "text-classification").metrics == ("matthews",)
