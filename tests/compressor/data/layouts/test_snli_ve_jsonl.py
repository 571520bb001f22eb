"""SNLI-VE's JSON lines."""

import pytest

from compressor.data.read_data import read_data
from compressor.data.read_unlabelled import INPUTS, read_unlabelled
from compressor.tasks import TASKS
from tests.support.data_files import first_images, png, put, tell


def line(label, text, image="4705552913", key="Flickr30K_ID", **more):
    """A line of the files; some editions have no column of the image's name and that of SNLI's caption alone."""
    caption = f"{image}.jpg#2"
    pair = {"captionID": caption, "pairID": f"{caption}r1n", "sentence1": "Two women ."}
    return pair | {"annotator_labels": [label], "gold_label": label, "sentence2": text, key: image} | more


def test_official_snli_ve(tmp_path):
    put(tmp_path / "flickr30k_images" / "4705552913.jpg", png(1, "JPEG"))
    rows = [line("entailment", "a"), line("contradiction", "b"), line("-", "c"), line("neutral", "d", "13")]
    put(tmp_path / "snli_ve_train.jsonl", rows)
    put(tmp_path / "snli_ve_dev.jsonl", rows[:1])
    put(tmp_path / "snli_ve_test.jsonl", rows[:2])
    found = read_data(tmp_path, "snli-ve")
    assert found.labels == ("contradiction", "neutral", "entailment")
    assert {name: len(split.samples) for name, split in found.splits.items()} == {"train": 2, "val": 1, "test": 2}
    train = found.splits["train"]
    assert tell(train) == [("a", None, (2,)), ("b", None, (0,))]
    assert train.unreadable == ("snli_ve_train.jsonl, line 4: no image 13.jpg",)
    assert train.dropped == 1  # the annotators do not agree


@pytest.mark.parametrize(
    "cell", ["4705552913", 4705552913, "4705552913.jpg", "4705552913.jpg#2", "4705552913.jpg#2r1n"]
)
@pytest.mark.parametrize("key", ["Flickr30K_ID", "Flickr30kID", "Flikr30kID", "flickr30k_id", "captionID"])
def test_the_image_under_any_of_its_keys(tmp_path, key, cell):
    put(tmp_path / "images" / "4705552913.jpg", png(1, "JPEG"))
    put(tmp_path / "snli_ve_train.jsonl", [{"gold_label": "neutral", "sentence2": "a", key: cell}])
    assert first_images(read_data(tmp_path, "snli-ve").splits["train"]) == [png(1, "JPEG")]
    assert first_images(read_unlabelled(tmp_path, TASKS["snli-ve"]).splits[INPUTS]) == [png(1, "JPEG")]
