"""Tokenizers of folders as people have them: their ids are transformers', and nothing is guessed in silence."""

import json
import re
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, BertTokenizer, CamembertTokenizer, RobertaTokenizer, XLMRobertaTokenizer

from compressor.checkpoints.find_tokenizer import find_tokenizer
from compressor.data.text import TextTransform
from compressor.errors import InputError
from tests.support.command_line import refused

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LOWER = [*SPECIAL, "red", "blue", "cafe", "##s", "a", "b", "the", ",", "?"]
CASED = [*SPECIAL, "red", "Red", "RED", "blue", "café", "cafe", "##s", "##S", "a", "A", "b", "the", "The", ",", "?"]
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
MERGES = [("r", "e"), ("re", "d"), ("Ġ", "red"), ("b", "l"), ("Ġ", "bl")]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", *BYTES, *("".join(pair) for pair in MERGES), "<mask>"]
PIECES = st.sampled_from([*"abdelrs ABRES,?éÉüß日\n\t", "red ", "Red ", "café ", "<mask>", "[MASK]", "blues "])
TEXTS = st.lists(PIECES, max_size=14).map("".join)


def bert(folder, words=CASED, model="bert", **said):
    """A folder of a BERT as transformers saves one, with more settings than it has."""
    BertTokenizer(vocab={word: i for i, word in enumerate(words)}, **said).save_pretrained(folder)
    return configured(folder, model)


def roberta(folder, **said):
    RobertaTokenizer(vocab={word: i for i, word in enumerate(ROBERTA)}, merges=MERGES, **said).save_pretrained(folder)
    return configured(folder, "roberta")


def configured(folder, model):
    (folder / "config.json").write_text(json.dumps({"model_type": model}))
    return folder


def say(folder, **changes):
    """Change tokenizer_config.json."""
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | changes))


def words_alone(folder, words, **said):
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    if said:
        say(folder, **said)
    return configured(folder, "bert")


def merges_alone(folder):
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(ROBERTA)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, MERGES)) + "\n")
    return configured(folder, "roberta")


def opened(folder):
    return find_tokenizer(None, folder, None)


def ids(found, texts, seconds=None, length=9):
    transform = TextTransform(found.tokenizer, length, 1000)
    pairs = texts if seconds is None else list(zip(texts, seconds, strict=True))
    return transform(pairs, length)["input_ids"].tolist()


def as_transformers(theirs, texts, seconds=None, length=9):
    return theirs(texts, seconds, truncation=True, padding="max_length", max_length=length)["input_ids"]


SETTINGS = {
    "lower case": (bert, {"do_lower_case": True}),
    "cased": (bert, {"do_lower_case": False}),
    "lower case with accents": (bert, {"do_lower_case": True, "strip_accents": False}),
    "cased without accents": (bert, {"do_lower_case": False, "strip_accents": True}),
    "cut on the left": (bert, {"do_lower_case": False, "truncation_side": "left"}),
    "more words": (bert, {"do_lower_case": False, "extra_special_tokens": ["<red>", "blues"]}),
    "roberta": (roberta, {}),
    "roberta with a space before": (roberta, {"add_prefix_space": True}),
    "roberta cut on the left": (roberta, {"truncation_side": "left"}),
}


@pytest.fixture(scope="module", params=SETTINGS)
def both(request, tmp_path_factory):
    """A folder opened by das, the same out of the file that a run keeps of it, and opened by transformers."""
    make, said = SETTINGS[request.param]
    folder = make(tmp_path_factory.mktemp("tokenizer"), **said)
    found = opened(folder)
    TextTransform(found.tokenizer, 9, 1000)
    return found.tokenizer, Tokenizer.from_str(found.tokenizer.to_str()), AutoTokenizer.from_pretrained(str(folder))


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, second=st.none() | TEXTS)
def test_ids_are_those_of_transformers_now_and_out_of_a_run(both, text, second):
    ours, kept, theirs = both
    seconds = None if second is None else [second]
    expected = as_transformers(theirs, [text], seconds)
    given = text if second is None else (text, second)
    assert TextTransform(ours, 9, 1000)([given], 9)["input_ids"].tolist() == expected
    assert TextTransform(kept, 9, 1000)([given], 9)["input_ids"].tolist() == expected


