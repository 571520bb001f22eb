"""Karpathy's JSON."""

import pytest

from compressor.data.read_data import read_data
from compressor.errors import InputError
from tests.support.command_line import refused
from tests.support.data_files import first_images, png, put, tell


def entry(filename, split, *captions, **more):
    """An image of a file, with its captions."""
    sentences = [{"tokens": text.split(), "raw": text, "imgid": 0, "sentid": i} for i, text in enumerate(captions)]
    return {"sentids": [*range(len(captions))], "imgid": 0, "sentences": sentences, "split": split, **more} | {
        "filename": filename
    }


def write_flickr30k(root):
    rows = [entry(f"{n}.jpg", split, *"abcde") for n, split in enumerate(("train", "val", "test"))]
    put(root / "dataset_flickr30k.json", {"images": rows, "dataset": "flickr30k"})
    return [row["filename"] for row in rows]


def write_coco(root):
    def row(part, number, split):
        filename = f"COCO_{part}_{number:012d}.jpg"
        return entry(filename, split, *"abcdefg"[: 5 + number % 3], filepath=part, cocoid=number)

    rows = [row("train2014", 9, "train"), row("val2014", 42, "restval"), row("val2014", 73, "val")]
    rows.append(row("val2014", 74, "test"))
    put(root / "dataset_coco.json", {"images": rows, "dataset": "coco"})
    return [f"{row['filepath']}/{row['filename']}" for row in rows]


def put_images(root, names):
    for number, name in enumerate(names):
        put(root / name, png(number, "JPEG"))


def test_flickr30k_has_five_captions_each(tmp_path):
    put_images(tmp_path / "flickr30k-images", write_flickr30k(tmp_path))
    splits = read_data(tmp_path, "irtr").splits
    assert {name: [text for text, *_ in tell(split)] for name, split in splits.items()} == {
        name: [*"abcde"] for name in ("train", "val", "test")
    }


def test_coco_is_trained_on_restval_too(tmp_path):
    put_images(tmp_path, write_coco(tmp_path / "karpathy"))
    splits = read_data(tmp_path, "irtr").splits
    assert {name: len(split.samples) for name, split in splits.items()} == {"train": 10, "val": 6, "test": 7}
    assert first_images(splits["test"])[0] == png(3, "JPEG")


def test_of_two_files_of_one_name_the_row_says_which(tmp_path):
    """As where smaller copies of the images lie beside them."""
    names = write_coco(tmp_path)
    put_images(tmp_path, names)
    put_images(tmp_path / "small", reversed(names))
    splits = read_data(tmp_path, "irtr").splits
    assert first_images(splits["test"])[0] == png(3, "JPEG")
    assert not any(split.unreadable for split in splits.values())


@pytest.mark.parametrize("of", [[write_coco], [write_flickr30k], [], [write_flickr30k, write_coco]])
def test_of_the_files_of_one_archive_the_images_choose(tmp_path, of):
    write_flickr30k(tmp_path)
    write_coco(tmp_path)
    for write in of:
        put_images(tmp_path / "images", write(tmp_path))
    if len(of) != 1:
        with refused(InputError, "several-data-sets", "dataset_flickr30k.json and dataset_coco.json", f"of {len(of)}"):
            read_data(tmp_path, "irtr")
    else:
        (file,) = read_data(tmp_path, "irtr").splits["test"].files
        assert file.name == {write_coco: "dataset_coco.json", write_flickr30k: "dataset_flickr30k.json"}[of[0]]


@pytest.mark.parametrize(
    "name", ["dataset_flickr30k.json", "dataset_coco.json", "dataset.json", "karpathy/dataset.json"]
)
def test_karpathys_splits(tmp_path, name):
    def row(number, split, *captions):
        put(tmp_path / "pictures" / "deep" / f"{number}.jpg", png(number, "JPEG"))
        return {"filename": f"{number}.jpg", "split": split, "sentences": [{"raw": text} for text in captions]}

    rows = [row(0, "train", "a", "b"), row(1, "restval", "c"), row(2, "val", "d"), row(3, "test", "e")]
    bad = [row(4, "dev", "f"), row(5, "test"), row(6, "val", "g") | {"filename": "gone.jpg"}, 7]
    put(tmp_path / name, {"images": rows + bad, "dataset": "x"})
    splits = read_data(tmp_path, "irtr").splits
    assert [text for text, *_ in tell(splits["train"])] == ["a", "b", "c"]
    assert first_images(splits["test"]) == [png(3, "JPEG")]
    reasons = [place.partition(", ")[2] for split in splits.values() for place in split.unreadable]
    assert sorted(reasons) == [
        "row 4: split 'dev' is none of train, restval, val, test",
        "row 5: no captions",
        "row 6: no image gone.jpg",
        "row 7: no JSON object",
    ]
