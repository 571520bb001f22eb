"""A folder with a smaller vocabulary: transformers loads it, and it answers as the full model does."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

import das as api
from compressor.checkpoints.find_tokenizer import find_tokenizer
from compressor.errors import CheckFailed, InputError
from compressor.families import FAMILIES
from compressor.hub import modeling_das
from profiles.formatting import format_bytes
from tests.support import saved_runs
from tests.support import tiny_models as tiny
from tests.support.command_line import das, refused, stopped
from tests.support.embedders import write_embedder
from tests.support.marks import slow_but

TEXTS = ["w3 w7 w12", "w7 w20 w9 w1", "w0", "other w3"]
WORDS = {f"w{number}" for number in (0, 1, 2, 3, 7, 9, 12, 20)}
KINDS = [family for family, task in tiny.SIZES if task == "text-classification"]
STRUCTURES = [kind for kind in KINDS if kind not in ("xlm-roberta", "camembert")]  # those are RoBERTas
every_family = pytest.mark.parametrize("family", slow_but(STRUCTURES, KINDS))


def write(folder, model_type="bert", kind=AutoModelForSequenceClassification, **settings):
    """A folder of transformers with a random model, and the tokenizer of words."""
    torch.manual_seed(0)
    sizes = tiny.SIZES[model_type, "text-classification"](0, tiny.CLASSES)
    config = AutoConfig.for_model(**{**sizes.config, **settings}, num_labels=tiny.CLASSES)
    model = kind.from_config(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    tokenizer = Tokenizer.from_str(saved_runs.words().to_str())
    if model_type in ("roberta", "xlm-roberta", "camembert", "mpnet"):  # which pad with token 1
        text = tokenizer.to_str().replace("[UNK]", "[X]").replace("[PAD]", "[UNK]").replace("[X]", "[PAD]")
        tokenizer = Tokenizer.from_str(text)
        tokenizer.enable_padding(pad_id=1, pad_token="[PAD]")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join([*TEXTS, "", TEXTS[0]]) + "\n")
    return path


def load(folder):
    """What transformers alone makes of a folder."""
    named = json.loads((folder / "config.json").read_text())["architectures"][0]
    return getattr(transformers, named).from_pretrained(folder).eval()


def answers(folder, texts=TEXTS):
    """What transformers alone answers with a folder and its tokenizer."""
    given = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        return load(folder)(**given)[0]


def full_answers(folder, texts=TEXTS):
    """The same with the tokenizer.json of a folder that has no settings for it."""
    encoded = Tokenizer.from_file(str(folder / "tokenizer.json")).encode_batch(texts)
    ids, mask = (torch.tensor([getattr(one, what) for one in encoded]) for what in ("ids", "attention_mask"))
    with torch.no_grad():
        return load(folder)(input_ids=ids, attention_mask=mask)[0]


@every_family
def test_a_checkpoint_of_every_family(tmp_path, corpus, family):
    full, slim = write(tmp_path / "full", family), tmp_path / "slim"
    trimmed = api.trim_vocabulary(full, texts=[corpus], to=slim)
    tokens = Tokenizer.from_file(str(slim / "tokenizer.json")).get_vocab()
    assert set(tokens) == {*saved_runs.SPECIAL, *WORDS}  # "w2" is in "w20"
    assert (trimmed.tokens, trimmed.full_tokens) == (len(tokens), tiny.VOCABULARY)
    assert (trimmed.texts, trimmed.samples, trimmed.used, trimmed.tokenizer) == (4, 4, 10, "WordLevel")
    logits = full_answers(full)
    assert logits.std() > 0.05
    assert float((answers(slim) - logits).abs().max()) <= 1e-6
    state, before = load_file(slim / "model.safetensors"), load_file(full / "model.safetensors")
    (name,) = (name for name in before if state[name].shape != before[name].shape)
    rows = json.loads((slim / "vocabulary.json").read_text())["rows"]
    assert torch.equal(state[name], before[name][rows])
    assert trimmed.full_parameters - trimmed.parameters == before[name][len(rows) :].numel()
    assert trimmed.weight_bytes == (slim / "model.safetensors").stat().st_size < trimmed.full_weight_bytes
    assert torch.equal(api.load(slim)(**inputs(slim, api.load(slim))), answers(slim))


def inputs(folder, model):
    """What das makes of the texts for a model of its own."""
    return FAMILIES[model.family].transforms(model.dims, find_tokenizer(None, folder, None).tokenizer).text(TEXTS)


@pytest.mark.parametrize("adapters", (False, True))
def test_a_run(tmp_path, corpus, adapters):
    run = saved_runs.saved_run(tmp_path, "bert", "text-classification", adapters, nothing=not adapters)
    slim = tmp_path / "slim"
    trimmed = api.trim_vocabulary(run.path, texts=[corpus], to=slim)
    assert trimmed.source == str(run.path) and trimmed.trust_remote_code == adapters
    assert (slim / "modeling_das.py").exists() == adapters
    given = AutoTokenizer.from_pretrained(slim)(TEXTS, padding=True, return_tensors="pt")
    kind = modeling_das.DasBertForSequenceClassification if adapters else transformers.BertForSequenceClassification
    with torch.no_grad():
        found, expected = kind.from_pretrained(slim).eval()(**given)[0], run.load_slim()(**run.transforms().text(TEXTS))
    assert expected.std() > 0.05 and float((found - expected).abs().max()) <= 1e-6
    card = (slim / "README.md").read_text()
    assert f"{trimmed.tokens} of {tiny.VOCABULARY} tokens are left" in card
    assert format_bytes(trimmed.weight_bytes) in card


def test_rows_of_a_head_that_are_the_vocabularys_go_too(tmp_path, corpus):
    full, slim = write(tmp_path / "full", kind=AutoModelForMaskedLM), tmp_path / "slim"
    trimmed = api.trim_vocabulary(full, texts=[corpus], to=slim)
    rows = json.loads((slim / "vocabulary.json").read_text())["rows"]
    expected = full_answers(full)[..., rows]
    assert answers(slim).shape == (len(TEXTS), expected.shape[1], trimmed.tokens)
    assert float((answers(slim) - expected).abs().max()) <= 1e-6


def test_an_embedder_keeps_its_modules_and_the_words_of_its_prompts(tmp_path, corpus):
    full = write_embedder(tmp_path / "full", settings={"prompts": {"query": "q ", "document": ""}})
    kept = {name: x for name, x in load_file(full / "model.safetensors").items() if "pooler" not in name}
    save_file(kept, full / "model.safetensors", metadata={"format": "pt"})
    (full / "onnx").mkdir()
    corpus.write_text("a b c\nd a\n")
    slim = tmp_path / "slim"
    trimmed = api.trim_vocabulary(full, texts=[corpus], to=slim)
    assert trimmed.not_copied == ("onnx",) and trimmed.texts == 3
    written = {str(path.relative_to(slim)) for path in slim.rglob("*") if path.is_file()}
    came = {str(path.relative_to(full)) for path in full.rglob("*") if path.is_file()}
    assert written == came | {"vocabulary.json"} and "1_Pooling/config.json" in written
    tokens = Tokenizer.from_file(str(slim / "tokenizer.json")).get_vocab()
    assert "q" in tokens and trimmed.tokens == len(tokens) < trimmed.full_tokens
    state = load_file(slim / "model.safetensors")
    assert state.keys() == kept.keys()
    assert torch.equal(answers(slim, ["a b", "d q"]), answers(full, ["a b", "d q"]))


def test_tokens_that_the_configuration_names_keep_their_meaning(tmp_path, corpus):
    full, slim = write(tmp_path / "full", bos_token_id=33, eos_token_id=3), tmp_path / "slim"
    api.trim_vocabulary(full, texts=[corpus], to=slim)
    config, tokens = json.loads((slim / "config.json").read_text()), Tokenizer.from_file(str(slim / "tokenizer.json"))
    named = [tokens.id_to_token(config[name]) for name in ("pad_token_id", "bos_token_id", "eos_token_id")]
    assert named == ["[PAD]", "w28", "[SEP]"]


def test_the_command_says_what_became_smaller(tmp_path, corpus):
    full = write(tmp_path / "full")
    shown = das("trim-vocabulary", full, "--texts", corpus, "--to", tmp_path / "slim")
    assert shown.exit_code == 0, shown.stderr
    assert "40 -> 13; 10 are in the texts" in shown.stdout and "the same tokens in all 4 texts" in shown.stdout
    assert f"AutoModelForSequenceClassification.from_pretrained('{tmp_path / 'slim'}')" in shown.stdout
    document = json.loads(das("trim-vocabulary", full, "--texts", corpus, "--to", tmp_path / "b", "--json").stdout)
    assert (document["tokens"], document["max_abs_error"]) == (13, 0.0)


def test_what_is_wrong_is_said_together(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("")
    result = das("trim-vocabulary", tmp_path / "no.ckpt", "--texts", tmp_path / "no.txt", "--to", tmp_path / "there")
    stopped(result, 3, ("folder-exists", "texts-missing", "checkpoint-missing"), "no.txt", "no.ckpt")


def test_a_model_of_images_is_refused(tmp_path, corpus):
    run = saved_runs.saved_run(tmp_path, "vilt", "vqa")
    with refused(InputError, "vocabulary-not-of-texts-alone", "which reads images"):
        api.trim_vocabulary(run, texts=[corpus], to=tmp_path / "slim")


def test_a_file_is_refused(tmp_path, corpus):
    full = write(tmp_path / "full")
    with refused(InputError, "not-a-folder-of-transformers", "model.safetensors"):
        api.trim_vocabulary(full / "model.safetensors", texts=[corpus], to=tmp_path / "slim")


def test_weights_of_another_class_are_refused(tmp_path, corpus):
    full = write(tmp_path / "full", kind=AutoModel)
    config = json.loads((full / "config.json").read_text())
    (full / "config.json").write_text(json.dumps(config | {"architectures": ["BertForSequenceClassification"]}))
    with refused(InputError, "tensors-missing", "classifier.weight"):
        api.trim_vocabulary(full, texts=[corpus], to=tmp_path / "slim")


def test_a_tokenizer_that_draws_lots_is_refused_and_nothing_is_left(tmp_path, corpus):
    full = write(tmp_path / "full")
    tokens = {token: number for number, token in enumerate([*saved_runs.SPECIAL, "w", "3", "w3"])}
    tokenizer = Tokenizer(models.BPE(tokens, [("w", "3")], dropout=0.9, unk_token="[UNK]"))
    tokenizer.save(str(full / "tokenizer.json"))
    corpus.write_text("\n".join("w3" * number for number in range(30, 60)))
    with refused(CheckFailed, "vocabulary-differs", "w3"):
        api.trim_vocabulary(full, texts=[corpus], to=tmp_path / "slim")
    assert not (tmp_path / "slim").exists()
