"""Images in a folder for each class."""

import shutil

import PIL.Image
import pytest

from compressor.data.arrow_files import fingerprint
from compressor.data.labels import align_labels
from compressor.data.read_data import read_data
from compressor.data.read_unlabelled import read_unlabelled
from compressor.data.types import Reading
from compressor.errors import InputError
from compressor.tasks import TASKS
from tests.support.command_line import refused

TASK = "image-classification"


def draw(*paths):
    """Write an image to each path."""
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (4, 4), (number, 0, 0)).save(path)


@pytest.fixture
def root(tmp_path):
    """Two classes in training, one of them in validation."""
    draw(
        *(
            tmp_path / place
            for place in ("train/dog/2.png", "train/cat/1.png", "train/cat/3.jpg", "validation/dog/4.png")
        )
    )
    return tmp_path


def test_classes_are_the_folders_and_splits_the_folders_above(root):
    (root / "train" / "cat" / "notes.txt").write_text("no image")
    data = read_data(root, TASK)
    assert data.labels == ("cat", "dog") and data.numbered_here
    found = {name: [(s.labels, s.images[0].name, s.text) for s in part.samples] for name, part in data.splits.items()}
    assert found == {
        "train": [((0,), "1.png", ""), ((0,), "3.jpg", ""), ((1,), "2.png", "")],
        "val": [((1,), "4.png", "")],
    }
    assert "1 files that are no images by their names: notes.txt" in data.notes


def test_a_class_that_the_read_split_lacks_keeps_its_number(root):
    data = read_data(root, TASK, reading=Reading(splits={"val"}))
    assert data.labels == ("cat", "dog") and data.splits["val"].samples[0].labels == (1,)


def test_folders_of_classes_alone_are_scored(root):
    assert list(read_data(root / "train", TASK).splits) == ["test"]


def test_a_class_may_begin_as_a_split_is_called_and_an_unknown_split_is_no_class(tmp_path):
    draw(*(tmp_path / "places" / place / "1.png" for place in ("valley", "tester")))
    assert read_data(tmp_path / "places", TASK).labels == ("tester", "valley")
    draw(*(tmp_path / "coco" / place / "1.png" for place in ("train2017", "val2017")))
    with refused(InputError, "data-not-of-task", "train2017"):
        read_data(tmp_path / "coco", TASK)


def test_a_folder_of_one_class_is_told_that_there_must_be_two(tmp_path):
    draw(tmp_path / "cat" / "1.png")
    with refused(InputError, "data-not-of-task", f"{tmp_path} holds cat", "CLASS/IMAGE of two classes or more"):
        read_data(tmp_path, TASK)


def test_names_are_looked_up_in_the_model_and_numbers_are_numbers(root, tmp_path):
    aligned = align_labels(read_data(root, TASK), ("Dog", "bird", "Cat"), TASKS[TASK])
    assert [sample.labels for sample in aligned.splits["train"].samples] == [(2,), (2,), (0,)]
    with refused(InputError, "classes-not-numbered", "cat"):
        align_labels(read_data(root, TASK), (), TASKS[TASK])
    draw(*(tmp_path / "digits" / "train" / str(number) / "0.png" for number in (0, 1, 9)))
    digits = read_data(tmp_path / "digits", TASK)
    assert [s.labels for s in digits.splits["train"].samples] == [(0,), (1,), (9,)] and not digits.numbered_here


def test_folders_whose_order_as_texts_is_another_do_not_number(tmp_path):
    draw(*(tmp_path / "train" / str(number) / "0.png" for number in range(11)))
    assert read_data(tmp_path, TASK).numbered_here


def test_what_is_undecided_is_refused(root):
    draw(root / "train" / "dog" / "puppies" / "1.png")
    with refused(InputError, "class-folder-nested", "puppies"):
        read_data(root, TASK)
    shutil.copytree(root / "train", root / "data" / "train")
    with refused(InputError, "split-ambiguous", "data/train"):
        read_data(root, TASK)


def test_a_damaged_image_is_listed(root):
    (root / "train" / "cat" / "1.png").write_bytes(b"no image")
    (bad,) = read_data(root, TASK).splits["train"].unreadable
    assert bad.startswith("train/cat/1.png: 1.png does not decode")


def test_the_fingerprint_follows_the_files(root):
    before = fingerprint(root / "train")
    draw(root / "train" / "cat" / "9.png")
    assert fingerprint(root / "train") != before != fingerprint(root / "validation")


def test_images_alone_are_inputs_wherever_they_lie(root):
    (records,) = read_unlabelled(root, TASKS[TASK]).splits.values()
    assert [sample.images[0].name for sample in records.samples] == ["1.png", "3.jpg", "2.png", "4.png"]
    assert not any(sample.labels for sample in records.samples)
    (root / "table.csv").write_text("image,label\ntrain/dog/2.png,dog\n")
    (records,) = read_unlabelled(root, TASKS[TASK]).splits.values()
    assert [sample.images[0].name for sample in records.samples] == ["2.png"]


def test_a_table_of_images_and_labels(root):
    for split in ("train", "val"):
        (root / f"{split}.csv").write_text("image,label\ntrain/dog/2.png,dog\ntrain/cat/1.png,cat\n")
    data = read_data(root, TASK)
    assert data.layout == "CSV" and [s.labels for s in data.splits["val"].samples] == [(1,), (0,)]
