"""Which samples take which role."""

from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from compressor.data.arrow_files import write_table
from compressor.data.read_data import read_data
from compressor.data.roles import make_scored, make_splits
from compressor.data.types import SCORED, ImageRef, RawDataset, Reading, Records, Sample, Transforms
from compressor.errors import InputError
from compressor.tasks import TASKS
from tests.support.command_line import refused
from tests.support.data_files import png, put, splits_of, table, write_columns, write_tables

TEXT, VQA, NLVR2 = TASKS["text-classification"], TASKS["vqa"], TASKS["nlvr2"]


def labelled(*labels):
    return Records((), tuple(Sample(str(i), labels=(label,), scores=(1.0,)) for i, label in enumerate(labels)))


def roles(given, task=TEXT, classes=2):
    return make_splits(given, "folder", task, Transforms(lambda texts, seconds=None: {}, None), classes)


def test_every_class_of_the_head_has_a_name():
    given = RawDataset("x", {"train": labelled(*[0, 1] * 10), "val": labelled(0)}, ("bad", "good"))
    assert roles(given, classes=4).labels == ("bad", "good", "<class 2>", "<class 3>")


@pytest.mark.parametrize("make", [make_splits, make_scored])
def test_a_list_of_classes_longer_than_the_head_is_not_its_list(make):
    given = RawDataset("x", {"train": labelled(*[0, 1] * 10), "val": labelled(0)}, ("bad", "good", "never"))
    transforms = Transforms(lambda texts, seconds=None: {}, None)
    with refused(InputError, "more-classes-than-head", "3 classes", "2"):
        make(given, "folder", TEXT, transforms, 2)


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


def images_of(split):
    return {sample.images for sample in split.samples}


def test_with_a_test_split_the_layers_are_chosen_on_val(tmp_path):
    data = splits_of(write_tables(tmp_path, train=20, val=4, test=5))
    assert [split.name for split in (data.train, data.held_out, data.evaluation)] == ["train", "val", "test"]
    assert [len(split) for split in (data.train, data.held_out, data.evaluation)] == [40, 8, 10]


def test_without_a_test_split_a_tenth_of_the_images_is_held_out(tmp_path):
    data = splits_of(write_tables(tmp_path, train=20, val=4))
    assert data.evaluation.name == "val"
    assert (len(data.train), len(data.held_out)) == (36, 4)
    assert not images_of(data.train) & images_of(data.held_out)


def test_labels_that_the_head_does_not_have(tmp_path):
    folder = write_tables(tmp_path, train=20)
    write_table(folder / "vqav2_val.arrow", table(3, first_label=3))
    with refused(InputError, "label-beyond-head", "vqav2_val.arrow", "label 3,", "3 classes"):
        splits_of(folder)


def test_too_few_images_to_hold_some_out(tmp_path):
    with refused(InputError, "nothing-to-train-on"):
        splits_of(write_tables(tmp_path, train=1, val=3))


@pytest.mark.parametrize(("bad", "fails"), [(1, False), (3, True)])
def test_more_than_a_hundredth_of_unreadable_rows_fails(tmp_path, bad, fails):
    columns = table(100)
    columns["image"][:bad] = [b"nothing"] * bad
    write_table(tmp_path / "vqav2_train.arrow", columns)
    write_tables(tmp_path, val=3)
    if fails:
        with refused(InputError, "too-many-unusable-rows", "vqav2_train.arrow, row 0: the image does not decode"):
            splits_of(tmp_path)
    else:
        assert splits_of(tmp_path).train.describe()["unreadable"] == [
            "vqav2_train.arrow, row 0: the image does not decode (cannot identify image file)"
        ]


def test_a_training_split_alone_is_not_enough(tmp_path):
    with refused(InputError, "split-missing", "splits: train"):
        splits_of(write_tables(tmp_path, train=5))


def scored(given, task=TEXT, classes=2):
    return make_scored(given, "folder", task, Transforms(None, None), classes)


STATEMENT = {"identifier": "test1-0-0-0", "sentence": "s", "label": "True"}
HYPOTHESIS = {"gold_label": "neutral", "Flickr30K_ID": "0", "sentence2": "s"}
PICTURE = {"filename": "0.jpg", "split": "test", "sentences": [{"raw": "s"}]}
ALONE = (
    ("vqa", {"vqav2_test.arrow": table(1)}, "test"),
    ("vqa", {"vqav2_rest_val.arrow": table(1)}, "val"),
    ("vqa", {"test.jsonl": [{"question": "s", "answer": "a", "image": "0.jpg"}]}, "test"),
    ("nlvr2", {"test1.json": [STATEMENT]}, "test"),
    ("nlvr2", {"dev.json": [STATEMENT]}, "val"),
    ("snli-ve", {"snli_ve_test.jsonl": [HYPOTHESIS]}, "test"),
    ("irtr", {"dataset.json": {"images": [PICTURE]}}, "test"),
    ("text-classification", {"dev.tsv": "sentence\tlabel\ns\t1\n"}, "val"),
    ("text-classification", {"dev.tsv": "s\t1\ns\t1\n"}, "val"),
    (
        "text-classification",
        {"dev_mismatched.tsv": "sentence1\tsentence2\tgold_label\ns\tt\tneutral\n"},
        "val mismatched",
    ),
    ("text-classification", {"test.csv": "text,label\ns,1\n"}, "test"),
)


@pytest.mark.parametrize(("task", "files", "split"), ALONE)
def test_a_split_that_is_scored_needs_no_other(tmp_path, task, files, split):
    for name, content in files.items():
        write_table(tmp_path / name, content) if name.endswith(".arrow") else put(tmp_path / name, content)
    for name in ("0.jpg", "test1-0-0-img0.png", "test1-0-0-img1.png"):
        put(tmp_path / name, png())
    data = scored(read_data(tmp_path, task, reading=Reading(splits=SCORED)), TASKS[task], 3)
    assert (data.evaluation.name, data.extra) == (split, ())
    assert {sample.text for sample in data.evaluation.samples} <= {"s", *table(1)["questions"][0]}
    with refused(InputError, "split-missing", f"splits: {split}\n", "add ", "train"):
        roles(read_data(tmp_path, task), TASKS[task], 3)


def test_rows_that_are_not_scored_are_not_judged():
    bad = Records((), (), ("train.csv, row 0: no image",) * 9)
    given = RawDataset("x", {"train": bad, "val": bad, "test": labelled(0, 1)}, ("a", "b"))
    assert scored(given).evaluation.name == "test"
    with refused(InputError, "too-many-unusable-rows", "9 of 11 rows"):  # of NLVR2 val is reported, too
        scored(given, NLVR2)
    with refused(InputError, "too-many-unusable-rows", "9 of 9 rows"):
        scored(RawDataset("x", {"test": bad, "val": labelled(0)}, ("a", "b")))


def test_nothing_to_score(tmp_path):
    write_columns(tmp_path, "train.csv", [{"text": "a", "label": 0}])
    with refused(InputError, "split-missing", "add val.csv or test.csv"):
        scored(read_data(tmp_path, "text-classification", reading=Reading(splits=SCORED)))
