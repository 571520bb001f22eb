"""SNLI-VE's JSON lines."""

from compressor.data.read_data import read_data
from tests.support.data_files import png, put, tell


def test_official_snli_ve(tmp_path):
    def line(label, text, image=12):
        return {"Flickr30K_ID": str(image), "sentence2": text, "gold_label": label}

    put(tmp_path / "flickr30k_images" / "12.jpg", png(1, "JPEG"))
    rows = [line("entailment", "a"), line("contradiction", "b"), line("-", "c"), line("neutral", "d", 13)]
    put(tmp_path / "snli_ve_train.jsonl", rows)
    put(tmp_path / "snli_ve_dev.jsonl", rows[:1])
    train = read_data(tmp_path, "snli-ve").splits["train"]
    assert tell(train) == [("a", None, (2,)), ("b", None, (0,))]
    assert train.unreadable == (
        "snli_ve_train.jsonl, line 3: label '-' is none of contradiction, neutral, entailment",
        "snli_ve_train.jsonl, line 4: no image 13.jpg",
    )
