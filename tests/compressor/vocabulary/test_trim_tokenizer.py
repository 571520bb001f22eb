"""A trimmed tokenizer cuts the texts that it was trimmed for as before, and any other text into something."""

import json
import random

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from compressor.errors import CheckFailed
from compressor.vocabulary.kept_tokens import find_words, keep_tokens
from compressor.vocabulary.trim_tokenizer import old_numbers, trim_tokenizer
from compressor.vocabulary.vocabulary_checks import compare_tokens
from tests.support.command_line import refused

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def speak(syllables, texts, seed):
    """Texts of words of these syllables."""
    draw = random.Random(seed)
    return [
        " ".join("".join(draw.choices(syllables, k=draw.randint(1, 5))) for _ in range(draw.randint(1, 9)))
        for _ in range(texts)
    ]


HERE = speak(["ba", "re", "ni", "tok", "su", "a", "Ba", "é"], 300, 1)
THERE = speak(["ja", "ku", "mo", "zzo", "ti", "京", "ü"], 300, 2)
ODD = ["", "  two  spaces ", "ba<mask>re", "<s> ba</s>", "emoji 🙂 ☃", "a\nline", "x" * 150, "barezzo京ni"]


def word_piece():
    made = Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    return made, trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL)


def byte_level():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return made, trainers.BpeTrainer(vocab_size=600, special_tokens=SPECIAL, initial_alphabet=alphabet)


def word_ends():
    made = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", continuing_subword_prefix="@"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made, trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, end_of_word_suffix="</w>", continuing_subword_prefix="@"
    )


def unigram():
    made = Tokenizer(models.Unigram())
    made.normalizer, made.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    return made, trainers.UnigramTrainer(vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>")


def without_words():
    """As Llama's: no pre-tokenizer, so that a text is one word."""
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return made, trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, max_token_length=6)


def whole_words():
    made = Tokenizer(models.WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made, trainers.WordLevelTrainer(vocab_size=500, special_tokens=SPECIAL)


@pytest.fixture(params=(word_piece, byte_level, word_ends, unigram, without_words, whole_words))
def tokenizer(request):
    made, trainer = request.param()
    made.train_from_iterator([*HERE, *THERE], trainer)
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    made.enable_padding(pad_id=1, pad_token="<pad>")
    made.no_padding()
    made.add_tokens([AddedToken("[extra]", normalized=False)])  # outside of the model's own vocabulary
    return made


def trim(tokenizer, texts, **given):
    trimmed = trim_tokenizer(tokenizer, keep_tokens(tokenizer, find_words(tokenizer, texts)), **given)
    return trimmed, old_numbers(tokenizer, trimmed)


def test_texts_have_the_same_tokens(tokenizer):
    texts = [*HERE, *ODD]
    trimmed, old = trim(tokenizer, texts)
    assert len(old) == trimmed.get_vocab_size() < tokenizer.get_vocab_size() - 20
    assert compare_tokens(tokenizer, trimmed, old, texts) <= len(old)
    assert old[-1] == tokenizer.token_to_id("[extra]") and trimmed.encode("[extra]").ids[1:-1] == [len(old) - 1]
    for text in texts:  # the same, without the function under test
        before, after = tokenizer.encode(text), trimmed.encode(text)
        assert list(map(trimmed.id_to_token, after.ids)) == list(map(tokenizer.id_to_token, before.ids))
        assert after.offsets == before.offsets
    pair = trimmed.encode("ba", "re")
    assert pair.tokens == tokenizer.encode("ba", "re").tokens
    assert [old[number] for number in pair.ids] == tokenizer.encode("ba", "re").ids


def test_other_texts_are_cut_into_what_is_left(tokenizer):
    trimmed, _ = trim(tokenizer, HERE)
    unknown = tokenizer.token_to_id("<unk>")
    for text in THERE:
        if unknown not in tokenizer.encode(text).ids and not isinstance(tokenizer.model, models.WordLevel):
            assert trimmed.token_to_id("<unk>") not in trimmed.encode(text).ids
        assert trimmed.encode(text).ids


def test_a_token_too_few_is_noticed(tokenizer):
    kept = keep_tokens(tokenizer, find_words(tokenizer, HERE))
    used = next(token for token in tokenizer.encode(HERE[0]).tokens if len(token) > 2 and token not in SPECIAL)
    trimmed = trim_tokenizer(tokenizer, kept - {used})
    with refused(CheckFailed, "vocabulary-differs", HERE[0][:20]):
        compare_tokens(tokenizer, trimmed, old_numbers(tokenizer, trimmed), HERE)


def test_numbers_keep_their_order_and_padding_its_number():
    tokens = {token: number for number, token in enumerate(["a", "ab", "b", "<pad>", "abc", "c", "<unk>"])}
    made = Tokenizer(models.WordLevel(tokens, "<unk>"))
    trimmed, old = trim(made, ["abc"])
    assert old == [0, 1, 2, 4, 5, 6]  # all that occur in the word, and the unknown one
    made.enable_padding(pad_id=3, pad_token="<pad>")
    trimmed, old = trim(made, ["ab"])
    assert old == [0, 1, 2, 3, 5, 6] and trimmed.padding["pad_id"] == 3
    trimmed, old = trim_tokenizer(made, {"c", "abc", "<unk>", "<pad>"}, pinned=3), None
    assert old_numbers(made, trimmed) == [4, 5, 6, 3] and trimmed.padding["pad_id"] == 3
    assert old_numbers(made, trim_tokenizer(made, {"c", "<unk>", "<pad>"}, pinned=3)) == [3, 5, 6]


def test_the_score_of_the_unknown_stays():
    """Of Unigram it is ten below the lowest score of all, of whatever token that is."""
    pieces = [("<unk>", 0.0), ("pq", -30.0), ("rs", -30.0), ("qrs", -1.0), ("far", -60.0), ("more", -5.0)]
    made = Tokenizer(models.Unigram(pieces, unk_id=0))
    assert made.encode("pqrs").tokens == ["pq", "rs"]
    trimmed, old = trim(made, ["pqrs"])
    assert old == [0, 1, 2, 3, 4] and trimmed.encode("pqrs").tokens == ["pq", "rs"]
    assert trim_tokenizer(made, {"<unk>", "pq", "rs", "qrs"}).encode("pqrs").tokens == ["p", "qrs"]


@pytest.mark.parametrize(
    "post_processor",
    (
        processors.BertProcessing(("</s>", 2), ("<s>", 0)),
        processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]),
        processors.Sequence(
            [
                processors.ByteLevel(),
                processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]),
            ]
        ),
    ),
    ids=lambda value: type(value).__name__,
)
def test_what_is_added_to_texts_is_numbered_anew(post_processor):
    tokens = {"<s>": 0, "gone": 1, "</s>": 2, "a": 3, "<unk>": 4}
    made = Tokenizer(models.WordLevel(tokens, "<unk>"))
    made.post_processor = post_processor
    trimmed, old = trim(made, ["a"])
    assert old == [0, 2, 3, 4]
    assert trimmed.encode("a").ids == [0, 2, 1] and trimmed.encode("a").tokens == ["<s>", "a", "</s>"]
    assert "gone" not in json.loads(trimmed.to_str())["model"]["vocab"]
