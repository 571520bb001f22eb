"""Karpathy's JSON."""

import pytest

from compressor.data.read_data import read_data
from tests.support.data_files import first_images, png, put, tell


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
