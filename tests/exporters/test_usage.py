"""A folder of exports is one that transformers opens; its tokenizer gives what das gives the model, without padding."""

import json
import shutil
from collections.abc import Mapping

import pytest
import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

from compressor.data.generated.tokenizer import word_tokenizer
from compressor.data.text import TextTransform
from compressor.families import FAMILIES
from compressor.families.text_encoder import RobertaDims, encoder_family
from compressor.models.surgery import make_plan, remove_layers
from compressor.saved_run.run_folder import open_run
from exporters.usage import Usage, unpadded, usage_of, write_usage
from tests.support import tiny_models as tiny
from tests.support.command_line import das

TEXTS = ["a", "a b", "c b a b c", "a b c a b c a b c a b c", "unknown b"]
FILES = ("config.json", "tokenizer_config.json", "tokenizer.json")
ENCODERS = [family for family, task in tiny.EVERY if task == "text-classification"]


def written(folder, family, task, labels=None, prepare=lambda model: model):
    model = tiny.model(family, task)
    words = word_tokenizer(TEXTS[:3], "<s>" if family == "roberta" else "[CLS]")
    names = labels or tuple(f"class {number}" for number in range(model.dims.classes))
    usage = Usage(names, FAMILIES[family].transforms(model.dims, words))
    return usage, write_usage(folder, prepare(model), usage)


@pytest.mark.parametrize("family", ENCODERS)
def test_transformers_reads_classes_and_sizes_of_the_slim_model(tmp_path, family):
    def skip_two(model):
        return remove_layers(model, make_plan(model, ["En1", "En2"]))

    usage, names = written(tmp_path, family, "text-classification", prepare=skip_two)
    assert names == FILES
    config, whole = AutoConfig.from_pretrained(tmp_path), tiny.model(family, "text-classification").dims.library
    assert (config.model_type, config.id2label) == (family, dict(enumerate(usage.labels)))
    assert config.label2id == {label: number for number, label in enumerate(usage.labels)}
    assert (whole.num_hidden_layers, config.num_hidden_layers) == (6, 4)
    for size in ("vocab_size", "hidden_size", "max_position_embeddings", "pad_token_id"):
        assert getattr(config, size) == getattr(whole, size)


def test_a_family_of_another_name_than_the_librarys_is_written_by_the_librarys(tmp_path, monkeypatch):
    class Dims(RobertaDims):
        config: Mapping[str, object] = {"model_type": "data2vec-text", "hidden_size": 48, "num_hidden_layers": 2}

    rows = "classifier.out_proj.weight"
    named = encoder_family(
        "ours", Dims, lambda model: nn.Identity(), rows, prefix="data2vec_text", library="Data2VecText"
    )
    monkeypatch.setitem(FAMILIES, "ours", named)
    dims = Dims(text_length=9)
    usage = Usage(("no", "yes"), named.transforms(dims, word_tokenizer(TEXTS[:3])))
    write_usage(tmp_path, named.build(dims, "text-classification"), usage)
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.model_type, config.num_hidden_layers) == ("data2vec-text", 2)
    assert config.architectures == ["Data2VecTextForSequenceClassification"]


@pytest.mark.parametrize("family", ENCODERS)
def test_its_tokenizer_makes_of_texts_and_pairs_what_the_model_was_given(tmp_path, family):
    usage, _ = written(tmp_path, family, "text-classification")
    library, text = AutoTokenizer.from_pretrained(tmp_path), usage.transforms.text
    pairs = list(zip(TEXTS, reversed(TEXTS), strict=True))
    for given, ours in ((TEXTS, text(TEXTS)), (pairs, text(pairs))):
        theirs = library(given, padding=True, truncation=True, return_tensors="pt")
        assert theirs.keys() == ours.keys()
        for name, expected in ours.items():
            assert torch.equal(theirs[name], expected)
    assert len(library("a")["input_ids"]) == len(Tokenizer.from_file(str(tmp_path / FILES[2])).encode("a").ids) == 3


def test_a_tokenizer_on_its_own_cuts_long_texts_and_pads_none():
    words = word_tokenizer(TEXTS[:3])
    words.enable_padding(length=9)  # as run folders of before have it
    transform = TextTransform(words, 6, 40)
    lengths = [len(unpadded(transform.tokenizer).encode(text).ids) for text in TEXTS[:4]]
    assert lengths == [3, 4, 6, 6]
    assert transform.tokenizer.padding


def test_special_tokens_are_named(tmp_path):
    written(tmp_path, "bert", "text-classification")
    library = AutoTokenizer.from_pretrained(tmp_path)
    assert (library.cls_token, library.sep_token, library.unk_token) == ("[CLS]", "[SEP]", "[UNK]")
    assert (library.pad_token, library.mask_token) == ("[PAD]", None)


def test_names_of_classes_keep_their_letters(tmp_path):
    written(tmp_path, "bert", "text-classification", ("nein", "ja ü", "", "x", "y"))
    assert AutoConfig.from_pretrained(tmp_path).id2label[1] == "ja ü"


@pytest.mark.parametrize("family", ["meter", "vilt"])
def test_images_are_made_into_the_pixels_that_the_model_was_given(tmp_path, shared_workshop, family):
    from PIL import Image

    usage, names = written(tmp_path, family, "vqa")
    assert names == (*FILES[:2], "preprocessor_config.json", FILES[2])
    with Image.open(shared_workshop / "scene.png") as image:
        picture = image.convert("RGB").crop((0, 0, 190, 150))
    theirs = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")(picture, return_tensors="pt")
    torch.testing.assert_close(theirs["pixel_values"][0], usage.transforms.image(picture))
    assert json.loads((tmp_path / FILES[0]).read_text())["id2label"]["1"] == "class 1"
    if family == "vilt":  # METER is no model of transformers
        config, dims = AutoConfig.from_pretrained(tmp_path), tiny.model(family, "vqa").dims
        assert (config.hidden_size, config.num_hidden_layers, config.patch_size) == (dims.hidden, 6, dims.patch)


def test_the_folder_of_a_run_has_them(shared_exports):
    text = usage_of(open_run(shared_exports)).transforms.text
    tokenizer = Tokenizer.from_file(str(shared_exports / "exports" / FILES[2]))
    assert (tokenizer.padding, tokenizer.truncation["max_length"]) == (None, text.length)
    assert all((shared_exports / "exports" / name).is_file() for name in (*FILES, "preprocessor_config.json"))


def test_a_folder_of_before_is_verified_as_it_is(shared_exports, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(shared_exports, run)
    for name in (*FILES, "preprocessor_config.json"):
        (run / "exports" / name).unlink()
    assert das("verify", run, "--onnx").exit_code == 0
