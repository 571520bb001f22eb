"""Tokenizers, and texts as a model's inputs."""

import json

import torch
from tokenizers import Tokenizer, models

from compressor.data.generated.tokenizer import word_tokenizer
from compressor.data.text import TextTransform, find_tokenizer
from compressor.errors import InputError
from tests.support.command_line import refused


def tokenizer(style="<s>"):
    return word_tokenizer(["what color is the circle?", "how many things are there?"], style)


def test_a_tokenizer_that_cannot_pad_is_refused():
    plain = Tokenizer(models.WordLevel({"<unk>": 0, "red": 1}, unk_token="<unk>"))
    with refused(InputError, "tokenizer-without-padding", "<pad>"):
        TextTransform(plain, 8, 100)


def test_a_named_tokenizer_never_brings_code(monkeypatch, tmp_path):
    asked = {}

    def from_pretrained(name, **options):
        asked.update(options)
        raise OSError("not there")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", from_pretrained)
    with refused(InputError, "tokenizer-missing"):
        find_tokenizer("someone/model", tmp_path / "meter.ckpt", None)
    assert asked["trust_remote_code"] is False


def test_texts_are_padded_as_roberta_is():
    encoded = TextTransform(tokenizer(), 8, 100)(["what color is the circle?", "how many"])
    assert encoded["input_ids"].shape == (2, 8)
    assert encoded["input_ids"][0, 0] == 0
    assert encoded["input_ids"][1].tolist()[3:] == [2, 1, 1, 1, 1][: 8 - 3]
    assert encoded["attention_mask"][1].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_long_texts_keep_their_end_token():
    encoded = TextTransform(tokenizer(), 4, 100)(["what color is the circle?"])
    assert encoded["input_ids"].shape == (1, 4)
    assert encoded["input_ids"][0, -1] == 2


def test_tokenizer_beside_the_checkpoint_in_a_folder_or_by_name(tmp_path):
    checkpoint = tmp_path / "meter.ckpt"
    tokenizer().save(str(tmp_path / "tokenizer.json"))
    assert find_tokenizer(None, checkpoint, None).get_vocab() == tokenizer().get_vocab()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "tokenizer.json").rename(tmp_path / "elsewhere" / "tokenizer.json")
    assert find_tokenizer(str(tmp_path / "elsewhere"), checkpoint, None).get_vocab() == tokenizer().get_vocab()
    assert find_tokenizer(None, checkpoint, str(tmp_path / "elsewhere")).get_vocab() == tokenizer().get_vocab()


def test_pairs_are_encoded_as_pairs():
    names = ("input_ids", "attention_mask", "token_type_ids")
    encoded = TextTransform(tokenizer("[CLS]"), 10, 100, names)(["how many", "things"], ["the circle", "the"])
    assert tuple(encoded) == names
    assert all(tensor.shape == (2, 10) and tensor.dtype == torch.int64 for tensor in encoded.values())
    assert encoded["token_type_ids"].tolist() == [[0] * 4 + [1] * 3 + [0] * 3, [0] * 3 + [1] * 2 + [0] * 5]
    assert encoded["attention_mask"].sum(1).tolist() == [7, 5]
    assert encoded["input_ids"][1, 5:].tolist() == [0] * 5


def test_the_longer_text_of_a_pair_is_cut():
    encoded = TextTransform(tokenizer("[CLS]"), 8, 100)(["how many things are there"], ["the"])
    plain = TextTransform(tokenizer("[CLS]"), 8, 100)(["how many things are"], ["the"])
    assert encoded["input_ids"].tolist() == plain["input_ids"].tolist()


def test_the_tokenizer_in_a_hugging_face_folder(tmp_path):
    tokenizer("[CLS]").save(str(tmp_path / "tokenizer.json"))
    assert find_tokenizer(None, tmp_path, None).get_vocab() == tokenizer("[CLS]").get_vocab()


def test_the_vocabulary_file_in_a_hugging_face_folder(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    found = find_tokenizer(None, tmp_path, None)
    assert found.encode("Red blue").ids == [2, 5, 6, 3]


def test_a_folder_without_a_tokenizer_says_so(tmp_path):
    with refused(InputError, "tokenizer-missing", "tokenizer.json (not there)"):
        find_tokenizer(None, tmp_path, None)
