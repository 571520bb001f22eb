"""Tokenizers, and texts as a model's inputs."""

import json

import pytest
import torch
from tokenizers import Tokenizer, models, processors

from compressor.data.generated.tokenizer import word_tokenizer
from compressor.data.text import TextTransform
from compressor.errors import InputError
from tests.support.command_line import refused


def tokenizer(style="<s>"):
    return word_tokenizer(["what color is the circle?", "how many things are there?"], style)


def test_a_tokenizer_that_cannot_pad_is_refused():
    plain = Tokenizer(models.WordLevel({"<unk>": 0, "red": 1}, unk_token="<unk>"))
    with refused(InputError, "tokenizer-without-padding", "<pad>"):
        TextTransform(plain, 8, 100)


def test_texts_are_padded_as_roberta_is():
    encoded = TextTransform(tokenizer(), 8, 100)(["what color is the circle?", "how many"], 8)
    assert encoded["input_ids"].shape == (2, 8)
    assert encoded["input_ids"][0, 0] == 0
    assert encoded["input_ids"][1].tolist()[3:] == [2, 1, 1, 1, 1][: 8 - 3]
    assert encoded["attention_mask"][1].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_long_texts_keep_their_end_token():
    encoded = TextTransform(tokenizer(), 4, 100)(["what color is the circle?"])
    assert encoded["input_ids"].shape == (1, 4)
    assert encoded["input_ids"][0, -1] == 2


def test_pairs_are_encoded_as_pairs():
    names = ("input_ids", "attention_mask", "token_type_ids")
    encoded = TextTransform(tokenizer("[CLS]"), 10, 100, names)([("how many", "the circle"), ("things", "the")], 10)
    assert tuple(encoded) == names
    assert all(tensor.shape == (2, 10) and tensor.dtype == torch.int64 for tensor in encoded.values())
    assert encoded["token_type_ids"].tolist() == [[0] * 4 + [1] * 3 + [0] * 3, [0] * 3 + [1] * 2 + [0] * 5]
    assert encoded["attention_mask"].sum(1).tolist() == [7, 5]
    assert encoded["input_ids"][1, 5:].tolist() == [0] * 5


def test_the_longer_text_of_a_pair_is_cut():
    encoded = TextTransform(tokenizer("[CLS]"), 8, 100)([("how many things are there", "the")])
    plain = TextTransform(tokenizer("[CLS]"), 8, 100)([("how many things are", "the")])
    assert encoded["input_ids"].tolist() == plain["input_ids"].tolist()


NAMES = ("input_ids", "attention_mask", "token_type_ids")


def test_a_model_of_one_token_type_sees_pairs_of_that_type():
    transform = TextTransform(tokenizer("[CLS]"), 10, 100, NAMES, types=1)
    pairs, plain = transform([("how many", "the")]), TextTransform(tokenizer("[CLS]"), 10, 100, NAMES)
    assert not pairs["token_type_ids"].any()
    assert pairs["input_ids"].tolist() == plain([("how many", "the")])["input_ids"].tolist()
    assert "one token type" in transform.notes[0]


@pytest.mark.parametrize(("inputs", "types", "last"), [(NAMES, 2, 2), (NAMES[:2], 2, 1)])
def test_more_token_types_than_the_model_is_given(inputs, types, last):
    made = tokenizer("[CLS]")
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair=f"[CLS] $A [SEP] $B:{last} [SEP]",
        special_tokens=[("[CLS]", made.token_to_id("[CLS]")), ("[SEP]", made.token_to_id("[SEP]"))],
    )
    transform = TextTransform(made, 10, 100, inputs, types=types)
    assert transform(["how many"])["input_ids"].shape == (1, 4)
    with refused(InputError, "tokenizer-token-types", f"{last + 1} token types"):
        transform([("how many", "the")])


def test_padding_that_disagrees_with_the_configuration_is_said():
    assert TextTransform(tokenizer(), 8, 100, padding=1).notes == ()
    (note,) = TextTransform(tokenizer(), 8, 100, padding=0).notes
    assert "pads with token 1" in note
    assert "names 0" in note


def test_half_a_character_is_an_input_error():
    with refused(InputError, "text-not-unicode", r"'\ud83d'", "place 4"):
        TextTransform(tokenizer(), 8, 100)(["the", "how \ud83d many"])
    with refused(InputError, "text-not-unicode"):
        TextTransform(tokenizer("[CLS]"), 10, 100)([("the", "\udc80")])


def test_a_tokenizer_that_fails_on_a_text():
    made = Tokenizer(models.WordPiece({"[PAD]": 0, "the": 1}, unk_token="[UNK]"))
    transform = TextTransform(made, 8, 100)
    assert transform(["the"])["input_ids"].tolist() == [[1]]
    with refused(InputError, "tokenizer-fails", "[UNK]"):
        transform(["how"])


def test_a_tokenizer_whose_template_names_a_token_that_it_does_not_have():
    parts = json.loads(tokenizer("[CLS]").to_str())
    parts["post_processor"]["single"][-1]["SpecialToken"]["id"] = "[SEPARATE]"
    transform = TextTransform(Tokenizer.from_str(json.dumps(parts)), 8, 100)
    with refused(InputError, "tokenizer-fails", "fails on a text"):  # with a panic of Rust's
        transform(["the"])


def test_a_tokenizer_that_makes_too_many_tokens():
    made = tokenizer("[CLS]")
    ends = [(name, made.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    twice = "[CLS] $A [SEP] $B:1 [SEP]:1 $A"
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair=twice, special_tokens=ends)
    transform = TextTransform(made, 8, 100)
    assert transform(["how many"])["input_ids"].shape == (1, 4)
    with refused(InputError, "tokenizer-fails", "was to get 8"):
        transform([("how many things", "the circle")])