def test_settings_are_not_dead_letters(tmp_path):
    say(bert(tmp_path), do_lower_case=False)
    assert ids(opened(tmp_path), ["Red café"]) == [[2, 6, 9, 3, 0, 0, 0, 0, 0]]
    say(tmp_path, do_lower_case=True)
    assert ids(opened(tmp_path), ["Red café"]) == [[2, 5, 10, 3, 0, 0, 0, 0, 0]]
    say(tmp_path, truncation_side="left")
    assert ids(opened(tmp_path), ["a a a red"], length=4) == [[2, 13, 5, 3]]


def test_a_tokenizer_of_its_own_class_is_taken_as_it_is(tmp_path):
    made = Tokenizer(models.WordLevel({"<pad>": 0, "red": 1, "Red": 2, "<unk>": 3}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    configured(tmp_path, "bert")
    say(tmp_path, tokenizer_class="PreTrainedTokenizerFast", pad_token="<pad>", truncation_side="left")
    assert ids(opened(tmp_path), ["Red red red"], length=2) == [[1, 1]]


def test_a_padding_token_of_another_name(tmp_path):
    say(bert(tmp_path, [*CASED, "nothing"]), pad_token="nothing")
    assert ids(opened(tmp_path), ["red"], length=5) == [[2, 5, 3, len(CASED), len(CASED)]]


@pytest.mark.parametrize(("stated", "code"), [({}, "tokenizer-undecided"), ({"do_lower_case": True}, None)])
def test_a_cased_tokenizer_is_never_put_in_lower_case_by_default(tmp_path, stated, code):
    BertTokenizer(vocab={word: i for i, word in enumerate(CASED)}, do_lower_case=False).save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"} | stated))
    configured(tmp_path, "bert")
    if code:
        with refused(InputError, code, "lowercase false", "lowercase true", "do_lower_case"):
            opened(tmp_path)
    else:
        assert ids(opened(tmp_path), ["RED"], length=3) == [[2, 5, 3]]


def test_a_tokenizer_json_that_its_class_would_build_anew_is_refused(tmp_path):
    bert(tmp_path, do_lower_case=True)
    file = tmp_path / "tokenizer.json"
    made = Tokenizer.from_file(str(file))
    made.normalizer = normalizers.Lowercase()
    made.save(str(file))
    with refused(InputError, "tokenizer-undecided", '"Lowercase"', '"BertNormalizer"'):
        opened(tmp_path)


def sentencepiece(folder, kind, special, table):
    """A folder of a tokenizer of SentencePiece's kind, with a table that maps no character."""
    pieces = [*((piece, 0.0) for piece in special), *((piece, -3.0) for piece in ("▁red", "▁blue", "s", "▁"))]
    kind(vocab=[*pieces, ("<mask>", 0.0)], _spm_precompiled_charsmap=table, model_max_length=64).save_pretrained(folder)


TABLE = struct.pack("<I", 4096) + bytes(4096)


@pytest.mark.parametrize(
    ("kind", "model", "special", "expected"),
    [
        (XLMRobertaTokenizer, "xlm-roberta", ["<s>", "<pad>", "</s>", "<unk>"], [0, 4, 2, 2, 5, 6, 2, 1]),
        (
            CamembertTokenizer,
            "camembert",
            ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>"],
            [5, 7, 6, 6, 8, 9, 6, 1],
        ),
    ],
)
def test_tokenizers_of_sentencepieces_kind_are_read_from_their_json(kind, model, special, expected, tmp_path):
    sentencepiece(tmp_path, kind, special, TABLE)
    found = find_tokenizer(None, configured(tmp_path, model), None)
    text = TextTransform(found.tokenizer, 8, 20, types=1, padding=1)
    given = text([("red", "blues")], 8)
    assert given["input_ids"].tolist() == [expected] and found.longest == 64
    assert given["attention_mask"].tolist() == [[1] * 7 + [0]] and text.notes == ()


def test_a_message_on_a_tokenizer_shows_no_long_tables(tmp_path):
    sentencepiece(tmp_path, XLMRobertaTokenizer, ["<s>", "<pad>", "</s>", "<unk>"], TABLE)
    file = tmp_path / "tokenizer.json"
    made = Tokenizer.from_file(str(file))
    made.normalizer = normalizers.Sequence([made.normalizer, normalizers.Strip()])
    made.save(str(file))
    with refused(InputError, "tokenizer-undecided", '"Strip"', '..."') as error:
        opened(configured(tmp_path, "xlm-roberta"))
    assert len(str(error.value)) < 1000


def test_tokenizer_json_alone_is_complete(tmp_path):
    bert(tmp_path, do_lower_case=False)
    (tmp_path / "tokenizer_config.json").unlink()
    assert ids(opened(tmp_path), ["Red"], length=3) == [[2, 6, 3]]


@pytest.mark.parametrize(
    ("words", "said", "text", "token", "note"),
    [
        (CASED, {}, "Red", "Red", "upper-case words: texts keep their case"),
        (CASED, {}, "café", "café", "upper-case words"),
        (CASED, {"do_lower_case": True}, "Red", "red", None),
        (LOWER, {}, "Red", "red", "no upper-case words: texts are put in lower case"),
        (LOWER, {}, "Café", "cafe", "no upper-case words"),
        (LOWER, {"do_lower_case": False}, "Red", "[UNK]", None),
        ([*LOWER, "café"], {}, "Café", "café", "and accents: they are kept"),
        ([*LOWER, "café"], {"strip_accents": True}, "Café", "cafe", "no upper-case words"),
    ],
)
def test_a_vocabulary_alone_shows_its_case(tmp_path, words, said, text, token, note):
    found = opened(words_alone(tmp_path, words, **said))
    assert ids(found, [text], length=3) == [[2, words.index(token), 3]]
    assert bool(found.notes) == bool(note)
    assert not note or note in found.notes[0]


@settings(max_examples=40, deadline=None)
@given(text=TEXTS)
def test_roberta_of_its_vocabulary_and_merges_is_that_of_its_tokenizer_json(merges, text):
    whole, alone = merges
    assert whole.encode(text).ids == alone.encode(text).ids


@pytest.fixture(scope="module")
def merges(tmp_path_factory):
    """RoBERTa as its tokenizer.json has it, whose mask takes the space before it along, and of its other two files."""
    whole = roberta(tmp_path_factory.mktemp("whole"))
    content = json.loads((whole / "tokenizer.json").read_text())
    (mask,) = (token for token in content["added_tokens"] if token["content"] == "<mask>")
    mask["lstrip"] = True
    return Tokenizer.from_str(json.dumps(content)), opened(merges_alone(tmp_path_factory.mktemp("alone"))).tokenizer


def test_the_mask_takes_the_space_before_it_along(merges):
    whole, alone = merges
    assert whole.encode("red <mask>").ids == alone.encode("red <mask>").ids
    assert len(alone.encode("red <mask>").ids) == 4


@pytest.mark.parametrize(
    ("make", "ids"), [(lambda folder: words_alone(folder, CASED), [2, 6, 3]), (merges_alone, None)]
)
def test_vocabulary_files_beside_a_checkpoint_need_no_config(tmp_path, make, ids):
    expected = opened(make(tmp_path)).tokenizer.encode("Red").ids
    (tmp_path / "config.json").unlink()
    assert find_tokenizer(None, tmp_path / "meter.ckpt", None).tokenizer.encode("Red").ids == expected
    assert ids in (None, expected)


@pytest.mark.parametrize("explicitly", [True, False])
def test_a_folder_of_a_config_alone_has_no_tokenizer(tmp_path, explicitly):
    source = str(configured(tmp_path, "bert")) if explicitly else None
    with refused(InputError, "tokenizer-missing"):
        find_tokenizer(source, tmp_path, None)


SLOW = {
    "japanese": ({"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "basic"}, "vocab.txt", "red\n"),
    "sentencepiece": ({"tokenizer_class": "XLMRobertaTokenizer"}, "sentencepiece.bpe.model", "no model"),
    "another class's words": ({"tokenizer_class": "RobertaTokenizer"}, "vocab.txt", "\n".join(CASED)),
}


@pytest.mark.parametrize("kind", SLOW)
def test_a_tokenizer_that_exists_in_slow_form_only(tmp_path, kind):
    said, file, content = SLOW[kind]
    (tmp_path / file).write_text(content)
    say(configured(tmp_path, "roberta"), **said)
    with refused(InputError, "tokenizer-without-fast-form", file, "save_pretrained", said.get("tokenizer_class", "")):
        opened(tmp_path)


@pytest.mark.parametrize("content", ["{", "[1]", '{"truncation_side": "up"}', '{"model_max_length": "long"}'])
def test_damaged_settings(tmp_path, content):
    bert(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content)
    with refused(InputError, "tokenizer-missing", tmp_path):
        opened(tmp_path)


def test_what_is_passed_over_is_said(tmp_path):
    good = bert(tmp_path / "elsewhere")
    (tmp_path / "tokenizer.json").write_text("{")
    found = find_tokenizer(None, tmp_path / "meter.ckpt", str(good))
    assert re.search(r"is that of .*elsewhere; not used: .*\(", found.notes[0])


@pytest.mark.parametrize(("said", "longest"), [(7, 7), (10**30, None), (512.0, 512)])
def test_the_longest_text(tmp_path, said, longest):
    say(bert(tmp_path, do_lower_case=False), model_max_length=said)
    assert opened(tmp_path).longest == longest


def test_padding_on_the_left_is_said(tmp_path):
    found = opened(bert(tmp_path, do_lower_case=False, padding_side="left"))
    assert "pads on the left" in found.notes[0]
    assert ids(found, ["red"], length=4) == [[2, 5, 3, 0]]


POST = {
    "template": processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    ),
    "bert": processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)),
    "none": None,
}


@pytest.mark.parametrize("kind", POST)
def test_a_tokenizer_whose_model_is_given_no_token_types(tmp_path, kind):
    bert(tmp_path, do_lower_case=False)
    made = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    if POST[kind]:
        made.post_processor = POST[kind]
    else:
        made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(CASED)}, unk_token="[UNK]"))
    made.save(str(tmp_path / "tokenizer.json"))
    names = ("input_ids", "token_type_ids")
    say(tmp_path, tokenizer_class="PreTrainedTokenizerFast")
    with_types = TextTransform(opened(tmp_path).tokenizer, 9, 100, names)([("red", "blue")])
    say(tmp_path, model_input_names=["input_ids", "attention_mask"])
    without = TextTransform(opened(tmp_path).tokenizer, 9, 100, names)([("red", "blue")])
    assert with_types["token_type_ids"].any()
    assert not without["token_type_ids"].any()
    assert with_types["input_ids"].tolist() == without["input_ids"].tolist()


def test_a_tokenizer_never_brings_code(tmp_path):
    folder = bert(tmp_path, do_lower_case=False)
    (folder / "bad.py").write_text("open('ran', 'w')\nclass Bad: pass\n")
    say(folder, auto_map={"AutoTokenizer": ["bad.Bad", "bad.Bad"]})
    opened(folder)
    assert not (folder / "ran").exists()


def test_tokenizer_beside_the_checkpoint_in_a_folder_or_by_name(tmp_path):
    checkpoint, words = tmp_path / "meter.ckpt", {word: i for i, word in enumerate(CASED)}
    bert(tmp_path, do_lower_case=False)
    assert find_tokenizer(None, checkpoint, None).tokenizer.get_vocab() == words
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "tokenizer.json").rename(tmp_path / "elsewhere" / "tokenizer.json")
    assert find_tokenizer(str(tmp_path / "elsewhere"), checkpoint, None).tokenizer.get_vocab() == words
    assert find_tokenizer(None, checkpoint, str(tmp_path / "elsewhere")).tokenizer.get_vocab() == words
    with refused(InputError, "tokenizer-missing", "tokenizer.json (not there)"):
        find_tokenizer(None, checkpoint, None)
