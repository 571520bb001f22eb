"""Folders with settings of their own for texts and images: their models answer as transformers answers with them."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    ViltConfig,
    ViltForQuestionAnswering,
)
from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

from compressor.evaluation.open_data import open_data, open_for_evaluation
from compressor.saved_run.run_folder import open_run
from tests.support.command_line import das

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "Red", "café", "cafe", "what", "What", "is", "?", "##s"]
TALK = ["red", "Red", "RED", "café", "Café", "what", "What", "is", "?", "reds"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
SIZES |= {"vocab_size": len(WORDS), "max_position_embeddings": 12}
NAMES = ["no", "yes", "maybe"]


def saved(folder, kind, config, **said):
    """A random model of the library in ``folder``, with a tokenizer of these settings."""
    torch.manual_seed(0)
    model = kind(config).eval()
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=0.3 if "norm.weight" in name.lower() else 0.0, std=0.2)
    model.save_pretrained(folder)
    BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)}, **said).save_pretrained(folder)
    return model


def labels():
    return {"id2label": dict(enumerate(NAMES)), "label2id": {name: i for i, name in enumerate(NAMES)}}


def texts(count, seed):
    draw = random.Random(seed)
    return [" ".join(draw.choices(TALK, k=draw.choice([2, 4, 9]))) for _ in range(count)]


def write(folder, header, rows):
    for name, part in zip(("train", "val"), rows, strict=True):
        lines = [header, *(",".join((*row, NAMES[number % 3])) for number, row in enumerate(part))]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def cut(folder, *given, length=8):
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    return tokenizer(*given, truncation=True, padding="max_length", max_length=length, return_tensors="pt")


def evaluated(folder, data):
    """Inputs, logits and notes of the evaluation split."""
    model, found, notes = open_for_evaluation(folder, None, str(data), None)
    inputs = found.evaluation.inputs(range(len(found.evaluation.records.samples)))
    with torch.no_grad():
        return inputs, model(**inputs), " ".join(notes)


@pytest.fixture
def vilt(tmp_path, monkeypatch):
    """A model whose images and texts are other than published, its folder, pictures and questions."""
    monkeypatch.chdir(tmp_path)
    config = ViltConfig(**SIZES, image_size=96, **labels())
    said = {"do_lower_case": False, "truncation_side": "left", "model_max_length": 8}
    model = saved(tmp_path / "model", ViltForQuestionAnswering, config, **said)
    processor = ViltImageProcessorPil(
        size={"shortest_edge": 64}, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225], resample=2
    )
    processor.save_pretrained(tmp_path / "model")
    pixels, draw = np.random.default_rng(0), random.Random(0)
    (tmp_path / "data").mkdir()
    pictures = [
        Image.fromarray(pixels.integers(0, 256, (draw.randint(40, 90), draw.randint(40, 90), 3), dtype=np.uint8))
        for _ in range(26)
    ]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / "data" / f"{number}.png")
    asked = list(zip(texts(26, 1), (f"{number}.png" for number in range(26)), strict=True))
    write(tmp_path / "data", "question,image,answer", (asked[:20], asked[20:]))
    return model, processor, pictures[20:], [question for question, _ in asked[20:]]


def test_a_vilt_with_image_and_text_settings_of_its_own(vilt):
    theirs, processor, pictures, questions = vilt
    inputs, logits, notes = evaluated("model", "data")
    with torch.no_grad():
        expected = theirs(**cut("model", questions), **processor(pictures, return_tensors="pt")).logits
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    assert "cut to the 8 tokens" in notes

    done = das("compress", "model", "--data", "data", "--layers", "En1", "--recover", "none", "--out", "run")
    assert done.exit_code == 0, done.stderr
    kept = open_data(open_run("run")).evaluation.inputs(range(6))
    assert kept.keys() == inputs.keys()
    assert all(torch.equal(kept[name], inputs[name]) for name in kept)


def test_settings_of_images_are_shown(vilt):
    shown = " ".join(das("inspect", "model").stdout.split())
    assert "image_size 64, resample 2" in shown
    assert "image_mean (0.485, 0.456, 0.406)" in shown


@pytest.mark.parametrize(("types", "given"), [(1, True), (2, True), (2, False)])
def test_a_bert_on_pairs_with_one_token_type_or_two(tmp_path, types, given):
    names = ["input_ids", "token_type_ids", "attention_mask"] if given else ["input_ids", "attention_mask"]
    config = BertConfig(**SIZES, type_vocab_size=types, **labels())
    said = {"do_lower_case": True, "truncation_side": "left", "model_input_names": names}
    theirs = saved(tmp_path, BertForSequenceClassification, config, **said)
    pairs = list(zip(texts(20, 2), texts(20, 3), strict=True))
    write(tmp_path, "sentence1,sentence2,label", (pairs[:14], pairs[14:]))
    _, logits, notes = evaluated(tmp_path, tmp_path)
    made = cut(tmp_path, *map(list, zip(*pairs[14:], strict=True)), length=12)
    if types == 1:
        made.pop("token_type_ids")
    with torch.no_grad():
        torch.testing.assert_close(logits, theirs(**made).logits, atol=1e-4, rtol=0)
    assert ("one token type" in notes) == (types == 1)


@pytest.mark.parametrize(
    ("asked", "length", "note"), [(None, 7, "cut to the 7 tokens"), (10, 10, "--text-length 10 is")]
)
def test_the_longest_text_of_a_tokenizer_bounds_what_nobody_asked_for(tmp_path, asked, length, note):
    saved(tmp_path, BertForSequenceClassification, BertConfig(**SIZES, **labels()), model_max_length=7)
    rows = [(text,) for text in texts(20, 4)]
    write(tmp_path, "text,label", (rows[:14], rows[14:]))
    model, found, notes = open_for_evaluation(tmp_path, None, str(tmp_path), None, asked)
    assert model.dims.text_length == length
    assert found.evaluation.inputs([0])["input_ids"].shape == (1, length)
    assert any(note in said for said in notes)
